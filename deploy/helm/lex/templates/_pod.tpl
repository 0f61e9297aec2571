{{- define "lex.podSecurity" -}}
{{ toYaml .Values.podSecurityContext }}
{{- end }}

{{- define "lex.containerSecurity" -}}
{{ toYaml .Values.securityContext }}
{{- end }}

{{/* Where each variable from a Secret is, as JSON: its own reference wins over the shared Secret. */}}
{{- define "lex.secrets" -}}
{{- $secrets := dict }}
{{- range .Values.secretKeys }}
{{- $_ := set $secrets . (dict "name" (include "lex.secretName" $) "key" .) }}
{{- end }}
{{- toJson (merge (deepCopy .Values.secretRefs) $secrets) }}
{{- end }}

{{- define "lex.secretVariables" -}}
{{- range $variable, $secret := include "lex.secrets" . | fromJson }}
{{- /* The init container alone has the URL for migrations, if it is the one that migrates. */}}
{{- if or (ne $variable "MIGRATE_DATABASE_URL") $.Values.migrateOnStart }}
{{- include "lex.fromSecret" (list $variable $secret) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A migration needs the way to the database, and no keys of models. */}}
{{- define "lex.migrationVariables" -}}
{{- if .Values.databaseUrl }}
- name: DATABASE_URL
  value: {{ .Values.databaseUrl | quote }}
{{- end }}
{{- range $variable, $secret := include "lex.secrets" . | fromJson }}
{{- if or (hasPrefix "PG" $variable) (has $variable (list "DATABASE_URL" "MIGRATE_DATABASE_URL")) }}
{{- include "lex.fromSecret" (list $variable $secret) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "lex.fromSecret" }}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      {{- toYaml (index . 1) | nindent 6 }}
{{- end }}

{{/* The files of authorities, where libraries look for them. */}}
{{- define "lex.caVariables" -}}
{{- if hasKey .Values.caBundles "default" }}
- name: SSL_CERT_FILE
  value: /etc/lex-ca/default/ca.crt
{{- end }}
{{- range list "postgres" "default" }}
{{- if and (hasKey $.Values.caBundles .) (or (eq . "postgres") (not (hasKey $.Values.caBundles "postgres"))) }}
- name: PGSSLROOTCERT
  value: /etc/lex-ca/{{ . }}/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{/* Mounts of the service and of the migration. */}}
{{- define "lex.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if eq (include "lex.store" .) "sqlite" }}
- name: data
  mountPath: /data
{{- end }}
{{- range $name, $_ := .Values.caBundles }}
- name: ca-{{ $name }}
  mountPath: /etc/lex-ca/{{ $name }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Mounts of the service alone. */}}
{{- define "lex.serviceMounts" -}}
{{- if .Values.apiKeysSecretName }}
- name: api-keys
  mountPath: /etc/lex
  readOnly: true
{{- end }}
{{- if .Values.pricesConfigMapName }}
- name: prices
  mountPath: /etc/lex-prices
  readOnly: true
{{- end }}
{{- end }}

{{- define "lex.volumes" -}}
- name: tmp
  emptyDir:
    medium: Memory
    sizeLimit: 64Mi
{{- if eq (include "lex.store" .) "sqlite" }}
- name: data
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim | default (include "lex.fullname" .) }}
{{- end }}
{{- with .Values.apiKeysSecretName }}
- name: api-keys
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - key: {{ $.Values.apiKeysSecretKey }}
        path: api-keys.json
{{- end }}
{{- with .Values.pricesConfigMapName }}
- name: prices
  configMap:
    name: {{ . }}
    items:
      - key: {{ $.Values.pricesConfigMapKey }}
        path: prices.toml
{{- end }}
{{- range $name, $bundle := .Values.caBundles }}
- name: ca-{{ $name }}
  {{- if $bundle.secretName }}
  secret:
    secretName: {{ $bundle.secretName }}
    defaultMode: 0444
  {{- else }}
  configMap:
    name: {{ $bundle.configMapName }}
  {{- end }}
    items:
      - key: {{ $bundle.key | default "ca.crt" }}
        path: ca.crt
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "lex.startupProbe" -}}
httpGet: {path: /readyz, port: http}
periodSeconds: 2
timeoutSeconds: 3
# An hour for a database that is away: the worker itself tries every five seconds. Restarts would
# not help, and Kubernetes would delay each one longer.
failureThreshold: 1800
{{- end }}

{{/* Fails during a drain, but not because of a dependency that all pods share. */}}
{{- define "lex.readinessProbe" -}}
httpGet: {path: /readyz, port: http}
periodSeconds: 5
timeoutSeconds: 3
failureThreshold: 2
{{- end }}

{{/* Tolerant, because restarting a slow pod would cut its streams. */}}
{{- define "lex.livenessProbe" -}}
httpGet: {path: /livez, port: http}
periodSeconds: 10
timeoutSeconds: 5
failureThreshold: 6
{{- end }}

{{/* A probe of the chart with the fields of a value. Another way to probe replaces `httpGet`. */}}
{{- define "lex.probe" -}}
{{- $probe := index . 0 | fromYaml }}
{{- $own := index . 1 }}
{{- range list "exec" "tcpSocket" "grpc" }}
{{- if hasKey $own . }}{{ $_ := unset $probe "httpGet" }}{{ end }}
{{- end }}
{{- toYaml (mergeOverwrite $probe (deepCopy $own)) }}
{{- end }}

{{- define "lex.lifecycle" -}}
# Endpoints and load balancers take a moment to learn that the pod is leaving.
{{- $sleep := dict "exec" (dict "command" (list "sleep" (include "lex.text" .Values.preStopSeconds))) }}
{{ toYaml (merge (deepCopy .Values.lifecycle) (dict "preStop" $sleep)) }}
{{- end }}

{{- define "lex.updateStrategy" -}}
{{- if .Values.updateStrategy }}
{{- toYaml .Values.updateStrategy }}
{{- else if eq (include "lex.store" .) "sqlite" -}}
type: Recreate
{{- else -}}
type: RollingUpdate
rollingUpdate:
  # Start a new pod before stopping an old one, so that there are always free slots.
  # A share, so that an update takes equally long with any number of pods.
  maxSurge: 25%
  maxUnavailable: 0
{{- end }}
{{- end }}

{{/* For pods that `helm test` starts. */}}
{{- define "lex.testMetadata" -}}
labels:
  {{- include "lex.labels" . | nindent 2 }}
  app.kubernetes.io/component: test
annotations:
  helm.sh/hook: test
  # Pods stay until the next test, or `helm test --logs` would find nothing to read.
  helm.sh/hook-delete-policy: before-hook-creation
{{- end }}

{{- define "lex.testContainer" -}}
image: {{ include "lex.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "lex.containerSecurity" . | nindent 2 }}
resources:
  requests: {cpu: 50m, memory: 64Mi}
  limits: {memory: 128Mi}
{{- end }}

{{- define "lex.testPod" -}}
restartPolicy: Never
automountServiceAccountToken: false
serviceAccountName: {{ include "lex.serviceAccountName" . }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "lex.podSecurity" . | nindent 2 }}
{{- end }}
