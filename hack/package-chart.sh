#!/usr/bin/env bash
# Packages the Helm chart of a release, for an image by its tag or digest.
#
#   hack/package-chart.sh v1.2.3 IMAGE[:TAG][@DIGEST] [DIRECTORY]
#
# The default directory is dist. HELM is the path of helm, by default that of the Makefile.
set -euo pipefail

version=${1:?the version, such as v1.2.3}
image=${2:?the name of the image}
out=${3:-dist}
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
chart=charts/shardinguser-operator

digest=''
if [[ $image == *@* ]]; then digest=${image##*@}; fi
image=${image%@*}
tag=''
if [[ ${image##*/} == *:* ]]; then tag=${image##*:}; fi
repository=${image%":$tag"}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$chart" "$work"
sed -e "s|^  repository: .*|  repository: $repository|" -e "s|^  tag: \"\"|  tag: \"$tag\"|" -e "s|^  digest: \"\"|  digest: \"$digest\"|" \
	"$chart/values.yaml" >"$work/${chart##*/}/values.yaml"

# Helm requires a version without v. A version that is not a tag becomes one that sorts before all others.
case $version in
v*) number=${version#v} ;;
*) number=0.0.0-g$version ;;
esac
mkdir -p "$out"
"${HELM:-bin/tools/helm}" package "$work/${chart##*/}" --destination "$out" --version "$number" --app-version "$version"
