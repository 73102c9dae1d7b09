// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/audit"
	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// hostile are texts that a terminal would act on, by what they would do.
var hostile = map[string]string{
	"colour":               "\x1b[31mred",
	"title":                "\x1b]0;title\x07",
	"clear":                "\x1b[2J\x1b[H",
	"overwrite":            "secret\rpublic",
	"erase":                "abc\b\b\bxyz",
	"C1 of eight bits":     "a\x9b31m",
	"C1 in UTF-8":          "a\u009b31m\u0085",
	"delete":               "a\x7fb",
	"NUL":                  "a\x00b",
	"overrides":            "\u202egnp.exe\u202c",
	"isolates":             "\u2066a\u2067b\u2068c\u2069",
	"marks":                "a\u200eb\u200fc\u061c",
	"zero width":           "al\u200bi\u200cc\u200de\u2060\ufeff",
	"soft hyphen":          "al\u00adice",
	"line separators":      "a\u2028b\u2029c",
	"tags":                 "a\U000e0061\U000e007f",
	"private use":          "a\ue000\U000f0000",
	"no UTF-8":             "a\xff\xfe\xe2\x82",
	"a forged line":        "a\nshardinguser/b is in order",
	"a forged cell":        "a\tReady\vx\fy",
	"the replacement rune": "a\ufffdb",
}

// mustBeSafe fails where a terminal would act on a text. It has so many ends of lines, and no tab.
func mustBeSafe(t *testing.T, text string, lines int) {
	t.Helper()
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd") {
			t.Errorf("%q is no UTF-8", text)
		}
		if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)) {
			t.Errorf("%q has %U", text, r)
		}
	}
	if n := strings.Count(text, "\n"); n != lines {
		t.Errorf("%q has %d lines, want %d", text, n, lines)
	}
}

func TestTextOfOthersIsEscapedAndStaysOnItsLine(t *testing.T) {
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s := &stream{&out}
			s.say("%s|%v|%q|%-5s|%v", text, v1alpha1.Role(text), text, []byte(text), []string{text})
			mustBeSafe(t, out.String(), 1)
			out.Reset()
			table(s, []string{"A", "B"}, [][]string{{text, text}, {"x", text}})
			mustBeSafe(t, out.String(), 3)
			out.Reset()
			_, _ = s.Write([]byte(strings.NewReplacer("\n", "", "\t", "").Replace(text))) // as a library does
			mustBeSafe(t, out.String(), 0)
		})
	}
}

// An error may have lines, since some of ours do. Nothing else is left of what it quotes.
func TestAnErrorIsEscapedAndKeepsItsLines(t *testing.T) {
	for name, text := range hostile {
		var out bytes.Buffer
		(&stream{&out}).say("error: %v", errors.Join(errors.New("ours"), fmt.Errorf("of the server: %s", text)))
		mustBeSafe(t, out.String(), 2+strings.Count(text, "\n"))
		if !strings.HasPrefix(out.String(), "error: ours\nof the server: ") {
			t.Errorf("%s: %q", name, out.String())
		}
	}
}

func TestGraphicTextIsLeftAsItIs(t *testing.T) {
	for _, text := range []string{"", "alice", "Zoë Müller-Łukasz", "用户", "пользователь", "🙂 ~`\\\"'", "non-breaking\u00a0space"} {
		if got := escaped(text, "", surrogates); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

// Output for programs is safe on a terminal too, and its values are unchanged.
func TestEscapesChangeNoValueOfJSONOrYAML(t *testing.T) {
	for name, text := range hostile {
		for _, format := range []string{asJSON, asYAML} {
			var out bytes.Buffer
			o := output{format: format}
			in := map[string]string{"text": text, "other": "plain"}
			if err := o.value(&stream{&out}, in); err != nil {
				t.Fatal(err)
			}
			mustBeSafe(t, out.String(), strings.Count(out.String(), "\n"))
			var got map[string]string
			parse := func(text []byte, v any) error { return yaml.Unmarshal(text, v) }
			if format == asJSON {
				parse = json.Unmarshal
			}
			want := strings.ToValidUTF8(text, "\ufffd")
			if err := parse(out.Bytes(), &got); err != nil {
				t.Errorf("%s cannot be read as %s: %v\n%s", name, format, err, out.String())
			} else if squeezed(got["text"]) != squeezed(want) || got["other"] != "plain" {
				t.Errorf("%s as %s is %q, want %q", name, format, got["text"], want)
			}
		}
	}
}

// squeezed makes one of replacement characters in a row: JSON has one for each byte.
func squeezed(text string) string {
	for strings.Contains(text, "\ufffd\ufffd") {
		text = strings.ReplaceAll(text, "\ufffd\ufffd", "\ufffd")
	}
	return text
}

// hostileUser has such a text wherever a string is.
func hostileUser(text string) v1alpha1.ShardingUser {
	return v1alpha1.ShardingUser{
		ObjectMeta: metav1.ObjectMeta{Name: text, Namespace: text, Annotations: map[string]string{"a": text}},
		Spec: v1alpha1.ShardingUserSpec{
			Username: text, Roles: []v1alpha1.Role{v1alpha1.Role(text)},
			Password: &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: text, Key: text}},
		},
		Status: v1alpha1.ShardingUserStatus{
			Username: text, PermittedBy: text,
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: text, Message: text}},
		},
	}
}

