{{/*
How long a pod may take to leave. The same sum as in deploy/gunicorn.conf.py, which a test compares:

    drainAcceptSeconds + drainSeconds + endings + flush  <  graceful_timeout
    preStopSeconds + graceful_timeout  <  terminationGracePeriodSeconds
*/}}

{{/* A booking that has begun, two transactions, the last spans; the last bytes; the interpreter. */}}
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
