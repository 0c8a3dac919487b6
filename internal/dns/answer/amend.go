package answer

import (
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Amend compiles src, which differs from what old was compiled of in the
// owners touched, and in the empty non-terminals above them, only. It costs
// what these cost, and a few copies. ok is false where Recompile has to do it:
// where much has changed, where a cut or DNAME takes or loses what stands
// below it, where the zone denies in another way, where an NSEC3 record's owner
// is or becomes a name as well, or where old has no room left or too much waste.
//
// Of a signed zone an edit touches its owner, the NSEC records before it or the
// NSEC3 records of it and before these, and the apex: they are changed in
// place, and the chain is copied where its members change.
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
	proofs []*amended // NSEC3 records, in the order of their hashes
	at     map[name.Name]*amended
	turns  []turn // of the chain of NSEC or NSEC3 records
	most   int    // nodes, beyond which the whole way is shorter
	packer packer
}

// amended is an owner that may change.
type amended struct {
	compiled // src is nil where it goes
	name     name.Name
	was      *owner // nil where it comes
	turn     turn   // of an NSEC3 record
}

func amend(src *zone.Zone, old *Zone, touched []name.Name) (*amendment, bool) {
	if old == nil || old.origin != src.Origin() || !old.sparing() || 16*src.Names() < len(old.slots) {
		return nil, false
	}
	a := &amendment{
		Zone: &Zone{origin: old.origin, denial: old.denial, aside: old.aside, scheme: schemeOf(src)},
		src:  src, old: old, at: map[name.Name]*amended{}, most: 64 + src.Names()/16,
	}
	a.packer.origin, a.packer.hosts, a.packer.scheme = a.origin, a, a.scheme
	if a.scheme != old.scheme || !a.gather(touched) {
		return nil, false
	}
	byName := func(x, y *amended) int { return x.name.Compare(y.name) }
	slices.SortFunc(a.nodes, byName)
	slices.SortFunc(a.proofs, byName)
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
		aside, ok := a.addProof(n)
		if !ok {
			return false
		}
		// With a name may come or go empty non-terminals above it, and to the
		// first that stays it may be the wildcard.
		for stays := aside; !stays; n = n.Parent() {
			if asideOf(a.src.Node(n)) {
				return false // there is, or was, a name below an NSEC3 record
			}
			stays = a.add(n)
		}
	}
	a.addReferrers()
	// What stands below a cut or DNAME depends on it. Where the name itself
	// comes or goes, so does all below it, and is among the nodes.
	return len(a.nodes)+len(a.proofs) <= a.most && !slices.ContainsFunc(a.nodes, func(nd *amended) bool {
		return nd.stays() && (nd.flags^nd.was.flags)&(isCut|isDNAME) != 0
	})
}

// addProof puts the name among the NSEC3 records, if it is of one in either
// zone, and nothing else: aside. It reports false where it is both, or of
// another chain.
func (a *amendment) addProof(n name.Name) (aside, ok bool) {
	node := a.src.Node(n)
	now := node.Set(dns.TypeNSEC3) != nil
	h, fits := hashOf(n, a.origin)
	if !fits || !a.hashed() {
		return false, !now
	}
	at, had := a.old.findHash(&h)
	if !now && !had {
		return false, true
	}
	if _, name := a.old.slotOf(a.packer.key(n)); name || now && !(asideOf(node) && a.scheme.proof(node)) || !now && node != nil {
		return false, false
	}
	if a.at[n] == nil {
		nd := &amended{name: n, turn: turn{head: h.head(), at: at, had: had, has: now}}
		nd.src, nd.flags = node, isProof
		if had {
			nd.was = a.old.at(a.old.ring.pos[at])
		}
		a.at[n], a.proofs = nd, append(a.proofs, nd)
		a.aside += int(btoi(now)) - int(btoi(had))
	}
	return true, true
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
