// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Outcome is how an attempt ended, as the audit trail has it.
type Outcome string

const (
	// Pending: charged, and not settled yet, or never.
	Pending Outcome = "pending"

	// Succeeded: the password was right, and the success stood.
	Succeeded Outcome = "success"

	// Failed: the password was wrong, or another one by the time it was settled.
	Failed Outcome = "failed"

	// RefusedUnknown: there was no such account.
	RefusedUnknown Outcome = "unknown"

	// RefusedLocked: the account was locked.
	RefusedLocked Outcome = "locked"

	// RefusedInactive: the account was not active, or had ended.
	RefusedInactive Outcome = "inactive"

	// Unchecked: charged, and never compared with a password, since the database did not return. It does not count.
	Unchecked Outcome = "unchecked"
)

// Record is an attempt in the audit trail. Its texts are of one line and can be printed: what cannot, and what is no
// UTF-8, is escaped as Go does it; a backslash stands for itself, so that a username is found as it is. They are cut
// after that, between characters.
type Record struct {
	ID        int64
	Time      time.Time // by the store's clock
	Username  string    // at most MaxUsername characters
	Source    string    // at most MaxSource characters, all of them ASCII
	UserAgent string    // at most MaxUserAgent characters, all of them ASCII
	Outcome   Outcome
}

// CountedRecord is a row of the audit trail. It stands for several rejected attempts if it has no username.
type CountedRecord struct {
	Record
	Attempts int
}

// TrailSize is an estimate of the size of the audit trail, by outcome.
type TrailSize map[Outcome]TrailPart

// TrailPart is the number of rows of one outcome, and their bytes on disk with those of their index entries.
type TrailPart struct{ Rows, Bytes int64 }

// Bytes returns the size of the whole trail.
func (s TrailSize) Bytes() (sum int64) {
	for _, part := range s {
		sum += part.Bytes
	}
	return sum
}

// The most characters of a Record's texts, and of a username that an account can have.
const (
	MaxUsername  = 255
	MaxSource    = 64
	MaxUserAgent = 255
)

// MayBeUsername reports whether an account can have this username in any database. No other text is sent to a database.
func MayBeUsername(text string) bool {
	return len(text) <= MaxUsername*utf8.UTFMax && utf8.RuneCountInString(text) <= MaxUsername &&
		utf8.ValidString(text) && !strings.Contains(text, "\x00")
}

// Record returns the attempt as it is recorded: under the username that was sent where there is such an account, otherwise
// under the alias, since people type passwords into the wrong field.
func (a Attempt) Record(exists bool) Record {
	username := a.Alias
	if exists {
		username = a.Username
	}
	return Record{
		Username:  printable(username, MaxUsername, unicode.MaxRune),
		Source:    printable(a.Source, MaxSource, unicode.MaxASCII),
		UserAgent: printable(a.UserAgent, MaxUserAgent, unicode.MaxASCII),
	}
}

// Clean returns the record with texts that a Record may have. Such texts stay as they are.
func (r Record) Clean() Record {
	texts := Attempt{Username: r.Username, Source: r.Source, UserAgent: r.UserAgent}.Record(true)
	r.Username, r.Source, r.UserAgent = texts.Username, texts.Source, texts.UserAgent
	return r
}

// printable returns the text in printable characters up to highest, at most so many of them. It escapes others as Go does.
func printable(text string, most int, highest rune) string {
	var b strings.Builder
	for length := 0; text != ""; {
		r, size := utf8.DecodeRuneInString(text)
		shown := text[:size]
		switch {
		case r == utf8.RuneError && size == 1:
			shown = fmt.Sprintf(`\x%02x`, text[0])
		case !strconv.IsPrint(r) || r > highest:
			quoted := strconv.QuoteRuneToASCII(r)
			shown = quoted[1 : len(quoted)-1]
		}
		if length += utf8.RuneCountInString(shown); length > most {
			break
		}
		b.WriteString(shown)
		text = text[size:]
	}
	return b.String()
}
