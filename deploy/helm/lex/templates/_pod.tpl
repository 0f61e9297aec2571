{{/* Shared by all pods: no root, no privileges. */}}
{{- define "lex.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "lex.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "lex.secretVariables" -}}
{{- range .Values.secretKeys }}
{{- /* The init container alone has the URL for migrations, if it is the one that migrates. */}}
{{- if or (ne . "MIGRATE_DATABASE_URL") $.Values.migrateOnStart }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ include "lex.secretName" $ }}
      key: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "lex.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if eq (include "lex.store" .) "sqlite" }}
- name: data
  mountPath: /data
{{- end }}
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
serviceAccountName: {{ include "lex.fullname" . }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "lex.podSecurity" . | nindent 2 }}
{{- end }}
