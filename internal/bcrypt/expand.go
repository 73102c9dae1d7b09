// SPDX-License-Identifier: Apache-2.0

package bcrypt

// The functions expand1 to expand4 do the same for one to four lanes. They are written out, because the blocks of all lanes
// have to be in registers at once and the compiler does not unroll loops. One pointer to all lanes leaves enough registers
// for that.

// lanes are the hashes that are computed side by side: 17 KiB, which fits the first-level cache of current cores.
type lanes [Lanes]lane

// run expands the tables of the first n lanes 2^cost times by the key and by the salt, which takes nearly all of the
// time.
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

// expand1 replaces every word of the first lane's table, two at a time, by the cipher's output under the current table.
//
// The race detector skips it and the others: the lanes are on the stack of their goroutine, and tests with hashes would
// take ten times as long.
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
