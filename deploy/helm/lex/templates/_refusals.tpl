{{/* What would break later is refused here. Each says what is wrong, and what would be right. */}}
{{- define "lex.refusals" -}}
{{- include "lex.refuseStorage" . }}
{{- include "lex.refuseScaling" . }}
{{- include "lex.refuseTimeouts" . }}
{{- include "lex.refuseAuth" . }}
{{- include "lex.refuseDoors" . }}
{{- end }}

{{- define "lex.refuseStorage" -}}
{{- $v := .Values }}
{{- if and (eq $v.provider "groq") (not (has "GROQ_API_KEY" $v.secretKeys)) }}
  {{- fail "secretKeys must have GROQ_API_KEY: no answer comes without it." }}
{{- end }}
{{- if and $v.databaseUrl (has "DATABASE_URL" $v.secretKeys) }}
  {{- fail "databaseUrl and DATABASE_URL of the Secret are both there: empty the one, or drop the other from secretKeys." }}
{{- end }}
{{- if not (or $v.databaseUrl (has "DATABASE_URL" $v.secretKeys)) }}
  {{- fail "databaseUrl is empty, and secretKeys has no DATABASE_URL: conversations must be stored somewhere." }}
{{- end }}
{{- if and $v.redisUrl (has "REDIS_URL" $v.secretKeys) }}
  {{- fail "redisUrl and REDIS_URL of the Secret are both there: empty the one, or drop the other from secretKeys." }}
{{- end }}
{{- /* Before the host, whatever is in it, or in the query; `passfile` is no password. */ -}}
{{- $password := "//[^@]*:[^@]*@|(?i)[?&][^=&]*(pass|passw[^=&]*|passphrase|secret[^=&]*)=" }}
{{- range $name := list "databaseUrl" "redisUrl" }}
  {{- if regexMatch $password (get $v $name) }}
    {{- fail (printf "%s has a password: put it into the Secret as %s, and that into secretKeys." $name ($name | snakecase | upper)) }}
  {{- end }}
{{- end }}
{{- range $name := list "groqBaseUrl" "jwtJwksUrl" "otelExporterOtlpEndpoint" }}
  {{- if regexMatch "//[^/]*@" (get $v $name) }}
    {{- fail (printf "%s has a password, and values are kept in the release: put %s into a Secret, and name that in extraEnv." $name ($name | snakecase | upper)) }}
  {{- end }}
{{- end }}
{{- if and (hasPrefix "sqlite:" $v.databaseUrl) (not (hasPrefix "sqlite:////data/" $v.databaseUrl)) }}
  {{- fail "databaseUrl must be under sqlite:////data/: that is the volume, and all else is read-only." }}
{{- end }}
{{- if and $v.externalSecret.enabled (not $v.externalSecret.storeName) }}
  {{- fail "externalSecret.enabled needs externalSecret.storeName." }}
{{- end }}
{{- end }}

