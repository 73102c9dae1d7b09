// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"iter"
	"slices"
	"sort"
)

// pageSize is the largest number of usernames in a page of digests.
const pageSize = 4096

// nameSeed makes the order of names unpredictable, and so the size of pages.
var nameSeed = maphash.MakeSeed()

// digests holds the row digest of each username that a sweep found. A million names of 20 bytes take some 40 MiB.
// The entries are ordered by the hash of the name. Pages never change, so two sweeps share the pages that are equal.
type digests struct{ pages []*digestPage }

// digestPage is a run of entries. Each username is a part of names, which ends at ends.
type digestPage struct {
	hashes  []uint64
	digests []int64
	ends    []uint32
	names   []byte
}

func (p *digestPage) len() int { return len(p.hashes) }

func (p *digestPage) name(i int) []byte {
	begin := uint32(0)
	if i > 0 {
		begin = p.ends[i-1]
	}
	return p.names[begin:p.ends[i]]
}

func (p *digestPage) add(hash uint64, name []byte, digest int64) {
	p.hashes, p.digests = append(p.hashes, hash), append(p.digests, digest)
	p.names = append(p.names, name...)
	p.ends = append(p.ends, uint32(len(p.names))) //nolint:gosec // a page holds some thousand short names
}

func (p *digestPage) addFrom(other *digestPage, i int) {
	p.add(other.hashes[i], other.name(i), other.digests[i])
}

// part returns a copy of the entries from begin to end, without spare capacity.
func (p *digestPage) part(begin, end int) *digestPage {
	part := &digestPage{
		hashes: make([]uint64, 0, end-begin), digests: make([]int64, 0, end-begin), ends: make([]uint32, 0, end-begin),
	}
	first := p.ends[begin] - uint32(len(p.name(begin))) //nolint:gosec // as in add
	part.names = make([]byte, 0, p.ends[end-1]-first)
	for i := begin; i < end; i++ {
		part.addFrom(p, i)
	}
	return part
}

func (p *digestPage) reset() {
	p.hashes, p.digests, p.ends, p.names = p.hashes[:0], p.digests[:0], p.ends[:0], p.names[:0]
}

// compare orders entry i and a name by hash, then by name.
func (p *digestPage) compare(i int, hash uint64, name []byte) int {
	if order := cmp.Compare(p.hashes[i], hash); order != 0 {
		return order
	}
	return bytes.Compare(p.name(i), name)
}

// usernames returns copies of the names, which do not keep the page in memory.
func (p *digestPage) usernames() []string {
	usernames := make([]string, p.len())
	for i := range usernames {
		usernames[i] = string(p.name(i))
	}
	return usernames
}

// find returns where the entry of a name is, and whether there is one.
func (d digests) find(hash uint64, name []byte) (page, i int, ok bool) {
	page = sort.Search(len(d.pages), func(k int) bool {
		return d.pages[k].compare(d.pages[k].len()-1, hash, name) >= 0
	})
	if page == len(d.pages) {
		return page, 0, false
	}
	p := d.pages[page]
	i = sort.Search(p.len(), func(k int) bool { return p.compare(k, hash, name) >= 0 })
	return page, i, p.compare(i, hash, name) == 0
}

// changed returns the same names, each with another digest.
func (d digests) changed() digests {
	pages := make([]*digestPage, len(d.pages))
	for k, p := range d.pages {
		other := *p
		other.digests = make([]int64, len(p.digests))
		for i, digest := range p.digests {
			other.digests[i] = ^digest
		}
		pages[k] = &other
	}
	return digests{pages: pages}
}

// comparison compares what a sweep reads with the digests of the sweep before. The rows may come in any order, since the
// database would need temporary files to sort them.
type comparison struct {
	before digests
	seen   [][]uint64    // a bit for each entry of each page of before
	differ []*digestPage // new and changed rows, as they came
}

func compareWith(before digests) *comparison {
	c := &comparison{before: before, seen: make([][]uint64, len(before.pages))}
	for k, p := range before.pages {
		c.seen[k] = make([]uint64, (p.len()+63)/64)
	}
	return c
}

func (c *comparison) isSeen(page, i int) bool { return c.seen[page][i/64]&(1<<(i%64)) != 0 }

// add takes in a row that the sweep read. It does not keep the name.
func (c *comparison) add(name []byte, digest int64) {
	hash := maphash.Bytes(nameSeed, name)
	if page, i, ok := c.before.find(hash, name); ok {
		c.seen[page][i/64] |= 1 << (i % 64)
		if c.before.pages[page].digests[i] == digest {
			return
		}
	}
	if n := len(c.differ); n == 0 || c.differ[n-1].len() == pageSize {
		c.differ = append(c.differ, &digestPage{})
	}
	c.differ[len(c.differ)-1].add(hash, name, digest)
}

