{{/* Generated from internal/config/table.go by `make generate`: the arguments of values. They win over a settings file. */}}
{{- define "shardinguser.settings" }}
{{- include "shardinguser.setting" (list "notifications" "on" (ternary "off" "on" (not .Values.notifications.enabled))) }}
{{- include "shardinguser.setting" (list "system" "" (.Values.system | default "")) }}
{{- include "shardinguser.setting" (list "watch-namespaces" "" (join "," .Values.watchNamespaces)) }}
{{- include "shardinguser.setting" (list "protected-roles" "\n" (join "," .Values.protectedRoles)) }}
{{- include "shardinguser.setting" (list "orphans" "" (.Values.orphans | default "")) }}
{{- include "shardinguser.setting" (list "token-lifetime" "" (.Values.login.jwt.lifetime | default "")) }}
{{- include "shardinguser.setting" (list "token-issuer" "" (.Values.login.jwt.issuer | default "")) }}
{{- include "shardinguser.setting" (list "token-audience" "" (.Values.login.jwt.audience | default "")) }}
{{- include "shardinguser.setting" (list "lockout-attempts" "" (toString (int64 .Values.lockout.attempts))) }}
{{- include "shardinguser.setting" (list "lockout-duration" "" (.Values.lockout.duration | default "")) }}
{{- include "shardinguser.setting" (list "login-trusted-proxies" "" (join "," .Values.login.trustedProxies)) }}
{{- include "shardinguser.setting" (list "fallback" "on" (ternary "off" "on" (not .Values.login.fallback.enabled))) }}
{{- include "shardinguser.setting" (list "tracing" "off" (ternary "off" "on" (not .Values.tracing.enabled))) }}
{{- end }}
