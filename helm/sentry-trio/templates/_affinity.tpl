{{/* Affinity of the pods, as in Dapr's chart. */}}
{{- define "sentry.affinity" -}}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - key: kubernetes.io/os
            operator: In
            values: [{{ .Values.global.daprControlPlaneOs | quote }}]
          {{- with .Values.global.daprControlPlaneArch }}
          - key: kubernetes.io/arch
            operator: In
            values: [{{ . | quote }}]
          {{- end }}
{{- with .Values.global.ha }}
{{- if .enabled }}
podAntiAffinity:
  {{- if eq .podAntiAffinityPolicy "requiredDuringSchedulingIgnoredDuringExecution" }}
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: {{ .topologyKey | quote }}
      labelSelector:
        matchLabels:
          app: dapr-sentry
  {{- else }}
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: {{ .topologyKey | quote }}
        labelSelector:
          matchLabels:
            app: dapr-sentry
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}
