package zone

import (
	"slices"

	"github.com/miekg/dns"
)

// Delta is what a zone changed by from one state to the next: the form of an
// incremental transfer (RFC 1995, Section 4). Neither list has a SOA; both are
// in canonical order.
type Delta struct {
	From, To       *dns.SOA
	Removed, Added []dns.RR
}

// NewDelta returns the difference between two states of one zone.
func NewDelta(old, next *Zone) Delta {
	removed, added := Diff(old, next)
	return DeltaOf(old, next, removed, added)
}

// DeltaOf is NewDelta for who knows the records that differ.
func DeltaOf(old, next *Zone, removed, added []dns.RR) Delta {
	return Delta{From: old.soa, To: next.soa, Removed: withoutSOA(removed), Added: withoutSOA(added)}
}

func withoutSOA(rrs []dns.RR) []dns.RR {
	isSOA := func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA }
	if !slices.ContainsFunc(rrs, isSOA) {
		return rrs
	}
	return slices.DeleteFunc(slices.Clone(rrs), isSOA)
}

// Records returns how many records an incremental transfer of it has, less the
// SOA that such a transfer begins and ends with.
func (d Delta) Records() int { return 2 + len(d.Removed) + len(d.Added) }
