package zone

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// What makes a set of records no zone.
var (
	ErrNoSOA   = errors.New("zone has no SOA")
	ErrManySOA = errors.New("zone has several SOA records")
	ErrSOA     = errors.New("SOA stands below the apex")
)

// Builder gathers the records of one zone. It is not safe for concurrent use.
type Builder struct {
	origin   name.Name
	rrs      []dns.RR // as they came; the zone's sets are pieces of it
	runs     []run
	lastText string // the owner of the record before, as it was written
}

// run is records of one owner that came one after the other.
type run struct {
	owner name.Name
	first uint32 // in rrs
}

// NewBuilder returns an empty builder for the zone of that name.
func NewBuilder(origin name.Name) *Builder { return &Builder{origin: origin} }

// Expect makes room for so many records, of so many owners.
func (b *Builder) Expect(records, owners int) {
	b.rrs, b.runs = slices.Grow(b.rrs, records), slices.Grow(b.runs, owners)
}

// Add puts a copy of rr into the zone. A record that is there already is
// dropped (RFC 2181, Section 5); where TTLs differ the smaller one holds for
// the whole set (Section 5.2).
func (b *Builder) Add(rr dns.RR) error {
	clean, owner, err := Normalise(rr)
	if err != nil {
		return err
	}
	return b.AddOwned(owner, clean)
}

// AddNormal is Add for a record that Normalise made, and that nobody changes
// any more: the zone keeps it as it is.
func (b *Builder) AddNormal(rr dns.RR) error {
	text := rr.Header().Name
	if len(b.runs) > 0 && text == b.lastText {
		return b.put(rr)
	}
	owner, err := name.Parse(text)
	if err != nil {
		return fmt.Errorf("owner %q: %w", text, err)
	}
	return b.AddOwned(owner, rr)
}

// AddOwned is AddNormal for who knows the record's owner name.
func (b *Builder) AddOwned(owner name.Name, rr dns.RR) error {
	if n := len(b.runs); n == 0 || b.runs[n-1].owner != owner {
		if !owner.IsBelow(b.origin) {
			return ErrOutside
		}
		b.runs = append(b.runs, run{owner, uint32(len(b.rrs))})
		b.lastText = rr.Header().Name
	}
	return b.put(rr)
}

// put takes a record of the last run's owner.
func (b *Builder) put(rr dns.RR) error {
	if rr.Header().Rrtype == dns.TypeSOA && b.runs[len(b.runs)-1].owner != b.origin {
		return ErrSOA
	}
	b.rrs = append(b.rrs, rr)
	return nil
}

// Build returns the zone. The builder must not be used afterwards.
func (b *Builder) Build() (*Zone, error) {
	s := b.sorted()
	z, rest := &Zone{apex: &Node{Name: b.origin}}, make([]Node, 0, s.names)
	var sets Arena
	for i := 0; i < len(s.order); {
		n := i + 1
		owner := b.runs[s.order[i].run].owner
		for n < len(s.order) && b.runs[s.order[n].run].owner == owner {
			n++
		}
		node := z.apex
		if owner != b.origin {
			rest = appendGaps(rest, owner, s.gaps(i))
			rest = append(rest, Node{Name: owner})
			node = &rest[len(rest)-1]
		}
		if err := node.fill(b.records(s.order[i:n]), &sets); err != nil {
			return nil, fmt.Errorf("%s: %w", owner, err)
		}
		for j := range node.Sets {
			z.count += len(node.Sets[j].RRs)
		}
		i = n
	}
	z.rest = shelve(rest, boardNodes)
	return z, z.takeSOA(b.origin)
}

// records returns those of one owner's runs: nearly always one.
func (b *Builder) records(runs []sortable) []dns.RR {
	of := func(i uint32) []dns.RR {
		end := uint32(len(b.rrs))
		if int(i)+1 < len(b.runs) {
			end = b.runs[i+1].first
		}
		return b.rrs[b.runs[i].first:end:end]
	}
	if len(runs) == 1 {
		return of(runs[0].run)
	}
	var all []dns.RR
	for _, r := range runs {
		all = append(all, of(r.run)...)
	}
	return all
}

// fill groups an owner's records into sets, by type.
func (n *Node) fill(rrs []dns.RR, room *Arena) error {
	byType := func(a, b dns.RR) int { return int(a.Header().Rrtype) - int(b.Header().Rrtype) }
	if !slices.IsSortedFunc(rrs, byType) {
		slices.SortStableFunc(rrs, byType)
	}
	count := 0
	for i, rr := range rrs {
		if i == 0 || rr.Header().Rrtype != rrs[i-1].Header().Rrtype {
			count++
		}
	}
	n.Sets = room.rrsets(count)
	for len(rrs) > 0 {
		h := rrs[0].Header()
		set, end := RRset{Type: h.Rrtype, TTL: h.Ttl}, 1
		for ; end < len(rrs) && rrs[end].Header().Rrtype == set.Type; end++ {
			set.TTL = min(set.TTL, rrs[end].Header().Ttl)
		}
		set.RRs, rrs = rrs[:end:end], rrs[end:]
		if err := set.finish(); err != nil {
			return err
		}
		n.Sets = append(n.Sets, set)
	}
	return nil
}

