package zone

import (
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
	origin name.Name
	nodes  map[name.Name]map[uint16]*RRset
}

// NewBuilder returns an empty builder for the zone of that name.
func NewBuilder(origin name.Name) *Builder {
	return &Builder{origin: origin, nodes: map[name.Name]map[uint16]*RRset{}}
}

// Add puts a copy of rr into the zone. A record that is there already is
// dropped (RFC 2181, Section 5); where TTLs differ the smaller one holds for
// the whole set (Section 5.2).
func (b *Builder) Add(rr dns.RR) error {
	rr, owner, err := Normalise(rr)
	if err != nil {
		return err
	}
	if !owner.IsBelow(b.origin) {
		return ErrOutside
	}
	t := rr.Header().Rrtype
	if t == dns.TypeSOA && owner != b.origin {
		return ErrSOA
	}
	key, err := rdata(rr)
	if err != nil {
		return err
	}
	sets := b.nodes[owner]
	if sets == nil {
		sets = map[uint16]*RRset{}
		b.nodes[owner] = sets
	}
	set := sets[t]
	if set == nil {
		set = &RRset{Type: t, TTL: rr.Header().Ttl}
		sets[t] = set
	}
	set.TTL = min(set.TTL, rr.Header().Ttl)
	set.RRs, set.keys = append(set.RRs, rr), append(set.keys, key)
	return nil
}

// Build returns the zone. The builder must not be used afterwards.
func (b *Builder) Build() (*Zone, error) {
	z := &Zone{index: make(map[name.Name]*Node, len(b.nodes))}
	for owner, sets := range b.nodes {
		node := &Node{Name: owner, Sets: make([]RRset, 0, len(sets))}
		for _, set := range sets {
			set.finish()
			z.count += len(set.RRs)
			node.Sets = append(node.Sets, *set)
		}
		slices.SortFunc(node.Sets, func(a, b RRset) int { return int(a.Type) - int(b.Type) })
		z.index[owner] = node
	}
	z.apex = z.index[b.origin]
	if err := z.takeSOA(b.origin); err != nil {
		return nil, err
	}
	z.fillGaps()
	delete(z.index, b.origin)
	z.rest = make([]*Node, 0, len(z.index))
	for _, node := range z.index {
		z.rest = append(z.rest, node)
	}
	slices.SortFunc(z.rest, func(a, b *Node) int { return a.Name.Compare(b.Name) })
	return z, nil
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

// fillGaps adds the empty non-terminals.
func (z *Zone) fillGaps() {
	var missing []name.Name
	for owner := range z.index {
		for n := owner; n != z.apex.Name; {
			n = n.Parent()
			if z.index[n] != nil {
				break
			}
			missing = append(missing, n)
		}
	}
	for _, n := range missing {
		if z.index[n] == nil {
			z.index[n] = &Node{Name: n}
		}
	}
}

// finish sorts the set, drops duplicates and evens out the TTL.
func (s *RRset) finish() {
	order := make([]int, len(s.RRs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return strings.Compare(s.keys[i], s.keys[j]) })
	rrs, keys := make([]dns.RR, 0, len(order)), make([]string, 0, len(order))
	for _, i := range order {
		if len(keys) > 0 && keys[len(keys)-1] == s.keys[i] {
			continue
		}
		if s.Type != dns.TypeRRSIG {
			s.RRs[i].Header().Ttl = s.TTL
		}
		rrs, keys = append(rrs, s.RRs[i]), append(keys, s.keys[i])
	}
	s.RRs, s.keys = rrs, keys
}
