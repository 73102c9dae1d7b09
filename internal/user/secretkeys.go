// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// The list of a Secret's keys is limited, because it is part of a condition's message and of an Event.
const (
	mostKeys    = 10
	longestName = 40
)

// NoSuchKey is the problem of a Secret without the key. It names the keys of the Secret, never their values.
func NoSuchKey(secret, key string, there []string) *Problem {
	return &Problem{Reason: v1alpha1.ReasonSecretKeyNotFound, Message: fmt.Sprintf(
		"Secret %q has no key %q; %s.", secret, key, KeysInstead(there))}
}

// KeysInstead says which keys a Secret has and what to do.
func KeysInstead(there []string) string {
	there = slices.Sorted(slices.Values(there))
	switch len(there) {
	case 0:
		return "it is empty: add the key"
	case 1:
		if quoted := strconv.Quote(there[0]); len(there[0]) <= longestName && quoted == `"`+there[0]+`"` {
			return fmt.Sprintf("its only key is %s: add the key, or set spec.password.secretRef.key to %s", quoted, quoted)
		}
	}
	names := make([]string, 0, mostKeys)
	for _, name := range there[:min(mostKeys, len(there))] {
		if len(name) > longestName {
			name = strings.ToValidUTF8(name[:longestName], "") + "..."
		}
		names = append(names, fmt.Sprintf("%q", name))
	}
	more := ""
	if len(there) > mostKeys {
		more = fmt.Sprintf(" and %d more", len(there)-mostKeys)
	}
	return fmt.Sprintf("its keys are %s%s: add the key, or name one of these in spec.password.secretRef.key", strings.Join(names, ", "), more)
}
