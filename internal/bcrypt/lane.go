// SPDX-License-Identifier: Apache-2.0

package bcrypt

import "encoding/binary"

// The offsets of the table's parts: the 18 words that Blowfish mixes in between its rounds, and the four boxes that
// substitute bytes.
const (
	rounds    = 16
	subkeys   = rounds + 2
	box0      = subkeys
	box1      = box0 + 256
	box2      = box1 + 256
	box3      = box2 + 256
	tableSize = box3 + 256
)

// A table is Blowfish's state. Its parts are one array, because one loop replaces them one after another.
type table [tableSize]uint32

// subst is the cipher's function F. The indexes are bytes, so the compiler omits bounds checks.
func (t *table) subst(x uint32) uint32 {
	return ((t[box0+int(x>>24)] + t[box1+int(x>>16&0xff)]) ^ t[box2+int(x>>8&0xff)]) + t[box3+int(x&0xff)]
}

// encipher returns the block of left and right under the table.
func (t *table) encipher(left, right uint32) (uint32, uint32) {
	for i := 0; i < rounds; i += 2 {
		left ^= t[i]
		right ^= t.subst(left) ^ t[i+1]
		left ^= t.subst(right)
	}
	return right ^ t[rounds+1], left ^ t[rounds]
}

// mix adds a key to the words between the rounds.
func (t *table) mix(key *[subkeys]uint32) {
	for i, word := range key {
		t[i] ^= word
	}
}

// A lane is one hash in progress.
type lane struct {
	table table
	key   [subkeys]uint32 // the password and a NUL, repeated
	salt  [subkeys]uint32 // repeated, without a NUL
}

// begin prepares the lane up to the steps that all lanes share.
func (l *lane) begin(password []byte, salt [saltBytes]byte) {
	l.table = pi
	// The capacity is cut, so that the NUL is not written into the caller's memory.
	repeat(&l.key, append(password[:len(password):len(password)], 0))
	repeat(&l.salt, salt[:])

	l.table.mix(&l.key)
	var left, right uint32
	for i := 0; i < len(l.table); i += 2 {
		at := i % (saltBytes / 4) // the salt's words take turns
		left, right = l.table.encipher(left^l.salt[at], right^l.salt[at+1])
		l.table[i], l.table[i+1] = left, right
	}
}

// repeat fills words with the repeated bytes of key, the first byte on top.
func repeat(words *[subkeys]uint32, key []byte) {
	at := 0
	for i := range words {
		for range 4 {
			words[i] = words[i]<<8 | uint32(key[at])
			at = (at + 1) % len(key)
		}
	}
}

// end returns the digest.
func (l *lane) end() [digestBytes]byte {
	text := []byte("OrpheanBeholderScryDoubt")
	for block := text; len(block) > 0; block = block[8:] {
		left, right := binary.BigEndian.Uint32(block), binary.BigEndian.Uint32(block[4:])
		for range 64 {
			left, right = l.table.encipher(left, right)
		}
		binary.BigEndian.PutUint32(block, left)
		binary.BigEndian.PutUint32(block[4:], right)
	}
	return [digestBytes]byte(text)
}
