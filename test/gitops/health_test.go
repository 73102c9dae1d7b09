// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/health"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// A healthTest is one of a health_test.yaml, which has the form that Argo CD's own repository asks for.
type healthTest struct {
	InputPath    string              `json:"inputPath"`
	HealthStatus health.HealthStatus `json:"healthStatus"`
}

func healthTests(t *testing.T, k kind) []healthTest {
	t.Helper()
	var file struct {
		Tests []healthTest `json:"tests"`
	}
	parse(t, content(t, k.path("health_test.yaml")), &file)
	return file.Tests
}

// healthOf is what Argo CD says of a live object.
func healthOf(t *testing.T, u *unstructured.Unstructured) health.HealthStatus {
	t.Helper()
	status, err := health.GetResourceHealth(u, lua.ResourceHealthOverrides(overrides(t)))
	if err != nil {
		t.Fatal(err)
	}
	if status == nil {
		return health.HealthStatus{}
	}
	return *status
}

// kstatusOf is what kstatus says where Argo CD says this. It knows no pause.
var kstatusOf = map[health.HealthStatusCode]status.Status{
	health.HealthStatusHealthy:     status.CurrentStatus,
	health.HealthStatusDegraded:    status.FailedStatus,
	health.HealthStatusProgressing: status.InProgressStatus,
	health.HealthStatusSuspended:   status.InProgressStatus,
}

// TestHealthOfEveryState runs the tests that go to Argo CD's repository with the scripts, by the scripts of the ConfigMap, and
// asks kstatus as well.
func TestHealthOfEveryState(t *testing.T) {
	for _, k := range []kind{users, policies} {
		for _, tt := range healthTests(t, k) {
			t.Run(string(k)+"/"+tt.InputPath, func(t *testing.T) {
				u := object(t, k.path(tt.InputPath))
				if got := healthOf(t, u); got != tt.HealthStatus {
					t.Errorf("Argo CD says\n%+v\nwant\n%+v", got, tt.HealthStatus)
				}
				if name := filepath.Base(tt.InputPath); !strings.HasPrefix(name, strings.ToLower(string(tt.HealthStatus.Status))) {
					t.Errorf("the file %s does not say that it is %s", name, tt.HealthStatus.Status)
				}
				result, err := status.Compute(u)
				if err != nil {
					t.Fatal(err)
				}
				if want := kstatusOf[tt.HealthStatus.Status]; result.Status != want {
					t.Errorf("kstatus says %s (%s), want %s", result.Status, result.Message, want)
				}

				now := metav1.Now()
				u.SetDeletionTimestamp(&now)
				if got := healthOf(t, u); got.Status != health.HealthStatusProgressing {
					t.Errorf("while it is deleted Argo CD says %+v, want Progressing", got)
				}
				if result, err = status.Compute(u); err != nil || result.Status != status.TerminatingStatus {
					t.Errorf("while it is deleted kstatus says %+v and %v, want Terminating", result, err)
				}
			})
		}
	}
}

// A state that the operator learns to report gets a test here.
func TestEveryReasonOfTheAPIHasItsHealthTested(t *testing.T) {
	var tested strings.Builder
	for _, k := range []kind{users, policies} {
		for _, tt := range healthTests(t, k) {
			tested.WriteString(content(t, k.path(tt.InputPath)))
		}
	}
	source := content(t, filepath.Join(root, "api/v1alpha1/conditions.go"))
	reasons := regexp.MustCompile(`\bReason\w+ += "(\w+)"`).FindAllStringSubmatch(source, -1)
	for _, reason := range reasons {
		if !strings.Contains(tested.String(), "reason: "+reason[1]+"\n") {
			t.Errorf("no test has the reason %s", reason[1])
		}
	}
	if len(reasons) < 18 {
		t.Errorf("the API has %d reasons: are they still read right?", len(reasons))
	}
}

// What the tests are about has to be what an API server would have.
func TestTheObjectsOfTheTestsAreValid(t *testing.T) {
	namespace := newNamespace(t)
	for _, k := range []kind{users, policies} {
		files, err := filepath.Glob(k.path("testdata", "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		more, err := filepath.Glob(k.path("actions", "testdata", "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		named := content(t, k.path("health_test.yaml"))
		if k == users {
			named += content(t, k.path("actions", "action_test.yaml"))
		}
		for _, file := range append(files, more...) {
			t.Run(string(k)+"/"+filepath.Base(file), func(t *testing.T) {
				if !strings.Contains(named, "testdata/"+filepath.Base(file)) {
					t.Error("no test names it")
				}
				u := object(t, file)
				u.SetDeletionTimestamp(nil)
				u.SetDeletionGracePeriodSeconds(nil)
				if k == users {
					u.SetNamespace(namespace)
				}
				strict := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
				if _, err := of(u).Create(t.Context(), u, strict); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
