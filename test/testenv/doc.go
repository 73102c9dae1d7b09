// SPDX-License-Identifier: Apache-2.0

// Package testenv starts and stops the real pair that the operator works between, for tests, demo and benchmarks alike:
// a Kubernetes control plane (etcd, kube-apiserver, at will kube-controller-manager) and a Postgres server. For the stories
// of gateways there is an nginx, for those of poolers a PgBouncer, and for what is measured a Prometheus; helm is run, too.
//
// Everything runs on free ports of the loopback interface and in temporary folders. Nothing of it outlives the process
// that started it, also when that process panics, times out or is killed: see [scope].
//
// Most tests need no more than one line,
//
//	dsn := testenv.Database(t)      // a fresh, empty database
//	config := testenv.APIServer(t)  // an API server with the project's CRDs
//
// and share, with the other tests of their package, one server of each kind, which is started by whoever asks first. A
// package that uses them says so in its TestMain, so that go test returns only when all of it has ended:
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
// The programs come from `make prepare`. Where one is missing the test fails and says so; it never skips.
package testenv