// appendGaps adds the empty non-terminals right above a name: in canonical
// order they stand before the first name below them.
func appendGaps(to []Node, below name.Name, count int) []Node {
	at := len(to)
	for range count {
		below = below.Parent()
		to = append(to, Node{Name: below})
	}
	slices.Reverse(to[at:])
	return to
}

// sorted is a builder's runs in canonical order. Comparing names label by
// label from the right is dear: each gets a key that compares as octets, of
// which the first eight decide nearly always.
type sorted struct {
	order []sortable
	keys  []byte
	ends  []uint32 // of each run's key
	names int      // with empty non-terminals
}

type sortable struct {
	head uint64
	run  uint32
}

func (b *Builder) sorted() *sorted {
	size := 0
	for _, r := range b.runs {
		size += len(r.owner) - len(b.origin)
	}
	s := &sorted{order: make([]sortable, len(b.runs)), ends: make([]uint32, len(b.runs)), keys: make([]byte, 0, size)}
	for i, r := range b.runs {
		start := len(s.keys)
		s.keys = (r.owner[:len(r.owner)-len(b.origin)]).AppendKey(s.keys)
		s.ends[i] = uint32(len(s.keys))
		var head [8]byte
		copy(head[:], s.keys[start:])
		s.order[i] = sortable{binary.BigEndian.Uint64(head[:]), uint32(i)}
	}
	slices.SortFunc(s.order, func(a, b sortable) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		// What came first stands first among equals.
		return cmp.Or(strings.Compare(string(s.key(a.run)), string(s.key(b.run))), cmp.Compare(a.run, b.run))
	})
	for i := range s.order {
		s.names += 1 + s.gaps(i)
	}
	return s
}

func (s *sorted) key(run uint32) []byte {
	start := uint32(0)
	if run > 0 {
		start = s.ends[run-1]
	}
	return s.keys[start:s.ends[run]]
}

// gaps returns how many names between the one at i and the apex no record and
// no name before it has brought: what stands before it shares the most labels.
func (s *sorted) gaps(i int) int {
	key, shared := s.key(s.order[i].run), 0
	if i > 0 {
		before := s.key(s.order[i-1].run)
		for j := 0; j < len(key) && j < len(before) && key[j] == before[j]; j++ {
			if key[j] == 0 {
				shared = j + 1
			}
		}
	}
	labels := 0
	for _, c := range key[shared:] {
		if c == 0 {
			labels++
		}
	}
	return max(labels-1, 0)
}

func (z *Zone) takeSOA(origin name.Name) error {
	set := z.apex.Set(dns.TypeSOA)
	switch {
	case set == nil:
		return fmt.Errorf("%s: %w", origin, ErrNoSOA)
	case len(set.RRs) > 1:
		return fmt.Errorf("%s: %w", origin, ErrManySOA)
	}
	soa, ok := set.RRs[0].(*dns.SOA)
	if !ok {
		return fmt.Errorf("%s: %w", origin, ErrNoSOA)
	}
	z.soa = soa
	return nil
}

// finish sorts the set, drops duplicates and evens out the TTL. What it would
// change it copies.
func (s *RRset) finish() error {
	if len(s.RRs) > 1 {
		if err := s.sort(); err != nil {
			return err
		}
	}
	for i, rr := range s.RRs {
		if s.Type != dns.TypeRRSIG && rr.Header().Ttl != s.TTL {
			s.RRs[i] = dns.Copy(rr)
			s.RRs[i].Header().Ttl = s.TTL
		}
	}
	return nil
}

func (s *RRset) sort() error {
	if s.Type == dns.TypeRRSIG && s.sortedByCover() {
		return nil
	}
	type keyed struct {
		key string
		rr  dns.RR
	}
	all := make([]keyed, len(s.RRs))
	for i, rr := range s.RRs {
		key, err := rdata(rr)
		if err != nil {
			return err
		}
		all[i] = keyed{key, rr}
	}
	slices.SortStableFunc(all, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	all = slices.CompactFunc(all, func(a, b keyed) bool { return a.key == b.key })
	s.RRs = s.RRs[:len(all)]
	for i := range all {
		s.RRs[i] = all[i].rr
	}
	return nil
}

// sortedByCover sorts RRSIGs where no two cover one type: that is what their
// RDATA begins with.
func (s *RRset) sortedByCover() bool {
	cover := func(rr dns.RR) int {
		if sig, ok := rr.(*dns.RRSIG); ok {
			return int(sig.TypeCovered)
		}
		return -1
	}
	slices.SortStableFunc(s.RRs, func(a, b dns.RR) int { return cmp.Compare(cover(a), cover(b)) })
	for i := range s.RRs {
		if c := cover(s.RRs[i]); c < 0 || i > 0 && c == cover(s.RRs[i-1]) {
			return false
		}
	}
	return true
}
