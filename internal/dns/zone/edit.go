package zone

import (
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Edit returns the zone with the records of some owners replaced. Of each owner
// that changes, records holds all that it has from now on, none where it goes;
// they are as Builder.AddOwned takes them. All else is shared, so that it costs
// what the edit costs and the boards of nodes that it touches. It is equal to what a
// Builder makes of all the records.
func (z *Zone) Edit(records map[name.Name][]dns.RR) (*Zone, error) {
	e := edit{old: z, records: records, above: map[name.Name]bool{}}
	next := &Zone{soa: z.soa, apex: z.apex, count: z.count}
	for owner, rrs := range records {
		node, err := e.node(owner, rrs)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", owner, err)
		}
		next.count += node.records() - z.Node(owner).records()
		if owner == z.apex.Name {
			next.apex = node
		} else {
			e.set(owner, node)
		}
	}
	e.settleGaps()
	slices.SortFunc(e.changes, func(a, b change) int { return a.name.Compare(b.name) })
	next.rest = z.rest.with(e.changes)
	return next, next.takeSOA(z.apex.Name)
}

// edit is what becomes of the nodes below the apex that change.
type edit struct {
	old     *Zone
	records map[name.Name][]dns.RR
	room    Arena
	changes []change
	above   map[name.Name]bool // names between the apex and an owner that has records now
	seen    map[name.Name]bool // of the gaps
}

func (e *edit) set(n name.Name, node *Node) { e.changes = append(e.changes, change{n, node}) }

// node makes an owner's node; one without sets where nothing is left.
func (e *edit) node(owner name.Name, rrs []dns.RR) (*Node, error) {
	node, origin := &Node{Name: owner}, e.old.apex.Name
	switch {
	case !owner.IsBelow(origin):
		return nil, ErrOutside
	case len(rrs) == 0:
		return node, nil
	}
	if err := node.fill(slices.Clone(rrs), &e.room); err != nil {
		return nil, err
	}
	if owner == origin {
		return node, nil
	}
	if node.Set(dns.TypeSOA) != nil {
		return nil, ErrSOA
	}
	for up := owner.Parent(); up != origin && !e.above[up]; up = up.Parent() {
		e.above[up] = true
	}
	return node, nil
}

func (n *Node) records() int {
	count := 0
	if n != nil {
		for i := range n.Sets {
			count += len(n.Sets[i].RRs)
		}
	}
	return count
}

// settleGaps decides which names without records stay or come as empty
// non-terminals: those above a name with records (RFC 4592, Section 2.2.2).
func (e *edit) settleGaps() {
	origin := e.old.apex.Name
	e.seen = map[name.Name]bool{}
	for i, c := range e.changes {
		if len(c.node.Sets) == 0 && !e.lives(c.name) {
			e.changes[i].node = nil
		}
	}
	for owner := range e.records {
		if owner == origin {
			continue
		}
		for up := owner.Parent(); up != origin && !e.seen[up]; up = up.Parent() {
			e.seen[up] = true
			if _, changes := e.records[up]; changes || len(setsOf(e.old.Node(up))) > 0 {
				continue
			}
			if e.lives(up) {
				e.set(up, &Node{Name: up})
			} else {
				e.set(up, nil)
			}
		}
	}
}

func setsOf(n *Node) []RRset {
	if n == nil {
		return nil
	}
	return n.Sets
}

// lives reports whether a name below n has records.
func (e *edit) lives(n name.Name) bool {
	if e.above[n] {
		return true
	}
	at, _ := e.old.rest.search(n)
	for node := range e.old.rest.from(at) {
		if !node.Name.IsBelow(n) {
			return false
		}
		if _, changes := e.records[node.Name]; !changes && len(node.Sets) > 0 {
			return true
		}
	}
	return false
}
