// SPDX-License-Identifier: Apache-2.0

package bcrypt

import (
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// piText is the fractional part of π in hexadecimal, as many digits as Blowfish's tables need. A test computes it.
//
//go:embed pi.txt
var piText string

// pi is the initial table of every hash.
var pi = parseTable(piText)

// parseTable panics if the text is not hexadecimal or too short.
func parseTable(text string) (t table) {
	digits, err := hex.DecodeString(strings.ReplaceAll(text, "\n", ""))
	if err != nil {
		panic("bcrypt: π is not hexadecimal")
	}
	for i := range t {
		t[i] = binary.BigEndian.Uint32(digits[4*i:])
	}
	return t
}
