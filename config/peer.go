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
			Name: name, Address: b.serverAddresses(t, "address", "primary"), Notify: b.serverAddresses(t, "notify", "secondary"), From: b.clients(t, "transfer_from"), Keys: b.peerKeys(t),
			ByAddress: t.flag("insecure_by_address"), Transport: t.text("transport"), Source: t.addresses("source"),
		}
		b.within(t, &p)
		b.checkPeer(t, p)
		b.checked.Peers = append(b.checked.Peers, p)
	}
	slices.SortFunc(b.checked.Peers, func(a, c Peer) int { return strings.Compare(a.Name, c.Name) })
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
	keyed, shows := keyed(t, p), t.n.field("client_cert") != nil
	switch {
	case !keyed && !p.ByAddress && !shows && !provesItself(t, p):
		b.file.errorAt(t.where("keys"), fmt.Sprintf("the peer %q has no keys", p.Name), `add keys = ["NAME."], or insecure_by_address = true with transfer_from`)
	case keyed && p.ByAddress:
		b.file.errorAt(t.where("insecure_by_address"), fmt.Sprintf("insecure_by_address is of no use: the peer %q has keys", p.Name), "leave it out: only what is signed is served")
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
	for _, a := range slices.Concat(p.Notify, p.Address) {
		if len(p.Source) > 0 && !slices.ContainsFunc(p.Source, func(s netip.Addr) bool { return s.Is4() == a.Addr().Is4() }) {
			b.file.warnAt(t.where("source"), fmt.Sprintf("no source of the peer %q can reach %s", p.Name, a), "name one of its family, or the system chooses")
		}
	}
}

// keyed reports whether the peer has keys, be it that these have problems.
func keyed(t table, p Peer) bool {
	return t.n.field("keys") != nil && (len(p.Keys) > 0 || t.nobody("keys", 0) == nil)
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
		b.used[n.text], b.secondary[n.text] = true, true
		if b.peerAt(n) != nil {
			all = append(all, n.text)
		}
	}
	return all
}

// peerAt returns the peer that is named; there is a problem if there is none.
func (b *builder) peerAt(n *node) *Peer {
	if p := b.peer(n.text); p != nil {
		return p
	}
	n.bad = true
	if b.root.n.field("peer").field(n.text) == nil {
		b.file.errorAt(n.at, fmt.Sprintf("there is no peer %q", n.text), meant(n.text, b.peerNames(), "add ["+dotted([]string{"peer", n.text})+"]"))
	}
	return nil
}

func (b *builder) peerNames() []string {
	var names []string
	for _, p := range b.checked.Peers {
		names = append(names, p.Name)
	}
	return names
}

// checkPeers says what peers lack for what they are used as, and which are not.
func (b *builder) checkPeers() {
	s := b.root.sub("peer")
	for _, name := range s.names() {
		if p := b.peer(name); p != nil {
			b.peerNeeds(s.sub(name), *p)
		}
	}
}
