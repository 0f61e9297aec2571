{{- define "lex.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Leaves room for a suffix: names of objects have at most 63 characters. */}}
{{- define "lex.fullname" -}}
{{- $name := include "lex.name" . -}}
{{- $default := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{ .Values.fullnameOverride | default $default | trunc 45 | trimSuffix "-" }}
{{- end }}

{{- define "lex.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "lex.labelsOfPods" . }}
{{- end }}

{{/* Without the version of the chart: a new chart alone must not restart pods. */}}
{{- define "lex.labelsOfPods" -}}
app.kubernetes.io/version: {{ regexReplaceAll "[^A-Za-z0-9_.-]" (include "lex.tag" .) "_" | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "lex.release" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "lex.release" -}}
app.kubernetes.io/name: {{ include "lex.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Selects the serving pods, not those of `helm test`. A Deployment's selector cannot change. */}}
{{- define "lex.selector" -}}
{{ include "lex.release" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "lex.tag" -}}
{{ include "lex.text" .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "lex.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ include "lex.tag" . }}{{ end }}
{{- end }}

{{- define "lex.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "lex.fullname" .) "default") }}
{{- end }}

{{- define "lex.secretName" -}}
{{ .Values.secretName | default (include "lex.fullname" .) }}
{{- end }}

{{- define "lex.url" -}}
http://{{ include "lex.fullname" . }}:{{ .Values.service.port }}
{{- end }}
