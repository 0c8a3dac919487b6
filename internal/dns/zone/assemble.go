package zone

import (
	"errors"
	"fmt"
	"iter"

	"postern/internal/dns/name"
)

// ErrOrder says that nodes to be assembled are not in canonical order.
var ErrOrder = errors.New("names are out of order")

// Assemble returns the zone of these nodes, for who makes all of a large zone
// in order and knows it (dns/signer). The apex stands apart, the rest is in
// canonical order with its empty non-terminals, every set as in a built zone:
// by type, in order, with one TTL. That the names are in order is looked at,
// the sets are taken as they are.
func Assemble(apex Node, rest []Node) (*Zone, error) {
	z := &Zone{apex: &apex, rest: shelve(rest, boardNodes), count: apex.records()}
	for i := range rest {
		n := &rest[i]
		before := apex.Name
		if i > 0 {
			before = rest[i-1].Name
		}
		switch {
		case !n.Name.IsBelow(apex.Name):
			return nil, fmt.Errorf("%s: %w", n.Name, ErrOutside)
		case before.Compare(n.Name) >= 0:
			return nil, fmt.Errorf("%s: %w", n.Name, ErrOrder)
		}
		z.count += n.records()
	}
	return z, z.takeSOA(apex.Name)
}

// WithApex returns the zone with other sets at the apex, which are as Assemble
// takes them; all else is shared.
func (z *Zone) WithApex(sets []RRset) (*Zone, error) {
	apex := &Node{Name: z.apex.Name, Sets: sets}
	next := &Zone{apex: apex, rest: z.rest, count: z.count - z.apex.records() + apex.records()}
	return next, next.takeSOA(apex.Name)
}

// From returns the nodes from n on, in canonical order; n need not be there.
func (z *Zone) From(n name.Name) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		if n == z.apex.Name && !yield(z.apex) {
			return
		}
		at, _ := z.rest.search(n)
		z.rest.from(at)(yield)
	}
}

// Before returns the nodes before n, the nearest first and the apex last; n,
// which is not the apex, need not be there.
func (z *Zone) Before(n name.Name) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		at, _ := z.rest.search(n)
		for node := range z.rest.before(at) {
			if !yield(node) {
				return
			}
		}
		yield(z.apex)
	}
}
