{{/* Fails where another release in this namespace would be mixed up with this one. Nothing is known of others without a cluster. */}}
{{- define "shardinguser.checkReleases" -}}
{{- $mine := include "shardinguser.manager" . }}
{{- $system := .Values.system | default "" }}
{{- range (lookup "apps/v1" "Deployment" .Release.Namespace "").items }}
{{- if and (eq (get (.metadata.labels | default dict) "app.kubernetes.io/name") "shardinguser-operator") (ne .metadata.name $mine) (not (hasKey .metadata "deletionTimestamp")) }}
{{- $its := "" }}
{{- range (first .spec.template.spec.containers).args }}
{{- if hasPrefix "--system=" . }}{{ $its = trimPrefix "--system=" . }}{{ end }}
{{- end }}
{{- if eq $its $system }}
{{- fail (printf "system: the Deployment %s in the namespace %s serves %s already; set system to another name, as docs/systems.md describes" .metadata.name $.Release.Namespace (ternary "the default system" (printf "the system %s" $its) (eq $its ""))) }}
{{- end }}
{{- end }}
{{- end }}
{{- range (lookup "v1" "Service" .Release.Namespace "").items }}
{{- $selector := .spec.selector | default dict }}
{{- if and (eq (get $selector "app.kubernetes.io/name") "shardinguser-operator") (not (hasKey $selector "app.kubernetes.io/instance")) (not (hasPrefix $mine .metadata.name)) }}
{{- fail (printf "the Service %s in the namespace %s would lead to the pods of this release too, because an older version of the chart or config/default created it; run helm upgrade on its release until it selects app.kubernetes.io/instance (docs/systems.md), or use another namespace" .metadata.name $.Release.Namespace) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The name of another release that has a CustomResourceDefinition and is still installed; empty where this one has it, or none. Its
argument is a list of the root and the name of the CustomResourceDefinition.
*/}}
{{- define "shardinguser.ownerOfCRD" -}}
{{- $root := index . 0 }}
{{- $there := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" (index . 1) }}
{{- if $there }}
{{- $annotations := $there.metadata.annotations | default dict }}
{{- $release := get $annotations "meta.helm.sh/release-name" }}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" }}
{{- if and $release $namespace (or (ne $release $root.Release.Name) (ne $namespace $root.Release.Namespace)) }}
{{- range (lookup "apps/v1" "Deployment" $namespace "").items }}
{{- $labels := .metadata.labels | default dict }}
{{- if and (eq (get $labels "app.kubernetes.io/name") "shardinguser-operator") (eq (get $labels "app.kubernetes.io/instance") $release) (not (hasKey .metadata "deletionTimestamp")) -}}
{{ $namespace }}/{{ $release }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
