// SPDX-License-Identifier: Apache-2.0

// Package testenv starts and stops the servers that the operator needs, for tests, the demo and benchmarks: a Kubernetes
// control plane (etcd, kube-apiserver, optionally kube-controller-manager) and a Postgres server. Some tests also use nginx
// (gateways), PgBouncer (poolers), Prometheus (monitoring), helm, and Patroni with HAProxy (failovers).
//
// The servers use free ports of the loopback interface and temporary folders. They end with the process that started them,
// even if it panics, times out or is killed: see [scope].
//
// Most tests need one line,
//
//	dsn := testenv.Database(t)      // a fresh, empty database
//	config := testenv.APIServer(t)  // an API server with the project's CRDs
//
// The tests of a package share one server of each kind, which the first test starts. The package calls Main in its TestMain,
// so that go test returns only when all servers have ended:
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
// `make prepare` installs the programs. If one is missing, the test fails with a message; it is never skipped.
package testenv
