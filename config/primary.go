package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// maxPrimaries bounds the primaries of one zone in one view: they are tried in
// turn.
const maxPrimaries = 16

// zonePrimaries reads the primaries of one zone: of each view, and those that
// are written without one, which go to the only view there is.
func (b *builder) zonePrimaries(t table, z *Zone) {
	views := t.sub("view")
	for i := range z.Views {
		v := views.sub(z.Views[i].View)
		z.Views[i].Primaries = b.primaries(v)
		b.checkPrimaries(v, z, z.Views[i])
	}
	all := b.primaries(t)
	if all == nil {
		return
	}
	at := t.written("primaries").key
	if len(b.checked.Views) != 1 {
		hint := "add a [[view]]"
		if n := len(b.checked.Views); n > 0 {
			hint = "write it in " + bracket(dotted([]string{"zone", z.Name, "view", b.checked.Views[n-1].Name}), false)
		}
		b.file.errorAt(at, fmt.Sprintf("the zone %s is transferred into one view, and there are %d", z.Name, len(b.checked.Views)), hint)
		return
	}
	view := b.checked.Views[0].Name
	i := slices.IndexFunc(z.Views, func(v ZoneView) bool { return v.View == view })
	switch {
	case i < 0:
		i, z.Views = len(z.Views), append(z.Views, ZoneView{View: view})
	case z.Views[i].Primaries != nil:
		b.file.errorAt(at, fmt.Sprintf("primaries are written twice: here, and for the view %q", view), "keep those of the view")
		return
	}
	z.Views[i].Primaries = all
	b.checkPrimaries(t, z, z.Views[i])
}

// primaries reads a list of peers; nil when it is not written.
func (b *builder) primaries(t table) []string {
	written := t.written("primaries")
	if written == nil {
		return nil
	}
	switch n := len(written.items); {
	case n == 0:
		b.file.errorAt(written.at, "primaries is empty: the zone could come from nowhere", "leave it out for a zone with a file")
	case n > maxPrimaries:
		b.file.errorAt(written.at, fmt.Sprintf("more than %d primaries", maxPrimaries), "")
	}
	all := []string{}
	for _, n := range t.list("primaries") {
		b.used[n.text], b.primary[n.text] = true, true
		p := b.peerAt(n)
		switch {
		case p == nil:
			continue
		case len(p.Address) == 0:
			n.bad = true
			if a := b.root.sub("peer").sub(p.Name).n.field("address"); a == nil || len(a.items) == 0 { // else it is said there
				b.file.errorAt(n.at, fmt.Sprintf("the peer %q has no address to transfer from", p.Name), `add address = ["192.0.2.1:53"] to [`+dotted([]string{"peer", p.Name})+"]")
			}
			continue
		}
		all = append(all, n.text)
	}
	return all
}

// checkPrimaries looks at what else is said of a zone that comes from others.
func (b *builder) checkPrimaries(t table, z *Zone, v ZoneView) {
	if v.Primaries == nil {
		return
	}
	at := t.written("primaries").key
	if n := t.n.field("dynamic"); n != nil {
		b.file.errorAt(n.key, "primaries and dynamic: a zone that comes from others is updated there", "leave one of them out")
	}
	i := slices.IndexFunc(b.checked.Views, func(o View) bool { return o.Name == v.View })
	if i < 0 {
		return // told already
	}
	if dir := b.checked.Views[i].Zones; dir != "" && b.holds(dir, z) {
		b.file.errorAt(at, fmt.Sprintf("the zone %s has primaries, and a file in %s", z.Name, dir), "move the file away, or leave primaries out")
	}
	for _, name := range v.Primaries {
		p := b.peer(name)
		if len(p.Keys) > 0 && !slices.ContainsFunc(p.Keys, func(k string) bool {
			owner := b.keyOwner(k)
			return owner == "" || owner == v.View
		}) {
			b.file.errorAt(at, fmt.Sprintf("the key %q of the peer %q belongs to the view %q", p.Keys[0], name, b.keyOwner(p.Keys[0])), fmt.Sprintf("give it a key of its own for the view %q", v.View))
		}
	}
}

