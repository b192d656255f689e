{{/*
Merges the sections of a values file for Dapr into the keys that they have here, and rejects values that cannot work.
Every template begins with it; it is idempotent.
*/}}
{{- define "sentry.values" -}}
{{- $_ := include "sentry.unknown" . -}}
{{- include "sentry.normalized" . -}}
{{- include "sentry.check" . -}}
{{- end -}}

{{/*
Numbers and truth values become texts where Kubernetes takes only these: labels, annotations, environment variables,
flags, and tags of images. Helm reads 20250101 from a file as 2.0250101e+07. Maps that are null become empty.
*/}}
{{- define "sentry.normalized" -}}
{{- $v := .Values -}}
{{- range $key := list "extraVolumes" "extraVolumeMounts" "extraContainers" "initContainers" -}}
{{- $_ := set $v.global $key (get $v.global $key | default dict) -}}
{{- end -}}
{{- range $texts := list $v.deploymentAnnotations $v.service.annotations $v.serviceAccount.sentry.annotations $v.dashboard.labels $v.dashboard.annotations $v.serviceMonitor.labels $v.prometheusRule.labels $v.global.labels $v.global.k8sLabels $v.global.nodeSelector $v.extraEnvVars -}}
{{- range $key, $value := $texts -}}
{{- $_ := set $texts $key (include "sentry.text" $value) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $v.global "tag" (include "sentry.text" $v.global.tag) -}}
{{- $_ = set $v.image "tag" (include "sentry.text" $v.image.tag) -}}
{{- $arguments := list -}}
{{- range $v.extraArgs -}}
{{- $arguments = append $arguments (include "sentry.text" .) -}}
{{- end -}}
{{- $_ = set $v "extraArgs" $arguments -}}
{{- end -}}

