#!/usr/bin/env bash
# Copies files of config/ into the Helm chart, since a chart cannot read files outside of it. Its templates include the RBAC
# rules, the CRDs and the alerts.
#
#   hack/chart-files.sh    part of `make generate`
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
files=charts/shardinguser-operator/files

rm -rf "$files"
mkdir -p "$files"/{crd,rbac,admission,prometheus}
cp config/crd/bases/*.yaml "$files/crd/"
cp config/rbac/{role,leader_election_role,metrics_auth_role,metrics_reader_role,auditor_role,auditor_tunnel_role}.yaml \
	config/rbac/shardinguser*_role.yaml "$files/rbac/"
cp config/rbac/namespaced/cluster_identity.yaml "$files/rbac/cluster_identity.yaml"
cp config/rbac/namespaced/tenant/role.yaml "$files/rbac/tenant.yaml"
cp config/namespaced/policies/role.yaml "$files/rbac/policies.yaml"
cp config/default-users/role.yaml "$files/rbac/default_users.yaml"
cp config/generated-passwords/role.yaml "$files/rbac/generated_passwords.yaml"
cp config/secret-fence/policy.yaml "$files/admission/secrets_policy.yaml"
cp config/secret-fence/binding.yaml "$files/admission/secrets_binding.yaml"
cp config/crd-protection/policy.yaml "$files/admission/crds_policy.yaml"
cp config/crd-protection/binding.yaml "$files/admission/crds_binding.yaml"
cp config/admission/{policy,binding}.yaml "$files/admission/"
cp config/prometheus/{monitor.yaml,rules.yaml,dashboard.json} "$files/prometheus/"
