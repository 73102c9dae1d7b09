#!/usr/bin/env bash
# Starts a Kubernetes cluster to try the operator in: a Postgres beside it, the operator's image loaded, nothing installed. It
# uses kind where Docker runs, and otherwise a node of its own (hack/node), which needs root on Linux.
#
#   hack/cluster.sh REPOSITORY VERSION           starts it, or loads this version into a running one, and prints how to go on
#   hack/cluster.sh REPOSITORY VERSION stop      ends it and deletes everything
#
#   CLUSTER   kind or node, instead of the choice above
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
folder=$root/bin/cluster
name=shardinguser # of kind's cluster, and the prefix of its database's name
repository=$1 version=$2 command=${3:-start}

if [[ -z ${CLUSTER:-} ]]; then
	CLUSTER=node
	if command -v kind >/dev/null && docker info >/dev/null 2>&1; then CLUSTER=kind; fi
fi

# wrapper NAME COMMAND: writes a program of the folder that users put on PATH.
wrapper() {
	printf '#!/bin/sh\n%s "$@"\n' "$2" >"$folder/$1"
	chmod +x "$folder/$1"
}

start_node() {
	local node=$root/hack/node/node.sh
	"$root/hack/node/prepare.sh"
	mkdir -p "$folder/images"
	find "$folder/images" -name 'operator-*' ! -name "operator-$version.*" -delete
	"$root/hack/node/images.sh" "$folder/images" "$repository" "$version"
	if "$node" status; then
		"$node" load "$folder/images/operator-$version.tar"
	else
		"$node" start
	fi
	database=10.89.0.1
	ln -sf state/pki/admin.kubeconfig "$folder/kubeconfig"
	wrapper enter "exec '$node' enter"
	wrapper kubectl "PATH='$folder':\$PATH KUBECONFIG='$folder/kubeconfig' exec '$node' enter '$root/bin/k8s/kubectl'"
	wrapper helm "KUBECONFIG='$folder/kubeconfig' exec '$node' enter '$root/bin/tools/helm'"
}

start_kind() {
	local image=$repository:$version kubectl
	kubectl=$(command -v kubectl) || {
		echo "cluster: kubectl is missing; install it" >&2
		exit 1
	}
	mkdir -p "$folder"
	if ! kind get clusters 2>/dev/null | grep -qx $name; then kind create cluster --name $name --kubeconfig "$folder/kubeconfig"; fi
	docker build --build-arg "VERSION=$version" -t "$image" "$root"
	kind load docker-image "$image" --name $name
	docker inspect $name-postgres >/dev/null 2>&1 ||
		docker run --detach --name $name-postgres --network kind -e POSTGRES_USER=sharding -e POSTGRES_PASSWORD=sharding postgres:17 >/dev/null
	database=$(docker inspect --format '{{.NetworkSettings.Networks.kind.IPAddress}}' $name-postgres)
	wrapper enter "exec docker exec $name-control-plane"
	wrapper kubectl "KUBECONFIG='$folder/kubeconfig' PATH='$folder':\$PATH exec '$kubectl'"
	wrapper helm "KUBECONFIG='$folder/kubeconfig' exec '$root/bin/tools/helm'"
}

usage() {
	cat <<-END

		The cluster runs. In this checkout:

		  export PATH=$folder:\$PATH     # kubectl, its plugin, and helm, for this cluster
		  kubectl get nodes

		Install the operator, with the Postgres beside the cluster as its database:

		  kubectl create namespace shardinguser-system
		  kubectl -n shardinguser-system create secret generic shardinguser-database --from-file=dsn=$folder/dsn.txt
		  helm install shardinguser charts/shardinguser-operator --namespace shardinguser-system \\
		    --set image.repository=$repository,image.tag=$version
		  kubectl -n shardinguser-system rollout status deployment shardinguser-controller-manager

		$folder/enter runs a command in the network of the cluster's node, such as curl to a Service's address.
		make cluster ARGS=stop ends the cluster.
	END
}

case $command in
start)
	"start_$CLUSTER"
	ln -sf ../kubectl-shardinguser "$folder/kubectl-shardinguser"
	echo "postgres://sharding:sharding@$database:5432/sharding?sslmode=disable" >"$folder/dsn.txt"
	usage
	;;
stop)
	if [[ $CLUSTER == kind ]]; then
		kind delete cluster --name $name
		docker rm --force --volumes $name-postgres >/dev/null
	else
		"$root/hack/node/node.sh" stop
	fi
	rm -rf "$folder"
	;;
*)
	echo "cluster: $command is no command; use stop, or nothing to start" >&2
	exit 2
	;;
esac
