{{/* The ports to which the service connects, as its URLs name them. Lists are JSON arrays. */}}

{{/* The hosts of a URL, with their ports. libpq also takes hosts in the query, and directories. */}}
{{- define "lex.hostsOf" -}}
{{- $rest := regexReplaceAll "^[^:/]+://" . "" }}
{{- $hosts := regexFind "^[^/?#]*" $rest | splitList "@" | last | splitList "," | compact }}
{{- if not $hosts }}
  {{- range regexFindAll "[?&]host=[^&#]*" $rest -1 }}
    {{- range regexReplaceAll "^[?&]host=" . "" | splitList "," }}
      {{- if not (regexMatch "^(/|%2[Ff]|$)" .) }}{{ $hosts = append $hosts . }}{{ end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- toJson $hosts }}
{{- end }}

{{/* The ports of a URL. Takes the URL, and the port of hosts without one. */}}
{{- define "lex.portsOf" -}}
{{- $url := index . 0 }}
{{- $ports := list }}
{{- $inQuery := regexFind "[?&]port=[0-9,]+" $url }}
{{- range $host := include "lex.hostsOf" $url | fromJsonArray }}
  {{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" | default (index $ | last) }}
  {{- $ports = append $ports (int $port) }}
{{- end }}
{{- if and $ports $inQuery }}
  {{- $ports = list }}
  {{- range regexFindAll "[0-9]+" $inQuery -1 }}{{ $ports = append $ports (int .) }}{{ end }}
{{- end }}
{{- include "lex.sortedPorts" $ports }}
{{- end }}

{{/* "yes" if a URL's host is plainly in the cluster or in a private network. */}}
{{- define "lex.isInternal" -}}
{{- $host := include "lex.hostsOf" . | fromJsonArray | first | default "" | lower | regexFind "^(\\[[^\\]]*\\]|[^:]*)" }}
{{- $suffix := "\\.(svc|svc\\..+|local|internal|lan|home\\.arpa)\\.?$" }}
{{- $address := "^(10|127|192\\.168|169\\.254|172\\.(1[6-9]|2[0-9]|3[01])|100\\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))\\.[0-9.]+$|^\\[(::1|f[cd]|fe[89ab])" }}
{{- /* `service.namespace` looks like a public domain, but nobody reaches one of these without TLS. */}}
{{- $short := and (hasPrefix "http:" .) (regexMatch "^[^.]+\\.[^.]+$" $host) }}
{{- if or (not (contains "." $host | or (hasPrefix "[" $host))) (regexMatch $suffix $host) (regexMatch $address $host) $short }}yes{{ end }}
{{- end }}

{{- define "lex.postgresPorts" -}}
{{- $given := int .Values.networkPolicy.postgresPort }}
{{- if and .Values.databaseUrl (not $given) }}{{ include "lex.portsOf" (list .Values.databaseUrl 5432) }}
{{- else }}{{ toJson (list ($given | default 5432)) }}{{ end }}
{{- end }}

{{/* Masters and Sentinels. A URL of Sentinels names no port of a master. */}}
{{- define "lex.redisPorts" -}}
{{- $policy := .Values.networkPolicy }}
{{- $url := .Values.redisUrl }}
{{- $ports := list }}
{{- if contains "+sentinel://" $url }}
  {{- $ports = include "lex.portsOf" (list $url 26379) | fromJsonArray | concat (list ($policy.redisPort | default 6379)) }}
{{- else if and $url (not (hasPrefix "unix:" $url)) }}
  {{- $ports = include "lex.portsOf" (list $url 6379) | fromJsonArray }}
  {{- with $policy.redisPort }}{{ $ports = append $ports . }}{{ end }}
{{- else if not $url }}
  {{- $ports = list ($policy.redisPort | default 6379) }}
  {{- with $policy.sentinelPort }}{{ $ports = append $ports . }}{{ end }}
{{- end }}
{{- include "lex.sortedPorts" $ports }}
{{- end }}

{{/* Without a port, gRPC connects to 443 whatever the scheme is. */}}
{{- define "lex.collectorPorts" -}}
{{- $url := .Values.otelExporterOtlpEndpoint }}
{{- $isPlain := and (hasPrefix "http:" $url) (ne .Values.otelExporterOtlpProtocol "grpc") }}
{{- include "lex.portsOf" (list $url (ternary 80 443 $isPlain)) }}
{{- end }}

{{/* Ports of Groq, the weather and the issuer. Takes the root, and whether to return those of internal hosts. */}}
{{- define "lex.httpPorts" -}}
{{- $v := (index . 0).Values }}
{{- $internal := index . 1 }}
{{- $urls := list $v.groqBaseUrl }}
{{- if eq $v.auth "jwt" }}{{ $urls = append $urls $v.jwtJwksUrl }}{{ end }}
{{- if eq $v.weatherProvider "open-meteo" }}{{ $urls = append $urls "https://api.open-meteo.com" }}{{ end }}
{{- $ports := list }}
{{- range compact $urls }}
  {{- if eq (include "lex.isInternal" .) (ternary "yes" "" $internal) }}
    {{- $ports = include "lex.portsOf" (list . (hasPrefix "http:" . | ternary 80 443)) | fromJsonArray | concat $ports }}
  {{- end }}
{{- end }}
{{- include "lex.sortedPorts" $ports }}
{{- end }}

{{/* Numbers do not sort by themselves in a template: `sortAlpha` gives text. */}}
{{- define "lex.sortedPorts" -}}
{{- $ports := list }}
{{- range . }}{{ $ports = append $ports (int . | printf "%05d") }}{{ end }}
{{- $sorted := list }}
{{- range $ports | uniq | sortAlpha }}{{ $sorted = append $sorted (regexReplaceAll "^0+" . "" | int) }}{{ end }}
{{- toJson $sorted }}
{{- end }}

{{/* A rule of egress. Takes the ports and the peers; without either there is none: an empty list would allow all. */}}
{{- define "lex.egressTo" -}}
{{- $ports := list }}
{{- range index . 0 | fromJsonArray }}{{ $ports = append $ports (dict "port" (int .) "protocol" "TCP") }}{{ end }}
{{- $peers := index . 1 }}
{{- if and $ports $peers }}{{ list (dict "ports" $ports "to" $peers) | toYaml | nindent 4 }}{{ end }}
{{- end }}
