package app

import (
	"fmt"
	"net/netip"
	"slices"

	"postern/config"
	"postern/internal/dns/name"
	"postern/internal/dns/xfr"
)

// peering is the secondaries that a configuration names: of each zone in each
// view those written for it, else those of all zones of the view. It is not
// changed once made; a nil one has nobody.
type peering struct {
	own  map[place][]*xfr.Peer
	rest map[string][]*xfr.Peer // by view
}

// place is one zone in one view.
type place struct {
	zone name.Name
	view string
}

func peeringOf(cfg *config.Checked) (*peering, error) {
	p := &peering{own: map[place][]*xfr.Peer{}, rest: map[string][]*xfr.Peer{}}
	made := map[[2]string]*xfr.Peer{} // by name and view
	for _, from := range cfg.Peers {
		holder, err := holderOf(from)
		if err != nil {
			return nil, err
		}
		for _, v := range cfg.Views {
			peer, err := peerIn(cfg, from, v.Name)
			if err != nil {
				return nil, err
			}
			peer.Holder = holder
			made[[2]string{from.Name, v.Name}] = peer
		}
	}
	of := func(v config.ZoneView) []*xfr.Peer {
		peers := []*xfr.Peer{}
		for _, name := range v.Secondaries {
			peers = append(peers, made[[2]string{name, v.View}])
		}
		return peers
	}
	for _, v := range cfg.ZoneDefault.Views {
		p.rest[v.View] = of(v)
	}
	for _, z := range cfg.Zones {
		zone, err := name.Parse(z.Name)
		if err != nil {
			return nil, fmt.Errorf("zone %q: %w", z.Name, err)
		}
		for _, v := range z.Views {
			if v.Secondaries != nil {
				p.own[place{zone, v.View}] = of(v)
			}
		}
	}
	return p, nil
}

// peerIn is a peer as it stands in one view: with the keys that mean this view,
// the one that the view names as its own first, for it signs what we send. A
// secondary with views of its own may look at nothing else.
func peerIn(cfg *config.Checked, from config.Peer, view string) (*xfr.Peer, error) {
	p := &xfr.Peer{
		Name: from.Name, From: from.From, ByAddress: from.ByAddress, Notify: from.Notify,
		Source: onePerFamily(from.Source, cfg.DNS.Source), TLS: from.Transport == "tls",
	}
	var named []name.Name
	for _, k := range from.Keys {
		n, err := name.Parse(k)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k, err)
		}
		switch home := homeOf(cfg, k); home {
		case view:
			named = append(named, n)
		case "":
			p.Keys = append(p.Keys, n)
		}
	}
	p.Keys = append(named, p.Keys...)
	return p, nil
}

// holderOf is by which certificate we know a peer; nil: by none.
func holderOf(from config.Peer) (*xfr.Holder, error) {
	if len(from.Cert) == 0 {
		return nil, nil
	}
	h, err := xfr.NewHolder(from.Cert, from.CertName)
	if err != nil {
		return nil, fmt.Errorf("peer %s: %w", from.Name, err)
	}
	return h, nil
}

// homeOf is the view that names the key as its own.
func homeOf(cfg *config.Checked, key string) string {
	for _, v := range cfg.Views {
		if slices.Contains(v.Keys, key) {
			return v.Name
		}
	}
	return ""
}

// onePerFamily takes the first address of each family, the peer's before those
// for all.
func onePerFamily(lists ...[]netip.Addr) []netip.Addr {
	var all []netip.Addr
	for _, list := range lists {
		for _, a := range list {
			if !slices.ContainsFunc(all, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
				all = append(all, a)
			}
		}
	}
	return all
}

// of returns the secondaries of a zone in a view.
func (p *peering) of(at place) []*xfr.Peer {
	if p == nil {
		return nil
	}
	if own, written := p.own[at]; written {
		return own
	}
	return p.rest[at.view]
}
