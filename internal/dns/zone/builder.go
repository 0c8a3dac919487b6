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
	origin   name.Name
	nodes    map[name.Name]*Node
	order    []*Node // nodes as they came
	lastText string  // the owner of the record before, as it was written
	last     *Node
}

// NewBuilder returns an empty builder for the zone of that name.
func NewBuilder(origin name.Name) *Builder {
	return &Builder{origin: origin, nodes: map[name.Name]*Node{}}
}

// Add puts a copy of rr into the zone. A record that is there already is
// dropped (RFC 2181, Section 5); where TTLs differ the smaller one holds for
// the whole set (Section 5.2).
func (b *Builder) Add(rr dns.RR) error {
	clean, _, err := Normalise(rr)
	if err != nil {
		return err
	}
	return b.AddNormal(clean)
}

// AddNormal is Add for a record that Normalise made, and that nobody changes
// any more: the zone keeps it as it is.
func (b *Builder) AddNormal(rr dns.RR) error {
	h := rr.Header()
	if b.last == nil || h.Name != b.lastText {
		owner, err := name.Parse(h.Name)
		switch {
		case err != nil:
			return fmt.Errorf("owner %q: %w", h.Name, err)
		case !owner.IsBelow(b.origin):
			return ErrOutside
		}
		b.last, b.lastText = b.node(owner), h.Name
	}
	node := b.last
	if h.Rrtype == dns.TypeSOA && node.Name != b.origin {
		return ErrSOA
	}
	set := node.Set(h.Rrtype)
	if set == nil {
		node.Sets = append(node.Sets, RRset{Type: h.Rrtype, TTL: h.Ttl})
		set = &node.Sets[len(node.Sets)-1]
	}
	set.TTL = min(set.TTL, h.Ttl)
	set.RRs = append(set.RRs, rr)
	return nil
}

func (b *Builder) node(owner name.Name) *Node {
	node := b.nodes[owner]
	if node == nil {
		node = &Node{Name: owner}
		b.nodes[owner] = node
		b.order = append(b.order, node)
	}
	return node
}

// Build returns the zone. The builder must not be used afterwards.
func (b *Builder) Build() (*Zone, error) {
	z := &Zone{index: b.nodes, apex: b.nodes[b.origin]}
	for _, node := range b.order {
		for i := range node.Sets {
			if err := node.Sets[i].finish(); err != nil {
				return nil, fmt.Errorf("%s: %w", node.Name, err)
			}
			z.count += len(node.Sets[i].RRs)
		}
		slices.SortFunc(node.Sets, func(a, b RRset) int { return int(a.Type) - int(b.Type) })
	}
	if err := z.takeSOA(b.origin); err != nil {
		return nil, err
	}
	nodes := z.fillGaps(b.order)
	sortNodes(nodes)
	z.rest = nodes[1:] // the apex stands before all names below it
	delete(z.index, b.origin)
	return z, nil
}

// sortNodes puts nodes into canonical order. Comparing names label by label
// from the right is dear: each gets a key that compares as octets.
func sortNodes(nodes []*Node) {
	type keyed struct {
		key  string
		node *Node
	}
	var room []byte
	ends := make([]int, len(nodes))
	for i, n := range nodes {
		room = n.Name.AppendKey(room)
		ends[i] = len(room)
	}
	keys, start := string(room), 0
	all := make([]keyed, len(nodes))
	for i, n := range nodes {
		all[i] = keyed{keys[start:ends[i]], n}
		start = ends[i]
	}
	slices.SortFunc(all, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	for i := range all {
		nodes[i] = all[i].node
	}
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
func (z *Zone) fillGaps(nodes []*Node) []*Node {
	for _, node := range nodes {
		for n := node.Name; n != z.apex.Name; {
			n = n.Parent()
			if z.index[n] != nil {
				break
			}
			gap := &Node{Name: n}
			z.index[n] = gap
			nodes = append(nodes, gap)
		}
	}
	return nodes
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
