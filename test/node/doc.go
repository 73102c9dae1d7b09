// SPDX-License-Identifier: Apache-2.0

// Package node tests the operator on a real node: a kubelet, a container runtime, kube-proxy and the image of the Dockerfile.
// `make test-node` starts the node (hack/node) and runs the tests in its network. They have the build tag node, since they
// need root.
//
// The tests run one after another, and each installs the operator and removes it.
package node
