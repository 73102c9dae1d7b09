#!/usr/bin/env bash
# Puts a real Kubernetes control plane into bin/k8s: etcd, kube-apiserver and kubectl, and whatever else is named as an
# argument (the tests name kube-controller-manager).
#
#   hack/prepare-controlplane.sh [kube-controller-manager]
#
#   KUBEBUILDER_ASSETS   a folder that has the programs already; then nothing is fetched, and only
#                        kube-controller-manager, which such folders lack, is built if it is asked for
#
# Where the release archives can be reached, setup-envtest brings them in seconds. Where not, they are built from the
# Go modules that hack/controlplane/go.mod pins; that is also the one place that knows the version.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
module=$root/hack/controlplane
bin=$root/bin/k8s
stamps=$bin/.stamps

version=$(sed -n 's|^[[:space:]]*k8s.io/kubernetes \(v[0-9.]*\).*|\1|p' "$module/go.mod")
minor=$(cut -d. -f2 <<<"$version")
# A program is built anew when anything that it is built from changes.
stamp="$version $(cat "$module/go.mod" "$module/go.sum" | cksum)"

wanted=(etcd kube-apiserver kubectl "$@")

say() { echo "control plane: $*"; }

package_of() {
	case $1 in
	etcd) echo go.etcd.io/etcd/server/v3 ;;
	*) echo "k8s.io/kubernetes/cmd/$1" ;;
	esac
}

# limited SECONDS COMMAND...: fails when the command takes longer. (macOS has no timeout(1).)
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

# The release archives, by setup-envtest. Fails quietly: building from source is the answer to every failure here.
download() {
	local tool=$root/bin/tools/setup-envtest folder program
	[[ -x $tool ]] || CGO_ENABLED=0 go -C "$root/hack/tools" build -o "$tool" \
		sigs.k8s.io/controller-runtime/tools/setup-envtest || return 1
	say "looking for release archives of Kubernetes 1.$minor (15 seconds at most)"
	limited 15 "$tool" list >/dev/null 2>&1 </dev/null || return 1
	say "downloading them"
	folder=$(limited 300 "$tool" use "1.$minor.x" --bin-dir "$root/bin/envtest" -p path 2>/dev/null </dev/null) || return 1
	for program in etcd kube-apiserver kubectl; do
		[[ -x $folder/$program ]] || return 1
	done
	for program in etcd kube-apiserver kubectl; do
		ln -sf "$folder/$program" "$bin/$program"
		echo "$stamp" >"$stamps/$program"
	done
}

# build PROGRAM POSITION COUNT
build() {
	local program=$1 pid started=$SECONDS ldflags='-s -w'
	local version_package=k8s.io/component-base/version
	# Without these the server calls itself v0.0.0.
	ldflags+=" -X $version_package.gitVersion=$version"
	ldflags+=" -X $version_package.gitMajor=1 -X $version_package.gitMinor=$minor"

	say "building $program ($2 of $3)"
	# The clock is what runs beside, not the build: so Ctrl-C reaches the build.
	(
		while sleep 20 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
			say "  still building $program, $((SECONDS - started)) s so far"
		done
	) &
	pid=$!
	# shellcheck disable=SC2064 # this very process, now
	trap "kill $pid 2>/dev/null || true" EXIT
	rm -f "$bin/$program" # it may be a link into what was downloaded
	CGO_ENABLED=0 go -C "$module" build -trimpath -ldflags "$ldflags" -o "$bin/$program" "$(package_of "$program")"
	kill "$pid" 2>/dev/null || true
	trap - EXIT
	wait "$pid" 2>/dev/null || true
	echo "$stamp" >"$stamps/$program"
	say "built $program in $((SECONDS - started)) s"
}

# Sets missing to those of the wanted programs that are not there at this version.
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
if ((${#missing[@]} == 0)); then
	say "Kubernetes 1.$minor is in bin/k8s"
	exit 0
fi

if [[ " ${missing[*]} " == *" kube-apiserver "* ]]; then
	download || say "no release archives within reach"
	find_missing
fi

count=${#missing[@]}
if ((count > 0)); then
	say "building Kubernetes $version from source, $count program(s): the first time this takes about ten minutes" \
		"on two cores, later it takes seconds"
fi
position=0
for program in ${missing[@]+"${missing[@]}"}; do
	position=$((position + 1))
	build "$program" "$position" "$count"
done
say "Kubernetes 1.$minor is in bin/k8s"
