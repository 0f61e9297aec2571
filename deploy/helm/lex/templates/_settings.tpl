{{/* The values that are settings: `modelName` becomes MODEL_NAME in the environment. */}}
{{- define "lex.settings" -}}
provider groqBaseUrl modelName modelFallbacks maxCompletionTokens maxRounds historyTokens
maxToolCalls maxArgumentBytes maxCompletionBytes
upstreamConnectSeconds upstreamFirstByteSeconds upstreamFirstDeltaSeconds upstreamGapSeconds
databaseUrl databasePoolSize databasePrepared migrateOnStart redisUrl leaseSeconds eventLogHours sessionRetentionDays usageRetentionDays
auth allowAnonymous allowedHosts jwtIssuer jwtAudience jwtJwksUrl jwtAlgorithms jwtRolesClaim jwtLeewaySeconds sessionCookieHours corsOrigins openaiSessionHeaders
forwardedAllowIps rateLimitSession rateLimitClient rateLimitSessions tokenBudgetSession tokenBudgetClient costBudgetClient
maxStreamsPerClient maxReadersPerClient maxSocketsPerClient
maxStreams maxQueryChars maxBodyBytes maxChatBodyBytes
heartbeatSeconds chunkFlushMs sendTimeoutSeconds socketIdleSeconds bodyTimeoutSeconds disconnectGraceSeconds turnTimeoutSeconds
toolTimeoutSeconds summaryIdleSeconds weatherProvider clientProfile
webConcurrency host port preStopSeconds drainAcceptSeconds drainSeconds
logLevel logLevelFile logFormat traceContext traceSlowSeconds apiDocs debug metricsPort
otelExporterOtlpEndpoint otelExporterOtlpProtocol otelServiceName otelTracesSampler
otelTracesSamplerArg otelInstrumentationGenaiCaptureMessageContent
{{- end }}

{{/* Helm reads numbers as floats, and would write a million as 1e+06. */}}
{{- define "lex.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end -}}
{{- end }}

{{/* The store of conversations: sqlite, memory or postgres. */}}
{{- define "lex.store" -}}
{{- $scheme := .Values.databaseUrl | splitList ":" | first -}}
{{ has $scheme (list "sqlite" "memory") | ternary $scheme "postgres" }}
{{- end }}

{{/* Whether a variable comes from a Secret: `include "lex.hasSecret" (list . "REDIS_URL")`. */}}
{{- define "lex.hasSecret" -}}
{{- $values := (index . 0).Values }}
{{- if or (has (index . 1) $values.secretKeys) (hasKey $values.secretRefs (index . 1)) }}true{{ end }}
{{- end }}

{{- define "lex.hasRedis" -}}
{{ if or .Values.redisUrl (include "lex.hasSecret" (list . "REDIS_URL")) }}true{{ end }}
{{- end }}

{{- define "lex.isScaled" -}}
{{ if or .Values.autoscaling.enabled .Values.keda.enabled }}true{{ end }}
{{- end }}

{{/* The maximum number of pods, without those that a rolling update adds. */}}
{{- define "lex.mostReplicas" -}}
{{ if include "lex.isScaled" . }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicaCount }}{{ end }}
{{- end }}

{{- define "lex.isPublic" -}}
{{ if or .Values.ingress.enabled .Values.httpRoute.enabled (ne .Values.service.type "ClusterIP") }}true{{ end }}
{{- end }}

{{/* The settings as the data of a ConfigMap. Pods restart when it changes. */}}
{{- define "lex.environment" -}}
{{- range $name := regexSplit "\\s+" (include "lex.settings" .) -1 }}
{{- with include "lex.text" (get $.Values $name) }}
{{ $name | snakecase | upper }}: {{ . | quote }}
{{- end }}
{{- end }}
TERMINATION_GRACE_SECONDS: {{ include "lex.graceSeconds" . | quote }}
{{- if .Values.pricesConfigMapName }}
PRICES_FILE: /etc/lex-prices/prices.toml
{{- end }}
{{- if .Values.apiKeysSecretName }}
API_KEYS_FILE: /etc/lex/api-keys.json
{{- end }}
{{- end }}
