// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Index returns the policies in a form in which a ValidatingAdmissionPolicy can evaluate all of them at once. With the
// policies as its parameters, every single one would have to permit a request. The index is the data of a ConfigMap.
// Each policy is an entry with one condition a line, and a user has to meet all of them:
//
//	label REGEXP     one of the namespace's labels, as key=value, matches
//	no-label REGEXP  no label matches
//	username REGEXP  the username matches
//	role REGEXP      each role matches
//	adoption REGEXP  the adoption policy matches
//	format REGEXP    the format of the password matches; Plain if there is none
//	deletion REGEXP  the deletion policy matches
//	valid-until REGEXP  "set" matches if the user has validUntil, otherwise the empty text
//	system REGEXP    the system matches; the empty text is the default system
//
// The syntax is RE2, as in Go and CEL. Without policies the index is empty. config/admission reads it.
func Index(policies []v1alpha1.ShardingUserPolicy) map[string]string {
	index := make(map[string]string, len(policies))
	for i := range policies {
		p, err := compile(&policies[i])
		if err != nil {
			index[policies[i].Name] = "username ^$" // permits no user: no username is empty
			continue
		}
		index[p.name] = strings.Join(p.conditions(), "\n")
	}
	return index
}

func (p policy) conditions() []string {
	conditions := p.labelConditions()
	conditions = append(conditions, "username "+p.usernames.String(), "role "+p.roles.String())
	if !p.adoption {
		conditions = append(conditions, "adoption "+whole(string(v1alpha1.AdoptionNever)))
	}
	if !p.hashes {
		conditions = append(conditions, "format "+whole(string(v1alpha1.PasswordFormatPlain)))
	}
	if p.lifetime > 0 {
		conditions = append(conditions, "valid-until "+whole("set")) // admission has no clock; the operator compares
	}
	if p.deletions != nil {
		var deletions []string
		for _, deletion := range p.deletions {
			deletions = append(deletions, string(deletion))
		}
		slices.Sort(deletions)
		conditions = append(conditions, "deletion "+whole(deletions...))
	}
	if p.systems != nil {
		var systems []string
		for _, system := range p.systems {
			systems = append(systems, string(system))
		}
		slices.Sort(systems)
		conditions = append(conditions, "system "+whole(systems...))
	}
	return conditions
}

// labelConditions returns the conditions of the selector. A selector that selects nothing has no requirements, so its
// condition matches no label.
func (p policy) labelConditions() []string {
	requirements, selectable := p.selector.Requirements()
	if !selectable {
		return []string{"label ^$"}
	}
	slices.SortFunc(requirements, func(a, b labels.Requirement) int { return cmp.Compare(a.String(), b.String()) })
	conditions := make([]string, 0, len(requirements))
	for _, r := range requirements {
		key := regexp.QuoteMeta(r.Key())
		switch r.Operator() {
		case selection.Exists:
			conditions = append(conditions, fmt.Sprintf("label ^%s=", key))
		case selection.DoesNotExist:
			conditions = append(conditions, fmt.Sprintf("no-label ^%s=", key))
		case selection.NotIn, selection.NotEquals:
			conditions = append(conditions, fmt.Sprintf("no-label ^%s=%s$", key, alternatives(r)))
		default: // In and its equivalents
			conditions = append(conditions, fmt.Sprintf("label ^%s=%s$", key, alternatives(r)))
		}
	}
	return conditions
}

// alternatives returns the expression that matches one of a requirement's values.
func alternatives(r labels.Requirement) string {
	var quoted []string
	for _, value := range r.ValuesUnsorted() {
		quoted = append(quoted, regexp.QuoteMeta(value))
	}
	slices.Sort(quoted)
	return "(?:" + strings.Join(quoted, "|") + ")"
}
