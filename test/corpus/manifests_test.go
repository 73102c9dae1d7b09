// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestManifestsAreRejectedOrExplained(t *testing.T) {
	send(t, "m", append(byHand[manifest](t, "manifests"), generatedManifests()...))
}

func TestSecretsHaveAPasswordOrAReason(t *testing.T) {
	cases := append(byHand[secret](t, "secrets"), generatedSecrets()...)
	manifests := make([]manifest, 0, len(cases))
	plain := 0
	for _, c := range cases {
		manifests = append(manifests, c.manifest(t))
		if c.Reason == v1alpha1.ReasonSynced && c.Format != "Bcrypt" {
			plain++
		}
	}
	before := metrics(t)[hashes]
	send(t, "s", manifests)
	// A value that cannot be a password costs no hash, nor does a value that is a hash.
	if made := metrics(t)[hashes] - before; made != float64(plain) {
		t.Errorf("%v passwords were hashed, want %d", made, plain)
	}
}

// manifest returns the ShardingUser that has this password.
func (s secret) manifest(t *testing.T) manifest {
	t.Helper()
	value := with(t, nil).text(s.Value)
	m := manifest{
		Name:   s.Name,
		Spec:   map[string]any{"password": map[string]any{"secretRef": map[string]any{"name": "<<name>>"}}},
		Secret: map[string]string{"password": value}, Reason: s.Reason, Message: s.Message,
	}
	if s.Format != "" {
		m.Spec.(map[string]any)["password"].(map[string]any)["format"] = s.Format
	}
	usable := lineEnding.ReplaceAllString(value, "")
	switch {
	case s.Reason != v1alpha1.ReasonSynced:
		m.stored = "!" // which nothing matches
	case s.Format == "Bcrypt":
		m.stored = usable
	default:
		m.password = usable
	}
	return m
}

// A sent manifest is in progress.
type sent struct {
	manifest
	namespace string
	called    string // the resource's name
	others    row    // that was there before it, if any
}

// send sends all manifests to the API server, checks their outcomes, and deletes the resources.
func send(t *testing.T, prefix string, manifests []manifest) {
	t.Helper()
	before, namespace := metrics(t), newNamespace(t)
	defer clearUsers(t, namespace)
	all := make([]*sent, 0, len(manifests))
	for i, m := range manifests {
		s := &sent{manifest: m, namespace: namespace, called: fmt.Sprintf("%s-%04d", prefix, i)}
		if m.Existing {
			s.others = aRowOfOthers(t, s.called)
		}
		all = append(all, s)
	}
	begun := time.Now()
	taken := settle(t, all)
	t.Logf("%d refused and %d explained within %v", len(all)-taken, taken, time.Since(begun).Round(time.Millisecond))
	quietens(t, before, taken)
}

// settle sends manifests, waits for the expected statuses, and checks the rows. It returns how many the API server had
// to accept.
func settle(t *testing.T, all []*sent) (taken int) {
	t.Helper()
	each(all, func(s *sent) { s.send(t) })
	want := map[string]*sent{}
	for _, s := range all {
		if s.Refused == "" {
			want[s.called] = s
		}
	}
	gomega.NewWithT(t).Eventually(func() []string { return unexpected(users(t, metav1.NamespaceAll), want) }).
		WithTimeout(soon).WithPolling(poll).Should(gomega.BeEmpty(), "what the statuses must say and do not")
	table := rows(t)
	each(all, func(s *sent) { s.checkRow(t, table) })
	return len(want)
}

func (s *sent) send(t *testing.T) {
	t.Helper()
	e := with(t, map[string]string{"name": s.called, "namespace": s.namespace})
	s.Username = e.text(s.Username)
	if s.Secret != nil {
		data := map[string][]byte{}
		for key, value := range s.Secret {
			data[key] = []byte(e.text(value))
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.called}, Data: data}
		if err := kube.Create(t.Context(), secret); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	body, contentType := s.body(t, e)
	path := "/apis/sharding.io/v1alpha1/namespaces/" + s.namespace + "/shardingusers"
	status, answer := ask(t, http.MethodPost, path, contentType, body)
	if s.Edit != nil {
		if status != http.StatusCreated {
			t.Errorf("%s: not created: %d %s", s.Name, status, cut(answer))
			return
		}
		status, answer = ask(t, http.MethodPatch, path+"/"+s.called, "application/merge-patch+json", encoded(t, e.value(s.Edit)))
	}
	checkAnswer(t, s.Name, s.Refused, status, answer)
}

