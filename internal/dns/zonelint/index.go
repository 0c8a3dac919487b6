package zonelint

import (
	"hash/maphash"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

// index is the records by owner. It points into what Check was given, and
// consists of a few large pieces: a zone of a million names is judged without
// a copy of it, or a million things for the collector.
type index struct {
	owners []owner  // as they came
	slots  []uint32 // open addressing: number of the owner + 1; at most half full
	seed   maphash.Seed
	sets   []set  // a piece of memory for the sets of owners
	last   *owner // of the record before
}

type owner struct {
	name name.Name
	sets []set // as the types came
}

// set is the records of one type: a piece of what Check was given where they
// came one after the other.
type set struct {
	rrtype  uint16
	next    uint32 // where the record after the last would be; 0: records is no such piece
	records []zonefile.Record
}

// of returns the owner's records of that type.
func (o *owner) of(rrtype uint16) []zonefile.Record {
	for i := range o.sets {
		if o.sets[i].rrtype == rrtype {
			return o.sets[i].records
		}
	}
	return nil
}

// first returns the record of the owner that came first.
func (o *owner) first() zonefile.Record { return o.sets[0].records[0] }

// expect makes room for all owners of the records: they do not move.
func (x *index) expect(records []zonefile.Record) {
	count, before := 1, ""
	for i := range records {
		if text := records[i].RR.Header().Name; text != before {
			before = text
			count++
		}
	}
	slots := 4
	for slots < 2*count {
		slots *= 2
	}
	x.owners, x.slots, x.seed = make([]owner, 0, count), make([]uint32, slots), maphash.MakeSeed()
}

// slot is where the name is, or would be.
func (x *index) slot(n name.Name) *uint32 {
	mask := uint64(len(x.slots) - 1)
	for i := maphash.String(x.seed, string(n)) & mask; ; i = (i + 1) & mask {
		if s := &x.slots[i]; *s == 0 || x.owners[*s-1].name == n {
			return s
		}
	}
}

// find returns the owner of that name, or nil.
func (x *index) find(n name.Name) *owner {
	if s := *x.slot(n); s != 0 {
		return &x.owners[s-1]
	}
	return nil
}

// add takes the record at that place, which the owner n has. The same one
// twice is one (RFC 2181, Section 5): false.
func (x *index) add(n name.Name, records []zonefile.Record, at int) (o *owner, added bool) {
	if o = x.last; o == nil || o.name != n {
		s := x.slot(n)
		if *s == 0 {
			x.owners = append(x.owners, owner{name: n})
			*s = uint32(len(x.owners))
		}
		o = &x.owners[*s-1]
		x.last = o
	}
	t := records[at].RR.Header().Rrtype
	for i := range o.sets {
		if o.sets[i].rrtype == t {
			return o, o.sets[i].add(records, at)
		}
	}
	x.grow(o)
	o.sets = append(o.sets, set{t, uint32(at + 1), records[at : at+1 : at+1]})
	return o, true
}

// grow gives the owner room for one more set, beside those it has if they are
// the newest.
func (x *index) grow(o *owner) {
	const many = 1000
	if len(x.sets) == cap(x.sets) {
		if len(o.sets) > 0 {
			return // append moves them
		}
		x.sets = make([]set, 0, min(max(8, 2*cap(x.sets)), many))
	}
	n := len(x.sets)
	switch {
	case len(o.sets) == 0:
		o.sets = x.sets[n : n : n+1]
	case len(o.sets) <= n && &x.sets[n-len(o.sets)] == &o.sets[0]:
		o.sets = x.sets[n-len(o.sets) : n : n+1]
	default:
		return
	}
	x.sets = x.sets[:n+1]
}

// maxCompared bounds a search for equal records, which takes the square of
// their number.
const maxCompared = 100

func (s *set) add(records []zonefile.Record, at int) bool {
	r := &records[at]
	if len(s.records) < maxCompared {
		for i := range s.records {
			if dns.IsDuplicate(s.records[i].RR, r.RR) {
				return false
			}
		}
	}
	if int(s.next) == at {
		s.records, s.next = records[at-len(s.records):at+1:at+1], uint32(at+1)
	} else {
		s.records, s.next = append(s.records, *r), 0
	}
	return true
}
