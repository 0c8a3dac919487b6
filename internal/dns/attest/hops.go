package attest

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// hops reports whether the NSEC3 chain is right where it was edited. It says no
// wherever it does not know, too: then the whole chain will be judged.
//
// What it rests on: the old chain was good, so a record that did not change is
// of a name that did not change, unless that is among the names looked at here.
func (e *edit) hops(j *judge) bool {
	set := j.spots[0].node.Set(dns.TypeNSEC3PARAM)
	if !e.chained || len(j.hashes) == 0 || set == nil || len(set.RRs) != 1 {
		return false
	}
	var wrong findings
	named := j.named(&wrong)
	if len(named) != 1 || len(wrong.list) > 0 {
		return false
	}
	s := &splice{edit: e, j: j, params: named[0], known: map[digest]bool{}}
	return s.names() && s.records() && s.joined()
}

// splice is the judgement of an edited chain.
type splice struct {
	*edit
	j *judge
	params
	known map[digest]bool // hashes of the names that changed
	asked []int           // of the hashed spots: whose next is to be judged
	w     worker
}

// names judges the names that changed and those that are gone: each has its
// record if it must, or none.
func (s *splice) names() bool {
	for _, i := range s.changed {
		sp := &s.j.spots[i]
		if sp.place == hashed {
			continue
		}
		at, found := s.find(sp)
		switch wanted := sp.exists() || sp.place == inside && sp.some; {
		case wanted != found: // or left out by opt-out, which takes the whole chain to know
			return false
		case found && !s.types(sp, at):
			return false
		}
	}
	for _, m := range s.gone {
		if sp := &s.before.spots[m.old]; sp.place != hashed {
			if _, found := s.find(sp); found {
				return false
			}
		}
	}
	return true
}

// find looks for the record of a name, and notes its hash.
func (s *splice) find(sp *spot) (int, bool) {
	var d digest
	d, s.w.data = s.hash(sp.node.Name, s.w.data)
	s.known[d] = true
	return slices.BinarySearchFunc(s.j.hashes, hashText(d), func(i int32, text string) int {
		return strings.Compare(s.j.spots[i].node.Name.First(), text)
	})
}

// types reports whether the record at that place tells of the name's types.
func (s *splice) types(sp *spot, at int) bool {
	var wrong findings
	h, ok := s.hop(&s.j.spots[s.j.hashes[at]])
	if ok {
		s.j.hashedTypes(sp, &h, &s.w, &wrong)
	}
	return ok && len(wrong.list) == 0
}

// hop reads a record that is as it should be.
func (s *splice) hop(sp *spot) (hop, bool) {
	var wrong findings
	set := sp.node.Set(dns.TypeNSEC3)
	if set == nil || len(set.RRs) != 1 || len(sp.node.Sets) != 2 || sp.node.Set(dns.TypeRRSIG) == nil || !s.j.denialTTL(set.TTL) {
		return hop{}, false
	}
	h, p, ok := s.j.hop(sp.node, set.RRs[0], &wrong)
	return h, ok && p == s.params && len(wrong.list) == 0
}

// records judges the records that changed and those that are gone: either a
// name that changed is the reason, or only where the record leads is another.
// With opt-out a record also speaks for names that have none.
func (s *splice) records() bool {
	for _, i := range s.changed {
		sp := &s.j.spots[i]
		if sp.place != hashed {
			continue
		}
		h, ok := s.hop(sp)
		if !ok || h.optOut() || !s.known[h.hash] && !s.sameTypes(sp, &h) {
			return false
		}
		s.ask(i, true)
	}
	for _, m := range s.gone {
		if sp := &s.before.spots[m.old]; sp.place == hashed {
			h, ok := s.hop(sp)
			if !ok || h.optOut() || !s.known[h.hash] {
				return false
			}
			s.ask(m.at, false)
		}
	}
	return true
}

// sameTypes reports whether the old zone had the record with the same types.
func (s *splice) sameTypes(sp *spot, h *hop) bool {
	set := s.old.Node(sp.node.Name).Set(dns.TypeNSEC3)
	if set == nil || len(set.RRs) != 1 {
		return false
	}
	was, ok := set.RRs[0].(*dns.NSEC3)
	return ok && was.Flags == h.rr.Flags && slices.Equal(was.TypeBitMap, h.rr.TypeBitMap)
}

// ask notes the record before a spot, and the one at it.
func (s *splice) ask(spot int32, itself bool) {
	at, found := slices.BinarySearch(s.j.hashes, spot)
	s.asked = append(s.asked, (at+len(s.j.hashes)-1)%len(s.j.hashes))
	if found && itself {
		s.asked = append(s.asked, at)
	}
}

// joined judges where the records lead that were noted.
func (s *splice) joined() bool {
	for _, at := range s.asked {
		h, ok := s.hop(&s.j.spots[s.j.hashes[at]])
		next, fine := s.hop(&s.j.spots[s.j.hashes[(at+1)%len(s.j.hashes)]])
		if !ok || !fine || h.next != next.hash || h.optOut() {
			return false
		}
	}
	return true
}
