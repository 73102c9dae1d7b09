// SPDX-License-Identifier: Apache-2.0

package user

import (
	"slices"
	"strings"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Suspicion is a reason to think that a working password is not the intended one. It reveals only the kind of the
// value. The ownership record stores it, so values never change.
type Suspicion string

// The suspicions, the most significant first.
const (
	SuspectBase64      Suspicion = "base64"
	SuspectDocument    Suspicion = "document"
	SuspectAssignment  Suspicion = "assignment"
	SuspectCredentials Suspicion = "credentials"
	SuspectURL         Suspicion = "url"
	SuspectTemplate    Suspicion = "template"
	SuspectEscapes     Suspicion = "escapes"
	SuspectTwiceUTF8   Suspicion = "twice-utf8"
	SuspectQuotes      Suspicion = "quotes"
	SuspectEdge        Suspicion = "edge"
	SuspectCombining   Suspicion = "combining"
	SuspectInvisible   Suspicion = "invisible"
	SuspectLost        Suspicion = "lost"
	SuspectUsername    Suspicion = "username" // about the Secret, not the value
)

// suspicions has the text of each suspicion, as the end of a sentence that begins with "it".
var suspicions = []struct {
	Suspicion
	reason string
	text   string
}{
	{SuspectBase64, v1alpha1.ReasonLooksEncoded, "looks like base64 of printable text (Kubernetes encodes values itself: encode them once under data, never under stringData)"},
	{SuspectDocument, v1alpha1.ReasonLooksEncoded, "looks like a JSON, XML or PEM document (the key must hold only the password)"},
	{SuspectAssignment, v1alpha1.ReasonLooksEncoded, "looks like a line of a settings file, with a name before the value (the key must hold only the password)"},
	{SuspectCredentials, v1alpha1.ReasonLooksEncoded, "begins with the username and a colon (the key must hold only the password)"},
	{SuspectURL, v1alpha1.ReasonLooksEncoded, "looks like a URL, or like a reference that another program should have replaced"},
	{SuspectTemplate, v1alpha1.ReasonLooksEncoded, "looks like a template or a placeholder that was not filled in"},
	{SuspectEscapes, v1alpha1.ReasonLooksEncoded, "holds escape sequences of HTML, JSON or a shell, which stand for other characters"},
	{SuspectTwiceUTF8, v1alpha1.ReasonLooksEncoded, "looks like UTF-8 that was read as Latin-1 and encoded again"},
	{SuspectQuotes, v1alpha1.ReasonLooksQuoted, "is surrounded by quotation marks, which are part of the password"},
	{SuspectEdge, v1alpha1.ReasonHasEdgeSpace, "begins or ends with a space, a line ending or an invisible character (the operator drops one line ending at the end, nothing else)"},
	{SuspectCombining, v1alpha1.ReasonNotNormalised, "has characters that keyboards encode differently (it is not in the Unicode normal form NFC)"},
	{SuspectInvisible, v1alpha1.ReasonNotNormalised, "holds an invisible character or an unusual space"},
	{SuspectLost, v1alpha1.ReasonNotNormalised, "holds the character U+FFFD, which replaces a character that a conversion lost"},
	{SuspectUsername, v1alpha1.ReasonUsernameDiffers, `is in a kubernetes.io/basic-auth Secret whose key "username" differs from the username of this user`},
}

// Suspicions is a set of suspicions, comma-separated, the most significant first. The empty text is the empty set.
type Suspicions string

// NewSuspicions returns the set of suspicions for which holds returns true.
func NewSuspicions(holds func(Suspicion) bool) Suspicions {
	var found []string
	for _, s := range suspicions {
		if holds(s.Suspicion) {
			found = append(found, string(s.Suspicion))
		}
	}
	return Suspicions(strings.Join(found, ","))
}

// Has reports whether the set has the suspicion.
func (s Suspicions) Has(one Suspicion) bool {
	return slices.Contains(strings.Split(string(s), ","), string(one))
}

// Reason returns the reason of the condition PasswordSuspicious, from the most significant suspicion; "" if this
// version knows none of them.
func (s Suspicions) Reason() string {
	for _, known := range suspicions {
		if s.Has(known.Suspicion) {
			return known.reason
		}
	}
	return ""
}

// String describes the value, as the end of a sentence that begins with "it"; "" for the empty set. It contains no part
// of the value.
func (s Suspicions) String() string {
	var texts []string
	for _, known := range suspicions {
		if s.Has(known.Suspicion) {
			texts = append(texts, known.text)
		}
	}
	return strings.Join(texts, "; it ")
}
