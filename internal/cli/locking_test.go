// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// apiServer has some users, and keeps the bodies of patches. A patch changes nothing, as one of a field that an older
// CustomResourceDefinition does not have.
type apiServer struct {
	mu      sync.Mutex
	users   map[string]*v1alpha1.ShardingUser
	patches map[string]string
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	w.Header().Set("Content-Type", "application/json")
	var answer any = a.users[name]
	if name == "shardingusers" {
		list := &v1alpha1.ShardingUserList{TypeMeta: typeMeta("ShardingUserList")}
		for _, u := range a.users {
			list.Items = append(list.Items, *u)
		}
		answer = list
	}
	if r.Method == http.MethodPatch {
		body, _ := io.ReadAll(r.Body)
		a.patches[name] = string(body)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind}
}

// against runs the program against an API server that has these users.
func against(t *testing.T, users []*v1alpha1.ShardingUser, args ...string) (code int, output string, patches map[string]string) {
	t.Helper()
	a := &apiServer{users: map[string]*v1alpha1.ShardingUser{}, patches: map[string]string{}}
	for _, u := range users {
		u.TypeMeta = typeMeta("ShardingUser")
		a.users[u.Name] = u
	}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	var out bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
	code = Run(context.WithoutCancel(t.Context()), "v1.2.3", streams, append(args, "--server", server.URL, "-n", "team-a", "--wait=false"))
	a.mu.Lock()
	defer a.mu.Unlock()
	return code, out.String(), maps.Clone(a.patches)
}

func named(name string, lock *v1alpha1.StandingLock) *v1alpha1.ShardingUser {
	u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: name}}
	u.Spec.Lock, u.Status.Locked = lock, true
	return u
}

// Otherwise the user would be reported as locked, and could log in.
func TestALockThatTheAPIServerDropsIsReported(t *testing.T) {
	code, output, patches := against(t, []*v1alpha1.ShardingUser{named("alice", nil)}, "lock", "alice", "--reason", "left")
	if code == ExitDone || !strings.Contains(output, "does not know spec.lock") {
		t.Errorf("it ends with %d: %s", code, output)
	}
	if !strings.Contains(patches["alice"], `"reason":"left"`) {
		t.Errorf("the patch is %s", patches["alice"])
	}
}

func TestToUnlockAllRemovesNoStandingLock(t *testing.T) {
	ended := metav1.NewTime(time.Now().Add(-time.Hour))
	users := []*v1alpha1.ShardingUser{
		named("alice", nil), named("bob", &v1alpha1.StandingLock{Reason: "left"}), named("carol", &v1alpha1.StandingLock{Until: &ended}),
	}
	code, output, patches := against(t, users, "unlock", "--all-locked")
	if code != ExitDone || !strings.Contains(output, "Skipped 1 users") {
		t.Errorf("it ends with %d: %s", code, output)
	}
	if len(patches) != 2 || patches["bob"] != "" {
		t.Errorf("the patches are %v, want those of alice and carol", patches)
	}
	if _, _, patches = against(t, users, "unlock", "bob"); !strings.Contains(patches["bob"], `"lock":null`) {
		t.Errorf("a user that is named stays locked: %v", patches)
	}
}
