// SPDX-License-Identifier: Apache-2.0

package main

import "regexp"

// A rule bans a wording; with begins, only at the beginning of a sentence that is not a question.
type rule struct {
	banned  *regexp.Regexp
	instead string
	begins  bool
}

// things are nouns that "who" must not follow.
const things = `account|call|client|connection|database|leader|lock|manager|operator|pod|policy|process|program|replica|request|resource|role|row|service|session|system`

var rules = []rule{
	{banned: word(`log-ins?`), instead: `"login", or "log in" as the verb`},
	{banned: word(`(?:tells?|told|telling) of`), instead: `"report", "log" or "record"`},
	{banned: word(`mend(?:s|ed|ing)?`), instead: `"fix"`},
	{banned: word(`anew`), instead: `"again"`},
	{banned: word(`at will`), instead: `"optional"`},
	{banned: word(`for all that`), instead: `"still", or nothing`},
	{banned: word(`all the same`), instead: `"still", or nothing`},
	{banned: word(`as ever`), instead: `nothing`},
	{banned: word(`in spite of`), instead: `"despite"`},
	{banned: word(`(?:for )?whoever|whosoever`), instead: `the noun: "users", "programs"`},
	{banned: word(`s?he|him|his|hers?`), instead: `"it" for things, "they" for people`},
	{banned: word(`(?:some|every)body`), instead: `the noun: "a user", "another program", "administrators"`},
	{banned: word(`(?:` + things + `)s?,? (?:who|whom)`), instead: `"that" or "which": a thing is no person`},
	{banned: word(`(?:is|are|was|were|be|been|goes|went) away`), instead: `"unavailable", "deleted" or "gone"`},
	{banned: word(`(?:run|runs|ran) out`), instead: `"expire"`},
	{banned: word(`(?:put|puts|putting) back`), instead: `"correct" or "revert"`},
	{banned: word(`(?:see|sees|saw|seen) to`), instead: `"handle" or "check"`},
	{banned: word(`on record`), instead: `"recorded"`},
	{banned: word(`copy of the accounts`), instead: `"account cache"`},
	{banned: word(`who|whom|whose|what`), instead: `a subject: no sentence begins with a free relative`, begins: true},
}

func word(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)(?:^|[^\w-])(` + pattern + `)(?:$|[^\w-])`)
}

// sentence is one sentence with the mark that ends it.
var sentence = regexp.MustCompile(`[^.!?]+(?:[.!?](?:\S[^.!?]*)?)*`)

// found returns each banned wording in a text, with what to write instead.
func found(text string) (problems []string) {
	for _, r := range rules {
		if r.begins {
			for _, s := range sentence.FindAllString(text, -1) {
				if m := r.banned.FindStringSubmatchIndex(s); m != nil && isBeginning(s[:m[2]]) && s[len(s)-1] != '?' && s[m[2]] < 'a' {
					problems = append(problems, problem(s[m[2]:m[3]], r.instead))
				}
			}
			continue
		}
		for _, m := range r.banned.FindAllStringSubmatch(text, -1) {
			problems = append(problems, problem(m[1], r.instead))
		}
	}
	return problems
}

func problem(banned, instead string) string { return `"` + banned + `": write ` + instead }

var blank = regexp.MustCompile(`^[\s*>|-]*$`)

func isBeginning(before string) bool { return blank.MatchString(before) }
