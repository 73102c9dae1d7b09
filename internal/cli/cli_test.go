// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// run is the program, without a cluster, a database or a terminal.
func run(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("USER_DATABASE_DSN", "")
	var stdout, stderr bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &stdout, ErrOut: &stderr}
	code = Run(context.WithoutCancel(t.Context()), "v1.2.3", streams, args)
	return code, stdout.String(), stderr.String()
}

func TestEveryCommandHasHelpExamplesAndStructuredOutput(t *testing.T) {
	streams := genericiooptions.NewTestIOStreamsDiscard()
	root := newRoot("", newEnv(streams))
	for _, cmd := range root.Commands() {
		name := cmd.Name()
		if cmd.Short == "" || cmd.Long == "" || !strings.Contains(cmd.Example, "kubectl shardinguser "+name) {
			t.Errorf("%s teaches too little", name)
		}
		output := cmd.Flags().Lookup("output")
		if output == nil || !strings.Contains(output.Usage, asJSON) || !strings.Contains(output.Usage, asYAML) {
			t.Errorf("%s has no -o json|yaml", name)
		}
		if cmd.Args == nil && cmd.ValidArgsFunction == nil {
			t.Errorf("%s completes no arguments", name)
		}
		code, out, errOut := run(t, name, "--help")
		if code != ExitDone || !strings.Contains(out, "Usage:\n  kubectl shardinguser "+name) || errOut != "" {
			t.Errorf("%s --help ends with %d:\n%s%s", name, code, out, errOut)
		}
	}
}

func TestWrongCommandLinesAreRefusedWithASentence(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no such command":                   {[]string{"lst"}, `unknown command "lst"`},
		"no such flag":                      {[]string{"list", "--lokked"}, "--lokked"},
		"a format of another command":       {[]string{"doctor", "-o", "wide"}, "one of json, yaml"},
		"orphans in a format of others":     {[]string{"orphans", "-o", "wide"}, "one of name, json, yaml"},
		"an argument too many":              {[]string{"list", "alice"}, "alice"},
		"an argument too few":               {[]string{"lock"}, "arg"},
		"nobody to unlock":                  {[]string{"unlock"}, "--all-locked"},
		"both names and all":                {[]string{"unlock", "alice", "--all-locked"}, "--all-locked"},
		"names of all namespaces":           {[]string{"unlock", "alice", "-A"}, "--all-locked"},
		"a name in all namespaces":          {[]string{"doctor", "alice", "-A"}, "cannot be combined with a name"},
		"no username":                       {[]string{"logins"}, "--username"},
		"an outcome that there is none":     {[]string{"logins", "alice", "--outcome", "good"}, "success"},
		"a trail without a cluster":         {[]string{"logins", "--username", "alice"}, "list the pods of the operator"},
		"no username of changes":            {[]string{"history"}, "--username"},
		"an action that there is none":      {[]string{"history", "alice", "--action", "good"}, "created"},
		"a negative time":                   {[]string{"history", "alice", "--since", "-1h"}, "must not be negative"},
		"a trail without TLS":               {[]string{"history", "--username", "a", "--audit-url", "http://127.0.0.1:1"}, "--audit-url is not"},
		"a trail without an authority":      {[]string{"history", "--username", "a", "--audit-url", "https://127.0.0.1:1", "--audit-certificate-authority", "/nowhere"}, "nowhere"},
		"a trail without a token":           {[]string{"history", "--username", "a", "--audit-url", "https://127.0.0.1:1"}, "--service-account"},
		"a trail as another user":           {[]string{"history", "--username", "a", "--audit-url", "https://127.0.0.1:1", "--as", "eve"}, "--as has no effect"},
		"a trail as half an account":        {[]string{"history", "--username", "a", "--service-account", "team-a"}, "NAMESPACE/NAME"},
		"a DSN in place of its file":        {[]string{"import", "--dsn-file", "postgres://a:c4n4ry@b/c"}, "the path of a file"},
		"nobody to ask for a password":      {[]string{"set-password", "alice"}, "--stdin"},
		"two sources of a password":         {[]string{"set-password", "alice", "--stdin", "--generate"}, "stdin"},
		"a short random password":           {[]string{"set-password", "alice", "--generate=8"}, "16 to 72"},
		"a cheap hash":                      {[]string{"set-password", "alice", "--stdin", "--bcrypt-cost=4"}, "10 to 14"},
		"two targets":                       {[]string{"import", "--apply", "--directory", "x"}, "apply"},
		"one file without a directory":      {[]string{"import", "--single-file"}, "--directory"},
		"two streams on the output":         {[]string{"import", "--secrets=separate"}, "--directory"},
		"another word for what becomes":     {[]string{"import", "--secrets=no"}, "skip"},
		"a deletion policy that is none":    {[]string{"import", "--deletion-policy=Keep"}, "Retain"},
		"nobody to transfer to":             {[]string{"transfer"}, "--all"},
		"a transfer to names and to all":    {[]string{"transfer", "alice", "--all"}, "--all"},
		"a transfer to names everywhere":    {[]string{"transfer", "alice", "-A"}, "--all"},
		"a transfer without a database":     {[]string{"transfer", "alice"}, "USER_DATABASE_DSN"},
		"no cluster":                        {[]string{"list", "--server=http://127.0.0.1:1"}, "refused"},
		"no database behind a DSN, refused": {[]string{"import", "--dsn-file", "/nowhere/dsn"}, "cannot read"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := run(t, tt.args...)
			if code != ExitFailed || out != "" || !strings.Contains(errOut, tt.want) || !strings.HasPrefix(errOut, "error: ") {
				t.Errorf("it ends with %d, %q, %q, want %d and %q", code, out, errOut, ExitFailed, tt.want)
			}
			if strings.Contains(errOut, "c4n4ry") {
				t.Error("it tells a secret")
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if code, out, _ := run(t, "--version"); code != ExitDone || !strings.Contains(out, "v1.2.3") {
		t.Errorf("--version ends with %d: %s", code, out)
	}
}

func TestFindingsAreToldFromFailures(t *testing.T) {
	failure := errors.New("failed")
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"a finding":                {findingf("x"), true},
		"a finding in an error":    {fmt.Errorf("x: %w", finding("")), true},
		"several findings":         {errors.Join(findingf("x"), findingf("y")), true},
		"a failure":                {failure, false},
		"a finding and a failure":  {errors.Join(findingf("x"), failure), false},
		"a failure and a finding":  {errors.Join(failure, findingf("x")), false},
		"several of one kind only": {errors.Join(findingf("x"), errors.Join(findingf("y"), failure)), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isFinding(tt.err); got != tt.want {
				t.Errorf("isFinding = %v", got)
			}
		})
	}
}

func TestEveryShellHasItsCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, errOut := run(t, "completion", shell); code != ExitDone || !strings.Contains(out, "kubectl-shardinguser") {
			t.Errorf("completion %s ends with %d: %s", shell, code, errOut)
		}
	}
	_, out, _ := run(t, cobra.ShellCompRequestCmd, "import", "--secrets", "s")
	if !strings.Contains(out, "separate\n") {
		t.Errorf("the values of --secrets are completed by:\n%s", out)
	}
}
