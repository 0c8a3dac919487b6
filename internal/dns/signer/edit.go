package signer

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// edit is one incremental signing.
type edit struct {
	*settings
	last     *Signed
	unsigned *zone.Zone
	chain    []hash
	touched  map[name.Name]bool // whose data or kind may have changed
	names    map[name.Name]bool // whose nodes are made anew: touched, and who leads to them
	hashes   map[hash]*member   // of the NSEC3 chain, to be made anew; nil: its types stay
	gone     map[hash]bool
}

// edit makes the next version by what differs.
func (s *Signed) edit(unsigned *zone.Zone, set *settings) (*Signed, error) {
	e := &edit{
		settings: set, last: s, unsigned: unsigned, chain: s.chain,
		touched: map[name.Name]bool{set.origin: true}, names: map[name.Name]bool{set.origin: true},
		hashes: map[hash]*member{}, gone: map[hash]bool{},
	}
	if err := e.touch(); err != nil {
		return nil, err
	}
	for n := range e.touched {
		e.names[n] = true
	}
	if set.policy.Denial == NSEC {
		e.link()
	} else if err := e.link3(); err != nil {
		return nil, err
	}
	e.refresh()
	return e.apply()
}

// touch finds the names whose records changed. Below a name that became or
// ceased to be a delegation or a DNAME, all change their kind.
func (e *edit) touch() error {
	var found []string
	more := 0
	removed, added := zone.Diff(e.last.unsigned, e.unsigned)
	for _, rr := range added {
		if t := rr.Header().Rrtype; Makes(t, rr.Header().Name == e.settings.text) {
			found, more = appendNamed(found, more, rr.Header().Name, t)
		}
	}
	if err := presigned(found, more); err != nil {
		return err
	}
	lastText := ""
	for _, rr := range slices.Concat(removed, added) {
		if rr.Header().Name == lastText {
			continue
		}
		lastText = rr.Header().Name
		owner, err := name.Parse(lastText)
		if err != nil {
			return fmt.Errorf("owner %q: %w", lastText, err)
		}
		if e.touched[owner] {
			continue
		}
		e.touched[owner] = true
		if occludes(e.last.unsigned.Node(owner), true) == occludes(e.unsigned.Node(owner), true) {
			continue
		}
		for _, z := range []*zone.Zone{e.last.unsigned, e.unsigned} {
			for n := range z.From(owner) {
				if !n.Name.IsBelow(owner) {
					break
				}
				e.touched[n.Name] = true
			}
		}
	}
	return nil
}

// link finds who leads in the NSEC chain to a name that comes or goes.
func (e *edit) link() {
	for n := range e.touched {
		if inNSEC(kindOf(e.last.unsigned, n)) != inNSEC(kindOf(e.unsigned, n)) {
			e.names[e.previous(n)] = true
		}
	}
}

// previous returns the name before n in the NSEC chain; n is not the apex,
// which never comes nor goes.
func (e *edit) previous(n name.Name) name.Name {
	for p := range e.unsigned.Before(n) {
		if over := occluder(e.unsigned, p.Name); over != nil {
			return over.Name
		}
		if inNSEC(visible(p, e.origin)) {
			return p.Name
		}
	}
	return e.origin
}

// following returns the node after n in the NSEC chain.
func (e *edit) following(n *zone.Node) *zone.Node {
	over := occludes(n, n.Name != e.origin)
	for q := range e.unsigned.From(n.Name) {
		if q.Name == n.Name || over && q.Name.IsBelow(n.Name) {
			continue
		}
		// Nothing between the two occludes it: that would be the next itself.
		if inNSEC(visible(q, e.origin)) {
			return q
		}
	}
	return e.unsigned.Node(e.origin)
}

// link3 brings the NSEC3 chain up to date, and finds whose records change.
func (e *edit) link3() error {
	var come []hash
	for n := range e.withGaps() {
		node := e.unsigned.Node(n)
		m := member{dnssec.Hash(n), node, kindOf(e.unsigned, n)}
		before, after := e.member(e.last.unsigned, n), e.member(e.unsigned, n)
		switch {
		case after:
			if other := e.hashes[m.hash]; other != nil {
				return fmt.Errorf("%w: %s and %s", ErrCollision, other.node.Name, n)
			}
			e.hashes[m.hash] = &m
			if !before {
				come = append(come, m.hash)
			}
		case before:
			e.gone[m.hash] = true
		}
	}
	slices.SortFunc(come, func(a, b hash) int { return bytes.Compare(a[:], b[:]) })
	if err := e.splice(come); err != nil {
		return err
	}
	for _, h := range come {
		e.leads(h)
	}
	for h := range e.gone {
		e.leads(h)
	}
	return e.clash(come)
}

// withGaps returns the names touched, and the empty non-terminals above them:
// they may come or go.
func (e *edit) withGaps() map[name.Name]bool {
	all := map[name.Name]bool{}
	for n := range e.touched {
		all[n] = true
		for n != e.origin {
			n = n.Parent()
			if empty(e.last.unsigned.Node(n)) || empty(e.unsigned.Node(n)) {
				all[n] = true
			}
		}
	}
	return all
}

func empty(n *zone.Node) bool { return n != nil && len(n.Sets) == 0 }

func (e *edit) member(z *zone.Zone, n name.Name) bool {
	node := z.Node(n)
	return node != nil && e.hashed(z, node, kindOf(z, n))
}

