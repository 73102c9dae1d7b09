// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

// A manifest is a ShardingUser that somebody sends to the API server, by itself or with a Secret.
type manifest struct {
	Name string `json:"name"`

	// What is sent: a spec, in a resource that is complete but for it, or a whole body as it is.
	Spec        any            `json:"spec"`
	Metadata    map[string]any `json:"metadata"`    // more of it, beside name and namespace
	Body        string         `json:"body"`        // in place of the above; <<name>> is the name to give it
	ContentType string         `json:"contentType"` // of the body; application/yaml where it is absent

	Secret   map[string]string `json:"secret"`   // the data of a Secret of the resource's name, if there is to be one
	Existing bool              `json:"existing"` // there is a row of the resource's name that nobody owns
	Edit     any               `json:"edit"`     // a merge patch that comes after the creation, and that Refused is about then

	// What must come of it: a refusal whose message holds this text; or else the reason of the condition Ready, a text
	// that its message holds, and what there is in the table: an active row (as it is where nothing is said), an inactive
	// one, or none.
	Refused  string `json:"refused"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	Username string `json:"username"` // of the row, where it is not the resource's name
	Row      string `json:"row"`

	stored   string // the row's password_hash, where it matters
	password string // what the row's password_hash has to be of, where it matters
}

// A secret is a Secret with one value, and a ShardingUser whose password is in it.
type secret struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Format string `json:"format"` // Plain where it is absent

	// What must come of it: the reason of the condition Ready, and a text that its message holds. Where the reason is
	// Synced, the row has the value for a password or for a hash, but for one trailing line ending.
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// A policy is a ShardingUserPolicy. Those without users are not stored: a policy is the whole cluster's.
type policy struct {
	Name string `json:"name"`
	Spec any    `json:"spec"` // <<namespace>> is one of the case's own
	Body string `json:"body"` // in place of a spec

	Refused string `json:"refused"` // "" where it must be taken
	Users   []struct {
		Spec     any    `json:"spec"` // <<name>> is the name of a Secret with alice's password, too
		Reason   string `json:"reason"`
		Message  string `json:"message"`
		Username string `json:"username"` // of the row, where it is not the resource's name
		Row      string `json:"row"`      // where it is absent: none for whom no policy permits
	} `json:"users"`
}

// A request is one to the log-in API, or what should have been one.
type request struct {
	Name string `json:"name"`

	// What is sent: these bytes, or a request of these parts, in which a body comes with its length.
	Raw           string   `json:"raw"`
	Method        string   `json:"method"` // POST where it is absent
	Path          string   `json:"path"`   // log-in's where it is absent
	Headers       []string `json:"headers"`
	Body          string   `json:"body"`
	Authorization *string  `json:"authorization"` // of a GET of verify
	HangsUp       bool     `json:"hangsUp"`       // the client says at once that it says no more

	// What must come back: this status (0 where the connection is closed without an answer), lines of the header, a text
	// that the body holds, and no further answers. And how many attempts to log in are on record by it.
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

// The corpus is to be at least this large, and so much of it made by people, who think of what rules do not.
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