func TestWhatCommandsPrintOfHostileUsersIsSafe(t *testing.T) {
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			e := newEnv(genericiooptions.IOStreams{Out: &out, ErrOut: &out})
			u := hostileUser(text)
			header, rows := columns([]v1alpha1.ShardingUser{u}, u.CreationTimestamp.Time, true, true)
			table(e.Out, header, rows)
			(&doctor{env: e}).tell(examination{
				Users:   []examined{{Namespace: text, Name: text, Results: one("Ready", wrong, text, "%s", text)}},
				Cluster: one("Database", wrong, text, "%s", text),
			})
			for _, format := range []string{asName, asJSON, asYAML} {
				if err := (&output{format: format}).users(e.Out, []v1alpha1.ShardingUser{u}, format == asYAML); err != nil {
					t.Error(err)
				}
			}
			records := []audit.Attempt{{Outcome: store.Failed, Source: text, UserAgent: text}}
			for _, format := range []string{"", asJSON, asYAML} {
				changes := []audit.Change{{Action: "roles", NewActive: new(true), NewRoles: []string{text}, Manager: text, Reason: text, Resource: audit.Resource{Name: text}}}
				if err := (&historian{env: e, output: output{format: format}}).tell(text, changes); err != nil {
					t.Error(err)
				}
				if err := (&auditor{env: e, output: output{format: format}}).tell(text, records); err != nil {
					t.Error(err)
				}
			}
			mustBeSafe(t, out.String(), strings.Count(out.String(), "\n"))
		})
	}
}

// Run hands the streams on to nothing before they escape: here what comes back is the command line's.
func TestStreamsEscapeWhateverWritesToThem(t *testing.T) {
	for _, args := range [][]string{{"\x1b[31m"}, {"list", "--\u202ex"}, {"list", "-o", "\x9b"}, {"logins", "a", "--outcome", "\x1b]0;x\x07"}} {
		var out bytes.Buffer
		Run(t.Context(), "", genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}, args)
		if out.Len() == 0 {
			t.Errorf("%q prints nothing", args)
		}
		mustBeSafe(t, out.String(), strings.Count(out.String(), "\n"))
	}
}

// The streams of commands are of a type that escapes. Nothing else leads to the terminal: not the process's own streams,
// not package fmt or log, and not another stream made of the ones that Run got.
func TestNothingIsPrintedAroundTheStreams(t *testing.T) {
	files := token.NewFileSet()
	for _, folder := range []string{".", "importer"} {
		packages, err := parser.ParseDir(files, folder, func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0) //nolint:staticcheck // build tags do not matter
		if err != nil || len(packages) != 1 {
			t.Fatalf("%s has %d packages: %v", folder, len(packages), err)
		}
		for _, p := range packages {
			for name, file := range p.Files {
				for _, found := range around(file, name == "stream.go") {
					t.Errorf("%s: %s goes around the streams: use say", files.Position(found.Pos()), found.Name)
				}
			}
		}
	}
	probe, err := parser.ParseFile(files, "probe.go", "package cli\nfunc f() { fmt.Fprintln(w, x); os.Stdout.Write(x); println(x); e.Out.raw.Write(x); streams.ErrOut.Write(x); log.Print(x); fmt.Printf(x); klog.Info(x) }", 0)
	if err != nil {
		t.Fatal(err)
	}
	if found := around(probe, false); len(found) != 8 {
		t.Errorf("of 8 ways around the streams %d are found", len(found))
	}
}

// around returns the identifiers of a file that lead to a terminal by another way than a stream.
func around(file *ast.File, isStream bool) (found []*ast.Ident) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			of, ok := n.X.(*ast.Ident)
			switch {
			case n.Sel.Name == "raw" && !isStream:
				found = append(found, n.Sel)
			case !ok:
			case of.Name == "fmt" && strings.Contains(n.Sel.Name, "rint") && !strings.HasPrefix(n.Sel.Name, "Sp") && !isStream,
				of.Name == "os" && slices.Contains([]string{"Stdout", "Stderr", "NewFile"}, n.Sel.Name),
				of.Name == "streams" && n.Sel.Name != "In" && !isStream,
				of.Name == "log", of.Name == "klog", of.Name == "slog", of.Name == "syscall" && n.Sel.Name == "Write":
				found = append(found, n.Sel)
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "print" || f.Name == "println") {
				found = append(found, f)
			}
		}
		return true
	})
	return found
}
