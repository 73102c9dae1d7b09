// SPDX-License-Identifier: Apache-2.0

// Package bcrypt computes bcrypt hashes, up to [Lanes] of them at once on one core.
//
// Gain: four waiting hashes take 1.1 to 1.6 times as long as one, so a busy core computes about 3.4 times as many as with
// golang.org/x/crypto/bcrypt. A single hash takes as long as there. BenchmarkHash and the scenario "login" of test/bench
// measure it; ADR 9 and docs/performance.md have the figures.
//
// Guards: every hash equals the one of golang.org/x/crypto/bcrypt byte by byte (TestEachHashEqualsTheReference, FuzzCrypt,
// FuzzParse). TestPublishedVectors has the known answers of crypt_blowfish and jBCrypt, and TestPi computes the tables.
// Each process checks known hashes with [Verify] before the first hash, and uses golang.org/x/crypto/bcrypt if one is wrong.
//
// Without it: link with one setting, and golang.org/x/crypto/bcrypt computes all hashes. No row changes:
//
//	-ldflags "-X github.com/sharding-system/shardinguser-operator/internal/password.implementation=reference"
//
// # Why it is faster
//
// Each step of bcrypt reads a table at an address that the previous step computed, so a core mostly waits for its
// first-level cache. Hashes of different passwords are independent. With the steps of four of them in one loop, the core
// computes during the waits.
//
// # The algorithm
//
// It is that of Provos and Mazières, "A Future-Adaptable Password Scheme" (USENIX 1999), around Schneier's cipher Blowfish
// ("Description of a New Variable-Length Key, 64-Bit Block Cipher", 1993):
//
//  1. The state is a table of 18 + 4×256 words, initially the fractional part of π.
//  2. The key (the password and one NUL, repeated to 72 bytes) is mixed into the first 18 words. Then every word is
//     replaced, two at a time, by the cipher's output under the current table, chained, with the salt mixed in.
//  3. 2^cost times the same with the key and without salt, then with the salt as the key. This takes nearly all of the
//     time, and only this is interleaved.
//  4. The text "OrpheanBeholderScryDoubt" is enciphered 64 times under the table. The result without its last byte is the
//     digest.
//
// A hash has the format of crypt(3): "$2a$", the cost in two digits, "$", and in bcrypt's own base64 the 16 bytes of salt
// and the 23 bytes of digest.
//
// The addresses in the table depend on the password, so a program on the same core could learn about it from the timing of
// the cache. That is a property of bcrypt in every implementation.
package bcrypt