// checkFiles refuses a file that no view can read: all that have a directory
// take the zone from others.
func (b *builder) checkFiles() {
	for _, z := range b.checked.Zones {
		fed := func(view string) bool { return z.view(view).Primaries != nil }
		if z.File == "" || !slices.ContainsFunc(z.Views, func(v ZoneView) bool { return v.Primaries != nil }) ||
			slices.ContainsFunc(b.checked.Views, func(v View) bool { return v.Zones != "" && !fed(v.Name) }) {
			continue
		}
		s := b.root.sub("zone")
		for _, written := range s.names() {
			if n := s.sub(written).written("file"); n != nil && canonical(written) == z.Name {
				b.file.errorAt(n.key, fmt.Sprintf("the zone %s has primaries: no view reads its file", z.Name), "leave it out")
			}
		}
	}
}

// view returns what a zone has in a view; the zero value for nothing.
func (z *Zone) view(name string) ZoneView {
	for _, v := range z.Views {
		if v.View == name {
			return v
		}
	}
	return ZoneView{}
}

// serverAddresses reads where a peer serves, or hears of changes. Our own
// listeners are no peer.
func (b *builder) serverAddresses(t table, name, who string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, n := range t.list(name) {
		a, err := netip.ParseAddrPort(n.text)
		if err != nil {
			continue
		}
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		switch {
		case a.Port() == 0:
			b.file.errorAt(n.at, fmt.Sprintf("no port in %q", n.text), "name servers listen on 53")
		case a.Addr().IsUnspecified():
			b.file.errorAt(n.at, fmt.Sprintf("%s is no address of a peer", a.Addr()), `like "198.51.100.53:53"`)
		case b.listensOn(a):
			b.file.errorAt(n.at, fmt.Sprintf("%s is our own listener", a), "name the "+who)
		case slices.Contains(all, a):
			b.file.errorAt(n.at, fmt.Sprintf("%s stands twice", a), "")
		default:
			all = append(all, a)
			continue
		}
		n.bad = true
	}
	return all
}

// Primaries returns the peers that a zone, by its canonical name, comes from in
// a view, in the order in which they are tried; none for a zone of our own.
func (c *Checked) Primaries(zone, view string) []Peer {
	var peers []Peer
	for _, z := range c.Zones {
		if z.Name != zone {
			continue
		}
		for _, name := range z.view(view).Primaries {
			if i := slices.IndexFunc(c.Peers, func(p Peer) bool { return p.Name == name }); i >= 0 {
				peers = append(peers, c.Peers[i])
			}
		}
	}
	return peers
}

// peerNeeds says what a peer lacks for what it is used as. A primary is asked,
// so that its address is enough; a secondary asks, and must be known.
func (b *builder) peerNeeds(t table, p Peer) {
	secondary := !b.primary[p.Name] || b.secondary[p.Name]
	if secondary && p.ByAddress && !keyed(t, p) && t.n.field("transfer_from") == nil {
		b.file.errorAt(t.where("insecure_by_address"), fmt.Sprintf("the peer %q has neither keys nor transfer_from: anyone could take the zones", p.Name), `add transfer_from = ["198.51.100.53"]`)
	}
	if secondary && !p.ByAddress && !keyed(t, p) && t.n.field("client_cert") == nil && provesItself(t, p) {
		b.file.errorAt(t.where("keys"), fmt.Sprintf("the peer %q has no keys, and is no primary alone", p.Name), `add keys = ["NAME."], or client_cert: how it proves itself as a server says nothing of who asks for zones`)
	}
	b.primaryWithin(t, p)
	if secondary && t.n.field("notify") == nil {
		b.file.warnAt(t.at, fmt.Sprintf("the peer %q is never told of changes", p.Name), `like notify = ["198.51.100.53:53"]; notify = [] if that is meant`)
	}
	if b.secondary[p.Name] && p.Transport == "tls" && !b.listensWithin() {
		b.file.errorAt(t.where("transport"), fmt.Sprintf("the peer %q is to come within TLS, but there is no listener for that", p.Name), `add [[listen]] with serve = "dns" and transport = ["tls"], on port 853`)
	}
	if !b.used[p.Name] {
		what, hint := "a secondary of no zone", "name it in secondaries"
		if len(p.Address) > 0 {
			what, hint = "a primary of no zone, and a secondary of none", "name it in primaries or secondaries"
		}
		b.file.warnAt(t.at, fmt.Sprintf("the peer %q is %s", p.Name, what), hint)
	}
}
