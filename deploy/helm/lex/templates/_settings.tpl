{{/* The values that are settings: `modelName` becomes MODEL_NAME in the environment. */}}
{{- define "lex.settings" -}}
provider groqBaseUrl modelName modelFallbacks maxCompletionTokens maxRounds historyTokens
maxToolCalls maxArgumentBytes maxCompletionBytes
upstreamConnectSeconds upstreamFirstByteSeconds upstreamFirstDeltaSeconds upstreamGapSeconds
databaseUrl databasePoolSize databasePrepared migrateOnStart redisUrl leaseSeconds eventLogHours sessionRetentionDays usageRetentionDays
auth allowAnonymous allowedHosts jwtIssuer jwtAudience jwtJwksUrl jwtAlgorithms jwtRolesClaim jwtLeewaySeconds sessionCookieHours corsOrigins
forwardedAllowIps rateLimitSession rateLimitClient rateLimitSessions tokenBudgetSession tokenBudgetClient costBudgetClient
maxStreamsPerClient maxReadersPerClient maxSocketsPerClient
maxStreams maxQueryChars maxBodyBytes
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

{{- define "lex.hasRedis" -}}
{{ if or .Values.redisUrl (has "REDIS_URL" .Values.secretKeys) }}true{{ end }}
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
