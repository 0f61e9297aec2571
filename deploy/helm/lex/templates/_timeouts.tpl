{{/*
Maximum shutdown time of a pod. A test compares this sum with deploy/gunicorn.conf.py:

    drainAcceptSeconds + drainSeconds + endings + flush  <  graceful_timeout
    preStopSeconds + graceful_timeout  <  terminationGracePeriodSeconds
*/}}

{{/* Endings: a running tool, two transactions, the last spans. Then 5 s flush, 3 s for the interpreter. */}}
{{- define "lex.gracefulSeconds" -}}
{{- $endings := addf .Values.toolTimeoutSeconds 20 3 -}}
{{ addf .Values.drainAcceptSeconds .Values.drainSeconds $endings 5 3 | ceil | int }}
{{- end }}

{{- define "lex.leavingSeconds" -}}
{{ addf .Values.preStopSeconds (include "lex.gracefulSeconds" . | float64) | ceil | int }}
{{- end }}

{{- define "lex.graceSeconds" -}}
{{ .Values.terminationGracePeriodSeconds | default (add 10 (include "lex.leavingSeconds" . | int)) | int }}
{{- end }}
