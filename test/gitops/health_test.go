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

// A healthTest is a test of a health_test.yaml, in the format of Argo CD's repository.
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

// healthOf returns the health that Argo CD reports for a live object.
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

// kstatusOf maps the health of Argo CD to the status of kstatus, which has no status for a pause.
var kstatusOf = map[health.HealthStatusCode]status.Status{
	health.HealthStatusHealthy:     status.CurrentStatus,
	health.HealthStatusDegraded:    status.FailedStatus,
	health.HealthStatusProgressing: status.InProgressStatus,
	health.HealthStatusSuspended:   status.InProgressStatus,
}

// TestHealthOfEveryState runs the tests in Argo CD's format with the scripts of the ConfigMap, and compares with kstatus.
func TestHealthOfEveryState(t *testing.T) {
	for _, k := range []kind{users, policies} {
		for _, tt := range healthTests(t, k) {
			t.Run(string(k)+"/"+tt.InputPath, func(t *testing.T) {
				u := object(t, k.path(tt.InputPath))
				if got := healthOf(t, u); got != tt.HealthStatus {
					t.Errorf("Argo CD reports\n%+v\nwant\n%+v", got, tt.HealthStatus)
				}
				if name := filepath.Base(tt.InputPath); !strings.HasPrefix(name, strings.ToLower(string(tt.HealthStatus.Status))) {
					t.Errorf("the name of the file %s does not begin with the health %s", name, tt.HealthStatus.Status)
				}
				result, err := status.Compute(u)
				if err != nil {
					t.Fatal(err)
				}
				if want := kstatusOf[tt.HealthStatus.Status]; result.Status != want {
					t.Errorf("kstatus reports %s (%s), want %s", result.Status, result.Message, want)
				}

				now := metav1.Now()
				u.SetDeletionTimestamp(&now)
				if got := healthOf(t, u); got.Status != health.HealthStatusProgressing {
					t.Errorf("during the deletion Argo CD reports %+v, want Progressing", got)
				}
				if result, err = status.Compute(u); err != nil || result.Status != status.TerminatingStatus {
					t.Errorf("during the deletion kstatus reports %+v and %v, want Terminating", result, err)
				}
			})
		}
	}
}

// A new reason of the API needs a case in health_test.yaml.
func TestEveryReasonHasAHealthTest(t *testing.T) {
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
		t.Errorf("found %d reasons in the API: check the pattern", len(reasons))
	}
}

// The objects of the tests have to be possible on an API server.
func TestObjectsOfTheTestsAreValid(t *testing.T) {
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
					t.Error("no test uses the file")
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
