{{/* Up at once; down slowly, one pod at a time, because its streams must end first. */}}
{{- define "lex.scaling" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 100, periodSeconds: 60}
    - {type: Pods, value: 2, periodSeconds: 60}
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownSeconds }}
  policies:
    - {type: Pods, value: 1, periodSeconds: {{ include "lex.graceSeconds" . | int | min 1800 }}}
{{- end }}

{{/* The name of an existing authentication of KEDA. */}}
{{- define "lex.kedaReference" -}}
{{- $keda := .Values.keda -}}
{{ with $keda.authenticationRef }}{{ .name }}{{ end }}
{{- end }}

{{/*
The turns of this release that do work: streams, without those that wait for a model's rate, which
more pods would not make faster. The pods of a Deployment have two parts after its name, so no
other release matches.
*/}}
{{- define "lex.workQuery" -}}
{{- $labels := printf "namespace=%q,pod=~%q" .Release.Namespace (printf "%s-[a-z0-9]+-[a-z0-9]{5}" (include "lex.fullname" .)) }}
{{- range $name, $value := .Values.keda.queryLabels }}
{{- $labels = printf "%s,%s=%q" $labels $name $value }}
{{- end -}}
clamp_min(sum(lex_streams_open{ {{- $labels -}} }) - sum(lex_upstream_waiting{ {{- $labels -}} }), 0)
{{- end }}