// usernames yields the names that are new, changed or gone.
func (c *comparison) usernames() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, p := range c.differ {
			for i := range p.len() {
				if !yield(string(p.name(i))) {
					return
				}
			}
		}
		for k, p := range c.before.pages {
			for i := range p.len() {
				if !c.isSeen(k, i) && !yield(string(p.name(i))) {
					return
				}
			}
		}
	}
}

// after returns the digests that the sweep read. It keeps the pages of the sweep before in which nothing changed.
func (c *comparison) after() digests {
	m := merging{changes: c.sorted(), differ: c.differ}
	for k, p := range c.before.pages {
		n := m.upTo(p)
		if n == 0 && m.buffer.len() == 0 && c.isWhole(k) {
			m.pages = append(m.pages, p)
			continue
		}
		m.merge(p, func(i int) bool { return c.isSeen(k, i) }, n)
		if m.buffer.len() >= pageSize/4 { // fewer join the next page
			m.flush()
		}
	}
	for len(m.changes) > 0 {
		m.take(min(len(m.changes), pageSize*3/4)) // and room for more
		m.flush()
	}
	m.flush()
	if len(c.before.pages) == 0 {
		c.differ = m.pages // the same names, once
	}
	return digests{pages: m.pages}
}

func (c *comparison) isWhole(page int) bool {
	for i := range c.before.pages[page].len() {
		if !c.isSeen(page, i) {
			return false
		}
	}
	return true
}

// change is the place of a new or changed row.
type change struct {
	hash     uint64
	page, at uint32
}

// sorted returns the new and changed rows in order. Of several with one name the last one remains.
func (c *comparison) sorted() []change {
	total := 0
	for _, p := range c.differ {
		total += p.len()
	}
	changes := make([]change, 0, total)
	for k, p := range c.differ {
		for i, hash := range p.hashes {
			changes = append(changes, change{hash: hash, page: uint32(k), at: uint32(i)})
		}
	}
	name := func(r change) []byte { return c.differ[r.page].name(int(r.at)) }
	slices.SortFunc(changes, func(a, b change) int {
		if order := cmp.Compare(a.hash, b.hash); order != 0 {
			return order
		}
		return cmp.Or(bytes.Compare(name(a), name(b)), cmp.Compare(b.page, a.page), cmp.Compare(b.at, a.at))
	})
	return slices.CompactFunc(changes, func(a, b change) bool { return a.hash == b.hash && bytes.Equal(name(a), name(b)) })
}

// merging builds pages from those of the sweep before and from sorted changes.
type merging struct {
	differ  []*digestPage
	changes []change // that are not in a page yet
	buffer  digestPage
	pages   []*digestPage
}

// upTo returns how many of the changes belong into a page, or before it.
func (m *merging) upTo(p *digestPage) int {
	last := p.len() - 1
	return sort.Search(len(m.changes), func(k int) bool {
		r := m.changes[k]
		return p.compare(last, r.hash, m.differ[r.page].name(int(r.at))) < 0
	})
}

// take moves so many changes into the buffer.
func (m *merging) take(n int) {
	for _, r := range m.changes[:n] {
		m.buffer.addFrom(m.differ[r.page], int(r.at))
	}
	m.changes = m.changes[n:]
}

// merge adds a page and its changes to the buffer, without the entries that are gone or changed.
func (m *merging) merge(p *digestPage, isSeen func(i int) bool, changes int) {
	for i := range p.len() {
		before := sort.Search(changes, func(k int) bool {
			r := m.changes[k]
			return p.compare(i, r.hash, m.differ[r.page].name(int(r.at))) <= 0
		})
		m.take(before)
		changes -= before
		isChanged := changes > 0 &&
			p.compare(i, m.changes[0].hash, m.differ[m.changes[0].page].name(int(m.changes[0].at))) == 0
		if isSeen(i) && !isChanged {
			m.buffer.addFrom(p, i)
		}
	}
	m.take(changes)
}

// flush makes pages of equal size from the buffer.
func (m *merging) flush() {
	n := m.buffer.len()
	parts := (n + pageSize - 1) / pageSize
	for part := range parts {
		m.pages = append(m.pages, m.buffer.part(part*n/parts, (part+1)*n/parts))
	}
	m.buffer.reset()
}
