// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// krewPlugin is a plugin's manifest, as https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/ has it.
type krewPlugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string         `json:"version"`
		Homepage         string         `json:"homepage"`
		ShortDescription string         `json:"shortDescription"`
		Description      string         `json:"description"`
		Caveats          string         `json:"caveats"`
		Platforms        []krewPlatform `json:"platforms"`
	} `json:"spec"`
}

type krewPlatform struct {
	Selector struct {
		MatchLabels struct {
			OS   string `json:"os"`
			Arch string `json:"arch"`
		} `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

func (p krewPlatform) String() string {
	return p.Selector.MatchLabels.OS + "_" + p.Selector.MatchLabels.Arch
}

func readKrew(t *testing.T, text []byte) (p krewPlugin) {
	t.Helper()
	if err := yaml.UnmarshalStrict(text, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// krew rejects another format, but only after a release.
func TestTheKrewManifestIsValid(t *testing.T) {
	t.Parallel()
	p := readKrew(t, []byte(page(t, "config/krew/shardinguser.yaml")))
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" {
		t.Errorf("it is a %s of %s", p.Kind, p.APIVersion)
	}
	if p.Metadata.Name != "shardinguser" { // the name of the file, and of the program after kubectl-
		t.Errorf("it is called %q", p.Metadata.Name)
	}
	if n := len(p.Spec.ShortDescription); n == 0 || n > 50 || p.Spec.Description == "" || !strings.HasPrefix(p.Spec.Homepage, "https://") {
		t.Errorf("it tells too little, or its short description (of %d characters) too much", n)
	}
	var platforms []string
	for _, platform := range p.Spec.Platforms {
		name := platform.String()
		platforms = append(platforms, name)
		if want := p.Spec.Homepage + "/releases/download/@VERSION@/kubectl-shardinguser_" + name + ".tar.gz"; platform.URI != want {
			t.Errorf("%s comes from %s, want %s", name, platform.URI, want)
		}
		bin := "kubectl-shardinguser"
		if platform.Selector.MatchLabels.OS == "windows" {
			bin += ".exe"
		}
		if platform.SHA256 != "@"+name+"@" || platform.Bin != bin {
			t.Errorf("%s has the digest %q and the program %q", name, platform.SHA256, platform.Bin)
		}
	}
	if want := []string{"linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64", "windows_amd64"}; !slices.Equal(platforms, want) {
		t.Errorf("platforms are %v, want %v", platforms, want)
	}
}

func TestAReleaseHasTheFilesOfTheKrewManifest(t *testing.T) {
	t.Parallel()
	release := page(t, ".github/workflows/release.yaml")
	for _, part := range []string{
		`make build-plugin VERSION="$GITHUB_REF_NAME"`,
		`dist/kubectl-shardinguser_*.tar.gz dist/shardinguser.yaml`,
		"subject-path: dist/*\n", // attested
	} {
		if !strings.Contains(release, part) {
			t.Errorf("the release does without %q", part)
		}
	}
	if !strings.Contains(page(t, "Makefile"), "\thack/build-plugin.sh $(VERSION)\n") {
		t.Error("make build-plugin builds something else")
	}
}

// For one platform, because the others differ only in the target of the Go build.
func TestThePluginsArchiveMatchesTheKrewManifest(t *testing.T) {
	t.Parallel()
	platform := runtime.GOOS + "_" + runtime.GOARCH
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(repository(t), "hack", "build-plugin.sh"), "v1.2.3", out, platform)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	text, err := os.ReadFile(filepath.Join(out, "shardinguser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p := readKrew(t, text)
	at := slices.IndexFunc(p.Spec.Platforms, func(p krewPlatform) bool { return p.String() == platform })
	if at < 0 || p.Spec.Version != "v1.2.3" {
		t.Fatalf("%s of version %s is not in\n%s", platform, p.Spec.Version, text)
	}
	ours := p.Spec.Platforms[at]
	archive := filepath.Join(out, path.Base(ours.URI))
	content, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	if digest := sha256.Sum256(content); ours.SHA256 != hex.EncodeToString(digest[:]) {
		t.Errorf("the digest is %s, want %x", ours.SHA256, digest)
	}
	if !strings.Contains(ours.URI, "/v1.2.3/") || regexp.MustCompile(`@(VERSION|`+platform+`)@`).Match(text) {
		t.Errorf("something is left to fill in:\n%s", text)
	}

	names := unpack(t, archive, out)
	if want := []string{"LICENSE", ours.Bin, "kubectl_complete-shardinguser"}; !slices.Equal(names, want) {
		t.Errorf("the archive has %v, want %v", names, want)
	}
	version, err := exec.CommandContext(t.Context(), filepath.Join(out, ours.Bin), "--version").Output()
	if err != nil || !strings.Contains(string(version), "v1.2.3") {
		t.Errorf("the program says %q: %v", version, err)
	}
}

// unpack writes the content of an archive into a folder, and returns the names in order.
func unpack(t *testing.T, archive, folder string) (names []string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	compressed, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(compressed); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, filepath.Base(header.Name)), content, header.FileInfo().Mode())
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}
