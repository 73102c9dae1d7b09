// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/cli/importer"
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

// value writes a value for programs.
func (o *output) value(w *stream, v any) error {
	marshal := safeJSON
	if o.format == asYAML {
		marshal = safeYAML
	}
	text, err := marshal(v)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, strings.TrimSuffix(text, "\n")+"\n")
	return err
}

// users writes ShardingUsers as kubectl writes them: one as itself, unless it is a list that was asked for.
func (o *output) users(w *stream, users []v1alpha1.ShardingUser, list bool) error {
	items := make([]any, 0, len(users))
	for i := range users {
		users[i].SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ShardingUser"))
		users[i].ManagedFields = nil
		items = append(items, &users[i])
	}
	switch {
	case !o.structured():
		for i := range users {
			w.say("%s", called(&users[i]))
		}
		return nil
	case list || len(users) != 1:
		// Not ShardingUserList: kubectl's lists are of no kind of their own.
		return o.value(w, map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	}
	return o.value(w, items[0])
}

// table writes columns as kubectl does.
func table(w *stream, header []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	t := printers.GetNewTabWriter(w)
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			if i > 0 {
				_, _ = io.WriteString(t, "\t")
			}
			_, _ = io.WriteString(t, escaped(cell, "", beyondASCII))
		}
		_, _ = io.WriteString(t, "\n")
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
func called(o client.Object) string { return importer.Called(o) }
