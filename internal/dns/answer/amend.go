package answer

import (
	"slices"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Amend compiles src, which differs from what old was compiled of in the
// owners touched, and in the empty non-terminals above them, only. It costs
// what these cost, and a few copies. ok is false where Recompile has to do it:
// where much has changed, where a cut or DNAME takes or loses what stands
// below it, or where old has no room left or too much waste.
func Amend(src *zone.Zone, old *Zone, touched []name.Name) (z *Zone, ok bool) {
	a, ok := amend(src, old, touched)
	if !ok {
		return nil, false
	}
	return a.Zone, true
}

// amendment is the next state of a zone in the making: the runs of the owners
// that change in any way are packed anew, all others stay where they are.
type amendment struct {
	*Zone
	src    *zone.Zone
	old    *Zone
	nodes  []*amended // in canonical order, once all are known
	at     map[name.Name]*amended
	most   int // nodes, beyond which the whole way is shorter
	packer packer
}

// amended is an owner that may change.
type amended struct {
	compiled // src is nil where it goes
	name     name.Name
	was      *owner // nil where it comes
}

func amend(src *zone.Zone, old *Zone, touched []name.Name) (*amendment, bool) {
	if old == nil || old.origin != src.Origin() || !old.sparing() || 16*src.Names() < len(old.slots) {
		return nil, false
	}
	a := &amendment{
		Zone: &Zone{origin: old.origin, nsec: old.nsec, denial: old.denial},
		src:  src, old: old, at: map[name.Name]*amended{}, most: 64 + src.Names()/16,
	}
	a.packer.origin, a.packer.hosts = a.origin, a
	if !a.gather(touched) {
		return nil, false
	}
	slices.SortFunc(a.nodes, func(x, y *amended) int { return x.name.Compare(y.name) })
	return a, a.settle() && a.splice() && a.packAll()
}

// gather finds all owners whose runs may change. It reports false where they
// are too many, or more than these.
func (a *amendment) gather(touched []name.Name) bool {
	if len(touched) > a.most {
		return false
	}
	for _, n := range touched {
		if !n.IsBelow(a.origin) {
			return false
		}
		// With a name may come or go empty non-terminals above it, and to the
		// first that stays it may be the wildcard.
		for !a.add(n) {
			n = n.Parent()
		}
	}
	a.addReferrers()
	// What stands below a cut or DNAME depends on it. Where the name itself
	// comes or goes, so does all below it, and is among the nodes.
	return len(a.nodes) <= a.most && !slices.ContainsFunc(a.nodes, func(nd *amended) bool {
		return nd.stays() && (nd.flags^nd.was.flags)&(isCut|isDNAME) != 0
	})
}

// add puts the name among the nodes, if it is in either zone. It reports
// whether it is in both.
func (a *amendment) add(n name.Name) bool {
	if nd := a.at[n]; nd != nil {
		return nd.stays()
	}
	nd := &amended{name: n}
	if nd.src = a.src.Node(n); nd.src != nil {
		nd.flags = flagsOf(nd.src, n == a.origin)
	}
	if slot, ok := a.old.slotOf(a.packer.key(n)); ok {
		nd.slot, nd.was = slot, a.old.linked(slot)
		nd.wild = nd.was.wild
	}
	if nd.src == nil && nd.was == nil {
		return false
	}
	a.at[n] = nd
	a.nodes = append(a.nodes, nd)
	return nd.stays()
}

func (nd *amended) stays() bool { return nd.src != nil && nd.was != nil }

// had returns what the owner was.
func (nd *amended) had() uint8 {
	if nd.was == nil {
		return 0
	}
	return nd.was.flags
}

// addReferrers adds those whose records lead to a name that gains or loses its
// addresses: that changes their links.
func (a *amendment) addReferrers() {
	hosts := map[string]bool{}
	for _, nd := range a.nodes {
		if (nd.had()^nd.flags)&isHost != 0 {
			hosts[nd.name.String()] = true
		}
	}
	if len(hosts) == 0 {
		return
	}
	for node := range a.src.Nodes() {
		if leadsTo(node, hosts) {
			a.add(node.Name)
		}
		if len(a.nodes) > a.most {
			return
		}
	}
}

// leadsTo reports whether the node has records with which the addresses of one
// of the hosts go along. In a zone each name is spelled in one way.
func leadsTo(node *zone.Node, hosts map[string]bool) bool {
	for i := range node.Sets {
		set := &node.Sets[i]
		if !linking(set.Type) {
			continue
		}
		for _, rr := range set.RRs {
			if hosts[zone.Target(rr)] {
				return true
			}
		}
	}
	return false
}
