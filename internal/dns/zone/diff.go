package zone

import "github.com/miekg/dns"

// Diff returns the records that only old has and those that only new has, in
// canonical order. A changed TTL counts as both. Either zone may be nil.
func Diff(old, new *Zone) (removed, added []dns.RR) {
	a, b := nodes(old), nodes(new)
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Name.Compare(b[0].Name) < 0:
			removed, a = appendAll(removed, a[0]), a[1:]
		case len(a) == 0 || a[0].Name != b[0].Name:
			added, b = appendAll(added, b[0]), b[1:]
		default:
			if a[0] != b[0] {
				removed = appendMissing(removed, a[0], b[0])
				added = appendMissing(added, b[0], a[0])
			}
			a, b = a[1:], b[1:]
		}
	}
	return removed, added
}

// SameContent reports whether the two zones differ in their serial at most.
func SameContent(a, b *Zone) bool {
	if a == nil || b == nil || a.Origin() != b.Origin() {
		return a == b
	}
	removed, added := Diff(a, b.WithSerial(a.Serial()))
	return len(removed) == 0 && len(added) == 0
}

func nodes(z *Zone) []*Node {
	if z == nil {
		return nil
	}
	all := make([]*Node, 0, len(z.rest)+1)
	for n := range z.Nodes() {
		all = append(all, n)
	}
	return all
}

func appendAll(to []dns.RR, n *Node) []dns.RR {
	for i := range n.Sets {
		to = append(to, n.Sets[i].RRs...)
	}
	return to
}

// appendMissing appends the records of n that m lacks.
func appendMissing(to []dns.RR, n, m *Node) []dns.RR {
	for i := range n.Sets {
		set, other := &n.Sets[i], m.Set(n.Sets[i].Type)
		if other == nil || len(set.RRs) > 1 || len(other.RRs) > 1 {
			to = append(to, set.without(other)...)
		} else if !sameRecord(set.RRs[0], other.RRs[0]) {
			to = append(to, set.RRs[0])
		}
	}
	return to
}

func sameRecord(a, b dns.RR) bool { return a.Header().Ttl == b.Header().Ttl && sameRdata(a, b) }

// without returns the records of s that are not in other, which may be nil.
func (s *RRset) without(other *RRset) []dns.RR {
	if other == nil {
		return s.RRs
	}
	// Both are in order and were packed before: an error would have shown.
	have := map[string]uint32{}
	for _, rr := range other.RRs {
		key, _ := rdata(rr)
		have[key] = rr.Header().Ttl
	}
	var lacking []dns.RR
	for _, rr := range s.RRs {
		key, _ := rdata(rr)
		if ttl, ok := have[key]; !ok || ttl != rr.Header().Ttl {
			lacking = append(lacking, rr)
		}
	}
	return lacking
}
