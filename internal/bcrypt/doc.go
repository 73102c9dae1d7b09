// SPDX-License-Identifier: Apache-2.0

// Package bcrypt computes bcrypt hashes, up to [Lanes] of them at once on one
// core.
//
// # Why
//
// Each step of bcrypt looks up a table at a place that the step before has
// computed, so that a core spends most of a hash waiting for its own first-level
// cache. The hashes of different passwords know nothing of each other: with the
// steps of four of them side by side in one loop, the core has something to do
// in the meantime, and is done with all four in 1.1 to 1.6 times the time of one.
// One hash alone takes as long as golang.org/x/crypto/bcrypt takes for it.
//
// # The algorithm
//
// It is that of Provos and Mazières, "A Future-Adaptable Password Scheme"
// (USENIX 1999), around Schneier's cipher Blowfish ("Description of a New
// Variable-Length Key, 64-Bit Block Cipher", 1993):
//
//  1. The state is a table of 18 + 4×256 words, at first the fractional part of π.
//  2. The key (the password and one NUL, over and over, 72 bytes of it) is mixed
//     into the first 18 words; then every word is replaced, two at a time, by the
//     cipher's output under the table as it is by then, chained, with the salt
//     mixed in on the way.
//  3. 2^cost times the same with the key and no salt, then with the salt for key.
//     This is where the time goes, and all that is interleaved.
//  4. The text "OrpheanBeholderScryDoubt" is enciphered 64 times under the table;
//     all of it but the last byte is the digest.
//
// A hash is written as crypt(3) does: "$2a$", the cost in two digits, "$", and in
// bcrypt's own base64 the 16 bytes of salt and the 23 of the digest.
//
// # The reference
//
// Every hash is, byte by byte, the one that golang.org/x/crypto/bcrypt computes.
// The tests hold the two against each other, and [Verify] is for programs to call
// before they rely on this one.
//
// The places that are looked up depend on the password, so a program on the same
// core could learn about it by the cache's timing. That lies in bcrypt, and is no
// different in any other implementation.
package bcrypt