// splice takes what is gone out of the chain and puts in what comes, which is
// in order.
func (e *edit) splice(come []hash) error {
	if len(come) == 0 && len(e.gone) == 0 {
		return nil
	}
	old := e.chain
	e.chain = make([]hash, 0, len(old)+len(come)-len(e.gone))
	add := func(h hash) error {
		if n := len(e.chain); n > 0 && e.chain[n-1] == h {
			return fmt.Errorf("%w: one is %s", ErrCollision, e.hashes[h].node.Name)
		}
		e.chain = append(e.chain, h)
		return nil
	}
	for _, h := range old {
		for len(come) > 0 && bytes.Compare(come[0][:], h[:]) <= 0 {
			if err := add(come[0]); err != nil {
				return err
			}
			come = come[1:]
		}
		if !e.gone[h] {
			if err := add(h); err != nil {
				return err
			}
		}
	}
	for _, h := range come {
		if err := add(h); err != nil {
			return err
		}
	}
	return nil
}

// find returns where in the chain h stands, or would.
func (e *edit) find(h hash) (int, bool) {
	return slices.BinarySearchFunc(e.chain, h, func(a, b hash) int { return bytes.Compare(a[:], b[:]) })
}

// leads has the record before h made anew.
func (e *edit) leads(h hash) {
	i, _ := e.find(h)
	before := e.chain[(i+len(e.chain)-1)%len(e.chain)]
	if _, there := e.hashes[before]; !there {
		e.hashes[before] = nil
	}
}

// clash looks for a name that is also that of an NSEC3 record, among the names
// and records that are new.
func (e *edit) clash(come []hash) error {
	for _, h := range come {
		if owner, ok := dnssec.HashOwner(h, e.origin); ok && e.unsigned.Node(owner) != nil {
			return fmt.Errorf("%s: %w", owner, ErrClash)
		}
	}
	for n := range e.withGaps() {
		if e.unsigned.Node(n) == nil || n == e.origin || n.Parent() != e.origin {
			continue
		}
		if h, ok := dnssec.ParseHash(n.First()); ok {
			if _, there := e.find(h); there {
				return fmt.Errorf("%s: %w", n, ErrClash)
			}
		}
	}
	return nil
}

// refresh finds the nodes with signatures that are due.
func (e *edit) refresh() {
	if wake := e.last.horizon.wake().Unix(); e.now < wake && e.now >= e.last.newest {
		return
	}
	for n := range e.last.zone.Nodes() {
		sigs := n.Set(dns.TypeRRSIG)
		if sigs == nil || !slices.ContainsFunc(sigs.RRs, func(rr dns.RR) bool {
			sig, ok := rr.(*dns.RRSIG)
			return ok && e.due(sig)
		}) {
			continue
		}
		if n.Set(dns.TypeNSEC3) == nil {
			e.names[n.Name] = true
		} else if h, ok := dnssec.ParseHash(n.Name.First()); ok && !e.gone[h] {
			if _, there := e.hashes[h]; !there {
				e.hashes[h] = nil
			}
		}
	}
}

// jobs lists what is to be made, and what goes.
func (e *edit) jobs() (jobs []job, goes []name.Name) {
	for n := range e.names {
		node := e.unsigned.Node(n)
		if node == nil {
			goes = append(goes, n)
			continue
		}
		j := job{node: node, at: -1, kind: kindOf(e.unsigned, n)}
		if e.policy.Denial == NSEC && inNSEC(j.kind) {
			j.next = e.following(node)
		}
		jobs = append(jobs, j)
	}
	for h, m := range e.hashes {
		i, there := e.find(h)
		if !there {
			continue // who would lead to it is gone itself
		}
		j := job{at: int32(i), kind: own}
		if m != nil {
			j.node, j.kind = m.node, m.kind
		}
		jobs = append(jobs, j)
	}
	for h := range e.gone {
		if owner, ok := dnssec.HashOwner(h, e.origin); ok {
			goes = append(goes, owner)
		}
	}
	return jobs, goes
}

// apply makes the new zone and its state.
func (e *edit) apply() (*Signed, error) {
	jobs, goes := e.jobs()
	nodes, err := e.run(jobs, e.chain, e.last.zone)
	if err != nil {
		return nil, err
	}
	records := map[name.Name][]dns.RR{}
	for _, n := range goes {
		if old := e.last.zone.Node(n); old != nil && len(old.Sets) > 0 {
			records[n] = nil
		}
	}
	for i := range nodes {
		n := &nodes[i]
		if old := e.last.zone.Node(n.Name); old != nil && identical(n.Sets, old.Sets) || old == nil && len(n.Sets) == 0 {
			continue
		}
		var all []dns.RR
		for j := range n.Sets {
			all = append(all, n.Sets[j].RRs...)
		}
		records[n.Name] = all
	}
	z := e.last.zone
	if len(records) > 0 {
		if z, err = z.Edit(records); err != nil {
			return nil, fmt.Errorf("signed zone: %w", err)
		}
		if z, err = e.seal(z, e.chain, e.last.zone); err != nil {
			return nil, err
		}
		if len(records) == 1 && identical(z.Node(e.origin).Sets, e.last.zone.Node(e.origin).Sets) {
			z = e.last.zone // nothing changed at all
		}
	}
	return e.settle(z, records), nil
}

// settle counts the signatures that went and came.
func (e *edit) settle(z *zone.Zone, records map[name.Name][]dns.RR) *Signed {
	next := &Signed{zone: z, unsigned: e.unsigned, set: e.settings, chain: e.chain, horizon: e.last.horizon.clone(), newest: e.last.newest}
	records[e.origin] = nil // its ZONEMD may be all that changed
	for n := range records {
		next.count(e.last.zone.Node(n).Set(dns.TypeRRSIG), -1)
	}
	for n := range records {
		next.count(z.Node(n).Set(dns.TypeRRSIG), 1)
	}
	return next
}
