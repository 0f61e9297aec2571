{{/* Rejects values that would fail later. Each message says what is wrong and how to fix it. */}}
{{- define "lex.refusals" -}}
{{- include "lex.refusePods" . }}
{{- include "lex.refuseStorage" . }}
{{- include "lex.refuseScaling" . }}
{{- include "lex.refuseTimeouts" . }}
{{- include "lex.refuseAuth" . }}
{{- include "lex.refuseDoors" . }}
{{- include "lex.refusePorts" . }}
{{- include "lex.refuseCapacity" . }}
{{- include "lex.refuseKeda" . }}
{{- include "lex.refuseService" . }}
{{- end }}

{{/* What the chart itself sets. A second one of the same name would break objects or selectors. */}}
{{- define "lex.refusePods" -}}
{{- $v := .Values }}
{{- range $name := list "commonLabels" "podLabels" }}
  {{- range $label, $_ := get $v $name }}
    {{- if or (has $label (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" "pod-template-hash")) (and (eq $name "podLabels") (hasKey $v.commonLabels $label)) }}
      {{- fail (printf "%s has %s, which the chart sets itself, since selectors depend on it: remove it." $name $label) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- range list "checksum/config" "checksum/secret" "kubectl.kubernetes.io/default-container" }}
  {{- if hasKey $v.podAnnotations . }}
    {{- fail (printf "podAnnotations has %s, which the chart sets itself: remove it." .) }}
  {{- end }}
{{- end }}
{{- if and (eq (include "lex.store" .) "sqlite") $v.updateStrategy (ne (get $v.updateStrategy "type") "Recreate") }}
  {{- fail "updateStrategy must be {type: Recreate} with SQLite: a new pod would wait for the volume of the old one." }}
{{- end }}
{{- range $name, $bundle := $v.caBundles }}
  {{- if eq (empty $bundle.secretName) (empty $bundle.configMapName) }}
    {{- fail (printf "caBundles.%s needs either secretName or configMapName." $name) }}
  {{- end }}
{{- end }}
{{- range $variable, $_ := $v.secretRefs }}
  {{- range $v.extraEnv }}
    {{- if eq .name $variable }}
      {{- fail (printf "%s is in secretRefs and in extraEnv: remove it from one of them." $variable) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "lex.refuseStorage" -}}
{{- $v := .Values }}
{{- if and (eq $v.provider "groq") (not (include "lex.hasSecret" (list $ "GROQ_API_KEY"))) }}
  {{- fail "secretKeys has no GROQ_API_KEY, and provider: groq needs it: add it to secretKeys and to the Secret." }}
{{- end }}
{{- if and $v.databaseUrl (include "lex.hasSecret" (list $ "DATABASE_URL")) }}
  {{- fail "databaseUrl and DATABASE_URL in secretKeys are both set: empty databaseUrl, or remove DATABASE_URL from secretKeys and secretRefs." }}
{{- end }}
{{- if not (or $v.databaseUrl (include "lex.hasSecret" (list $ "DATABASE_URL"))) }}
  {{- fail "databaseUrl is empty, and secretKeys has no DATABASE_URL: set one of them." }}
{{- end }}
{{- if and $v.redisUrl (include "lex.hasSecret" (list $ "REDIS_URL")) }}
  {{- fail "redisUrl and REDIS_URL in secretKeys are both set: empty redisUrl, or remove REDIS_URL from secretKeys and secretRefs." }}
{{- end }}
{{- /* A password before the host or in the query, whatever characters it has. `passfile` is not a password. */ -}}
{{- $password := "//[^@]*:[^@]*@|(?i)[?&][^=&]*(pass|passw[^=&]*|passphrase|secret[^=&]*)=" }}
{{- range $name := list "databaseUrl" "redisUrl" }}
  {{- if regexMatch $password (get $v $name) }}
    {{- fail (printf "%s has a password: put the URL into the Secret as %s, and add that name to secretKeys." $name ($name | snakecase | upper)) }}
  {{- end }}
{{- end }}
{{- range $name := list "groqBaseUrl" "jwtJwksUrl" "otelExporterOtlpEndpoint" }}
  {{- if regexMatch "//[^/]*@" (get $v $name) }}
    {{- fail (printf "%s has a password, and Helm stores values in the release: put %s into a Secret, and reference it in extraEnv." $name ($name | snakecase | upper)) }}
  {{- end }}
{{- end }}
{{- if and (hasPrefix "sqlite:" $v.databaseUrl) (not (hasPrefix "sqlite:////data/" $v.databaseUrl)) }}
  {{- fail "databaseUrl must start with sqlite:////data/: only this volume is writable." }}
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
  {{- fail "autoscaling.enabled and keda.enabled are both true, and two autoscalers would scale the same pods: disable one. KEDA creates its own autoscaler." }}
{{- end }}
{{- if and (gt $replicas 1) (ne $store "postgres") }}
  {{- fail (printf "%d replicas cannot share databaseUrl %s: use Postgres, or one replica." $replicas $v.databaseUrl) }}
{{- end }}
{{- if and (gt (int $v.webConcurrency) 1) (eq $store "memory") }}
  {{- fail "webConcurrency above 1 does not work with databaseUrl memory://, because workers would not share conversations: use SQLite or Postgres." }}
{{- end }}
{{- if and (or (gt $replicas 1) (gt (int $v.webConcurrency) 1)) (not (include "lex.hasRedis" .)) (ne $limits "none") }}
  {{- fail "Several replicas or workers need Redis to share rate limits: set redisUrl, or add REDIS_URL to secretKeys, or set rateLimitSession, rateLimitClient and rateLimitSessions to none." }}
{{- end }}
{{- include "lex.refuseConnections" . }}
{{- if include "lex.isScaled" . }}
  {{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) }}
    {{- fail "autoscaling.minReplicas is greater than autoscaling.maxReplicas." }}
  {{- end }}
  {{- if not (or $v.autoscaling.targetStreamsPerPod $v.autoscaling.targetCpuPercent) }}
    {{- fail "autoscaling has no target: set targetStreamsPerPod or targetCpuPercent." }}
  {{- end }}
  {{- if and $v.autoscaling.targetCpuPercent (not (dig "requests" "cpu" "" ($v.resources | default dict))) }}
    {{- fail "autoscaling.targetCpuPercent is a percentage of resources.requests.cpu, which is not set." }}
  {{- end }}
{{- end }}
{{- end }}

{{/* During a rolling update, all old pods may still drain while the new ones serve: twice as many. */}}
{{- define "lex.refuseConnections" -}}
{{- $v := .Values }}
{{- if and (eq (include "lex.store" .) "postgres") $v.database.maxConnections }}
  {{- $pods := mul 2 (include "lex.mostReplicas" . | int) }}
  {{- $needed := mul $pods (int $v.webConcurrency) (int $v.databasePoolSize) }}
  {{- $free := sub (int $v.database.maxConnections) (int $v.database.reservedConnections) }}
  {{- if gt $needed $free }}
    {{- fail (printf "%d pods, as many as a rolling update can have, with webConcurrency %d and databasePoolSize %d open up to %d connections, but database.maxConnections leaves %d: lower one of these, use a pooler, or set database.maxConnections to the limit of your Postgres or pooler." $pods (int $v.webConcurrency) (int $v.databasePoolSize) $needed $free) }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "lex.refuseTimeouts" -}}
{{- $grace := include "lex.graceSeconds" . | int }}
{{- $leaving := include "lex.leavingSeconds" . | int }}
{{- if le $grace $leaving }}
  {{- fail (printf "terminationGracePeriodSeconds of %d is too short: preStopSeconds, drainAcceptSeconds, drainSeconds and the endings after them take up to %d s. Set 0 to compute it." $grace $leaving) }}
{{- end }}
{{- end }}

{{- define "lex.refuseAuth" -}}
{{- $v := .Values }}
{{- if and (eq $v.auth "none") (not $v.allowAnonymous) }}
  {{- fail "auth: none lets every client that reaches the Service act for any user: set auth, or allowAnonymous: true." }}
{{- end }}
{{- if ne $v.auth "none" }}
  {{- if not (include "lex.hasSecret" (list $ "SESSION_COOKIE_SECRET")) }}
    {{- fail (printf "auth: %s needs SESSION_COOKIE_SECRET in the Secret and in secretKeys." $v.auth) }}
  {{- end }}
  {{- if has "*" (splitList "," $v.corsOrigins) }}
    {{- fail (printf "corsOrigins cannot be * with auth: %s: list the origins of your pages." $v.auth) }}
  {{- end }}
{{- end }}
{{- if and (eq $v.auth "api_key") (not $v.apiKeysSecretName) }}
  {{- fail "auth: api_key needs apiKeysSecretName." }}
{{- end }}
{{- if eq $v.auth "jwt" }}
  {{- if not (and $v.jwtIssuer $v.jwtAudience) }}
    {{- fail "auth: jwt needs jwtIssuer and jwtAudience." }}
  {{- end }}
  {{- if eq (empty $v.jwtJwksUrl) (empty (include "lex.hasSecret" (list $ "JWT_SECRET"))) }}
    {{- fail "auth: jwt needs either jwtJwksUrl or JWT_SECRET in secretKeys, not both." }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "lex.refuseDoors" -}}
{{- $v := .Values }}
{{- if eq (int $v.port) (int $v.metricsPort) }}
  {{- fail "metricsPort and port are the same, which would make /metrics public: change one." }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) }}
  {{- fail "ingress.enabled needs ingress.hosts: without one it would accept every host name." }}
{{- end }}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) }}
  {{- fail "httpRoute.enabled needs httpRoute.parentRefs." }}
{{- end }}
{{- $hosts := list }}
{{- if $v.ingress.enabled }}{{ $hosts = concat $hosts $v.ingress.hosts }}{{ end }}
{{- if $v.httpRoute.enabled }}{{ $hosts = concat $hosts $v.httpRoute.hostnames }}{{ end }}
{{- range $host := $hosts }}
  {{- if and $v.allowedHosts (not (include "lex.isAllowedHost" (dict "host" $host "allowed" $v.allowedHosts))) }}
    {{- fail (printf "allowedHosts does not accept %s, a host of the Ingress or the HTTPRoute, so its requests would get 421: add it." $host) }}
  {{- end }}
{{- end }}
{{- if include "lex.isPublic" . }}
  {{- if and (eq $v.auth "none") (not $v.allowAnonymousIngress) }}
    {{- fail "auth: none behind an Ingress, an HTTPRoute or a load balancer lets every client act for any user: set auth, or allowAnonymousIngress: true." }}
  {{- end }}
{{- end }}
{{- if and (or $v.ingress.enabled $v.httpRoute.enabled) (has $v.forwardedAllowIps (list "127.0.0.1" "none")) }}
  {{- fail "forwardedAllowIps does not name the proxy in front: without its address all clients share one rate limit, and cookies are not Secure." }}
{{- end }}
{{- end }}

{{/* "yes" if `.allowed`, names separated by commas, accepts `.host`, on any port. */}}
{{- define "lex.isAllowedHost" -}}
{{- $host := lower .host }}
{{- $found := "" }}
{{- range $pattern := splitList "," .allowed }}
  {{- $name := regexReplaceAll ":[0-9]+$" (trim $pattern | lower) "" }}
  {{- if or (eq $name "*") (eq $name $host) (and (hasPrefix "*." $name) (hasSuffix (trimPrefix "*" $name) $host)) }}
    {{- $found = "yes" }}
  {{- end }}
{{- end }}
{{- $found }}
{{- end }}
