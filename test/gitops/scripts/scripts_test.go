// SPDX-License-Identifier: Apache-2.0

// Package scripts tests Argo CD's scripts in a plain Lua interpreter, which builds in seconds. Package gitops runs the same cases
// with Argo CD's libraries and kstatus.
package scripts

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

const customizations = "../../../config/argocd/resource_customizations/sharding.io"

type object = map[string]any

func TestHealthOfEveryState(t *testing.T) {
	for _, kind := range []string{"ShardingUser", "ShardingUserPolicy"} {
		script := filepath.Join(customizations, kind, "health.lua")
		var file struct {
			Tests []struct {
				InputPath    string `json:"inputPath"`
				HealthStatus object `json:"healthStatus"`
			} `json:"tests"`
		}
		read(t, filepath.Join(customizations, kind, "health_test.yaml"), &file)
		if len(file.Tests) < 4 {
			t.Fatalf("%s has %d tests, want at least 4", kind, len(file.Tests))
		}
		for _, tt := range file.Tests {
			t.Run(kind+"/"+tt.InputPath, func(t *testing.T) {
				var input object
				read(t, filepath.Join(customizations, kind, tt.InputPath), &input)
				if diff := cmp.Diff(tt.HealthStatus, run(t, script, input)); diff != "" {
					t.Errorf("the health differs (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// A reason that is added to the API needs a test of its health.
func TestEveryReasonOfTheAPIHasItsHealthTested(t *testing.T) {
	source, err := os.ReadFile("../../../api/v1alpha1/conditions.go")
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(customizations, "*", "testdata", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var tested strings.Builder
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tested.Write(content)
	}
	reasons := regexp.MustCompile(`\bReason\w+ += "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	for _, reason := range reasons {
		if !strings.Contains(tested.String(), "reason: "+reason[1]+"\n") {
			t.Errorf("no test has the reason %s", reason[1])
		}
	}
	if len(reasons) < 18 {
		t.Errorf("the API has %d reasons: are they still read right?", len(reasons))
	}
}

func TestActionsOnEveryState(t *testing.T) {
	actions := filepath.Join(customizations, "ShardingUser", "actions")
	var file struct {
		DiscoveryTests []struct {
			InputPath string   `json:"inputPath"`
			Result    []object `json:"result"`
		} `json:"discoveryTests"`
		ActionTests []struct {
			Action             string `json:"action"`
			InputPath          string `json:"inputPath"`
			ExpectedOutputPath string `json:"expectedOutputPath"`
		} `json:"actionTests"`
	}
	read(t, filepath.Join(actions, "action_test.yaml"), &file)
	if len(file.DiscoveryTests) == 0 || len(file.ActionTests) == 0 {
		t.Fatal("there are no tests of actions")
	}
	for _, tt := range file.DiscoveryTests {
		t.Run("discovery/"+tt.InputPath, func(t *testing.T) {
			var input object
			read(t, filepath.Join(actions, tt.InputPath), &input)
			want := object{}
			for _, action := range tt.Result {
				name := action["name"].(string)
				delete(action, "name")
				want[name] = action
			}
			if diff := cmp.Diff(want, run(t, filepath.Join(actions, "discovery.lua"), input)); diff != "" {
				t.Errorf("the offered actions differ (-want +got):\n%s", diff)
			}
		})
	}
	for _, tt := range file.ActionTests {
		t.Run(tt.Action+"/"+tt.InputPath, func(t *testing.T) {
			var input, want object
			read(t, filepath.Join(actions, tt.InputPath), &input)
			read(t, filepath.Join(actions, tt.ExpectedOutputPath), &want)
			got := run(t, filepath.Join(actions, tt.Action, "action.lua"), input)
			if tt.Action == "unlock" {
				requestIsOfNow(t, got)
			}
			if diff := cmp.Diff(withoutEmpty(want), withoutEmpty(got)); diff != "" {
				t.Errorf("the changed object differs (-want +got):\n%s", diff)
			}
		})
	}
}

// requestIsOfNow checks the time of a request to unlock, and replaces it with the time of the expected object.
func requestIsOfNow(t *testing.T, user object) {
	t.Helper()
	const key = "sharding.io/unlock-requested-at"
	annotations := user["metadata"].(object)["annotations"].(object)
	at, err := time.Parse(time.RFC3339, annotations[key].(string))
	if age := time.Since(at); err != nil || age < 0 || age > time.Minute {
		t.Errorf("the annotation is %q, want the time of the request", annotations[key])
	}
	annotations[key] = "0001-01-01T00:00:00Z"
}

// run returns the result of a script that gets the object as the global variable obj.
func run(t *testing.T, script string, obj object) object {
	t.Helper()
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", toLua(state, obj))
	if err := state.DoFile(script); err != nil {
		t.Fatal(err)
	}
	result, ok := fromLua(state.Get(-1)).(object)
	if !ok {
		t.Fatalf("the script returns %v, want a table", state.Get(-1))
	}
	return result
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case float64:
		return lua.LNumber(value)
	case object:
		table := state.NewTable()
		for key, element := range value {
			table.RawSetString(key, toLua(state, element))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, element := range value {
			table.Append(toLua(state, element))
		}
		return table
	}
	return lua.LNil
}

func fromLua(value lua.LValue) any {
	switch value := value.(type) {
	case lua.LString:
		return string(value)
	case lua.LBool:
		return bool(value)
	case lua.LNumber:
		return float64(value)
	case *lua.LTable:
		if length := value.Len(); length > 0 {
			list := make([]any, length)
			for i := range list {
				list[i] = fromLua(value.RawGetInt(i + 1))
			}
			return list
		}
		fields := object{}
		value.ForEach(func(key, element lua.LValue) { fields[key.String()] = fromLua(element) })
		return fields
	}
	return nil
}

// withoutEmpty returns the fields without empty lists and objects, which are equal in Lua.
func withoutEmpty(fields object) object {
	for _, key := range slices.Collect(maps.Keys(fields)) {
		switch value := fields[key].(type) {
		case object:
			if withoutEmpty(value); len(value) == 0 {
				delete(fields, key)
			}
		case []any:
			for _, element := range value {
				if element, ok := element.(object); ok {
					withoutEmpty(element)
				}
			}
			if len(value) == 0 {
				delete(fields, key)
			}
		}
	}
	return fields
}

func read(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
