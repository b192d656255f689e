{{/*
The values of one chart, whether they were written for it or for Dapr's: a section of Dapr's file is laid over the keys
that it has here. Every template begins with it; a second time changes nothing.
*/}}
{{- define "sentry.values" -}}
{{- include "sentry.overlay" (list .Values (.Values.dapr_sentry | default dict)) -}}
{{- with (.Values.dapr_rbac | default dict).serviceAccount -}}
{{- include "sentry.overlay" (list $.Values.serviceAccount .) -}}
{{- end -}}
{{- include "sentry.check" . -}}
{{- end -}}

{{/* Lays one dict over another, in place. Not mergeOverwrite: that leaves `true` where `false` is laid over it. */}}
{{- define "sentry.overlay" -}}
{{- $under := index . 0 -}}
{{- range $key, $value := index . 1 -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $under $key)) -}}
{{- include "sentry.overlay" (list (get $under $key) $value) -}}
{{- else -}}
{{- $_ := set $under $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What cannot be, said before anything is installed: each with its remedy. */}}
{{- define "sentry.check" -}}
{{- $v := .Values -}}
{{- if $v.debug.enabled -}}
{{- fail "debug.enabled: the image has no debugger of Go programs; set it to false, and logLevel to debug" -}}
{{- end -}}
{{- if and $v.oidc.enabled $v.oidc.tls.enabled (not (and $v.oidc.tls.certFile $v.oidc.tls.keyFile)) -}}
{{- fail "oidc.tls: certFile and keyFile are needed, or enabled=false for plain HTTP" -}}
{{- end -}}
{{- if and $v.oidc.enabled (not $v.jwt.enabled) -}}
{{- fail "oidc.enabled: there is nothing to serve without jwt.enabled=true" -}}
{{- end -}}
{{- if and $v.auditLog.required (not $v.auditLog.path) -}}
{{- fail "auditLog.required: name in auditLog.path where the log is kept: stdout, or a path on a volume" -}}
{{- end -}}
{{- $pems := compact (list $v.tls.root.certPEM $v.tls.issuer.certPEM $v.tls.issuer.keyPEM) -}}
{{- if and $pems (lt (len $pems) 3) -}}
{{- fail "tls: root.certPEM, issuer.certPEM and issuer.keyPEM belong together: give all three or none" -}}
{{- end -}}
{{- if and $pems (or $v.tls.existingSecret $v.tls.certManager.enabled) -}}
{{- fail "tls: PEM values go with neither existingSecret nor certManager, which keep the Secret's content elsewhere" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name: name the Issuer or ClusterIssuer that signs the issuer certificate" -}}
{{- end -}}
{{- if and $v.rbac.create $v.global.rbac.namespaced (not (eq (toString $v.rbac.readAllNamespaces) "true")) -}}
{{- fail "global.rbac.namespaced: Sentry reads the pods and Configurations of all namespaces, which no Role can grant; set rbac.readAllNamespaces=true to grant it get, list and watch of these, or global.rbac.namespaced=false" -}}
{{- end -}}
{{- $names := include "sentry.filenames" . | fromYaml -}}
{{- if ne (len (uniq (values $names))) 3 -}}
{{- fail (printf "global.issuerFilenames: ca, cert and key are keys of one Secret and must differ, got %s, %s, %s" $names.ca $names.cert $names.key) -}}
{{- end -}}
{{- end -}}
