#!/usr/bin/env bash
# Installs what a node needs beside the control plane: the kubelet, kube-scheduler and kube-proxy in bin/k8s, and a container
# runtime, network plugins and an image builder from Debian. It says in one sentence why this machine cannot run a node.
#
#   hack/node/prepare.sh         installs it
#   hack/node/prepare.sh check   only says whether this machine can run a node
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)

fail() {
	echo "node: $*" >&2
	exit 1
}

[[ $(uname -s) == Linux ]] || fail "a node needs Linux; install Docker and kind instead"
[[ $(id -u) -eq 0 ]] || fail "a node needs root; run make as root, or install Docker and kind"
[[ -d /sys/fs/cgroup/memory && -d /sys/fs/cgroup/cpu ]] ||
	fail "a node needs cgroup v1 with the controllers memory and cpu in /sys/fs/cgroup; install Docker and kind instead"
unshare -m -n -p -u -i -C --fork true 2>/dev/null ||
	fail "a node needs namespaces of its own, and this machine does not permit them; run it outside a container"

if [[ ${1:-} == check ]]; then exit 0; fi

# need FILE PACKAGE: installs the package if the program is missing.
need() {
	if [[ $1 == /* ]]; then [[ -x $1 ]] && return; elif command -v "$1" >/dev/null; then return; fi
	command -v apt-get >/dev/null || fail "$1 is missing; install it, or install Docker and kind"
	"$root/hack/install-package.sh" "$2"
	# A node starts its own.
	if [[ $1 == containerd ]]; then service containerd stop >/dev/null 2>&1 || true; fi
}
need containerd containerd
need runc runc
need /usr/lib/cni/bridge containernetworking-plugins
need iptables iptables
need ip iproute2
need openssl openssl
need curl curl
need buildah buildah
need busybox busybox-static

"$root/hack/prepare-controlplane.sh" kube-controller-manager kubelet kube-scheduler kube-proxy
"$root/hack/prepare-postgres.sh"
