{{/* Changes one alert as `prometheusRule` says. Takes the root and the alert, and changes the alert itself. */}}
{{- define "lex.changeAlert" -}}
{{- $v := (index . 0).Values }}
{{- $alert := index . 1 }}
{{- $change := get ($v.prometheusRule.alerts | default dict) $alert.alert | default dict }}
{{- with $change.for }}{{ $_ := set $alert "for" . }}{{ end }}
{{- $labels := $alert.labels | default dict }}
{{- with $labels.severity }}
  {{- $_ := set $labels "severity" (get ($v.prometheusRule.severities | default dict) . | default .) }}
{{- end }}
{{- with $change.severity }}{{ $_ := set $labels "severity" . }}{{ end }}
{{- with merge $labels ($v.prometheusRule.alertLabels | default dict) }}{{ $_ := set $alert "labels" . }}{{ end }}
{{- with dig "annotations" "runbook_url" "" $alert }}
  {{- if $v.prometheusRule.runbookUrl }}
    {{- $_ := set $alert.annotations "runbook_url" (printf "%s/%s" (trimSuffix "/" $v.prometheusRule.runbookUrl) .) }}
  {{- end }}
{{- end }}
{{- if hasKey $change "threshold" }}
  {{- /* The first comparison of the expression, if it is one with a number other than 0. */}}
  {{- $comparison := regexFind "[<>]=? [^\\n]*" $alert.expr }}
  {{- if not (regexMatch "^[<>]=? ([1-9][0-9.]*|0\\.[0-9]+)$" $comparison) }}
    {{- fail (printf "prometheusRule.alerts.%s has a threshold, but this alert compares with no single number: change its for or severity, or disable it." $alert.alert) }}
  {{- end }}
  {{- $operator := splitList " " $comparison | first }}
  {{- $_ := set $alert "expr" (replace $comparison (printf "%s %s" $operator (include "lex.text" $change.threshold)) $alert.expr) }}
{{- end }}
{{- end }}
