package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxSecondaries bounds the secondaries of one zone in one view: each is told
// of every change and asked for its serial.
const maxSecondaries = 64

// peers reads [peer.NAME].
func (b *builder) peers() {
	s := b.root.sub("peer")
	for _, name := range s.names() {
		t := s.sub(name)
		if t.n == nil {
			continue
		}
		if !isPlainName(name) {
			b.file.errorAt(t.at, fmt.Sprintf("bad peer name %q", name), "want letters, digits, - and _")
			continue
		}
		p := Peer{
			Name: name, Notify: b.notified(t), From: b.clients(t, "transfer_from"), Keys: b.peerKeys(t),
			ByAddress: t.flag("insecure_by_address"), Transport: t.text("transport"), Source: t.addresses("source"),
		}
		b.within(t, &p)
		b.checkPeer(t, p)
		b.checked.Peers = append(b.checked.Peers, p)
	}
	slices.SortFunc(b.checked.Peers, func(a, c Peer) int { return strings.Compare(a.Name, c.Name) })
}

// notified is where a peer hears of changes. Our own listeners are no peer.
func (b *builder) notified(t table) []netip.AddrPort {
	var all []netip.AddrPort
	for _, n := range t.list("notify") {
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
			b.file.errorAt(n.at, fmt.Sprintf("%s is our own listener", a), "name the secondary")
		case slices.Contains(all, a):
			b.file.errorAt(n.at, fmt.Sprintf("%s stands twice", a), "")
		default:
			all = append(all, a)
		}
	}
	return all
}

func (b *builder) listensOn(a netip.AddrPort) bool {
	return slices.ContainsFunc(b.checked.Listen, func(l Listen) bool {
		return l.Serve == ServeDNS && slices.Contains(l.Addrs, a)
	})
}

// peerKeys returns the keys of a peer. Several peers may share one: it proves
// less then, but some providers give one to all their machines.
func (b *builder) peerKeys(t table) []string {
	var names []string
	for _, n := range t.list("keys") {
		name := canonical(n.text)
		switch {
		case slices.Contains(names, name):
			b.file.errorAt(n.at, fmt.Sprintf("the key %q stands twice", name), "case and a final dot make no difference")
		case b.knownKey(n, name):
			names = append(names, name)
		}
	}
	return names
}

// knownKey reports whether there is such a key; there is a problem if not.
func (b *builder) knownKey(n *node, name string) bool {
	if b.key(name) != nil {
		return true
	}
	n.bad = true
	if !b.keyRefused(name) {
		b.file.errorAt(n.at, fmt.Sprintf("there is no key %q", name), meant(name, b.keyNames(), "add ["+dotted([]string{"key", name + "."})+"]"))
	}
	return false
}

// checkPeer looks at one peer alone: whom we would give zones to. Where its
// keys or addresses have problems already, nothing more is said of them.
func (b *builder) checkPeer(t table, p Peer) {
	keyed := t.n.field("keys") != nil && (len(p.Keys) > 0 || t.nobody("keys", 0) == nil)
	from, shows := t.n.field("transfer_from"), t.n.field("client_cert") != nil
	switch {
	case !keyed && !p.ByAddress && !shows:
		b.file.errorAt(t.where("keys"), fmt.Sprintf("the peer %q has no keys", p.Name), `add keys = ["NAME."], or insecure_by_address = true with transfer_from`)
	case keyed && p.ByAddress:
		b.file.errorAt(t.where("insecure_by_address"), fmt.Sprintf("insecure_by_address is of no use: the peer %q has keys", p.Name), "leave it out: only what is signed is served")
	case p.ByAddress && from == nil:
		b.file.errorAt(t.where("insecure_by_address"), fmt.Sprintf("the peer %q has neither keys nor transfer_from: anyone could take the zones", p.Name), `add transfer_from = ["198.51.100.53"]`)
	case p.ByAddress && wholeFamily(p.From):
		b.file.errorAt(t.where("transfer_from"), fmt.Sprintf("the peer %q could be anyone: no key, from any address", p.Name), "name its addresses, or give it keys")
	}
	if n := t.nobody("transfer_from", len(p.From)); n != nil {
		// An empty From means any address, so it must not get that far.
		hint := "leave it out for any address"
		if !keyed && !shows {
			hint = `name its addresses`
		}
		b.file.errorAt(n.at, fmt.Sprintf("transfer_from of the peer %q is nobody", p.Name), hint)
	}
	if t.n.field("notify") == nil {
		b.file.warnAt(t.at, fmt.Sprintf("the peer %q is never told of changes", p.Name), `like notify = ["198.51.100.53:53"]; notify = [] if that is meant`)
	}
	for _, a := range p.Notify {
		if len(p.Source) > 0 && !slices.ContainsFunc(p.Source, func(s netip.Addr) bool { return s.Is4() == a.Addr().Is4() }) {
			b.file.warnAt(t.where("source"), fmt.Sprintf("no source of the peer %q can reach %s", p.Name, a), "name one of its family, or the system chooses")
		}
	}
}

func (b *builder) peer(name string) *Peer {
	for i := range b.checked.Peers {
		if b.checked.Peers[i].Name == name {
			return &b.checked.Peers[i]
		}
	}
	return nil
}

// secondaries reads a list of peers; nil when it is not written. An empty one
// says that there are none, whatever the default is.
func (b *builder) secondaries(t table) []string {
	written := t.written("secondaries")
	if written == nil {
		return nil
	}
	all := []string{}
	if len(written.items) > maxSecondaries {
		b.file.errorAt(written.at, fmt.Sprintf("more than %d secondaries", maxSecondaries), "let some of them transfer from others")
	}
	for _, n := range t.list("secondaries") {
		b.used[n.text] = true
		if b.peer(n.text) == nil {
			n.bad = true
			if peers := b.root.n.field("peer"); peers.field(n.text) == nil {
				b.file.errorAt(n.at, fmt.Sprintf("there is no peer %q", n.text), meant(n.text, b.peerNames(), "add ["+dotted([]string{"peer", n.text})+"]"))
			}
			continue
		}
		all = append(all, n.text)
	}
	return all
}

func (b *builder) peerNames() []string {
	var names []string
	for _, p := range b.checked.Peers {
		names = append(names, p.Name)
	}
	return names
}

// unusedPeers warns of peers that no zone has, and refuses those that have no
// way to us.
func (b *builder) unusedPeers() {
	s := b.root.sub("peer")
	for _, name := range s.names() {
		p := b.peer(name)
		switch {
		case p == nil:
		case !b.used[name]:
			b.file.warnAt(s.sub(name).at, fmt.Sprintf("the peer %q is a secondary of no zone", name), "name it in secondaries")
		case p.Transport == "tls" && !b.listensWithin():
			b.file.errorAt(s.sub(name).where("transport"), fmt.Sprintf("the peer %q is to come within TLS, but there is no listener for that", name), `add [[listen]] with serve = "dns" and transport = ["tls"], on port 853`)
		}
	}
}
