{{/* The Secret's keys for trust anchors, issuer chain and issuer key. */}}
{{- define "sentry.filenames" -}}
{{- $given := .Values.global.issuerFilenames | default dict -}}
{{- $issued := .Values.tls.certManager.enabled | default false -}}
ca: {{ $given.ca | default "ca.crt" | quote }}
cert: {{ $given.cert | default (ternary "tls.crt" "issuer.crt" $issued) | quote }}
key: {{ $given.key | default (ternary "tls.key" "issuer.key" $issued) | quote }}
{{- end -}}

{{/*
"true" if image.name names Dapr's own image, as every values file for Dapr does: `sentry` in any registry, or any
name in a registry of Dapr's. These probes and flags do not fit that program.
*/}}
{{- define "sentry.isDaprImage" -}}
{{- $name := .Values.image.name | default "" -}}
{{- $full := ternary $name (printf "%s/%s" .Values.global.registry $name) (contains "/" $name) -}}
{{- if and $name (or (eq $name "sentry") (regexMatch "^(ghcr\\.io/dapr|((index\\.)?docker\\.io/)?daprio)/" $full)) }}true{{ end -}}
{{- end -}}

{{- define "sentry.image" -}}
{{- $image := .Values.image -}}
{{- $name := ternary "" ($image.name | default "") (eq (include "sentry.isDaprImage" .) "true") -}}
{{- if contains "/" $name -}}
{{- $name -}}
{{- else if $name -}}
{{- with .Values.global.registry }}{{ . }}/{{ end }}{{ $name }}:{{ .Values.global.tag | default .Chart.AppVersion -}}
{{- else -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* The trust domain without spiffe://, which Dapr Sentry accepts, too. */}}
{{- define "sentry.trustDomain" -}}
{{- trimPrefix "spiffe://" .Values.global.mtls.controlPlaneTrustDomain -}}
{{- end -}}

{{/* Labels of every object; templated, as Dapr's chart has them. */}}
{{- define "sentry.labels" -}}
app: dapr-sentry
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- if .Values.global.k8sLabels }}
{{- range $key, $value := .Values.global.k8sLabels }}
{{ $key }}: {{ tpl $value $ | quote }}
{{- end }}
{{- else }}
app.kubernetes.io/name: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: dapr
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/component: {{ .Values.component | default "" | quote }}
{{- end }}
{{- end -}}

{{/* A map of texts. Not toYaml: that writes 1e3 without quotation marks, and helm reads it as a number. */}}
{{- define "sentry.pairs" -}}
{{- range $key, $value := . }}
{{ $key | quote }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* Scrape annotations for a Prometheus without the operator. */}}
{{- define "sentry.scraped" -}}
{{- if .Values.global.prometheus.enabled }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .Values.global.prometheus.port | quote }}
prometheus.io/path: /
{{- end }}
{{- end -}}

{{/* Least number of replicas. */}}
{{- define "sentry.replicas" -}}
{{- if .Values.autoscaling.enabled -}}
{{- .Values.autoscaling.minReplicas -}}
{{- else if .Values.global.ha.enabled -}}
{{- .Values.global.ha.replicaCount -}}
{{- else -}}
{{- .Values.replicaCount -}}
{{- end -}}
{{- end -}}

{{/* "true" if an object of the release namespace exists and is not this release's. lookup fails for unknown kinds. */}}
{{- define "sentry.isForeign" -}}
{{- if (index . 0).Capabilities.APIVersions.Has (index . 1) -}}
{{- $found := lookup (index . 1) (index . 2) (index . 0).Release.Namespace (index . 3) -}}
{{- if $found -}}
{{- $owner := ($found.metadata.annotations | default dict) -}}
{{- $ours := and (eq (get $owner "meta.helm.sh/release-name") (index . 0).Release.Name) (eq (get $owner "meta.helm.sh/release-namespace") (index . 0).Release.Namespace) -}}
{{- ternary "" "true" $ours -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Checksum of the PEM values; empty without them. */}}
{{- define "sentry.pemChecksum" -}}
{{- with .Values.tls.issuer.certPEM -}}
{{- list $.Values.tls.root.certPEM $.Values.tls.issuer.certPEM $.Values.tls.issuer.keyPEM | join "\n" | sha256sum -}}
{{- end -}}
{{- end -}}

