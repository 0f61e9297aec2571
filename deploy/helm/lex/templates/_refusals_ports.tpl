{{/* Rejects ports of the network policy that differ from those of the URLs. */}}
{{- define "lex.refusePorts" -}}
{{- $v := .Values }}
{{- $policy := $v.networkPolicy }}
{{- if $policy.enabled }}
  {{- if and $v.databaseUrl (eq (include "lex.store" .) "postgres") }}
    {{- include "lex.refusePort" (list "postgresPort" $policy.postgresPort "databaseUrl" (include "lex.portsOf" (list $v.databaseUrl 5432))) }}
  {{- end }}
  {{- $isSentinel := contains "+sentinel://" $v.redisUrl }}
  {{- if $isSentinel }}
    {{- include "lex.refusePort" (list "sentinelPort" $policy.sentinelPort "redisUrl" (include "lex.portsOf" (list $v.redisUrl 26379))) }}
  {{- else if $v.redisUrl }}
    {{- if $policy.sentinelPort }}
      {{- fail (printf "networkPolicy.sentinelPort is %d, but redisUrl names no Sentinels: set 0, or begin the URL with redis+sentinel://." (int $policy.sentinelPort)) }}
    {{- end }}
    {{- /* The nodes of a cluster may announce other ports than those of the URL. */}}
    {{- if not (or (contains "+cluster://" $v.redisUrl) (hasPrefix "unix:" $v.redisUrl)) }}
      {{- include "lex.refusePort" (list "redisPort" $policy.redisPort "redisUrl" (include "lex.portsOf" (list $v.redisUrl 6379))) }}
    {{- end }}
  {{- end }}
  {{- with $v.otelExporterOtlpEndpoint }}
    {{- include "lex.refusePort" (list "collectorPort" $policy.collectorPort "otelExporterOtlpEndpoint" (include "lex.collectorPorts" $)) }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Takes the name and value of a port, the name of a URL, and the ports of the URL. */}}
{{- define "lex.refusePort" -}}
{{- $given := index . 1 | int }}
{{- $ports := index . 3 | fromJsonArray }}
{{- if and $given (ne (toJson $ports) (toJson (list $given))) }}
  {{- fail (printf "networkPolicy.%s is %d, but %s connects to port %s, which the policy would close: set 0 to open the ports of the URL." (index . 0) $given (index . 2) ($ports | join ", " | default "none")) }}
{{- end }}
{{- end }}
