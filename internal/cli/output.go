// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// The values of -o.
const (
	asJSON = "json"
	asYAML = "yaml"
	asName = "name"
	asWide = "wide"
)

// output is the flag -o. The empty value is for people.
type output struct {
	format  string
	formats []string
}

// bind adds the flag, with the formats that the command knows.
func (o *output) bind(cmd *cobra.Command, formats ...string) {
	o.formats = formats
	cmd.Flags().StringVarP(&o.format, "output", "o", "", "Output format, one of "+strings.Join(formats, ", "))
	complete(cmd, "output", words(formats...))
}

// check refuses a format that the command does not know.
func (o *output) check() error {
	if o.format != "" && !slices.Contains(o.formats, o.format) {
		return fmt.Errorf("the output format %q is not one of %s", o.format, strings.Join(o.formats, ", "))
	}
	return nil
}

// structured tells whether the output is for programs.
func (o *output) structured() bool { return o.format == asJSON || o.format == asYAML }

// value writes a value that is no resource.
func (o *output) value(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "    ")
	if err == nil && o.format == asYAML {
		text, err = yaml.JSONToYAML(text)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, strings.TrimSuffix(string(text), "\n"))
	return err
}

// users writes ShardingUsers as kubectl writes them: one as itself, unless it is a list that was asked for.
func (o *output) users(w io.Writer, users []v1alpha1.ShardingUser, list bool) error {
	var printer printers.ResourcePrinter
	switch o.format {
	case asJSON:
		printer = &printers.JSONPrinter{}
	case asYAML:
		printer = &printers.YAMLPrinter{}
	default:
		printer = &printers.NamePrinter{}
	}
	printer = printers.NewTypeSetter(scheme).ToPrinter(printer)
	if o.structured() && (list || len(users) != 1) {
		// Not ShardingUserList: kubectl's lists are of no kind of their own.
		items := make([]any, 0, len(users))
		for i := range users {
			users[i].SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ShardingUser"))
			users[i].ManagedFields = nil
			items = append(items, &users[i])
		}
		return o.value(w, map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	}
	for i := range users {
		users[i].ManagedFields = nil
		if err := printer.PrintObj(&users[i], w); err != nil {
			return err
		}
	}
	return nil
}

// table writes columns as kubectl does.
func table(w io.Writer, header []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	t := printers.GetNewTabWriter(w)
	for _, row := range append([][]string{header}, rows...) {
		fmt.Fprintln(t, printers.EscapeTerminal(strings.Join(row, "\t")))
	}
	_ = t.Flush() // to a terminal: nobody could act on the error
}

// ago is how long ago something was, as kubectl says it; empty for never.
func ago(now time.Time, then *time.Time) string {
	if then == nil || then.IsZero() {
		return ""
	}
	return duration.HumanDuration(max(0, now.Sub(*then)))
}

// called is an object as kubectl calls it: kind and name.
func called(o client.Object) string {
	if _, ok := o.(*v1alpha1.ShardingUser); ok {
		return objectUser + o.GetName()
	}
	return objectSecret + o.GetName()
}