{{- define "sentry.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}
{{- printf "%.0f" . -}}
{{- else if not (kindIs "invalid" .) -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* Rejects values of labels that the API server does not take. Takes the name of their value, and the labels. */}}
{{- define "sentry.checkLabels" -}}
{{- $place := index . 0 -}}
{{- range $key, $value := index . 1 -}}
{{- if not (regexMatch "^(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?$" $value) -}}
{{- fail (printf "%s: %q cannot be the value of label %s; use at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends" $place $value $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Rejects two uses of one port. Takes the owner of the ports, and the values with their ports. */}}
{{- define "sentry.checkPorts" -}}
{{- $place := index . 0 -}}
{{- $seen := dict -}}
{{- range index . 1 -}}
{{- $port := toString (int .port) -}}
{{- if hasKey $seen $port -}}
{{- fail (printf "%s: port %s of %s is that of %s, too; use another one" .value $port $place (get $seen $port)) -}}
{{- end -}}
{{- $_ := set $seen $port .value -}}
{{- end -}}
{{- end -}}

{{/*
Merges those sections and prints the path of each key that this chart does not have, one per line. Dapr's chart has no
schema: keys of a newer one, or typing errors in a file that works with it, must not prevent the installation. These
keys are dropped and listed in NOTES.
*/}}
{{- define "sentry.unknown" -}}
{{- include "sentry.overlay" (list .Values (.Values.dapr_sentry | default dict) "dapr_sentry") -}}
{{- with (.Values.dapr_rbac | default dict).serviceAccount -}}
{{- $_ := include "sentry.overlay" (list $.Values.serviceAccount . "dapr_rbac.serviceAccount") -}}
{{- end -}}
{{- end -}}

{{/* Maps whose keys are the user's own. */}}
{{- define "sentry.isOpen" -}}
{{- if regexMatch "\\.(deploymentAnnotations|annotations|labels|resources|limits|requests|extraEnvVars|affinity|behavior)$" . }}true{{ end -}}
{{- end -}}

{{/*
Merges one map into another, in place. Not mergeOverwrite: that does not replace `true` by `false`. A key that the
lower map lacks is printed instead of merged.
*/}}
{{- define "sentry.overlay" -}}
{{- $under := index . 0 -}}
{{- $place := index . 2 -}}
{{- $open := include "sentry.isOpen" $place -}}
{{- range $key, $value := index . 1 -}}
{{- $path := printf "%s.%s" $place $key -}}
{{- $isMap := kindIs "map" (get $under $key) -}}
{{- if not (or $open (hasKey $under $key) (eq $key "successThreshold")) -}}
{{- printf "%s\n" $path -}}
{{- else if and $isMap (kindIs "map" $value) -}}
{{- include "sentry.overlay" (list (get $under $key) $value $path) -}}
{{- else if or (not $isMap) (include "sentry.isOpen" $path) -}}
{{- $_ := set $under $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The value of a flag in extraArgs, which come last and so decide; empty if it is not there. Takes the root and a name. */}}
{{- define "sentry.extraArg" -}}
{{- $flag := printf "^--?%s" (index . 1) -}}
{{- $found := "" -}}
{{- $isNext := false -}}
{{- range (index . 0).Values.extraArgs -}}
{{- $argument := toString . -}}
{{- if $isNext -}}
{{- $found = $argument -}}
{{- else if regexMatch (printf "%s=" $flag) $argument -}}
{{- $found = regexReplaceAll (printf "%s=" $flag) $argument "" -}}
{{- end -}}
{{- $isNext = regexMatch (printf "%s$" $flag) $argument -}}
{{- end -}}
{{- $found -}}
{{- end -}}

{{/* Nanoseconds of a duration as Go writes it. Templates cannot parse one, so it is added to a date. */}}
{{- define "sentry.nanoseconds" -}}
{{- $epoch := toDate "2006-01-02" "2000-01-01" -}}
{{- sub ($epoch | dateModify (printf "+%s" .)).UnixNano $epoch.UnixNano -}}
{{- end -}}

{{- define "sentry.mode" -}}
{{- include "sentry.extraArg" (list . "mode") | default .Values.mode -}}
{{- end -}}

{{/* "true" if the process writes to that path: it is below a writable mount. The root file system is read-only. */}}
{{- define "sentry.isWritable" -}}
{{- $path := index . 1 -}}
{{- range (index . 0).Values.global.extraVolumeMounts.sentry -}}
{{- if and (not .readOnly) (hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $path) -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Rejects values that cannot work before anything is installed. Each error names the value and the remedy. */}}
{{- define "sentry.check" -}}
{{- $v := .Values -}}
{{- if and (eq (include "sentry.mode" .) "standalone") (not $v.confirmStandalone) -}}
{{- fail "mode: a standalone Sentry gives any identity of the mesh to every caller that reaches its port; use mode=kubernetes, or set confirmStandalone=true if other means authenticate the callers" -}}
{{- end -}}
{{- if and (eq (include "sentry.mode" .) "standalone") (not (or $v.tls.root.certPEM $v.tls.existingSecret $v.tls.certManager.enabled (include "sentry.extraArg" (list . "issuer-credentials")))) -}}
{{- if not (lookup "v1" "Secret" .Release.Namespace "dapr-trust-bundle" | default dict).data -}}
{{- fail "mode: a standalone Sentry reads its certificate authority from the mounted Secret and cannot write one there; give it in tls.root and tls.issuer, set tls.existingSecret=true, or name a directory on a volume with extraArgs --issuer-credentials" -}}
{{- end -}}
{{- end -}}
{{- $drain := include "sentry.extraArg" (list . "drain-timeout") | default $v.drainTimeout | default "10s" -}}
{{- if le (mul (int64 $v.terminationGracePeriodSeconds) 1000000000) (int64 (include "sentry.nanoseconds" $drain)) -}}
{{- fail (printf "terminationGracePeriodSeconds: after %d seconds the kubelet kills the process, which needs more than its drain timeout of %s to finish open calls; raise it or lower drainTimeout" (int64 $v.terminationGracePeriodSeconds) $drain) -}}
{{- end -}}
{{- if and $v.jwt.enabled (hasPrefix "HS" ($v.jwt.signingAlgorithm | default "")) -}}
{{- fail (printf "jwt.signingAlgorithm: %s signs and verifies with the same key, and the key set is public; use RS256, ES256 or another asymmetric algorithm" $v.jwt.signingAlgorithm) -}}
{{- end -}}
{{- if and $v.jwt.enabled $v.jwt.keyRotation $v.jwt.keyID -}}
{{- fail "jwt.keyRotation: rotated keys need different IDs; remove jwt.keyID or jwt.keyRotation" -}}
{{- end -}}
{{- if $v.autoscaling.enabled -}}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) -}}
{{- fail (printf "autoscaling: minReplicas (%d) is above maxReplicas (%d)" (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if not (($v.resources | default dict).requests | default dict).cpu -}}
{{- fail "autoscaling: utilization is measured against resources.requests.cpu, which is not set" -}}
{{- end -}}
{{- end -}}
{{- if and $v.oidc.enabled $v.oidc.tls.enabled (not (and $v.oidc.tls.certFile $v.oidc.tls.keyFile)) -}}
{{- fail "oidc.tls: certFile and keyFile are needed, or enabled=false for plain HTTP" -}}
{{- end -}}
{{- if and $v.oidc.enabled (not $v.jwt.enabled) -}}
{{- fail "oidc.enabled: there is nothing to serve without jwt.enabled=true" -}}
{{- end -}}
{{- $audit := include "sentry.extraArg" (list . "audit-log") | default $v.auditLog.path | default "" -}}
{{- if and $v.auditLog.required (not $audit) -}}
{{- fail "auditLog.required: set auditLog.path to the place of the log: stdout, or a path on a volume" -}}
{{- end -}}
{{- if and (hasPrefix "/" $audit) (not (include "sentry.isWritable" (list . $audit))) -}}
{{- fail (printf "auditLog.path: %s is not on a volume, and the root file system is read-only; mount a writable volume above it with global.extraVolumes.sentry and global.extraVolumeMounts.sentry, or use stdout" $audit) -}}
{{- end -}}
{{- $pems := compact (list $v.tls.root.certPEM $v.tls.issuer.certPEM $v.tls.issuer.keyPEM) -}}
{{- if and $pems (lt (len $pems) 3) -}}
{{- fail "tls: root.certPEM, issuer.certPEM and issuer.keyPEM belong together: give all three or none" -}}
{{- end -}}
{{- if and $pems (or $v.tls.existingSecret $v.tls.certManager.enabled) -}}
{{- fail "tls: PEM values cannot be combined with existingSecret or certManager, which keep the content of the Secret elsewhere" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name: name the Issuer or ClusterIssuer that signs the issuer certificate" -}}
{{- end -}}
{{- if and $v.rbac.create $v.global.rbac.namespaced (not (eq (toString $v.rbac.readAllNamespaces) "true")) -}}
{{- fail "global.rbac.namespaced: Sentry reads the pods and Configurations of all namespaces, which no Role can grant; set rbac.readAllNamespaces=true to grant it get, list and watch of these, or global.rbac.namespaced=false" -}}
{{- end -}}
{{- if ne $v.global.daprControlPlaneOs "linux" -}}
{{- fail (printf "global.daprControlPlaneOs: the image is for Linux nodes, not for %s" $v.global.daprControlPlaneOs) -}}
{{- end -}}
{{- $listening := list (dict "value" "the health server" "port" 8080) (dict "value" "ports.targetPort" "port" $v.ports.targetPort) -}}
{{- $offered := list (dict "value" "ports.port" "port" $v.ports.port) -}}
{{- if $v.global.prometheus.enabled -}}
{{- $metrics := dict "value" "global.prometheus.port" "port" $v.global.prometheus.port -}}
{{- $listening = append $listening $metrics -}}
{{- $offered = append $offered $metrics -}}
{{- end -}}
{{- if $v.oidc.enabled -}}
{{- $oidc := dict "value" "oidc.server.port" "port" $v.oidc.server.port -}}
{{- $listening = append $listening $oidc -}}
{{- $offered = append $offered $oidc -}}
{{- end -}}
{{- include "sentry.checkPorts" (list "the pods" $listening) -}}
{{- include "sentry.checkPorts" (list "the Service" $offered) -}}
{{- range $key := list "app" "helm.sh/chart" -}}
{{- if hasKey ($v.global.k8sLabels | default dict) $key -}}
{{- fail (printf "global.k8sLabels: the chart itself sets the label %s; remove it" $key) -}}
{{- end -}}
{{- end -}}
{{- include "sentry.checkLabels" (list (ternary "global.k8sLabels" "component" (not (empty $v.global.k8sLabels))) (include "sentry.labels" . | fromYaml)) -}}
{{- range $place, $labels := dict "global.labels" $v.global.labels "global.nodeSelector" $v.global.nodeSelector "dashboard.labels" $v.dashboard.labels "serviceMonitor.labels" $v.serviceMonitor.labels "prometheusRule.labels" $v.prometheusRule.labels -}}
{{- include "sentry.checkLabels" (list $place $labels) -}}
{{- end -}}
{{- $names := include "sentry.filenames" . | fromYaml -}}
{{- if ne (len (uniq (values $names))) 3 -}}
{{- fail (printf "global.issuerFilenames: ca, cert and key are keys of one Secret and must differ, got %s, %s, %s" $names.ca $names.cert $names.key) -}}
{{- end -}}
{{- end -}}

{{/* Values that are given and have no effect, one per line with the reason; for NOTES. */}}
{{- define "sentry.ineffective" -}}
{{- $unknown := include "sentry.unknown" . -}}
{{- $v := .Values -}}
{{- range splitList "\n" $unknown -}}
{{- with . }}
{{ . }}: this chart has no such value
{{- end }}
{{- end }}
{{- with $v.nameOverride }}
nameOverride: objects have the fixed names under which Dapr looks for them, as in Dapr's chart
{{- end }}
{{- with $v.fullnameOverride }}
fullnameOverride: objects have the fixed names under which Dapr looks for them, as in Dapr's chart
{{- end }}
{{- if not (has $v.tls.trustDomain (list "" "cluster.local" $v.global.mtls.controlPlaneTrustDomain)) }}
tls.trustDomain: global.mtls.controlPlaneTrustDomain is the trust domain, as in Dapr's chart
{{- end }}
{{- if include "sentry.isDaprImage" . }}
image.name: {{ $v.image.name }} is Dapr's own Sentry; {{ include "sentry.image" . }} is used (image.registry, image.repository, image.tag, image.digest)
{{- end }}
{{- if ne $v.ports.protocol "TCP" }}
ports.protocol: gRPC is served over TCP
{{- end }}
{{- if $v.debug.enabled }}
debug.enabled: the image has no debugger for Go programs; set logLevel to debug for more log lines
{{- end }}
{{- if not $v.jwt.enabled }}
{{- range $key := list "keyFilename" "jwksFilename" "issuer" "signingAlgorithm" "keyID" "ttl" "keyRotation" "jwksInConfigMap" }}
{{- if get $v.jwt $key }}
jwt.{{ $key }}: no JWTs are issued without jwt.enabled=true
{{- end }}
{{- end }}
{{- end }}
{{- if and $v.serviceMonitor.enabled (not $v.global.prometheus.enabled) }}
serviceMonitor.enabled: there are no metrics without global.prometheus.enabled=true
{{- end }}
{{- if and $v.tokenVerification (eq (include "sentry.mode" .) "standalone") }}
tokenVerification: pods' tokens are checked in Kubernetes mode only
{{- end }}
{{- if and $v.imageExtension (eq (include "sentry.mode" .) "standalone") }}
imageExtension: the images of a pod are known in Kubernetes mode only
{{- end }}
{{- with (get ($v.dapr_config | default dict) "dapr_default_system_config_name") }}
{{- if ne . "daprsystem" }}
dapr_config.dapr_default_system_config_name: Sentry and Dapr read the Configuration daprsystem
{{- end }}
{{- end }}
{{- end -}}
