#!/usr/bin/env bash
# Builds the release artifacts of the kubectl plugin: an archive for each platform, and the krew manifest with their digests.
#
#   hack/build-plugin.sh v1.2.3 [DIRECTORY [PLATFORM...]]
#
# A platform has the form linux_amd64. The default is all platforms in the manifest, and the directory dist.
set -euo pipefail

version=${1:?the version, such as v1.2.3}
out=${2:-dist}
cd -- "$(dirname -- "$0")/.."
template=config/krew/shardinguser.yaml
platforms=("${@:3}")
if ((${#platforms[@]} == 0)); then
	mapfile -t platforms < <(sed -n 's/^ *sha256: "@\(.*\)@"$/\1/p' "$template")
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
cp LICENSE config/krew/kubectl_complete-shardinguser "$work"
edits=(-e '/^#/d' -e "s/@VERSION@/$version/")
for platform in "${platforms[@]}"; do
	program=kubectl-shardinguser
	if [[ $platform == windows_* ]]; then program+=.exe; fi
	CGO_ENABLED=0 GOOS=${platform%_*} GOARCH=${platform#*_} \
		go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$work/$program" ./cmd/kubectl-shardinguser
	archive=$out/kubectl-shardinguser_$platform.tar.gz
	tar -C "$work" -czf "$archive" LICENSE kubectl_complete-shardinguser "$program"
	rm "$work/$program"
	digest=$(openssl dgst -sha256 -r "$archive")
	edits+=(-e "s/@$platform@/${digest%% *}/")
done
sed "${edits[@]}" "$template" >"$out/shardinguser.yaml"
