// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// composeFile is the allowed content of compose.yaml.
type composeFile struct {
	Name     string                    `json:"name"`
	Services map[string]composeService `json:"services"`
	Volumes  map[string]*struct{}      `json:"volumes"`
}

type composeService struct {
	Image       string                       `json:"image"`
	Build       string                       `json:"build"`
	Restart     string                       `json:"restart"`
	User        string                       `json:"user"`
	Command     []string                     `json:"command"`
	Environment map[string]string            `json:"environment"`
	Volumes     []string                     `json:"volumes"`
	Ports       []string                     `json:"ports"`
	DependsOn   map[string]map[string]string `json:"depends_on"`
	Healthcheck map[string]any               `json:"healthcheck"`
	ReadOnly    bool                         `json:"read_only"`
	CapDrop     []string                     `json:"cap_drop"`
	SecurityOpt []string                     `json:"security_opt"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file composeFile
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

// interpolated returns a text with variables in place of ${NAME}, ${NAME:-default} and ${NAME:?what for}, as compose
// does.
func interpolated(t *testing.T, text string, variables map[string]string) string {
	t.Helper()
	return regexp.MustCompile(`\$\{(\w+)(?::([-?])([^}]*))?\}`).ReplaceAllStringFunc(text, func(match string) string {
		parts := regexp.MustCompile(`\$\{(\w+)(?::([-?])([^}]*))?\}`).FindStringSubmatch(match)
		value, set := variables[parts[1]]
		if !set && parts[2] != "-" {
			t.Fatalf("compose.yaml wants %s", parts[1])
		}
		if !set {
			return parts[3]
		}
		return value
	})
}

func TestComposeIsAsHardenedAsTheDeployment(t *testing.T) {
	t.Parallel()
	g := gomega.NewWithT(t)
	file := readCompose(t)
	manager := file.Services["manager"]
	g.Expect(interpolated(t, manager.Image, nil)).To(gomega.HavePrefix("ghcr.io/sharding-system/shardinguser-operator:"))
	g.Expect(manager.ReadOnly).To(gomega.BeTrue())
	g.Expect(manager.CapDrop).To(gomega.Equal([]string{"ALL"}))
	g.Expect(manager.SecurityOpt).To(gomega.ContainElement("no-new-privileges:true"))
	for name, service := range file.Services {
		for other, want := range service.DependsOn {
			g.Expect(file.Services).To(gomega.HaveKey(other))
			if want["condition"] == "service_healthy" {
				g.Expect(file.Services[other].Healthcheck).NotTo(gomega.BeEmpty(), other)
			}
		}
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if !strings.ContainsAny(source, "$./") {
				g.Expect(file.Volumes).To(gomega.HaveKey(source), name)
			}
		}
		for _, port := range service.Ports {
			g.Expect(port).To(gomega.HavePrefix("127.0.0.1:"), "nothing is open to the network unless one says so")
		}
	}
	// The manager listens on the published ports.
	flags, known := flagsOf(manager.Command), defaults(t)
	for flag := range flags {
		g.Expect(known).To(gomega.HaveKey(flag))
	}
	for _, flag := range []string{"login-bind-address", "metrics-bind-address", "health-probe-bind-address"} {
		_, port, err := net.SplitHostPort(flags[flag])
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(manager.Ports).To(gomega.ContainElement("127.0.0.1:" + port + ":" + port))
	}
	for name := range manager.Environment {
		flag, own := strings.CutPrefix(name, "SHARDINGUSER_")
		if own {
			g.Expect(known).To(gomega.HaveKey(strings.ReplaceAll(strings.ToLower(flag), "_", "-")), name)
		} else {
			g.Expect(name).To(gomega.Equal("USER_DATABASE_DSN"))
		}
	}
}

// The test has no Docker. It runs the manager as its container would, except for addresses and paths.
func TestTheManagerRunsInCompose(t *testing.T) {
	g := gomega.NewWithT(t)
	uninstalled(t)
	manager := readCompose(t).Services["manager"]
	dsn := testenv.Database(t)
	environment := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	for name, value := range manager.Environment {
		value = interpolated(t, value, map[string]string{"POSTGRES_PASSWORD": "chosen"})
		if name == "USER_DATABASE_DSN" {
			g.Expect(value).To(gomega.Equal("postgres://sharding:chosen@postgres:5432/sharding?sslmode=disable"))
			value = dsn
		}
		environment = append(environment, name+"="+value)
	}
	mount := interpolated(t, manager.Volumes[0], map[string]string{"KUBECONFIG_FILE": plane.Kubeconfig()})
	source, target, _ := strings.Cut(strings.TrimSuffix(mount, ":ro"), ":")
	var args []string
	for _, arg := range manager.Command {
		if !strings.Contains(arg, "-bind-address=") {
			args = append(args, strings.Replace(arg, target, source, 1))
		}
	}
	g.Expect(args).To(gomega.ContainElement("--kubeconfig=" + plane.Kubeconfig()))
	kubectl(t, "apply", "--server-side", "--force-conflicts", "-k", filepath.Join(root, "config", "crd"))
	m, err := plane.StartManager(testenv.ManagerOptions{Program: program, Rights: plane.Config(), Args: args, Env: environment})
	g.Expect(err).NotTo(gomega.HaveOccurred())
	t.Cleanup(func() { g.Expect(m.Stop(25 * time.Second)).To(gomega.Succeed()) })
	g.Expect(m.Ready(t.Context())).To(gomega.Succeed())
	g.Eventually(func() (string, error) {
		said, err := os.ReadFile(m.Log)
		return string(said), err
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.ContainSubstring("The database schema is complete"))
}
