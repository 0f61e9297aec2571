{{/* Files of the chart. Helm takes a missing one for an empty text; here it is an error. */}}

{{/* The paths that match a pattern, as a JSON array; never none. */}}
{{- define "lex.filesOf" -}}
{{- $root := index . 0 }}
{{- $pattern := index . 1 }}
{{- $paths := list }}
{{- range $path, $_ := $root.Files.Glob $pattern }}
  {{- $paths = append $paths $path }}
{{- end }}
{{- if not $paths }}
  {{- fail (printf "the chart has no %s: run `make dashboards`, and take the chart with all its files." $pattern) }}
{{- end }}
{{- toJson $paths }}
{{- end }}

{{/* The text of one file; never blank. */}}
{{- define "lex.file" -}}
{{- $root := index . 0 }}
{{- $path := index . 1 }}
{{- $text := $root.Files.Get $path }}
{{- if not (trim $text) }}
  {{- fail (printf "the chart's %s is missing or empty: take the chart with all its files." $path) }}
{{- end }}
{{- $text }}
{{- end }}
