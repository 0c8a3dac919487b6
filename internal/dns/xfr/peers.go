package xfr

import (
	"fmt"
	"net/netip"
	"slices"

	"postern/internal/dns/name"
)

// Peer is another name server that gets zones from us.
type Peer struct {
	Name string
	Keys []name.Name    // the first signs what we send it, all prove that it asks
	From []netip.Prefix // where it asks from; none, with keys: anywhere
	// ByAddress takes unsigned requests from From. Only for a peer without keys.
	ByAddress bool
	TLS       bool             // it transfers within TLS, or not at all (RFC 9103)
	Holder    *Holder          // with TLS: it shows this certificate too, or gets nothing; with neither keys nor ByAddress it is known by that alone
	Notify    []netip.AddrPort // where it hears of new versions, and is asked what it serves
	Source    []netip.Addr     // our own addresses for that, one a family; none: the system's choice
}

// Rule lets peers have one zone in one view.
type Rule struct {
	Zone  name.Name
	View  string
	Peers []*Peer
}

// Rules is an immutable table of who may have what. A nil one lets nobody.
type Rules struct {
	zones map[name.Name][]Rule
	homes map[name.Name]string
	all   []Rule
	open  bool // some peer signs nothing: it is known by its address, or by its certificate
}

// NewRules returns the table of these rules. homes is the view that each key
// belongs to, of those that a view names: it tells apart what Check would call
// a conflict.
func NewRules(rules []Rule, homes map[name.Name]string) *Rules {
	r := &Rules{zones: map[name.Name][]Rule{}, homes: homes, all: rules}
	for _, rule := range rules {
		r.zones[rule.Zone] = append(r.zones[rule.Zone], rule)
		r.open = r.open || slices.ContainsFunc(rule.Peers, func(p *Peer) bool { return p.unsigned() || p.certified() })
	}
	return r
}

// Asker is who asks: a key that proved itself, "" for none, and an address.
type Asker struct {
	Key   name.Name
	From  netip.Addr
	TLS   bool   // within TLS as RFC 9103 has it, Sections 7.1 and 7.2: ALPN "dot", TLS 1.3
	Loose bool   // within TLS, but otherwise: no zone goes there
	Shown *Shown // its certificates, within TLS
	Polls bool   // it wants the SOA alone, which is no secret: by whatever way it comes
}

// Grant is what a peer may have: one zone in one view.
type Grant struct {
	Zone name.Name
	View string
	Peer *Peer
}

// Find returns what the asker may have of a zone. The view follows from the
// peer's entry, or from its key where it has entries in several; never from the
// view that the address belongs to (VIEWS).
func (r *Rules) Find(zone name.Name, a Asker) (g Grant, ok bool) {
	if r == nil {
		return g, false
	}
	home := r.homes[a.Key]
	for _, rule := range r.zones[zone] {
		for _, p := range rule.Peers {
			if !p.is(a) {
				continue
			}
			if !ok || rule.View == home {
				g, ok = Grant{rule.Zone, rule.View, p}, true
			}
			if home == "" || rule.View == home {
				return g, true
			}
		}
	}
	return g, ok
}

// Doubt is what stands between an asker and a zone.
type Doubt uint8

// Doubts.
const (
	None        Doubt = iota
	Stranger          // it is no peer of the zone
	Plain             // a peer that must come within TLS did not
	LooseTLS          // it came within TLS older than 1.3, or without ALPN "dot"
	Certificate       // it did not show the certificate that it must, or the wrong one
	Doubts            // how many there are
)

// String is the reason word.
func (d Doubt) String() string {
	return [...]string{None: "", Stranger: "no-peer", Plain: "not-tls", LooseTLS: "tls-version-or-alpn", Certificate: "client-cert"}[d]
}

// Doubt says why the asker gets nothing of a zone: what is wrong with the first
// peer it could be but for that.
func (r *Rules) Doubt(zone name.Name, a Asker) (Doubt, *Peer) {
	if r == nil {
		return Stranger, nil
	}
	for _, rule := range r.zones[zone] {
		for _, p := range rule.Peers {
			if d := p.doubt(a); d != Stranger {
				return d, p
			}
		}
	}
	return Stranger, nil
}

