// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

// A manifest is a ShardingUser that a user sends to the API server, alone or with a Secret.
type manifest struct {
	Name string `json:"name"`

	// The input: a spec within an otherwise complete resource, or a whole body.
	Spec        any            `json:"spec"`
	Metadata    map[string]any `json:"metadata"`    // besides name and namespace
	Body        string         `json:"body"`        // instead of the above; <<name>> is the resource's name
	ContentType string         `json:"contentType"` // of the body; default application/yaml

	Secret   map[string]string `json:"secret"`   // the data of a Secret with the resource's name
	Existing bool              `json:"existing"` // a row with the resource's name exists without an owner
	Edit     any               `json:"edit"`     // a merge patch after the creation; Refused is then about it

	// The expected outcome: a rejection whose message contains this text. Otherwise the reason of the condition Ready,
	// a text that its message contains, and the row: active (the default), inactive or none.
	Refused  string `json:"refused"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	Username string `json:"username"` // of the row; default the resource's name
	Row      string `json:"row"`

	stored   string // the row's password_hash, if it matters
	password string // the password of the row's hash, if it matters
}

// A secret is a Secret with one value, and a ShardingUser whose password is in it.
type secret struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Format string `json:"format"` // default Plain

	// The expected outcome: the reason of the condition Ready, and a text that its message contains. If the reason is
	// Synced, the row has the value as its password or hash, without one trailing line ending.
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// A policy is a ShardingUserPolicy. It is not stored without users, because it is cluster-wide.
type policy struct {
	Name string `json:"name"`
	Spec any    `json:"spec"` // <<namespace>> is the case's own namespace
	Body string `json:"body"` // instead of a spec

	Refused string `json:"refused"` // "" if it must be accepted
	Users   []struct {
		Spec     any    `json:"spec"` // <<name>> is the name of a Secret with alice's password, too
		Reason   string `json:"reason"`
		Message  string `json:"message"`
		Username string `json:"username"` // of the row; default the resource's name
		Row      string `json:"row"`      // by default: none if no policy permits the user
	} `json:"users"`
}

// A request is a request to the login API, or a malformed one.
type request struct {
	Name string `json:"name"`

	// The input: these bytes, or a request of these parts. A body comes with its length.
	Raw           string   `json:"raw"`
	Method        string   `json:"method"` // default POST
	Path          string   `json:"path"`   // default the login path
	Headers       []string `json:"headers"`
	Body          string   `json:"body"`
	Authorization *string  `json:"authorization"` // of a GET of verify
	HangsUp       bool     `json:"hangsUp"`       // the client closes its side at once

	// The expected response: this status (0 if the connection is closed without one), lines of the header, a text that
	// the body contains, and no further responses. Also the number of recorded login attempts.
	Status   int      `json:"status"`
	Header   []string `json:"header"`
	Answer   string   `json:"answer"`
	Attempts int      `json:"attempts"`
}

// byHand reads the cases of one kind.
func byHand[T any](t *testing.T, kind string) []T {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(kind, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no cases of %s: %v", kind, err)
	}
	var all []T
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases []T
		if err := yaml.UnmarshalStrict(content, &cases); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, cases...)
	}
	return all
}

// The corpus must stay at least this large. Part of it must be written by people, who find what rules do not.
const (
	fewestCases  = 500
	fewestByHand = 150
)

func TestTheCorpusKeepsItsSize(t *testing.T) {
	token := signed(signingSecret, `{"alg":"HS256","typ":"JWT"}`, `{"username":"alice","roles":["operator"],"iat":1,"exp":2}`)
	kinds := map[string]struct{ byHand, generated []string }{
		"manifests": {names(byHand[manifest](t, "manifests")), names(generatedManifests())},
		"secrets":   {names(byHand[secret](t, "secrets")), names(generatedSecrets())},
		"policies":  {names(byHand[policy](t, "policies")), names(generatedPolicies())},
		"requests":  {names(byHand[request](t, "requests")), names(generatedRequests(token))},
	}
	people, all := 0, 0
	for kind, cases := range kinds {
		t.Logf("%-9s %4d by hand, %4d generated", kind, len(cases.byHand), len(cases.generated))
		people += len(cases.byHand)
		all += len(cases.byHand) + len(cases.generated)
		seen := slices.Sorted(slices.Values(append(cases.byHand, cases.generated...)))
		for i, name := range seen {
			if name == "" || i > 0 && name == seen[i-1] {
				t.Errorf("%s: the name %q says nothing, or is there twice", kind, name)
			}
		}
	}
	t.Logf("%-9s %4d by hand, %4d in all", "together", people, all)
	if people < fewestByHand || all < fewestCases {
		t.Errorf("want at least %d by hand and %d in all", fewestByHand, fewestCases)
	}
}

func names[T interface{ name() string }](cases []T) []string {
	list := make([]string, 0, len(cases))
	for _, c := range cases {
		list = append(list, c.name())
	}
	return list
}

func (m manifest) name() string { return m.Name }
func (s secret) name() string   { return s.Name }
func (p policy) name() string   { return p.Name }
func (r request) name() string  { return r.Name }
