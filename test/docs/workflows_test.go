// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// workflow is the tested part of a GitHub Actions file.
type workflow struct {
	On          map[string]any    `json:"on"`
	Permissions map[string]string `json:"permissions"`
	Jobs        map[string]struct {
		Permissions    map[string]string `json:"permissions"`
		TimeoutMinutes int               `json:"timeout-minutes"`
		Uses           string            `json:"uses"`
		Steps          []struct {
			Uses string         `json:"uses"`
			With map[string]any `json:"with"`
			Run  string         `json:"run"`
		} `json:"steps"`
	} `json:"jobs"`
}

// A workflow with the rights of a release must not accept input from outside.
func TestWorkflowsHaveOnlyTheRightsThatTheyName(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(repository(t), ".github", "workflows", "*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("there are the workflows %v: %v", files, err)
	}
	fixed := regexp.MustCompile(`^[\w-]+/[\w/-]+@[0-9a-f]{40}$`)
	for _, file := range files {
		name := filepath.Base(file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var w workflow
		// YAML 1.1 reads an unquoted on as true.
		if err := yaml.Unmarshal([]byte(strings.Replace(string(text), "\non:\n", "\n\"on\":\n", 1)), &w); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(w.On) == 0 || len(w.Jobs) == 0 {
			t.Errorf("%s has the events %v and %d jobs", name, w.On, len(w.Jobs))
		}
		if w.On["pull_request_target"] != nil || w.On["workflow_run"] != nil {
			t.Errorf("%s runs with its own rights for any proposed change", name)
		}
		if w.Permissions == nil || len(w.Permissions) != 0 {
			t.Errorf("%s gives each job the rights %v, want none: permissions: {}", name, w.Permissions)
		}
		for job, j := range w.Jobs {
			if j.Permissions == nil {
				t.Errorf("%s: the job %s names no rights", name, job)
			}
			if j.Uses == "" && j.TimeoutMinutes == 0 {
				t.Errorf("%s: the job %s may run for as long as it likes", name, job)
			}
			for _, step := range j.Steps {
				if step.Uses != "" && !fixed.MatchString(step.Uses) {
					t.Errorf("%s: the job %s uses %s, which can become another program", name, job, step.Uses)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s: the job %s leaves its token in the checkout", name, job)
				}
				if strings.Contains(step.Run, "${{") {
					t.Errorf("%s: the job %s puts into a script what others may have written: take it by env", name, job)
				}
			}
		}
	}
}

// A tag can be moved to another image; a digest cannot.
func TestReleasesAreBuiltFromImagesByDigest(t *testing.T) {
	t.Parallel()
	read := func(path ...string) string {
		content, err := os.ReadFile(filepath.Join(append([]string{repository(t)}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	pinned := regexp.MustCompile(`(?m)^([A-Z_]+_IMAGE)=([^\s@:]+):([^\s@]+)@sha256:[0-9a-f]{64}$`).
		FindAllStringSubmatch(read(".github", "base-images.env"), -1)
	if len(pinned) == 0 {
		t.Fatal("no image is named by digest")
	}
	dockerfile, release := read("Dockerfile"), read(".github", "workflows", "release.yaml")
	for _, image := range pinned {
		argument, name := image[1], image[2]
		if !regexp.MustCompile(`(?m)^ARG ` + argument + `=` + regexp.QuoteMeta(name) + `:`).MatchString(dockerfile) {
			t.Errorf("the Dockerfile has no argument %s for %s", argument, name)
		}
		if !strings.Contains(release, `--build-arg "`+argument+`=$`+argument+`"`) {
			t.Errorf("the release does not build from %s", argument)
		}
	}
	if from := regexp.MustCompile(`(?m)^FROM .*`).FindAllString(dockerfile, -1); len(from) != len(pinned) {
		t.Errorf("the Dockerfile builds from %v, and %d images are pinned", from, len(pinned))
	}
}
