{{/* Rejects memory, slots and targets of autoscaling that do not fit each other. */}}
{{- define "lex.refuseCapacity" -}}
{{- $v := .Values }}
{{- with dig "limits" "memory" "" ($v.resources | default dict) }}
  {{- $limit := divf (include "lex.quantity" . | float64) 1e6 | int }}
  {{- $full := include "lex.fullMegabytes" $ | int }}
  {{- if lt $limit $full }}
    {{- fail (printf "resources.limits.memory of %s is %d MB, but a full pod takes %d MB, and would be killed with all its streams: 67 MB for /tmp, and for each worker (webConcurrency %d) 140 MB and 0.114 MB for each turn (maxStreams %d). Raise the limit, or lower maxStreams." (include "lex.text" .) $limit $full (int $v.webConcurrency) (int $v.maxStreams)) }}
  {{- end }}
{{- end }}
{{- if include "lex.isScaled" . }}
  {{- $slots := mul $v.webConcurrency $v.maxStreams }}
  {{- if ge (int $v.autoscaling.targetStreamsPerPod) (int $slots) }}
    {{- fail (printf "autoscaling.targetStreamsPerPod of %d is not below the %d slots of a pod (webConcurrency %d × maxStreams %d), so pods would refuse turns before the autoscaler adds one: lower the target, or raise maxStreams." (int $v.autoscaling.targetStreamsPerPod) (int $slots) (int $v.webConcurrency) (int $v.maxStreams)) }}
  {{- end }}
  {{- with dig "requests" "cpu" "" ($v.resources | default dict) }}
    {{- $cores := mulf (include "lex.quantity" . | float64) (divf $v.autoscaling.targetCpuPercent 100) }}
    {{- if ge $cores (float64 $v.webConcurrency) }}
      {{- fail (printf "autoscaling.targetCpuPercent of %d percent of resources.requests.cpu %s is %s cores, but webConcurrency %d never uses more than as many cores, so the autoscaler would add no pod: lower the request or the target." (int $v.autoscaling.targetCpuPercent) (include "lex.text" .) (printf "%.2f" $cores) (int $v.webConcurrency)) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
