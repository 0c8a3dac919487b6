package attest

import (
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// CheckEdit returns what Check returns of the next version of a zone, given
// that the old one was good in the same context. Only the signatures of names
// that changed are verified anew; it finds these itself and takes nobody's word
// for what an edit touched. Dates, chains and digests are judged whole: they
// cost little beside signatures.
func CheckEdit(old, next *zone.Zone, now time.Time, c Context) []Problem {
	if old == nil || old.Origin() != next.Origin() || !sameSet(old.Node(old.Origin()), next.Node(next.Origin()), dns.TypeDNSKEY) {
		return Check(next, now, c) // other keys: nothing is known
	}
	j := newJudge(next, now, c)
	return j.check(j.changed(old))
}

// changed returns the spots whose signatures the old version says nothing
// about: of those whose records or place changed, and of those that will not
// last. The apex is always among them, for what is judged with its keys.
func (j *judge) changed(old *zone.Zone) []int32 {
	before := look(old).spots
	changed := []int32{0}
	k := 0
	for i := range j.spots {
		sp := &j.spots[i]
		for k < len(before) && before[k].node.Name != sp.node.Name && before[k].node.Name.Compare(sp.node.Name) < 0 {
			k++
		}
		known := k < len(before) && before[k].node.Name == sp.node.Name &&
			before[k].place == sp.place && before[k].bare == sp.bare && sameNode(before[k].node, sp.node)
		if i > 0 && (!known || !j.lasts(sp.node.Set(dns.TypeRRSIG))) {
			changed = append(changed, int32(i))
		}
	}
	return changed
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

func sameSet(a, b *zone.Node, rrtype uint16) bool {
	x, y := a.Set(rrtype), b.Set(rrtype)
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
