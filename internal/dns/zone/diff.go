package zone

import "github.com/miekg/dns"

// Diff returns the records that only old has and those that only new has, in
// canonical order. A changed TTL counts as both. Either zone may be nil.
func Diff(old, new *Zone) (removed, added []dns.RR) {
	a, b := nodesOf(old), nodesOf(new)
	x, y := a.next(), b.next()
	for x != nil || y != nil {
		order := 0
		switch {
		case x == nil:
			order = 1
		case y == nil:
			order = -1
		case x.Name == y.Name: // nearly always, and often the very same octets
		default:
			order = x.Name.Compare(y.Name)
		}
		switch {
		case order < 0:
			removed, x = appendAll(removed, x), a.next()
		case order > 0:
			added, y = appendAll(added, y), b.next()
		default:
			if x != y && !x.same(y) {
				removed = appendMissing(removed, x, y)
				added = appendMissing(added, y, x)
			}
			passShared(&a, &b)
			x, y = a.next(), b.next()
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

// same reports whether two nodes hold the same records. Sets and records are
// in order.
func (n *Node) same(m *Node) bool {
	if len(n.Sets) != len(m.Sets) {
		return false
	}
	if len(n.Sets) > 0 && &n.Sets[0] == &m.Sets[0] {
		return true // the one zone is an Edit of the other
	}
	for i := range n.Sets {
		a, b := &n.Sets[i], &m.Sets[i]
		if a.Type != b.Type || len(a.RRs) != len(b.RRs) {
			return false
		}
		for j := range a.RRs {
			if !SameRecord(a.RRs[j], b.RRs[j]) {
				return false
			}
		}
	}
	return true
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
		} else if !SameRecord(set.RRs[0], other.RRs[0]) {
			to = append(to, set.RRs[0])
		}
	}
	return to
}

// SameRecord reports whether two normalised records say the same, TTL included.
func SameRecord(a, b dns.RR) bool {
	if a == b {
		return true
	}
	h, g := a.Header(), b.Header()
	return h.Rrtype == g.Rrtype && h.Ttl == g.Ttl && h.Class == g.Class && h.Name == g.Name && sameRdata(a, b)
}

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
