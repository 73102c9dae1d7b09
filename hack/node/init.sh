#!/usr/bin/env bash
# The first process of a node's namespaces: mounts what is private to them, starts the programs, and restarts those that end.
# When it ends, the kernel ends all of them. hack/node/node.sh starts it.
set -euo pipefail

: "${STATE:?}" "${K8S:?}" "${PGBIN:?}" "${CONTROLLERS:?}" "${IMAGES:?}"
address=10.89.0.1
pods=10.88.0.0/16
services=10.96.0.0/16
pki=$STATE/pki
socket=/run/containerd/containerd.sock
PATH=$PGBIN:$PATH
mkdir -p "$STATE"/{log,pids,held,pki,etcd,containerd,kubelet,cni,network,varlog,kernel}

private_mounts() {
	mount --make-rprivate /
	umount -R /sys/fs/cgroup
	mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
	mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
	local controller options
	for controller in $CONTROLLERS; do
		mkdir "/sys/fs/cgroup/$controller"
		options=$controller
		if [[ $controller == systemd ]]; then options=none,name=systemd; fi
		mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/$controller"
	done
	mount -t tmpfs -o mode=755 tmpfs /run
	mkdir -p /var/lib/cni
	mount --bind "$STATE/cni" /var/lib/cni
	mount --bind "$STATE/varlog" /var/log
}