// checkAnswer compares the API server's response with the expected rejection, or with none.
func checkAnswer(t *testing.T, name, refused string, status int, answer string) {
	t.Helper()
	accepted := status == http.StatusOK || status == http.StatusCreated
	switch {
	case refused == "" && !accepted:
		t.Errorf("%s: refused with %d %s", name, status, cut(answer))
	case refused != "" && (status < 400 || status >= 500):
		t.Errorf("%s: not refused: %d %s", name, status, cut(answer))
	case refused != "" && !strings.Contains(answer, refused):
		t.Errorf("%s: refused with %s, want %q", name, cut(answer), refused)
	}
}

func (s *sent) body(t *testing.T, e expander) (body, contentType string) {
	t.Helper()
	if s.Body != "" {
		if contentType = s.ContentType; contentType == "" {
			contentType = "application/yaml"
		}
		return e.text(s.Body), contentType
	}
	metadata := map[string]any{"name": s.called}
	if more, ok := e.value(s.Metadata).(map[string]any); ok {
		for key, value := range more {
			metadata[key] = value
		}
	}
	resource := map[string]any{"apiVersion": "sharding.io/v1alpha1", "kind": "ShardingUser", "metadata": metadata}
	if s.Spec != nil {
		resource["spec"] = e.value(s.Spec)
	}
	return encoded(t, resource), "application/json"
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// ask sends the API server what no Go client would send, and returns the message of its Status, if it is one.
func ask(t *testing.T, method, path, contentType, body string, options ...string) (status int, answer string) {
	t.Helper()
	url := strings.TrimSuffix(plane.Config().Host, "/") + path + "?" + strings.Join(append(options, "fieldValidation=Strict"), "&")
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	request.Header.Set("Content-Type", contentType)
	response, err := direct.Do(request)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	var said metav1.Status
	if json.Unmarshal(content, &said) == nil && said.Kind == "Status" {
		return response.StatusCode, said.Message
	}
	return response.StatusCode, string(content)
}

// unexpected lists, up to a number, the users that are missing or have another status.
func unexpected(there []v1alpha1.ShardingUser, want map[string]*sent) (list []string) {
	found := map[string]bool{}
	for _, u := range there {
		s := want[u.Name]
		if s == nil || s.Reason == "" {
			continue // of an edit that was refused
		}
		found[u.Name] = true
		ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
		switch {
		case ready == nil || ready.ObservedGeneration != u.Generation || u.Status.ObservedGeneration != u.Generation:
			list = append(list, s.Name+": nothing about this generation")
		case ready.Reason != s.Reason || !strings.Contains(ready.Message, s.Message):
			list = append(list, fmt.Sprintf("%s: %s, %s; want %s, %s", s.Name, ready.Reason, ready.Message, s.Reason, s.Message))
		}
	}
	for name, s := range want {
		if !found[name] {
			list = append(list, s.Name+": there is no such resource")
		}
	}
	return list[:min(len(list), 10)]
}

// checkRow compares the table with the expected outcome of a manifest.
func (s *sent) checkRow(t *testing.T, table map[string]row) {
	t.Helper()
	username := s.Username
	if username == "" {
		username = s.called
	}
	r, there := table[username]
	want := s.Row
	switch {
	case s.Refused != "" && s.Edit != nil:
		return // what there was stays, and is another case's concern
	case s.Reason == v1alpha1.ReasonRowExists:
		if r != s.others {
			t.Errorf("%s: the row that nobody owns was changed", s.Name)
		}
		return
	case s.Refused != "":
		want = "none"
	case want == "":
		want = "active"
	}
	got := "none"
	if there {
		got = map[bool]string{true: "active", false: "inactive"}[r.Active]
	}
	switch {
	case got != want:
		t.Errorf("%s: the row is %s, want %s", s.Name, got, want)
	case s.stored != "" && r.Hash != s.stored:
		t.Errorf("%s: the row has another hash", s.Name)
	case s.password != "" && bcrypt.CompareHashAndPassword([]byte(r.Hash), []byte(s.password)) != nil:
		t.Errorf("%s: the row's hash is not of the password", s.Name)
	}
}

// rows returns the table users by username.
func rows(t *testing.T) map[string]row {
	t.Helper()
	found, err := db.Query(t.Context(), `SELECT username, coalesce(password_hash, '') AS hash, roles::text, active FROM users`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(found, pgx.RowToStructByName[row])
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]row{}
	for _, r := range list {
		table[r.Username] = r
	}
	return table
}
