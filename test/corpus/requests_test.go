// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestRequestsHaveTheirResponses(t *testing.T) {
	before, namespace := metrics(t), newNamespace(t)
	defer clearUsers(t, namespace)
	alice(t, namespace)
	token := aToken(t)
	cases := append(byHand[request](t, "requests"), generatedRequests(token)...)
	attempts := 0
	for _, c := range cases {
		attempts += c.Attempts
	}
	onRecord := recorded(t)
	begun := time.Now()
	each(cases, func(c request) { c.check(t, with(t, map[string]string{"token": token})) })
	t.Logf("%d requests were answered within %v, %d of them after a look at a password", len(cases), time.Since(begun).Round(time.Millisecond), attempts)
	if got := recorded(t) - onRecord; got != attempts {
		t.Errorf("%d attempts are recorded, want %d", got, attempts)
	}
	// Afterwards, alice logs in as before.
	aToken(t)
	quietens(t, before, 4)
}

// alice is the user of the requests.
func alice(t *testing.T, namespace string) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "alice"}, Data: map[string][]byte{"password": []byte(right)}}
	user := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "alice"}}
	user.Spec.Roles = []v1alpha1.Role{"operator"}
	user.Spec.Password = &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: "alice"}}
	g := gomega.NewWithT(t)
	g.Expect(kube.Create(t.Context(), secret)).To(gomega.Succeed())
	g.Expect(kube.Create(t.Context(), user)).To(gomega.Succeed())
	g.Eventually(func() map[string]row { return rows(t) }).WithTimeout(soon).WithPolling(poll).Should(gomega.HaveKey("alice"))
}

// aToken returns a token of alice.
func aToken(t *testing.T) string {
	t.Helper()
	answer, err := manager.LogIn(t.Context(), "alice", right)
	var granted struct{ Token string }
	if err != nil || answer.Status != http.StatusOK || json.Unmarshal([]byte(answer.Body), &granted) != nil || granted.Token == "" {
		t.Fatalf("alice cannot log in: %d %v", answer.Status, err)
	}
	return granted.Token
}

// recorded returns the number of recorded attempts.
func recorded(t *testing.T) (attempts int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM login_attempts`).Scan(&attempts); err != nil {
		t.Fatal(err)
	}
	return attempts
}

// bytes returns the bytes to send.
func (r request) bytes(e expander) string {
	if r.Raw != "" {
		return e.text(r.Raw)
	}
	method, path, body := r.Method, r.Path, e.text(r.Body)
	headers := slices.Clone(r.Headers)
	if r.Authorization != nil {
		method, path, headers = http.MethodGet, testenv.VerifyPath, append(headers, "Authorization: "+*r.Authorization)
	}
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = testenv.LoginPath
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: x\r\n", method, e.text(path))
	for _, line := range headers {
		b.WriteString(e.text(line) + "\r\n")
	}
	if body != "" || method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

// patience is how long a client waits for an expected response.
const patience = 30 * time.Second

// check sends a request on its own connection and compares the responses.
func (r request) check(t *testing.T, e expander) {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	dialed, err := dialer.DialContext(t.Context(), "tcp", manager.Login)
	if err != nil {
		t.Errorf("%s: %v", r.Name, err)
		return
	}
	defer func() { _ = dialed.Close() }()
	connection := dialed.(*tls.Conn)
	_ = connection.SetDeadline(time.Now().Add(patience))
	said := r.bytes(e)
	_, _ = io.WriteString(connection, said) // a server that has heard enough may have answered and gone
	if r.HangsUp {
		_ = connection.CloseWrite()
	}

	method, _, _ := strings.Cut(said, " ")
	reader := bufio.NewReader(connection)
	got, err := hear(reader, method)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		if r.Status != 0 {
			t.Errorf("%s: the connection was closed without an answer, want %d", r.Name, r.Status)
		}
		return
	case err != nil:
		t.Errorf("%s: %v", r.Name, err)
		return
	}
	r.compare(t, e, got)

	// Only now, because a client that hangs up earlier may get no response. A response to no request is not allowed
	// either.
	_ = connection.CloseWrite()
	if another, err := hear(reader, http.MethodGet); err == nil {
		t.Errorf("%s: there is one more answer, %d", r.Name, another.status)
	}
}

// An answer is a response of the login API.
type answer struct {
	status int
	header http.Header
	body   string
}

// hear returns the next final response.
func hear(reader *bufio.Reader, method string) (answer, error) {
	for {
		response, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			return answer{}, err
		}
		content, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode >= http.StatusOK {
			return answer{response.StatusCode, response.Header, string(content)}, err
		}
	}
}

func (r request) compare(t *testing.T, e expander, got answer) {
	t.Helper()
	var head strings.Builder
	_ = got.header.Write(&head)
	if got.status != r.Status {
		t.Errorf("%s: the answer is %d %s, want %d", r.Name, got.status, cut(got.body), r.Status)
	}
	if !strings.Contains(got.body, e.text(r.Answer)) {
		t.Errorf("%s: the answer is %s, want %s in it", r.Name, cut(got.body), r.Answer)
	}
	for _, line := range r.Header {
		if !strings.Contains(head.String(), e.text(line)+"\r\n") {
			t.Errorf("%s: the header is %s, want the line %s", r.Name, cut(head.String()), line)
		}
	}
	// Rules for all responses.
	switch all := head.String() + got.body; {
	case strings.Contains(all, canary) || aHashIsIn(all) || strings.Contains(all, "goroutine"):
		t.Errorf("%s: the answer tells too much", r.Name)
	case strings.Contains(all, "X-Auth-") && (got.status != http.StatusOK || got.header.Get("X-Auth-Username") != "alice"):
		t.Errorf("%s: the response names a user that did not log in", r.Name)
	case got.status == http.StatusInternalServerError || got.status == http.StatusServiceUnavailable:
		t.Errorf("%s: the server did not manage", r.Name)
	}
	if strings.HasPrefix(got.header.Get("Content-Type"), "application/json") && got.status != http.StatusOK && got.body != "" {
		var refusal struct {
			Error struct{ Code, Message string }
		}
		if json.Unmarshal([]byte(got.body), &refusal) != nil || refusal.Error.Code == "" || refusal.Error.Message == "" {
			t.Errorf("%s: %s is not the form of a refusal", r.Name, cut(got.body))
		}
	}
}