{{- define "sentry.args" -}}
- --mode
- {{ .Values.mode | quote }}
- --log-level
- {{ .Values.logLevel | quote }}
{{- if .Values.global.logAsJson }}
- --log-as-json
{{- end }}
{{- if .Values.global.prometheus.enabled }}
- --enable-metrics
- --metrics-port
- {{ .Values.global.prometheus.port | quote }}
{{- else }}
- --enable-metrics=false
{{- end }}
- --trust-domain
- {{ include "sentry.trustDomain" . | quote }}
{{- if or .Values.global.issuerFilenames .Values.tls.certManager.enabled }}
{{- $names := include "sentry.filenames" . | fromYaml }}
- --issuer-ca-filename
- {{ $names.ca | quote }}
- --issuer-certificate-filename
- {{ $names.cert | quote }}
- --issuer-key-filename
- {{ $names.key | quote }}
{{- end }}
{{- if ne (int .Values.ports.targetPort) 50001 }}
- --port={{ int .Values.ports.targetPort }}
{{- end }}
{{- with .Values.caKeyType }}
- {{ printf "--ca-key-type=%s" . | quote }}
{{- end }}
{{- if not .Values.caRenewal.enabled }}
- --ca-renewal-enabled=false
{{- end }}
{{- range $flag, $value := dict "ca-ttl" .Values.caRenewal.ttl "ca-renewal-threshold" .Values.caRenewal.threshold "trust-anchor-propagation-grace" .Values.caRenewal.propagationGrace "ca-renewal-scope" .Values.caRenewal.scope "ca-root-key" .Values.caRenewal.rootKey "ca-root-ttl" .Values.caRenewal.rootTtl "ca-root-key-passphrase-file" .Values.caRenewal.rootKeyPassphraseFile "allow-trust-cut" .Values.caRenewal.allowTrustCut }}
{{- if $value }}
- {{ printf "--%s=%v" $flag $value | quote }}
{{- end }}
{{- end }}
{{- if ne (int .Values.caRenewal.anchorsKept) 2 }}
- --ca-anchors-kept={{ int .Values.caRenewal.anchorsKept }}
{{- end }}
{{- with .Values.drainTimeout }}
- {{ printf "--drain-timeout=%s" . | quote }}
{{- end }}
{{- with .Values.tokenVerification }}
- {{ printf "--token-verification=%s" . | quote }}
{{- end }}
{{- if .Values.imageExtension }}
- --image-extension
{{- end }}
{{- with .Values.auditLog.path }}
- {{ printf "--audit-log=%s" . | quote }}
{{- end }}
{{- if .Values.auditLog.required }}
- --audit-required
{{- end }}
{{- if .Values.jwt.enabled }}
- --jwt-enabled=true
{{- range $flag, $value := dict "jwt-key-filename" .Values.jwt.keyFilename "jwks-filename" .Values.jwt.jwksFilename "jwt-issuer" .Values.jwt.issuer "jwt-signing-algorithm" .Values.jwt.signingAlgorithm "jwt-key-id" .Values.jwt.keyID "jwt-ttl" .Values.jwt.ttl "jwt-key-rotation" .Values.jwt.keyRotation }}
{{- if $value }}
- {{ printf "--%s=%s" $flag $value | quote }}
{{- end }}
{{- end }}
{{- if .Values.jwt.jwksInConfigMap }}
- --jwks-in-config-map
{{- end }}
{{- end }}
{{- if .Values.oidc.enabled }}
- --oidc-enabled=true
- --oidc-server-listen-address=0.0.0.0
{{- if ne (int .Values.oidc.server.port) 9080 }}
- --oidc-server-listen-port={{ int .Values.oidc.server.port }}
{{- end }}
{{- with .Values.oidc.jwksURI }}
- {{ printf "--oidc-jwks-uri=%s" . | quote }}
{{- end }}
{{- with .Values.oidc.pathPrefix }}
- {{ printf "--oidc-path-prefix=%s" . | quote }}
{{- end }}
{{- with .Values.oidc.allowedHosts }}
- {{ printf "--oidc-allowed-hosts=%s" (join "," .) | quote }}
{{- end }}
- --oidc-server-tls-enabled={{ .Values.oidc.tls.enabled }}
{{- /* Dapr Sentry serves with TLS if it has the files, regardless of the flag. */}}
{{- if .Values.oidc.tls.enabled }}
- {{ printf "--oidc-server-tls-cert-file=%s" .Values.oidc.tls.certFile | quote }}
- {{ printf "--oidc-server-tls-key-file=%s" .Values.oidc.tls.keyFile | quote }}
{{- end }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* A probe of the health port. */}}
{{- define "sentry.probe" -}}
httpGet:
  path: {{ .path }}
  port: healthz
{{- range $key := list "initialDelaySeconds" "periodSeconds" "timeoutSeconds" "failureThreshold" "successThreshold" }}
{{- if hasKey $ $key }}
{{ $key }}: {{ int (get $ $key) }}
{{- end }}
{{- end }}
{{- end -}}