# The kubelet changes settings of the whole machine. So /proc/sys is read-only but for the network, and has files with the
# values that the kubelet wants.
settings_for_the_kubelet() {
	mount -o bind,ro /proc/sys /proc/sys
	mount -o bind /proc/sys/net /proc/sys/net
	mount -o remount,bind,rw /proc/sys/net
	local setting
	for setting in kernel/panic=10 kernel/panic_on_oops=1 vm/overcommit_memory=1 vm/panic_on_oom=0 \
		kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
		local file=$STATE/kernel/${setting//\//-}
		echo "${setting#*=}" >"$file"
		mount --bind "$file" "/proc/sys/${setting%=*}"
	done
}

# The network leads nowhere else. The address is the same on every start, so that pods can use Postgres there.
network() {
	hostname node
	ip link set lo up
	ip link add node0 type veth peer name node1
	ip addr add "$address/24" dev node0
	ip link set node0 up
	ip link set node1 up
	ip route add default dev node0
	echo 1 >/proc/sys/net/ipv4/ip_forward
	# Packets between pods of one bridge must pass the rules of kube-proxy.
	if [[ -f /proc/sys/net/bridge/bridge-nf-call-iptables ]]; then echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables; fi
	cat >"$STATE/network/10-node.conflist" <<-END
		{"cniVersion": "1.0.0", "name": "node", "plugins": [
		 {"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
		  "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
	END
}

# certificate NAME SUBJECT [NAMES]: makes a key and a certificate, and a kubeconfig that uses them.
certificate() {
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
	openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$1.crt" -days 365 \
		${3:+-extfile <(echo "subjectAltName=$3")} 2>/dev/null
	cat >"$1.kubeconfig" <<-END
		{"apiVersion": "v1", "kind": "Config", "current-context": "node",
		 "clusters": [{"name": "node", "cluster": {"server": "https://$address:6443", "certificate-authority": "$pki/ca.crt"}}],
		 "users": [{"name": "$1", "user": {"client-certificate": "$pki/$1.crt", "client-key": "$pki/$1.key"}}],
		 "contexts": [{"name": "node", "context": {"cluster": "node", "user": "$1"}}]}
	END
}

certificates() {
	cd "$pki"
	openssl genrsa -out tokens.key 2048 2>/dev/null
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt -days 365 \
		-subj /CN=node 2>/dev/null
	certificate apiserver /CN=kube-apiserver "IP:$address,IP:${services%.0/16}.1,IP:127.0.0.1,DNS:kubernetes.default.svc"
	certificate apiserver-client /O=system:masters/CN=kube-apiserver
	certificate kubelet-server /O=system:nodes/CN=system:node:node "IP:$address,DNS:node"
	certificate admin /O=system:masters/CN=admin
	certificate kubelet /O=system:nodes/CN=system:node:node
	certificate controller-manager /CN=system:kube-controller-manager
	certificate scheduler /CN=system:kube-scheduler
	certificate proxy /CN=system:kube-proxy
	cd /
}

# run NAME COMMAND...: keeps a program running. `node.sh halt NAME` ends it until `node.sh resume NAME`.
run() {
	local name=$1
	shift
	(
		while :; do
			while [[ -e $STATE/held/$name ]]; do sleep 0.1; done
			"$@" >>"$STATE/log/$name.log" 2>&1 &
			echo $! >"$STATE/pids/$name"
			wait $! || true
			sleep 0.2 # so that a program that cannot start does not use a whole core
		done
	) &
}

as_admin() { "$K8S/kubectl" --kubeconfig "$pki/admin.kubeconfig" "$@"; }

control_plane() {
	run etcd "$K8S/etcd" --data-dir "$STATE/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
		--listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
		--initial-cluster default=http://127.0.0.1:2380 --unsafe-no-fsync
	run apiserver "$K8S/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --advertise-address $address --secure-port 6443 \
		--tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
		--authorization-mode Node,RBAC --allow-privileged=true --enable-admission-plugins NodeRestriction --service-cluster-ip-range $services \
		--service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/tokens.key" \
		--service-account-signing-key-file "$pki/tokens.key" --kubelet-preferred-address-types InternalIP \
		--kubelet-client-certificate "$pki/apiserver-client.crt" --kubelet-client-key "$pki/apiserver-client.key"
	local program
	for program in controller-manager scheduler; do
		local arguments=()
		if [[ $program == controller-manager ]]; then
			arguments=(--root-ca-file "$pki/ca.crt" --service-account-private-key-file "$pki/tokens.key" --use-service-account-credentials)
		fi
		run $program "$K8S/kube-$program" --kubeconfig "$pki/$program.kubeconfig" --leader-elect=false \
			--authentication-kubeconfig "$pki/$program.kubeconfig" --authorization-kubeconfig "$pki/$program.kubeconfig" "${arguments[@]}"
	done
}

# The data are in memory, in a folder that the user postgres can reach.
postgres() {
	local data=/run/postgres as_postgres=(setpriv --reuid postgres --regid postgres --clear-groups)
	install -d -o postgres -m 700 "$data"
	"${as_postgres[@]}" "$PGBIN/initdb" -D "$data" -U postgres --auth=trust -E UTF8 --locale=C --no-sync >"$STATE/log/initdb.log" 2>&1
	cat >>"$data/pg_hba.conf" <<-END
		host all all $pods scram-sha-256
		host all all $address/32 trust
	END
	cat >>"$data/postgresql.conf" <<-END
		listen_addresses = '*'
		unix_socket_directories = ''
		fsync = off
		max_connections = 200
		timezone = 'UTC'
	END
	run postgres "${as_postgres[@]}" "$PGBIN/postgres" -D "$data"
	until psql -h 127.0.0.1 -U postgres -qc "CREATE ROLE sharding LOGIN PASSWORD 'sharding'" >/dev/null 2>&1; do sleep 0.2; done
	psql -h 127.0.0.1 -U postgres -qc 'CREATE DATABASE sharding OWNER sharding'
}

container_runtime() {
	cat >"$STATE/containerd.toml" <<-END
		version = 2
		root = "$STATE/containerd"
		state = "/run/containerd"
		[grpc]
		  address = "$socket"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "localhost/pause:1"
		  restrict_oom_score_adj = true
		  disable_apparmor = true
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "/usr/lib/cni"
		    conf_dir = "$STATE/network"
		  [plugins."io.containerd.grpc.v1.cri".containerd]
		    default_runtime_name = "runc"
		    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		      runtime_type = "io.containerd.runc.v2"
		      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
		        BinaryName = "$(command -v runc)"
		        SystemdCgroup = false
	END
	run containerd containerd --config "$STATE/containerd.toml"
	until [[ -S $socket ]]; do sleep 0.1; done
	local archive
	for archive in "$IMAGES"/*.tar; do ctr -n k8s.io images import "$archive" >>"$STATE/log/images.log" 2>&1; done
}

node() {
	cat >"$STATE/kubelet.yaml" <<-END
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		failCgroupV1: false
		cgroupDriver: cgroupfs
		containerRuntimeEndpoint: unix://$socket
		authentication: {x509: {clientCAFile: $pki/ca.crt}, webhook: {enabled: true}, anonymous: {enabled: false}}
		authorization: {mode: Webhook}
		tlsCertFile: $pki/kubelet-server.crt
		tlsPrivateKeyFile: $pki/kubelet-server.key
		oomScoreAdj: 0
		failSwapOn: false
		resolvConf: ""
		podLogsDir: /var/log/pods
		volumePluginDir: $STATE/kubelet/plugins-exec
		imageGCHighThresholdPercent: 100
		imageGCLowThresholdPercent: 99
		evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
		nodeStatusUpdateFrequency: 5s
		syncFrequency: 10s
		configMapAndSecretChangeDetectionStrategy: Watch
	END
	run kubelet "$K8S/kubelet" --config "$STATE/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" --root-dir "$STATE/kubelet" \
		--hostname-override node --node-ip $address
	cat >"$STATE/proxy.yaml" <<-END
		apiVersion: kubeproxy.config.k8s.io/v1alpha1
		kind: KubeProxyConfiguration
		clientConnection: {kubeconfig: $pki/proxy.kubeconfig}
		mode: iptables
		clusterCIDR: $pods
		hostnameOverride: node
		oomScoreAdj: 0
		conntrack: {maxPerCore: 0, min: 0}
	END
	run proxy "$K8S/kube-proxy" --config "$STATE/proxy.yaml"
}

private_mounts
settings_for_the_kubelet
network
certificates
control_plane
postgres &
starting=$!
container_runtime
wait $starting
until [[ $(as_admin get --raw /readyz 2>/dev/null) == ok ]]; do sleep 0.2; done
node
trap 'exit 0' TERM INT
while :; do wait || true; done
