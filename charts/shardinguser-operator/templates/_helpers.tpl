{{/* What the names of all objects begin with. A release called shardinguser has the names of config/default. */}}
{{- define "shardinguser.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "shardinguser" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-shardinguser" (.Release.Name | trunc 27 | trimSuffix "-") -}}
{{- end -}}
{{- end }}

{{- define "shardinguser.manager" -}}
{{ include "shardinguser.fullname" . }}-controller-manager
{{- end }}

{{- define "shardinguser.metricsService" -}}
{{ include "shardinguser.manager" . }}-metrics-service
{{- end }}

{{- define "shardinguser.loginService" -}}
{{ include "shardinguser.manager" . }}-login
{{- end }}

{{- define "shardinguser.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "shardinguser.manager" .) -}}
{{- else -}}
{{- required "serviceAccount.name: name the ServiceAccount that is to be used, or let serviceAccount.create be true" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "shardinguser.digestKey" -}}
{{ include "shardinguser.fullname" . }}-digest-key
{{- end }}

{{- define "shardinguser.labels" -}}
app.kubernetes.io/name: shardinguser-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The labels of this release's pods: several releases may be in one namespace. */}}
{{- define "shardinguser.podLabels" -}}
app.kubernetes.io/name: shardinguser-operator
app.kubernetes.io/instance: {{ .Release.Name }}
control-plane: controller-manager
{{- end }}

{{/*
What config/default and older versions of this chart select pods by. The selector of a Deployment cannot be changed, so an existing
one keeps it. Services and the like keep it as long as the Deployment's pods lack the newer label, so that an upgrade interrupts
nothing: the next upgrade finds the label.
*/}}
{{- define "shardinguser.oldSelector" -}}
app.kubernetes.io/name: shardinguser-operator
control-plane: controller-manager
{{- end }}

{{- define "shardinguser.deploymentSelector" -}}
{{- $there := lookup "apps/v1" "Deployment" .Release.Namespace (include "shardinguser.manager" .) -}}
{{- if and $there (not (hasKey $there.spec.selector.matchLabels "app.kubernetes.io/instance")) -}}
{{ include "shardinguser.oldSelector" . }}
{{- else -}}
{{ include "shardinguser.podLabels" . }}
{{- end -}}
{{- end }}

{{/*
"true" where pods of an existing Deployment lack the label of the release, else empty. Its template may have the label while a
roll-out is stuck: then only old pods are ready.
*/}}
{{- define "shardinguser.hasOldPods" -}}
{{- $name := include "shardinguser.manager" . -}}
{{- $there := lookup "apps/v1" "Deployment" .Release.Namespace $name -}}
{{- if $there -}}
{{- $old := ne (get $there.spec.template.metadata.labels "app.kubernetes.io/instance") .Release.Name -}}
{{- if and (not $old) (not (hasKey $there.spec.selector.matchLabels "app.kubernetes.io/instance")) -}}
{{- range (lookup "v1" "Pod" .Release.Namespace "").items -}}
{{- $isOurs := hasPrefix (printf "%s-" $name) .metadata.name -}}
{{- $isGone := or (hasKey .metadata "deletionTimestamp") (has (get (.status | default dict) "phase") (list "Succeeded" "Failed")) -}}
{{- if and $isOurs (not $isGone) (ne (get (.metadata.labels | default dict) "app.kubernetes.io/instance") $.Release.Name) -}}
{{- $old = true -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $old }}true{{ end -}}
{{- end -}}
{{- end }}

{{- define "shardinguser.selector" -}}
{{- if include "shardinguser.hasOldPods" . -}}
{{ include "shardinguser.oldSelector" . }}
{{- else -}}
{{ include "shardinguser.podLabels" . }}
{{- end -}}
{{- end }}

{{/* The prefix of the default users' names: those of a named system may share a namespace with others. */}}
{{- define "shardinguser.defaultUsersPrefix" -}}
{{- with .Values.system }}{{ . }}-{{ end -}}
{{- end }}

{{- define "shardinguser.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* "true" where policies decide, else empty. */}}
{{- define "shardinguser.policies" -}}
{{- if kindIs "bool" .Values.policies.enabled -}}
{{- if .Values.policies.enabled }}true{{ end -}}
{{- else if not .Values.watchNamespaces -}}
true
{{- end -}}
{{- end }}

{{/* off, generated or sharding. An unquoted off is YAML's false. */}}
{{- define "shardinguser.defaultUsers" -}}
{{- if kindIs "bool" .Values.defaultUsers.passwords }}off{{ else }}{{ .Values.defaultUsers.passwords }}{{ end -}}
{{- end }}

{{- define "shardinguser.defaultUsersNamespace" -}}
{{- with .Values.defaultUsers.namespace -}}
{{- if and $.Values.watchNamespaces (not (has . $.Values.watchNamespaces)) -}}
{{- fail (printf "defaultUsers.namespace: %s is not one of watchNamespaces, and so nobody would look after these users" .) -}}
{{- end -}}
{{- end -}}
{{- .Values.defaultUsers.namespace | default (first .Values.watchNamespaces) | default .Release.Namespace -}}
{{- end }}

{{/* What one replica allows by itself, so that all together allow lockout.attempts; empty where that is the flag's default. */}}
{{- define "shardinguser.fallbackAttempts" -}}
{{- if kindIs "invalid" .Values.login.fallback.attempts -}}
{{- if and .Values.login.fallback.enabled (gt (int .Values.replicas) 1) -}}
{{- max 1 (div (int .Values.lockout.attempts) (int .Values.replicas)) -}}
{{- end -}}
{{- else if gt (int .Values.login.fallback.attempts) 0 -}}
{{- int .Values.login.fallback.attempts -}}
{{- end -}}
{{- end }}

{{/* The names of Secrets, empty where there is none. */}}
{{- define "shardinguser.databaseSecret" -}}
{{- with .Values.database -}}
{{- if .inMemory -}}
{{- else if .cloudNativePG.cluster -}}
{{ .cloudNativePG.cluster }}-app
{{- else -}}
{{- required "database.existingSecret: name the Secret with the DSN, or set database.cloudNativePG.cluster or database.inMemory" .existingSecret -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "shardinguser.databaseKey" -}}
{{- if .Values.database.cloudNativePG.cluster }}{{ .Values.database.cloudNativePG.key }}{{ else }}{{ .Values.database.key }}{{ end -}}
{{- end }}

{{- define "shardinguser.databaseCA" -}}
{{- with .Values.database -}}
{{- if .tls.caSecret }}{{ .tls.caSecret }}{{ else if .cloudNativePG.cluster }}{{ .cloudNativePG.cluster }}-ca{{ end -}}
{{- end -}}
{{- end }}

{{- define "shardinguser.databaseTLS" -}}
{{- with .Values.database -}}
{{- if .tls.mode }}{{ .tls.mode }}{{ else if .cloudNativePG.cluster }}verify-full{{ end -}}
{{- end -}}
{{- end }}

{{- define "shardinguser.loginCertificate" -}}
{{- with .Values.login.tls -}}
{{- if .existingSecret }}{{ .existingSecret }}{{ else if .certManager.enabled }}{{ include "shardinguser.loginService" $ }}-tls{{ end -}}
{{- end -}}
{{- end }}

{{/*
A volume of one key of a Secret. A folder is mounted, not a file by subPath, since only the former follows the Secret; and one
key only, since the Secrets of others hold more: that of CloudNativePG's authority its private key.
*/}}
{{- define "shardinguser.volume" -}}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
    items:
    - key: {{ .key }}
      path: {{ .path }}
{{- end }}

{{/* The rules of the one object of a kind in a file that comes from config/; source is the kind there, where it is another one. */}}
{{- define "shardinguser.rules" -}}
{{- range regexSplit "(?m)^---$" (.root.Files.Get (printf "files/%s" .file)) -1 }}
{{- $object := fromYaml . }}
{{- if eq (toString $object.kind) ($.source | default $.kind) }}
{{- toYaml $object.rules | replace "shardinguser-digest-key" (include "shardinguser.digestKey" $.root) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A Role or a ClusterRole with the rules of such a file, bound to the manager. */}}
{{- define "shardinguser.grant" -}}
{{- $root := .root }}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "shardinguser.labels" $root | nindent 4 }}
rules:
{{ include "shardinguser.rules" . }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .binding | default .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "shardinguser.labels" $root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
- kind: ServiceAccount
  name: {{ include "shardinguser.serviceAccount" $root }}
  namespace: {{ $root.Release.Namespace }}
{{- end }}
