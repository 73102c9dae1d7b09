#!/usr/bin/env bash
# Installs a real Kubernetes control plane in bin/k8s: etcd, kube-apiserver and kubectl, and the programs in the arguments (the
# tests need kube-controller-manager, and a node kubelet, kube-proxy and kube-scheduler too).
#
#   hack/prepare-controlplane.sh [kube-controller-manager | kubelet | kube-proxy | kube-scheduler]...
#
#   KUBEBUILDER_ASSETS   a folder with the programs; then nothing is downloaded, and only the programs in the arguments,
#                        which such folders lack, are built
#   SHARDINGUSER_CACHE   the folder of built programs for all clones; the default is shardinguser-operator in the
#                        user's cache folder
#
# A kubectl or an etcd on PATH is used if its version fits. If the release archives are reachable, setup-envtest downloads the
# other programs in seconds. Otherwise they are built from the Go modules that hack/controlplane/go.mod pins. Only that file
# has the version.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
module=$root/hack/controlplane
bin=$root/bin/k8s
stamps=$bin/.stamps
log=$bin/build.log

version=$(sed -n 's|^[[:space:]]*k8s.io/kubernetes \(v[0-9.]*\).*|\1|p' "$module/go.mod")
minor=$(cut -d. -f2 <<<"$version")
# The oldest etcd that Kubernetes supports: MinExternalEtcdVersion in its cmd/kubeadm/app/constants.
oldest_etcd=3.5.24
# A program is replaced when one of its sources changes.
stamp="$version $(cat "$module/go.mod" "$module/go.sum" | cksum)"
cache=${SHARDINGUSER_CACHE:-${XDG_CACHE_HOME:-${HOME:-$root/bin}/.cache}/shardinguser-operator}
cache+=/k8s-$version-$(cksum <<<"$stamp $(go version)" | cut -d' ' -f1)

wanted=(etcd kube-apiserver kubectl "$@")

say() { echo "control plane: $*"; }

package_of() {
	case $1 in
	etcd) echo go.etcd.io/etcd/server/v3 ;;
	*) echo "k8s.io/kubernetes/cmd/$1" ;;
	esac
}

# limited SECONDS COMMAND...: runs the command, and fails if it takes longer. (macOS has no timeout(1).)
limited() {
	local left=$1 pid
	shift
	"$@" &
	pid=$!
	trap 'kill "$pid" 2>/dev/null || true' EXIT
	while kill -0 "$pid" 2>/dev/null && ((left-- > 0)); do sleep 1; done
	kill "$pid" 2>/dev/null || true
	trap - EXIT
	wait "$pid"
}

# use PROGRAM FILE: installs the file as the program.
use() {
	ln -sf "$2" "$bin/$1"
	echo "$stamp" >"$stamps/$1"
}

# is_at_least VERSION OLDEST
is_at_least() { [[ $(printf '%s\n' "$2" "$1" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1) == "$2" ]]; }

# fits PROGRAM FILE: succeeds if an installed program works with this API server. Kubernetes supports a kubectl one minor version
# older or newer.
fits() {
	local found
	case $1 in
	kubectl)
		found=$("$2" version --client 2>/dev/null | sed -n 's/^Client Version: v1\.\([0-9]*\)\..*/\1/p') || return 1
		[[ -n $found ]] && ((found >= minor - 1 && found <= minor + 1))
		;;
	etcd)
		found=$("$2" --version 2>/dev/null | sed -n 's/^etcd Version: \([0-9.]*\).*/\1/p') || return 1
		[[ -n $found ]] && is_at_least "$found" "$oldest_etcd"
		;;
	*) return 1 ;;
	esac
}

# Uses programs in the cache of earlier builds, and on PATH.
find_elsewhere() {
	local program file
	for program in ${missing[@]+"${missing[@]}"}; do
		if [[ -x $cache/$program ]]; then
			use "$program" "$cache/$program"
		elif file=$(command -v "$program") && fits "$program" "$file"; then
			say "using $file"
			use "$program" "$file"
		fi
	done
}

# Downloads the release archives with setup-envtest. It fails without an error message, since the programs are then built.
download() {
	local tool=$root/bin/tools/setup-envtest folder program
	say "looking for release archives of Kubernetes 1.$minor (15 seconds at most)"
	[[ -x $tool ]] || CGO_ENABLED=0 go -C "$root/hack/tools" build -o "$tool" \
		sigs.k8s.io/controller-runtime/tools/setup-envtest >>"$log" 2>&1 || return 1
	limited 15 "$tool" list >/dev/null 2>&1 </dev/null || return 1
	say "downloading them"
	folder=$(limited 300 "$tool" use "1.$minor.x" --bin-dir "$root/bin/envtest" -p path 2>/dev/null </dev/null) || return 1
	for program in etcd kube-apiserver kubectl; do
		[[ -x $folder/$program ]] || return 1
	done
	for program in etcd kube-apiserver kubectl; do
		use "$program" "$folder/$program"
	done
}

