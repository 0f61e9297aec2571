{{/* Rejects an authentication of KEDA that is incomplete or given twice. */}}
{{- define "lex.refuseKeda" -}}
{{- $keda := .Values.keda }}
{{- if $keda.enabled }}
  {{- if and $keda.authSecretName (include "lex.kedaReference" .) }}
    {{- fail "keda.authSecretName and keda.authenticationRef.name are both set: the first creates a TriggerAuthentication, the second uses an existing one. Empty one of them." }}
  {{- end }}
  {{- if and $keda.authModes (not (or $keda.authSecretName (include "lex.kedaReference" .))) }}
    {{- fail (printf "keda.authModes is %s, but nothing has the credentials: set keda.authSecretName or keda.authenticationRef.name." $keda.authModes) }}
  {{- end }}
  {{- if and $keda.authSecretName (not $keda.authModes) }}
    {{- fail "keda.authSecretName needs keda.authModes, which says what the Secret has." }}
  {{- end }}
  {{- if and $keda.query $keda.queryLabels }}
    {{- fail "keda.queryLabels are for the default query, and keda.query replaces it: write the labels into keda.query." }}
  {{- end }}
{{- end }}
{{- end }}
