// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/internal/audit"
	"github.com/sharding-system/shardinguser-operator/internal/dsn"
	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// trailReader reads the audit trail, from the operator or from the database.
type trailReader interface {
	ReadAttempts(ctx context.Context, trail store.Trail) ([]audit.Attempt, error)
	Changes(ctx context.Context, query store.ChangeQuery) ([]audit.Change, error)
}

// trailSource has the flags that say where the audit trail is read.
type trailSource struct {
	*env
	database          database
	operatorNamespace string
	system            string
	url               string
	authority         string
	account           string
}

const aboutTrail = `The operator is asked with your rights, through a tunnel of the API server, as for kubectl port-forward. You need the ClusterRole and the
Role shardinguser-auditor. A kubeconfig with a client certificate and no token also needs --service-account: the operator cannot
see a client certificate through the tunnel.

With --dsn-file, or the environment variable USER_DATABASE_DSN, the database is read instead. A DSN is never an argument, because other
users of the machine could read it.`

func (s *trailSource) bind(cmd *cobra.Command) {
	s.database.bind(cmd)
	s.bindOperatorNamespace(cmd, &s.operatorNamespace)
	flags := cmd.Flags()
	flags.StringVar(&s.system, "system", "", "Ask the operator of this sharding system (default: the default system)")
	flags.StringVar(&s.url, "audit-url", "", "HTTPS address of the operator's metrics endpoint, instead of a tunnel through the API server")
	flags.StringVar(&s.authority, "audit-certificate-authority", "", "File with the certificate authority of --audit-url (default: those of the system)")
	flags.StringVar(&s.account, "service-account", "", "Ask with a short-lived token of this ServiceAccount, NAMESPACE/NAME, which you may create")
	complete(cmd, "audit-url", cobra.NoFileCompletions)
	complete(cmd, "system", cobra.NoFileCompletions)
	complete(cmd, "service-account", cobra.NoFileCompletions)
}

// open returns a reader, and a function that closes it.
func (s *trailSource) open(ctx context.Context) (trailReader, func(), error) {
	text, err := dsn.Find(s.database.file)
	if err != nil {
		return nil, nil, err
	}
	if text != "" && s.url == "" {
		db, err := s.database.open() //nolint:contextcheck // opening waits for nothing
		if err != nil {
			return nil, nil, err
		}
		return fromDatabase{db}, db.Close, nil
	}
	config, err := s.credentials(ctx)
	if err != nil {
		return nil, nil, err
	}
	if s.url != "" {
		return s.direct(config)
	}
	return s.tunnelled(ctx, config)
}

// credentials returns the kubeconfig's settings, with the token of a ServiceAccount if that is asked for.
func (s *trailSource) credentials(ctx context.Context) (*rest.Config, error) {
	config, err := s.flags.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	if s.account == "" {
		if config.Impersonate.UserName != "" {
			return nil, errors.New("--as has no effect on the operator, which checks the token itself; use --service-account")
		}
		return config, nil
	}
	namespace, name, isPair := strings.Cut(s.account, "/")
	if !isPair || namespace == "" || name == "" {
		return nil, fmt.Errorf("--service-account %q is not NAMESPACE/NAME", s.account)
	}
	kube, _, err := s.cluster()
	if err != nil {
		return nil, err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(600))}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := kube.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, fmt.Errorf("get a token of the ServiceAccount %s: %w", s.account, err)
	}
	own := rest.AnonymousClientConfig(config)
	own.BearerToken = request.Status.Token
	return own, nil
}

// direct asks a server that TLS verifies.
func (s *trailSource) direct(config *rest.Config) (trailReader, func(), error) {
	at, err := url.Parse(s.url)
	if err != nil || at.Scheme != "https" || at.Host == "" || at.User != nil || at.RawQuery != "" {
		return nil, nil, errors.New("--audit-url is not an address such as https://operator.example.com:8443")
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.authority != "" {
		pem, err := os.ReadFile(s.authority)
		if err != nil {
			return nil, nil, err
		}
		if settings.RootCAs = x509.NewCertPool(); !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("%s has no certificate in PEM", s.authority)
		}
	}
	return newTrailClient(config, s.url, &http.Transport{TLSClientConfig: settings, Proxy: http.ProxyFromEnvironment})
}

// tunnelled asks a pod of the operator through the API server, which authenticates the pod. The pod's certificate may be self-signed.
func (s *trailSource) tunnelled(ctx context.Context, config *rest.Config) (trailReader, func(), error) {
	kube, _, err := s.cluster()
	if err != nil {
		return nil, nil, err
	}
	pod, port, err := findOperator(ctx, kube, s.operatorNamespace, s.system)
	if err != nil {
		return nil, nil, err
	}
	caller, err := s.flags.ToRESTConfig()
	if err != nil {
		return nil, nil, err
	}
	return newTrailClient(config, "https://"+pod.Name, &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return dialPod(caller, client.ObjectKeyFromObject(pod), port)
		},
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, //nolint:gosec // see above
	})
}

// newTrailClient returns a client that sends the credentials of the kubeconfig.
func newTrailClient(config *rest.Config, address string, transport *http.Transport) (trailReader, func(), error) {
	transport.ResponseHeaderTimeout = time.Minute
	wrapped, err := rest.HTTPWrappersForConfig(config, needsToken{transport})
	if err != nil {
		return nil, nil, err
	}
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a token goes to no other server
	return fromOperator{&audit.Client{HTTP: &http.Client{Transport: wrapped, CheckRedirect: refuse}, URL: address}}, transport.CloseIdleConnections, nil
}

// needsToken refuses a request without a token, which the operator would reject.
type needsToken struct{ next http.RoundTripper }

func (n needsToken) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		return nil, errNoToken
	}
	return n.next.RoundTrip(r)
}

var errNoToken = errors.New("the kubeconfig has no token, for example because it has a client certificate; use --service-account NAMESPACE/NAME " +
	"with a ServiceAccount that is bound to the ClusterRole shardinguser-auditor, or --dsn-file")

// fromOperator explains the errors of the operator.
type fromOperator struct{ client *audit.Client }

func (o fromOperator) ReadAttempts(ctx context.Context, trail store.Trail) ([]audit.Attempt, error) {
	attempts, err := o.client.ReadAttempts(ctx, trail)
	return attempts, explainTrail(err)
}

func (o fromOperator) Changes(ctx context.Context, query store.ChangeQuery) ([]audit.Change, error) {
	changes, err := o.client.Changes(ctx, query)
	return changes, explainTrail(err)
}

func explainTrail(err error) error {
	switch {
	case errors.Is(err, errNoToken):
		return errNoToken
	case errors.Is(err, audit.ErrUnauthenticated):
		return fmt.Errorf("%w: the API server does not know the token; use --service-account NAMESPACE/NAME", err)
	case errors.Is(err, audit.ErrForbidden):
		return fmt.Errorf("%w: let an administrator bind the ClusterRole shardinguser-auditor to you (docs/audit.md)", err)
	case errors.Is(err, audit.ErrNotServed):
		return fmt.Errorf("%w; update the operator, or use --dsn-file", err)
	}
	return err
}

// fromDatabase reads the tables.
type fromDatabase struct{ db reader }

func (d fromDatabase) ReadAttempts(ctx context.Context, trail store.Trail) ([]audit.Attempt, error) {
	records, err := d.db.ReadAttempts(ctx, trail)
	return audit.AttemptsOf(records), err
}

func (d fromDatabase) Changes(ctx context.Context, query store.ChangeQuery) ([]audit.Change, error) {
	changes, err := d.db.Changes(ctx, query)
	return audit.ChangesOf(changes), err
}
