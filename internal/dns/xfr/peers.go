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
	open  bool // some peer is known by its address alone
}

// NewRules returns the table of these rules. homes is the view that each key
// belongs to, of those that a view names: it tells apart what Check would call
// a conflict.
func NewRules(rules []Rule, homes map[name.Name]string) *Rules {
	r := &Rules{zones: map[name.Name][]Rule{}, homes: homes, all: rules}
	for _, rule := range rules {
		r.zones[rule.Zone] = append(r.zones[rule.Zone], rule)
		r.open = r.open || slices.ContainsFunc(rule.Peers, func(p *Peer) bool { return p.unsigned() })
	}
	return r
}

// Asker is who asks: a key that proved itself, "" for none, and an address.
type Asker struct {
	Key  name.Name
	From netip.Addr
	TLS  bool
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

// is reports whether the asker is the peer. Who has signed is known by the key
// and by nothing else: there is no way back to the address.
func (p *Peer) is(a Asker) bool {
	if p.TLS && !a.TLS {
		return false
	}
	if a.Key == "" {
		return p.unsigned() && p.at(a.From)
	}
	return slices.Contains(p.Keys, a.Key) && (len(p.From) == 0 || p.at(a.From))
}

// unsigned reports whether the peer is known by its address. Never by no
// address at all: that would be everybody.
func (p *Peer) unsigned() bool { return p.ByAddress && len(p.Keys) == 0 }

func (p *Peer) at(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(p.From, func(f netip.Prefix) bool { return f.Contains(a) })
}

// Conflict is two entries that one request could mean both.
type Conflict struct {
	Zone  name.Name
	Views [2]string
	Peers [2]string
	Key   name.Name // that both have; "": both are known by their address
}

// String says what is the matter.
func (c Conflict) String() string {
	by := "by address"
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
	if p.unsigned() && q.unsigned() {
		return "", true
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
