package attest

import (
	"slices"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// CheckEdit returns what Check returns of the next version of a zone, given
// that the old one was good in the same context. It looks at what changed and
// at its neighbours in the chain, and takes nobody's word for what that is; the
// rest is compared, not verified. Dates and digests are judged whole.
func CheckEdit(old, next *zone.Zone, now time.Time, c Context) []Problem {
	if old == nil || old.Origin() != next.Origin() || !sameSet(old, next, dns.TypeDNSKEY) {
		return Check(next, now, c) // other keys: nothing is known
	}
	j := newJudge(next, now, c)
	e := j.compare(old)
	return j.check(e.signed, e)
}

// edit is what differs between two versions of a zone.
type edit struct {
	old    *zone.Zone
	before survey

	// changed are the spots whose records differ, or what the names around
	// make of them; the apex is among them, for what is judged with its keys.
	changed []int32
	gone    []missing
	signed  []int32 // changed, and those whose signatures will not last
	chained bool    // the old chain says something about the new one
}

// missing is a spot of the old zone that the new one lacks.
type missing struct {
	old, at int32 // where it was, and what stands behind it now
}

func (j *judge) compare(old *zone.Zone) *edit {
	e := &edit{old: old, before: look(old), changed: []int32{0}, signed: []int32{0}}
	was, k, turned := e.before.spots, 1, false
	for i := 1; i < len(j.spots); i++ {
		sp := &j.spots[i]
		for ; k < len(was) && was[k].node.Name != sp.node.Name && was[k].node.Name.Compare(sp.node.Name) < 0; k++ {
			e.gone = append(e.gone, missing{int32(k), int32(i)})
		}
		known := k < len(was) && was[k].node.Name == sp.node.Name
		if known {
			turned = turned || (was[k].place == hashed) != (sp.place == hashed)
			known = was[k].sameAs(sp)
			k++
		}
		if !known {
			e.changed = append(e.changed, int32(i))
		}
		if !known || !j.lasts(sp.node.Set(dns.TypeRRSIG)) {
			e.signed = append(e.signed, int32(i))
		}
	}
	for ; k < len(was); k++ {
		e.gone = append(e.gone, missing{int32(k), int32(len(j.spots))})
	}
	a, b := old.SOA(), j.zone.SOA()
	e.chained = !turned && a.Minttl == b.Minttl && a.Hdr.Ttl == b.Hdr.Ttl && sameSet(old, j.zone, dns.TypeNSEC3PARAM) &&
		(e.before.nsecs > 0) == (j.nsecs > 0) && (len(e.before.hashes) > 0) == (len(j.hashes) > 0)
	return e
}

func (sp *spot) sameAs(o *spot) bool {
	return sp.place == o.place && sp.bare == o.bare && sp.need == o.need && sp.some == o.some && sameNode(sp.node, o.node)
}

// lasts reports whether signatures hold now and for as long as they must.
func (j *judge) lasts(sigs *zone.RRset) bool {
	if sigs == nil {
		return true
	}
	for _, rr := range sigs.RRs {
		s, ok := rr.(*dns.RRSIG)
		if left := int32(s.Expiration - j.now); !ok || int32(j.now-s.Inception) < 0 || left < 0 || uint32(left) < j.until {
			return false
		}
	}
	return true
}

// sameNode reports whether two nodes hold the same records.
func sameNode(a, b *zone.Node) bool {
	if len(a.Sets) != len(b.Sets) {
		return false
	}
	if len(a.Sets) == 0 || &a.Sets[0] == &b.Sets[0] {
		return true // the one zone is an Edit of the other
	}
	for i := range a.Sets {
		if !sameRecords(&a.Sets[i], &b.Sets[i]) {
			return false
		}
	}
	return true
}

// sameSet reports whether the two zones have the same set at the apex.
func sameSet(a, b *zone.Zone, rrtype uint16) bool {
	x, y := a.Node(a.Origin()).Set(rrtype), b.Node(b.Origin()).Set(rrtype)
	return x == nil && y == nil || x != nil && y != nil && sameRecords(x, y)
}

func sameRecords(a, b *zone.RRset) bool {
	if a.Type != b.Type || a.TTL != b.TTL || len(a.RRs) != len(b.RRs) {
		return false
	}
	for i := range a.RRs {
		if !zone.SameRecord(a.RRs[i], b.RRs[i]) {
			return false
		}
	}
	return true
}

// links reports whether the NSEC chain is right where it was edited: at what
// changed, and at the names before that and before what is gone. Where it is
// not, the whole chain will be judged, for all that is to be told of it.
func (e *edit) links(j *judge) bool {
	if !e.chained || len(j.owners) == 0 {
		return false
	}
	var asked []int
	ask := func(spot int32, itself bool) {
		at, found := slices.BinarySearch(j.owners, spot)
		asked = append(asked, (at+len(j.owners)-1)%len(j.owners))
		if found && itself {
			asked = append(asked, at)
		}
	}
	for _, i := range e.changed {
		ask(i, true)
	}
	for _, m := range e.gone {
		ask(m.at, false)
	}
	var w worker
	var wrong findings
	for _, at := range asked {
		j.link(at, &w, &wrong)
	}
	return len(wrong.list) == 0
}
