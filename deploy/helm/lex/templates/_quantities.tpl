{{/* A quantity of Kubernetes, such as `512Mi` or `250m`, as a plain number of bytes or cores. */}}
{{- define "lex.quantity" -}}
{{- $text := include "lex.text" . }}
{{- $number := regexFind "^([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?" $text }}
{{- $suffix := trimPrefix $number $text }}
{{- $units := dict "" 1 "n" 1e-9 "u" 1e-6 "m" 1e-3 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 }}
{{- printf "%f" (mulf (float64 $number) (get $units $suffix | float64)) }}
{{- end }}

{{/* The memory of a pod in megabytes when all of its slots are taken. deploy/README.md says where the figures are from. */}}
{{- define "lex.fullMegabytes" -}}
{{- $worker := mulf .Values.maxStreams 0.114 | addf 140 }}
{{- mulf .Values.webConcurrency $worker | addf 67 | ceil | int }}
{{- end }}