// is reports whether the asker is the peer.
func (p *Peer) is(a Asker) bool { return p.doubt(a) == None }

// doubt says what speaks against the asker being the peer. Who has signed is
// known by the key: there is no way back to address or certificate. What the
// peer's entry asks for besides is asked of everybody who could be the peer, by
// whatever way he comes.
func (p *Peer) doubt(a Asker) Doubt {
	switch {
	case a.Key == "" && p.certified():
		if a.Shown == nil || len(p.From) > 0 && !p.at(a.From) {
			return Stranger
		}
	case a.Key == "":
		if !p.unsigned() || !p.at(a.From) {
			return Stranger
		}
	case !slices.Contains(p.Keys, a.Key) || len(p.From) > 0 && !p.at(a.From):
		return Stranger
	}
	switch {
	case a.Polls && !p.certified():
		return None
	case a.Loose && !a.Polls:
		return LooseTLS
	case p.TLS && !a.TLS && !a.Polls:
		return Plain
	case p.Holder != nil && a.Shown.by(p.Holder) != nil:
		return Certificate
	}
	return None
}

// unsigned reports whether the peer is known by its address. Never by no
// address at all: that would be everybody.
func (p *Peer) unsigned() bool { return p.ByAddress && len(p.Keys) == 0 }

// certified reports whether the peer is known by its certificate alone.
func (p *Peer) certified() bool {
	return p.TLS && p.Holder != nil && len(p.Keys) == 0 && !p.ByAddress
}

func (p *Peer) at(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(p.From, func(f netip.Prefix) bool { return f.Contains(a) })
}

// Conflict is two entries that one request could mean both.
type Conflict struct {
	Zone  name.Name
	Views [2]string
	Peers [2]string
	Key   name.Name // that both have; "": neither signs
}

// String says what is the matter.
func (c Conflict) String() string {
	by := "by address or certificate"
	if c.Key != "" {
		by = "by key " + c.Key.String()
	}
	who := fmt.Sprintf("peer %s", c.Peers[0])
	if c.Peers[0] != c.Peers[1] {
		who = fmt.Sprintf("peers %s and %s", c.Peers[0], c.Peers[1])
	}
	return fmt.Sprintf("zone %s in views %s and %s: nothing tells %s apart %s", c.Zone, c.Views[0], c.Views[1], who, by)
}

// Check returns the conflicts: of a zone that is in two views, pairs of peers
// whose requests look the same. What tells them apart is a key that only one
// has, or that one of the two views names as its own; or addresses that do not
// overlap.
func Check(rules []Rule, homes map[name.Name]string) []Conflict {
	var all []Conflict
	for i, a := range rules {
		for _, b := range rules[i+1:] {
			if a.Zone != b.Zone || a.View == b.View {
				continue
			}
			for _, p := range a.Peers {
				for _, q := range b.Peers {
					if key, same := alike(p, q, a.View, b.View, homes); same {
						all = append(all, Conflict{a.Zone, [2]string{a.View, b.View}, [2]string{p.Name, q.Name}, key})
					}
				}
			}
		}
	}
	return all
}

// alike returns the first key by which both peers could be meant.
func alike(p, q *Peer, one, other string, homes map[name.Name]string) (name.Name, bool) {
	if !overlap(p, q) {
		return "", false
	}
	switch {
	case p.unsigned() && q.unsigned():
		return "", true
	case p.certified() && q.certified():
		return "", p.Holder.alike(q.Holder)
	case p.unsigned() && q.certified() || p.certified() && q.unsigned():
		return "", true // who comes from there and shows the certificate could be both
	}
	for _, key := range p.Keys {
		if home := homes[key]; slices.Contains(q.Keys, key) && (home == "" || home != one && home != other) {
			return key, true
		}
	}
	return "", false
}

// overlap reports whether one address could be either peer's.
func overlap(p, q *Peer) bool {
	if len(p.From) == 0 || len(q.From) == 0 {
		return true // with keys: anywhere; without: nowhere, which conflicts with nothing below
	}
	return slices.ContainsFunc(p.From, func(f netip.Prefix) bool {
		return slices.ContainsFunc(q.From, f.Overlaps)
	})
}