{{- define "lex.refuseScaling" -}}
{{- $v := .Values }}
{{- $store := include "lex.store" . }}
{{- $replicas := include "lex.mostReplicas" . | int }}
{{- $limits := list $v.rateLimitSession $v.rateLimitClient $v.rateLimitSessions | uniq | join " " }}
{{- if and $v.autoscaling.enabled $v.keda.enabled }}
  {{- fail "autoscaling.enabled and keda.enabled: two would scale the same pods. KEDA makes an autoscaler of its own." }}
{{- end }}
{{- if and (gt $replicas 1) (ne $store "postgres") }}
  {{- fail (printf "%d replicas with databaseUrl %s: pods share conversations in Postgres only." $replicas $v.databaseUrl) }}
{{- end }}
{{- if and (gt (int $v.webConcurrency) 1) (eq $store "memory") }}
  {{- fail "webConcurrency above 1 with databaseUrl memory://: each worker would have conversations of its own." }}
{{- end }}
{{- if and (or (gt $replicas 1) (gt (int $v.webConcurrency) 1)) (not (include "lex.hasRedis" .)) (ne $limits "none") }}
  {{- fail "Several replicas or workers count limits together in Redis only: set redisUrl, or have REDIS_URL in secretKeys; or set rateLimitSession, rateLimitClient and rateLimitSessions to none." }}
{{- end }}
{{- if include "lex.isScaled" . }}
  {{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) }}
    {{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas." }}
  {{- end }}
  {{- if not (or $v.autoscaling.targetStreamsPerPod $v.autoscaling.targetCpuPercent) }}
    {{- fail "autoscaling needs targetStreamsPerPod or targetCpuPercent: nothing else is looked at." }}
  {{- end }}
  {{- if and $v.autoscaling.targetCpuPercent (not (dig "requests" "cpu" "" $v.resources)) }}
    {{- fail "autoscaling.targetCpuPercent is a share of resources.requests.cpu, which is not set." }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "lex.refuseTimeouts" -}}
{{- $grace := include "lex.graceSeconds" . | int }}
{{- $leaving := include "lex.leavingSeconds" . | int }}
{{- if le $grace $leaving }}
  {{- fail (printf "terminationGracePeriodSeconds of %d is too short: preStopSeconds, drainAcceptSeconds, drainSeconds and the endings after them take up to %d s. 0 computes it." $grace $leaving) }}
{{- end }}
{{- end }}

{{- define "lex.refuseAuth" -}}
{{- $v := .Values }}
{{- if and (eq $v.auth "none") (not $v.allowAnonymous) }}
  {{- fail "auth: none lets anybody who reaches the Service act for any user: set auth, or allowAnonymous: true." }}
{{- end }}
{{- if ne $v.auth "none" }}
  {{- if not (has "SESSION_COOKIE_SECRET" $v.secretKeys) }}
    {{- fail (printf "auth: %s needs SESSION_COOKIE_SECRET in the Secret and in secretKeys." $v.auth) }}
  {{- end }}
  {{- if has "*" (splitList "," $v.corsOrigins) }}
    {{- fail (printf "corsOrigins cannot be * with auth: %s; name the pages that may call." $v.auth) }}
  {{- end }}
{{- end }}
{{- if and (eq $v.auth "api_key") (not $v.apiKeysSecretName) }}
  {{- fail "auth: api_key needs apiKeysSecretName." }}
{{- end }}
{{- if eq $v.auth "jwt" }}
  {{- if not (and $v.jwtIssuer $v.jwtAudience) }}
    {{- fail "auth: jwt needs jwtIssuer and jwtAudience." }}
  {{- end }}
  {{- if eq (empty $v.jwtJwksUrl) (not (has "JWT_SECRET" $v.secretKeys)) }}
    {{- fail "auth: jwt needs jwtJwksUrl, or JWT_SECRET in secretKeys, and not both." }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "lex.refuseDoors" -}}
{{- $v := .Values }}
{{- if eq (int $v.port) (int $v.metricsPort) }}
  {{- fail "metricsPort must not be port: /metrics would be where everybody may ask." }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) }}
  {{- fail "ingress.enabled needs ingress.hosts: without a name it would answer to all of them." }}
{{- end }}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) }}
  {{- fail "httpRoute.enabled needs httpRoute.parentRefs." }}
{{- end }}
{{- if include "lex.isPublic" . }}
  {{- if and (eq $v.auth "none") (not $v.allowAnonymousIngress) }}
    {{- fail "auth: none behind an Ingress, an HTTPRoute or a load balancer lets anybody act for any user: set auth, or allowAnonymousIngress: true." }}
  {{- end }}
{{- end }}
{{- if and (or $v.ingress.enabled $v.httpRoute.enabled) (has $v.forwardedAllowIps (list "127.0.0.1" "none")) }}
  {{- fail "forwardedAllowIps must name the proxy in front: all clients would be one, and cookies not for https." }}
{{- end }}
{{- end }}
