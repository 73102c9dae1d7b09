// SPDX-License-Identifier: Apache-2.0

package bcrypt

// The functions expand1 to expand4 are one and the same for as many lanes: what a
// single one does is a line, and the lines of the others stand below it. They are
// written out, since the blocks of all lanes have to be in registers at once, and
// since the compiler unrolls no loop. The lanes are reached through one pointer,
// which leaves it enough registers for that.

// lanes are the hashes that are computed side by side: 17 KiB, which fits the
// first-level cache of every core of today.
type lanes [Lanes]lane

// run does what takes the time: 2^cost times it expands the tables of the first
// n lanes by the key and by the salt.
func (l *lanes) run(n, cost int) {
	expand := [...]func(*lanes){expand1, expand2, expand3, expand4}[n-1]
	for range uint64(1) << cost {
		for i := range n {
			l[i].table.mix(&l[i].key)
		}
		expand(l)
		for i := range n {
			l[i].table.mix(&l[i].salt)
		}
		expand(l)
	}
}

// expand1 replaces every word of the first lane's table, two at a time, by the
// cipher's output under the table as it is by then.
//
// The race detector may overlook it and the others: the lanes are on their
// goroutine's stack, and tests that hash would take ten times as long.
//
//go:norace
func expand1(l *lanes) {
	var l0, r0 uint32
	for i := 0; i < tableSize; i += 2 {
		for j := 0; j < rounds; j += 2 {
			l0 ^= l[0].table[j]
			r0 ^= l[0].table.subst(l0) ^ l[0].table[j+1]
			l0 ^= l[0].table.subst(r0)
		}
		l0, r0 = r0^l[0].table[rounds+1], l0^l[0].table[rounds]
		l[0].table[i], l[0].table[i+1] = l0, r0
	}
}

//go:norace
func expand2(l *lanes) {
	var l0, r0, l1, r1 uint32
	for i := 0; i < tableSize; i += 2 {
		for j := 0; j < rounds; j += 2 {
			l0 ^= l[0].table[j]
			l1 ^= l[1].table[j]
			r0 ^= l[0].table.subst(l0) ^ l[0].table[j+1]
			r1 ^= l[1].table.subst(l1) ^ l[1].table[j+1]
			l0 ^= l[0].table.subst(r0)
			l1 ^= l[1].table.subst(r1)
		}
		l0, r0 = r0^l[0].table[rounds+1], l0^l[0].table[rounds]
		l1, r1 = r1^l[1].table[rounds+1], l1^l[1].table[rounds]
		l[0].table[i], l[0].table[i+1] = l0, r0
		l[1].table[i], l[1].table[i+1] = l1, r1
	}
}

//go:norace
func expand3(l *lanes) {
	var l0, r0, l1, r1, l2, r2 uint32
	for i := 0; i < tableSize; i += 2 {
		for j := 0; j < rounds; j += 2 {
			l0 ^= l[0].table[j]
			l1 ^= l[1].table[j]
			l2 ^= l[2].table[j]
			r0 ^= l[0].table.subst(l0) ^ l[0].table[j+1]
			r1 ^= l[1].table.subst(l1) ^ l[1].table[j+1]
			r2 ^= l[2].table.subst(l2) ^ l[2].table[j+1]
			l0 ^= l[0].table.subst(r0)
			l1 ^= l[1].table.subst(r1)
			l2 ^= l[2].table.subst(r2)
		}
		l0, r0 = r0^l[0].table[rounds+1], l0^l[0].table[rounds]
		l1, r1 = r1^l[1].table[rounds+1], l1^l[1].table[rounds]
		l2, r2 = r2^l[2].table[rounds+1], l2^l[2].table[rounds]
		l[0].table[i], l[0].table[i+1] = l0, r0
		l[1].table[i], l[1].table[i+1] = l1, r1
		l[2].table[i], l[2].table[i+1] = l2, r2
	}
}

//go:norace
func expand4(l *lanes) {
	var l0, r0, l1, r1, l2, r2, l3, r3 uint32
	for i := 0; i < tableSize; i += 2 {
		for j := 0; j < rounds; j += 2 {
			l0 ^= l[0].table[j]
			l1 ^= l[1].table[j]
			l2 ^= l[2].table[j]
			l3 ^= l[3].table[j]
			r0 ^= l[0].table.subst(l0) ^ l[0].table[j+1]
			r1 ^= l[1].table.subst(l1) ^ l[1].table[j+1]
			r2 ^= l[2].table.subst(l2) ^ l[2].table[j+1]
			r3 ^= l[3].table.subst(l3) ^ l[3].table[j+1]
			l0 ^= l[0].table.subst(r0)
			l1 ^= l[1].table.subst(r1)
			l2 ^= l[2].table.subst(r2)
			l3 ^= l[3].table.subst(r3)
		}
		l0, r0 = r0^l[0].table[rounds+1], l0^l[0].table[rounds]
		l1, r1 = r1^l[1].table[rounds+1], l1^l[1].table[rounds]
		l2, r2 = r2^l[2].table[rounds+1], l2^l[2].table[rounds]
		l3, r3 = r3^l[3].table[rounds+1], l3^l[3].table[rounds]
		l[0].table[i], l[0].table[i+1] = l0, r0
		l[1].table[i], l[1].table[i+1] = l1, r1
		l[2].table[i], l[2].table[i+1] = l2, r2
		l[3].table[i], l[3].table[i+1] = l3, r3
	}
}
