{{/* The manager's arguments. */}}
{{- define "shardinguser.args" -}}
- --leader-elect
- --health-probe-bind-address=:8081
- --metrics-bind-address={{ if .Values.metrics.enabled }}:8443{{ else }}0{{ end }}
{{- if not .Values.login.enabled }}
- --login-bind-address=0
{{- end }}
{{- if not .Values.database.inMemory }}
- --user-database-dsn-file=/etc/shardinguser/database/dsn
{{- end }}
{{- if .Values.loginDatabase.existingSecret }}
- --login-database-dsn-file=/etc/shardinguser/login-database/dsn
{{- end }}
{{- if .Values.listenDatabase.existingSecret }}
- --listen-dsn-file=/etc/shardinguser/listen-database/dsn
{{- end }}
{{- if not (include "shardinguser.policies" .) }}
- --policies=off
{{- end }}
{{- $users := include "shardinguser.defaultUsers" . }}
{{- if ne $users "off" }}
- --default-users={{ $users }}
{{- $there := include "shardinguser.defaultUsersNamespace" . }}
{{- if ne $there .Release.Namespace }}
- --default-users-namespace={{ $there }}
{{- end }}
{{- end }}
{{- if .Values.defaultUsers.takeOver }}
{{- if ne $users "generated" }}
{{- fail "defaultUsers.takeOver: accounts can only be adopted with generated passwords; set defaultUsers.passwords to generated" }}
{{- end }}
- --default-users-take-over=on
{{- end }}
{{- if include "shardinguser.loginCertificate" . }}
- --login-tls-cert-dir=/etc/shardinguser/login-tls
{{- end }}
{{- if .Values.login.jwt.existingSecret }}
{{- if .Values.login.jwt.key }}
- --jwt-secret-file=/etc/shardinguser/jwt/secret
{{- end }}
{{- if .Values.login.jwt.signingKey }}
- --jwt-signing-key-file=/etc/shardinguser/jwt/key
{{- end }}
{{- if .Values.login.jwt.previousKey }}
- --jwt-previous-secret-file=/etc/shardinguser/jwt/previous
{{- with .Values.login.jwt.previousUntil }}
- --jwt-previous-secret-until={{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- with include "shardinguser.fallbackAttempts" . }}
- --fallback-attempts={{ . }}
{{- end }}
{{- include "shardinguser.setting" (list "digest-key-secret" "shardinguser-digest-key" (include "shardinguser.digestKey" .)) }}
{{- include "shardinguser.settings" . }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* The argument for a setting: a list of its name, the value that is not passed, and its value. */}}
{{- define "shardinguser.setting" }}
{{- if ne (index . 1) (index . 2) }}
- {{ printf "--%s=%s" (index . 0) (index . 2) | quote }}
{{- end }}
{{- end }}

{{/* What is mounted where; empty without any. Each volume is mounted in a folder of its name. */}}
{{- define "shardinguser.mounts" -}}
{{- $mounts := list }}
{{- if not .Values.database.inMemory }}
{{- $mounts = append $mounts "database" }}
{{- if include "shardinguser.databaseCA" . }}{{ $mounts = append $mounts "database-ca" }}{{ end }}
{{- end }}
{{- if .Values.loginDatabase.existingSecret }}{{ $mounts = append $mounts "login-database" }}{{ end }}
{{- if .Values.listenDatabase.existingSecret }}{{ $mounts = append $mounts "listen-database" }}{{ end }}
{{- if include "shardinguser.loginCertificate" . }}{{ $mounts = append $mounts "login-tls" }}{{ end }}
{{- if .Values.login.jwt.existingSecret }}{{ $mounts = append $mounts "jwt" }}{{ end }}
{{- range $mounts }}
- name: {{ . }}
  mountPath: /etc/shardinguser/{{ . }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "shardinguser.volumes" -}}
{{- if not .Values.database.inMemory }}
{{ include "shardinguser.volume" (dict "name" "database" "secret" (include "shardinguser.databaseSecret" .) "key" (include "shardinguser.databaseKey" .) "path" "dsn") }}
{{- with include "shardinguser.databaseCA" . }}
{{ include "shardinguser.volume" (dict "name" "database-ca" "secret" . "key" $.Values.database.tls.caKey "path" "ca.crt") }}
{{- end }}
{{- end }}
{{- with .Values.loginDatabase }}
{{- if .existingSecret }}
{{ include "shardinguser.volume" (dict "name" "login-database" "secret" .existingSecret "key" .key "path" "dsn") }}
{{- end }}
{{- end }}
{{- with .Values.listenDatabase }}
{{- if .existingSecret }}
{{ include "shardinguser.volume" (dict "name" "listen-database" "secret" .existingSecret "key" .key "path" "dsn") }}
{{- end }}
{{- end }}
{{- with include "shardinguser.loginCertificate" . }}
- name: login-tls
  secret:
    secretName: {{ . }}
    items:
    - key: tls.crt
      path: tls.crt
    - key: tls.key
      path: tls.key
{{- end }}
{{- with .Values.login.jwt }}
{{- if .existingSecret }}
{{- if not (or .key .signingKey) }}
{{- fail "login.jwt: neither key nor signingKey names a key of the Secret, so there are no tokens; set one, or empty existingSecret" }}
{{- end }}
- name: jwt
  secret:
    secretName: {{ .existingSecret }}
    items:
{{- range $key, $path := dict "key" "secret" "signingKey" "key" "previousKey" "previous" }}
{{- with get $.Values.login.jwt $key }}
    - key: {{ . }}
      path: {{ $path }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
