#!/usr/bin/env bash
# A Kubernetes cluster of one node with a Postgres beside it, in namespaces of its own. `make cluster` and `make test-node` run it.
#
#   hack/node/node.sh start            starts it with the archives of FOLDER/images, and returns when the node is Ready
#   hack/node/node.sh stop             ends it and deletes its state
#   hack/node/node.sh status           succeeds if it runs
#   hack/node/node.sh enter COMMAND    runs a command in the node's network
#   hack/node/node.sh inside COMMAND   runs a command in all of its namespaces
#   hack/node/node.sh load ARCHIVE     imports an image
#   hack/node/node.sh halt PROGRAM     kills a program, such as apiserver, and keeps it from restarting
#   hack/node/node.sh resume PROGRAM   starts it again
#
#   FOLDER   where its state is, bin/cluster by default; each folder can have a node
set -euo pipefail

here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
folder=${FOLDER:-$root/bin/cluster}
export STATE=$folder/state K8S=$root/bin/k8s IMAGES=$folder/images
export CONTROLLERS='cpu cpuacct cpuset memory devices freezer blkio pids systemd'
pid_file=$folder/init.pid
name=shardinguser-node-$(cksum <<<"$folder" | cut -d' ' -f1)

# cgroups: prints the folders of the node's control groups, within those of this shell's first start.
cgroups() {
	local controller parent
	for controller in $CONTROLLERS; do
		parent=$(awk -F: -v name="$controller" '{ sub(/^name=/, "", $2) } $2 == name { print $3 }' "$folder/cgroups")
		echo "/sys/fs/cgroup/$controller${parent%/}/$name"
	done
}

pid() { cat "$pid_file" 2>/dev/null; }

running() { local pid && pid=$(pid) && grep -qs hack/node/init.sh "/proc/$pid/cmdline"; }

inside() { nsenter -t "$(pid)" -m -n -u -i -p -C "$@"; }

as_admin() { nsenter -t "$(pid)" -n "$K8S/kubectl" --kubeconfig "$STATE/pki/admin.kubeconfig" "$@"; }

# start_init starts init.sh in namespaces of its own, and writes its process id to the pid file.
start_init() {
	local descriptor group outer
	for group in $(cgroups); do
		mkdir -p "$group"
		if [[ $group == */cpuset/* ]]; then
			cat "$group/../cpuset.cpus" >"$group/cpuset.cpus"
			cat "$group/../cpuset.mems" >"$group/cpuset.mems"
			echo 1 >"$group/cgroup.clone_children"
		fi
	done
	(
		# What it inherits would stay open: a lock of the caller, for example.
		for descriptor in /proc/"$BASHPID"/fd/*; do
			descriptor=${descriptor##*/}
			if ((descriptor > 2 && descriptor != 255)); then eval "exec $descriptor>&-"; fi
		done
		for group in $(cgroups); do echo "$BASHPID" >"$group/cgroup.procs"; done
		# The namespaces are created in these control groups, which so become their roots.
		exec setsid unshare -m -n -p -u -i -C --fork --mount-proc --kill-child bash "$here/init.sh" </dev/null >"$STATE/log/init.log" 2>&1
	) &
	outer=$!
	for _ in {1..100}; do
		[[ -s /proc/$outer/task/$outer/children ]] && break
		sleep 0.1
	done
	tr -d ' ' <"/proc/$outer/task/$outer/children" >"$pid_file"
}

# end ends all processes and removes the control groups. The state stays.
end() {
	local group
	if running; then
		kill -KILL "$(pid)"
		while running; do sleep 0.1; done
	fi
	if [[ -f $folder/cgroups ]]; then
		for group in $(cgroups); do
			for _ in {1..50}; do
				[[ -d $group ]] || break
				find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
			done
		done
	fi
	rm -f "$pid_file" "$folder/cgroups"
}

case ${1:-} in
start)
	if running; then exit 0; fi
	PGBIN=$(dirname "$(readlink -f "$("$root/hack/find-postgres.sh")/postgres")")
	export PGBIN
	"$here/node.sh" stop
	mkdir -p "$STATE/log"
	cat /proc/self/cgroup >"$folder/cgroups"
	start_init
	for _ in {1..400}; do
		if ! running; then
			end
			echo "node: it ended while it started:" >&2
			tail -n 10 "$STATE/log/init.log" >&2
			exit 1
		fi
		if [[ -f $STATE/pids/kubelet ]] && as_admin wait --for=condition=Ready node/node --timeout=1s >/dev/null 2>&1; then exit 0; fi
		sleep 0.3
	done
	end
	echo "node: it was not Ready after two minutes; see $STATE/log" >&2
	exit 1
	;;
stop)
	end
	rm -rf "$STATE"
	;;
status) running ;;
enter)
	shift
	exec nsenter -t "$(pid)" -n "$@"
	;;
inside)
	shift
	inside "$@"
	;;
load) inside ctr -n k8s.io images import "$(realpath "$2")" >/dev/null ;;
halt)
	touch "$STATE/held/$2"
	inside kill -KILL "$(<"$STATE/pids/$2")"
	;;
resume) rm -f "$STATE/held/$2" ;;
*)
	sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
	exit 2
	;;
esac