# uncompiled PACKAGE...: counts the packages that a build would compile or link.
uncompiled() {
	CGO_ENABLED=0 go -C "$module" list -deps -trimpath -f '{{if .Stale}}{{.ImportPath}}{{end}}' "$@" 2>>"$log" | wc -l
}

# is_compiled PACKAGE...: succeeds if only linking remains, without downloads.
is_compiled() {
	local left
	left=$(GOPROXY=off uncompiled "$@") && ((left <= $#))
}

# progress TOTAL: reads the output of `go build -v`, reports the progress every 10 seconds, and prints the errors.
progress() {
	local total=$1 compiled=0 started=$SECONDS reported=$SECONDS line spent
	while IFS= read -r line; do
		echo "$line" >>"$log"
		case $line in
		"go: downloading "*) continue ;;
		# Any line that is not an import path is an error.
		*[!a-zA-Z0-9./_~-]*) echo "$line" >&2 ;;
		*) compiled=$((compiled + 1)) ;;
		esac
		spent=$((SECONDS - started))
		if ((SECONDS - reported >= 10 && compiled > 0 && compiled < total)); then
			reported=$SECONDS
			say "  $compiled of $total packages after $spent s, about $((spent * (total - compiled) / compiled + 1)) s left"
		fi
	done
}

# build PROGRAM...: builds all programs in one command, so that they share packages.
build() {
	local program packages=() started=$SECONDS ldflags='-s -w' staging total
	local version_package=k8s.io/component-base/version
	# Without these the server reports v0.0.0.
	ldflags+=" -X $version_package.gitVersion=$version"
	ldflags+=" -X $version_package.gitMajor=1 -X $version_package.gitMinor=$minor"
	for program in "$@"; do packages+=("$(package_of "$program")"); done

	say "building $* of Kubernetes $version from source; downloads and packages are logged in bin/k8s/build.log"
	total=$(uncompiled "${packages[@]}")
	say "  $total packages to compile; all of them take about seven minutes on two cores"
	staging=$cache/building-$$
	mkdir -p "$staging"
	# shellcheck disable=SC2064 # expand it now
	trap "rm -rf '$staging'" EXIT
	CGO_ENABLED=0 go -C "$module" build -v -trimpath -ldflags "$ldflags" -o "$staging/" "${packages[@]}" 2>&1 | progress "$total"
	if [[ -f $staging/server ]]; then mv "$staging/server" "$staging/etcd"; fi # go build names it after the last part of its package
	for program in "$@"; do
		mv -f "$staging/$program" "$cache/$program"
		use "$program" "$cache/$program"
	done
	rm -rf "$staging"
	trap - EXIT
	say "built in $((SECONDS - started)) s"
}

# Sets missing to the wanted programs that are not installed at this version.
find_missing() {
	local program
	missing=()
	for program in "${wanted[@]}"; do
		[[ -x $bin/$program && -f $stamps/$program && $(<"$stamps/$program") == "$stamp" ]] || missing+=("$program")
	done
}

if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
	for program in etcd kube-apiserver kubectl; do
		if [[ ! -x $KUBEBUILDER_ASSETS/$program ]]; then
			say "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, which has no $program: complete that folder or unset the variable" >&2
			exit 1
		fi
	done
	wanted=()
	for program in "$@"; do
		[[ -x $KUBEBUILDER_ASSETS/$program ]] || wanted+=("$program")
	done
	say "using $KUBEBUILDER_ASSETS"
	((${#wanted[@]} > 0)) || exit 0
fi

mkdir -p "$stamps"
find_missing
if ((${#missing[@]} > 0)); then
	find_elsewhere
	find_missing
fi
packages=()
for program in ${missing[@]+"${missing[@]}"}; do packages+=("$(package_of "$program")"); done
if [[ " ${missing[*]-} " == *" kube-apiserver "* ]] && ! is_compiled "${packages[@]}"; then
	download || say "the release archives are unreachable"
	find_missing
fi
if ((${#missing[@]} > 0)); then build "${missing[@]}"; fi
say "Kubernetes 1.$minor is in bin/k8s"
