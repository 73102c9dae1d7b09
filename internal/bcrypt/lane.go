// SPDX-License-Identifier: Apache-2.0

package bcrypt

import "encoding/binary"

// Where the parts of a table begin: the 18 words that Blowfish mixes in between
// its rounds, and the four boxes that it substitutes bytes by.
const (
	rounds    = 16
	subkeys   = rounds + 2
	box0      = subkeys
	box1      = box0 + 256
	box2      = box1 + 256
	box3      = box2 + 256
	tableSize = box3 + 256
)

// A table is Blowfish's state. Its parts are one array, since they are replaced
// one after the other in one loop.
type table [tableSize]uint32

// subst is the cipher's function F. The indexes are bytes, which is why the
// compiler leaves out the checks of bounds.
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

// A lane is one hash on its way.
type lane struct {
	table table
	key   [subkeys]uint32 // the password and a NUL, over and over
	salt  [subkeys]uint32 // likewise, without the NUL
}

// begin sets the lane up, to the point from which all lanes do the same.
func (l *lane) begin(password []byte, salt [saltBytes]byte) {
	l.table = pi
	// The slice's capacity is cut, lest the NUL be written behind the password.
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

// repeat fills words with the bytes of key, over and over, the first of them on
// top.
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
