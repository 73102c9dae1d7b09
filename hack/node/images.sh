#!/usr/bin/env bash
# Builds the images of a node without a container engine, as OCI archives in a folder: the operator's by the Dockerfile in
# each VERSION, `pause` for the kubelet, and `client`, which has curl and a shell.
#
#   hack/node/images.sh FOLDER REPOSITORY VERSION...
#
#   SHARDINGUSER_CACHE   the folder of built programs for all clones; the base images are kept there too
#
# Base images that cannot be pulled are replaced by local ones with the same content where it matters: this machine's Go for
# golang, CA certificates and time zones for distroless.
set -euo pipefail

folder=$1 repository=$2
shift 2
root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${SHARDINGUSER_CACHE:-${XDG_CACHE_HOME:-${HOME:-$root/bin}/.cache}/shardinguser-operator}/images-$(go env GOVERSION)
log=$folder/build.log
mkdir -p "$folder" "$cache"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

storage=(--root "$cache/store" --runroot "$cache/run" --storage-driver overlay)
images() { buildah "${storage[@]}" "$@"; }

exists() { images inspect --type image "$1" >/dev/null 2>&1; }

# base NAME: succeeds if the image exists or can be pulled. A failure is remembered by the local image that replaces it.
base() {
	exists "$1" || timeout 15 buildah "${storage[@]}" pull -q "$1" >>"$log" 2>&1 </dev/null
}

# commit NAME FOLDER CONFIG...: makes an image of the files in a folder.
commit() {
	local name=$1 files=$2 container
	shift 2
	container=$(images from scratch)
	images copy -q "$container" "$files" / >/dev/null
	images config "$@" "$container"
	images commit -q "$container" "$name" >/dev/null
	images rm "$container" >/dev/null
	rm -rf "$files"
}

# export_image NAME FILE: writes the archive FILE.tar unless it has this image already.
export_image() {
	local id
	id=$(images inspect --type image --format '{{.FromImageID}}' "$1")
	if [[ ! -f $folder/$2.tar || $(cat "$folder/$2.id" 2>/dev/null) != "$id" ]]; then
		rm -f "$folder/$2.tar"
		images push -q "$1" "oci-archive:$folder/$2.tar:$1" >>"$log" 2>&1
		echo "$id" >"$folder/$2.id"
	fi
}

golang=$(sed -n 's/^ARG GO_IMAGE=//p' "$root/Dockerfile")
distroless=$(sed -n 's/^ARG BASE_IMAGE=//p' "$root/Dockerfile")

if ! base "docker.io/library/$golang"; then
	files=$work/golang
	mkdir -p "$files"/{bin,tmp,root,etc/ssl/certs,usr/local}
	chmod 1777 "$files/tmp"
	cp "$(command -v busybox)" "$files/bin/busybox"
	for name in sh env ls cat mkdir rm cp mv; do ln -s busybox "$files/bin/$name"; done
	cp /etc/ssl/certs/ca-certificates.crt "$files/etc/ssl/certs/"
	cp -a "$(go env GOROOT)" "$files/usr/local/go"
	commit "docker.io/library/$golang" "$files" --env PATH=/usr/local/go/bin:/bin --env GOPATH=/go \
		--env GOTOOLCHAIN=local --env HOME=/root
fi

if ! base "$distroless"; then
	files=$work/distroless
	mkdir -p "$files"/{tmp,etc/ssl/certs,usr/share,home/nonroot}
	chmod 1777 "$files/tmp"
	cp /etc/ssl/certs/ca-certificates.crt "$files/etc/ssl/certs/"
	[[ ! -d /usr/share/zoneinfo ]] || cp -a /usr/share/zoneinfo "$files/usr/share/"
	printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin >"$files/etc/passwd"
	commit "$distroless" "$files" --user 65532 --workingdir /home/nonroot
fi

if ! exists localhost/pause:1; then
	mkdir "$work/pause"
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/pause/pause" "$root/hack/node/pause"
	commit localhost/pause:1 "$work/pause" --entrypoint '["/pause"]' --user 65535:65535
fi
export_image localhost/pause:1 pause

if ! exists localhost/client:1; then
	files=$work/client
	mkdir -p "$files"/{bin,tmp,etc}
	chmod 1777 "$files/tmp"
	cp "$(command -v busybox)" "$files/bin/busybox"
	for name in sh cat sleep grep head; do ln -s busybox "$files/bin/$name"; done
	cp "$(command -v curl)" "$files/bin/curl"
	ldd "$(command -v curl)" | awk '$2 == "=>" { print $3 } $1 ~ "^/" { print $1 }' | while read -r library; do
		mkdir -p "$files$(dirname "$library")"
		cp -L "$library" "$files$library"
	done
	commit localhost/client:1 "$files" --cmd '["sleep", "2147483647"]' --user 65532:65532
fi
export_image localhost/client:1 client

# The modules and compiled packages of this machine are mounted, which saves minutes.
modules=$(go env GOMODCACHE) compiled=$(go env GOCACHE)
mkdir -p "$modules" "$compiled"
for version in "$@"; do
	if ! images bud --isolation chroot --network host --build-arg "VERSION=$version" -v "$modules:/go/pkg/mod" \
		-v "$compiled:/root/.cache/go-build" -t "$repository:$version" "$root" >"$folder/operator.log" 2>&1; then
		tail -n 20 "$folder/operator.log" >&2
		echo "node: cannot build the image of the operator" >&2
		exit 1
	fi
	export_image "$repository:$version" "operator-$version"
done
