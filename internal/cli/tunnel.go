// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/internal/config"
)

// operatorLabel selects the operator's pods, whatever installed it.
var operatorLabel = client.MatchingLabels{"app.kubernetes.io/name": "shardinguser-operator"}

// metricsPort is the name of the container port of the metrics endpoint.
const metricsPort = "metrics"

// findOperator returns a ready pod of the operator of a system, and the port of its metrics endpoint. The leader of the system is
// preferred, since pods of several systems may share a namespace.
func findOperator(ctx context.Context, kube client.Client, namespace, system string) (*corev1.Pod, int32, error) {
	var pods corev1.PodList
	if err := kube.List(ctx, &pods, client.InNamespace(namespace), operatorLabel); err != nil {
		return nil, 0, fmt.Errorf("cannot list the pods of the operator in the namespace %s: %w", namespace, err)
	}
	leader, err := leaderOf(ctx, kube, namespace, system)
	if err != nil {
		return nil, 0, err
	}
	var found *corev1.Pod
	for i := range pods.Items {
		pod := &pods.Items[i]
		if isReady(pod) && (found == nil || pod.Name == leader) {
			found = pod
		}
	}
	switch {
	case found == nil:
		return nil, 0, fmt.Errorf("no pod of the operator is ready in the namespace %s; check --operator-namespace", namespace)
	case system != "" && found.Name != leader:
		return nil, 0, fmt.Errorf("no ready pod in the namespace %s leads the system %q; check --operator-namespace and --system", namespace, system)
	}
	for _, container := range found.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == metricsPort {
				return found, port.ContainerPort, nil
			}
		}
	}
	return nil, 0, fmt.Errorf("the pod %s of the operator has no port %q, so its metrics endpoint is disabled; enable it, or use --dsn-file", found.Name, metricsPort)
}

// leaderOf returns the name of the pod that leads a system; "" if that is unknown.
func leaderOf(ctx context.Context, kube client.Client, namespace, system string) (string, error) {
	var lease coordinationv1.Lease
	err := kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: config.LeaseOf(system)}, &lease)
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read the lease of the operator: %w", err)
	case lease.Spec.HolderIdentity == nil:
		return "", nil
	}
	name, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	return name, nil
}

func isReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp.IsZero() && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// dialPod connects to a port of a pod through the API server, as kubectl port-forward does, but listens nowhere: other users of this
// computer cannot use the tunnel.
func dialPod(caller *rest.Config, pod client.ObjectKey, port int32) (net.Conn, error) {
	at, _, err := rest.DefaultServerUrlFor(caller)
	if err != nil {
		return nil, err
	}
	at = at.JoinPath("api/v1/namespaces", url.PathEscape(pod.Namespace), "pods", url.PathEscape(pod.Name), "portforward")
	roundTripper, upgrader, err := spdy.RoundTripperFor(caller)
	if err != nil {
		return nil, err
	}
	overWebSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(at, caller)
	if err != nil {
		return nil, err
	}
	older := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, at)
	dialer := portforward.NewFallbackDialerForStreaming(overWebSocket, older, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, fmt.Errorf("open a tunnel to the pod %s: %w", pod, err)
	}
	conn, err := openStreams(connection, port)
	if err != nil {
		_ = connection.Close()
		return nil, fmt.Errorf("open a tunnel to the pod %s: %w", pod, err)
	}
	return conn, nil
}

// openStreams opens the two streams of one forwarded connection.
func openStreams(connection httpstream.Connection, port int32) (*tunnel, error) {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	failures, err := connection.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	if err := failures.Close(); err != nil { // nothing is written to it
		return nil, err
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := connection.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	t := &tunnel{Stream: data, connection: connection, failure: make(chan error, 1)}
	go func() {
		message, err := io.ReadAll(io.LimitReader(failures, 4096))
		if err == nil && len(message) > 0 {
			err = errors.New(string(message))
		}
		t.failure <- err
	}()
	return t, nil
}

// tunnel is a connection through the API server. It has no deadlines: the context of a request ends it.
type tunnel struct {
	httpstream.Stream
	connection httpstream.Connection
	failure    chan error // gets what the node reports once the stream ends; nil for nothing
}

// Read reads from the pod. At the end of the stream it returns the failure that the node reports.
func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.Stream.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	select {
	case failure := <-t.failure:
		if failure != nil {
			return n, failure
		}
	case <-time.After(time.Second):
	}
	return n, err
}

// Close closes the tunnel.
func (t *tunnel) Close() error { return t.connection.Close() }

// LocalAddr and RemoteAddr have no meaning.
func (t *tunnel) LocalAddr() net.Addr { return tunnelAddr{} }

// RemoteAddr implements net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return tunnelAddr{} }

// SetDeadline implements net.Conn.
func (t *tunnel) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (t *tunnel) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (t *tunnel) SetWriteDeadline(time.Time) error { return nil }

type tunnelAddr struct{}

func (tunnelAddr) Network() string { return "portforward" }
func (tunnelAddr) String() string  { return "pod" }
