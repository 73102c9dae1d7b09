// SPDX-License-Identifier: Apache-2.0

package session

import (
	"maps"
	"strings"
)

// Pin sets the pinned settings and the search path, whatever the parameters of the DSN set.
func Pin(params map[string]string) {
	pinSettings(params)
	pinPath(params)
}

// pinned are the settings that each session starts with. PgBouncer tracks all of them, and so accepts them at start-up; it
// rejects others. The driver relies on client_encoding and standard_conforming_strings.
var pinned = map[string]string{
	"timezone":                    "UTC",
	"datestyle":                   "ISO, MDY",
	"standard_conforming_strings": "on",
	"client_encoding":             "UTF8",
}

// pinSettings sets the pinned settings, and removes those of the DSN. Names are case-insensitive, and the parameter options may
// have them too. The server reads options first, but a pooler reads the parameters in any order.
func pinSettings(params map[string]string) {
	maps.DeleteFunc(params, func(name, _ string) bool {
		_, isPinned := pinned[strings.ToLower(name)]
		return isPinned
	})
	if options, ok := params["options"]; ok {
		params["options"] = withoutPinned(options)
		if params["options"] == "" {
			delete(params, "options")
		}
	}
	maps.Copy(params, pinned)
}

// withoutPinned removes the pinned settings from options. The others stay as they were written.
func withoutPinned(options string) string {
	var left []string
	for _, o := range splitOptions(options) {
		if _, isPinned := pinned[o.setting]; !isPinned {
			left = append(left, o.words...)
		}
	}
	return strings.Join(left, " ")
}

// An option is one switch of the parameter options: -c name=value, -cname=value, or --name=value.
type option struct {
	words   []string // as they were written
	setting string   // in lower case; "" for another switch
	value   string   // of the setting
}

// splitOptions splits the parameter options as the server does: at spaces without a backslash before them.
func splitOptions(options string) []option {
	words := splitWords(options)
	var all []option
	for i := 0; i < len(words); i++ {
		o := option{words: words[i : i+1]}
		switch text := unescaped(words[i]); {
		case text == "-c" && i+1 < len(words):
			i++
			o.words = words[i-1 : i+1]
			o.setting, o.value = assignment(unescaped(words[i]))
		case strings.HasPrefix(text, "--"):
			o.setting, o.value = assignment(text[2:])
		case strings.HasPrefix(text, "-c"):
			o.setting, o.value = assignment(text[2:])
		}
		all = append(all, o)
	}
	return all
}

// assignment splits name=value. The server reads a dash in the name as an underscore.
func assignment(text string) (name, value string) {
	name, value, _ = strings.Cut(text, "=")
	return strings.ToLower(strings.ReplaceAll(name, "-", "_")), value
}

// splitWords splits a text at white space that has no backslash before it.
func splitWords(text string) []string {
	var words []string
	begin := -1
	for i := 0; i < len(text); i++ {
		isSpace := strings.IndexByte(" \t\n\r\v\f", text[i]) >= 0
		switch {
		case isSpace && begin >= 0:
			words = append(words, text[begin:i])
			begin = -1
		case !isSpace && begin < 0:
			begin = i
		}
		if text[i] == '\\' {
			i++ // the next one is part of the word
		}
	}
	if begin >= 0 {
		words = append(words, text[begin:])
	}
	return words
}

// unescaped is a word without its backslashes.
func unescaped(word string) string {
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		if word[i] == '\\' {
			if i++; i == len(word) {
				break
			}
		}
		b.WriteByte(word[i])
	}
	return b.String()
}
