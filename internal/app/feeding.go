package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"time"

	"postern/config"
	"postern/internal/dns/authority"
	"postern/internal/dns/name"
	"postern/internal/dns/xfr"
	"postern/internal/manage"
)

// feedingOf is the zones that a configuration has from primaries.
func (a *App) feedingOf(cfg *config.Checked) ([]xfr.Inbound, error) {
	var all []xfr.Inbound
	within := map[string]*tls.Config{} // one for each peer, since it keeps its sessions
	for _, p := range cfg.Peers {
		if p.Transport != "tls" || len(p.Address) == 0 {
			continue
		}
		c, err := a.trustOf(p).Client()
		if err != nil {
			continue // config has told, if it is a primary
		}
		within[p.Name] = c
	}
	for _, z := range cfg.Zones {
		for _, v := range z.Views {
			if v.Primaries == nil {
				continue
			}
			zone, err := name.Parse(z.Name)
			if err != nil {
				return nil, fmt.Errorf("zone %q: %w", z.Name, err)
			}
			in := xfr.Inbound{Zone: zone, View: v.View, Catalog: v.Members}
			for _, from := range cfg.Primaries(z.Name, v.View) {
				p, err := primaryIn(cfg, from, v.View, within[from.Name])
				if err != nil {
					return nil, err
				}
				in.Primaries = append(in.Primaries, p)
			}
			all = append(all, in)
		}
	}
	return all, nil
}

// primaryIn is a peer that is a primary, as it stands in one view: with the key
// that signs what it is sent there, see peerIn.
func primaryIn(cfg *config.Checked, from config.Peer, view string, within *tls.Config) (*xfr.Primary, error) {
	peer, err := peerIn(cfg, from, view)
	if err != nil {
		return nil, err
	}
	p := &xfr.Primary{Name: from.Name, Addr: from.Address, Source: peer.Source, TLS: within}
	switch {
	case from.Transport == "tls" && within == nil:
		return nil, fmt.Errorf("peer %s: nothing says how it proves itself within TLS", from.Name) // config has told
	case len(peer.Keys) > 0:
		p.Key = peer.Keys[0]
	case !from.ByAddress && within == nil:
		return nil, fmt.Errorf("peer %s has no key for view %s", from.Name, view) // config has told
	}
	return p, nil
}

// trustOf is how a primary within TLS proves itself to us. What we show it is the
// certificate of our doors, of the moment.
func (a *App) trustOf(p config.Peer) xfr.Trust {
	t := xfr.Trust{Name: p.ServerName, CA: p.ServerCA, Loose: p.Unverified, Now: a.now}
	for _, pin := range p.ServerPins {
		t.Pins = append(t.Pins, pin)
	}
	if !p.Unverified { // else anybody could collect it
		t.Own = a.certs.Shown
	}
	return t
}

// fed is the zones of a view that come from primaries.
func fed(cfg *config.Checked, view string) []string {
	var all []string
	for _, z := range cfg.Zones {
		if slices.ContainsFunc(z.Views, func(v config.ZoneView) bool { return v.View == view && v.Primaries != nil }) {
			all = append(all, z.Name)
		}
	}
	return all
}

// buildRefresher makes what fetches zones from primaries.
func (a *App) buildRefresher(cfg *config.Checked) error {
	feeding, err := a.feedingOf(cfg)
	if err != nil {
		return err
	}
	a.configured = feeding
	c := xfr.RefresherConfig{
		Zones: func() []xfr.Inbound { return *a.feeding.Load() },
		Have:  a.have, Take: a.take, Fresh: a.fresh, Expired: a.expired,
		Keys: a.keys.Load, Log: a.log,
	}
	if a.opts.TestKnobs {
		c.Now = a.now // it may leap
	}
	a.refresher = xfr.NewRefresher(c)
	a.inquirer = xfr.NewInquirer(xfr.InquirerConfig{Keys: a.keys.Load, Now: c.Now})
	a.feedAll(nil)
	return nil
}

func (a *App) have(zone name.Name, view string) (xfr.Held, bool) {
	h, ok := a.authority.Held(zone, view)
	return xfr.Held{SOA: h.SOA, Expires: h.Expires}, ok
}

// left is how long a zone is still good that comes from primaries, or is made of
// one that does.
func (a *App) left(zone name.Name, view string) (time.Duration, bool) {
	until, ok := a.authority.Good(zone, view)
	return until.Sub(a.now()), ok
}

func (a *App) take(ctx context.Context, in xfr.Inbound, brought xfr.Incoming) error {
	most := in.MaxRecords
	if most == 0 {
		most = mostRecords
	}
	return a.authority.Take(ctx, in.Zone, in.View, authority.Transfer{
		SOA: brought.SOA, Full: brought.Full, Deltas: brought.Deltas, Expires: brought.Expires,
		From: fmt.Sprintf("%s (%s)", brought.Primary, brought.From), Most: most,
	})
}

// mostRecords is how many records a zone of others may have: as many as one
// transfer may bring.
const mostRecords = 5_000_000

func (a *App) fresh(ctx context.Context, in xfr.Inbound, until time.Time) error {
	return a.authority.Fresh(ctx, in.Zone, in.View, until)
}

func (a *App) expired(zone name.Name, view string) {
	// Background: it cannot be taken back, and the zones' owner ends by itself.
	if err := a.authority.Expire(context.Background(), zone, view); err != nil {
		a.log.Warn("zone cannot be taken out of service", "zone", zone, "view", view, "err", err)
	}
}

// primaries is the refresher as operators see it.
type primaries struct{ *xfr.Refresher }

// Upstreams implements manage.Primaries.
func (p primaries) Upstreams() map[[2]string]manage.Upstream {
	all := map[[2]string]manage.Upstream{}
	for _, s := range p.Standing() {
		u := manage.Upstream{
			State: upstreamStates[s.State], Serial: s.Serial, Primary: s.Primary,
			Checked: s.Checked, Next: s.Next, Expires: s.Expires, Running: s.Running, Reason: s.Reason,
		}
		if s.Address.IsValid() {
			u.Address = s.Address.String()
		}
		all[[2]string{s.Zone.String(), s.View}] = u
	}
	return all
}

var upstreamStates = map[xfr.InState]manage.UpstreamState{
	xfr.Missing: manage.UpstreamMissing, xfr.Fresh: manage.UpstreamFresh, xfr.Stale: manage.UpstreamStale, xfr.Expired: manage.UpstreamExpired,
}

// Retransfer implements manage.Primaries.
func (p primaries) Retransfer(zone name.Name, view string) []manage.Retransferred {
	list := []manage.Retransferred{}
	for _, s := range p.Again(zone, view) {
		list = append(list, manage.Retransferred{Zone: s.Zone.String(), View: s.View, Serial: s.Serial})
	}
	return list
}

// are counts the secondary zones in any of these states.
func (p primaries) are(states ...xfr.InState) float64 {
	n := 0
	for _, s := range p.Standing() {
		if slices.Contains(states, s.State) {
			n++
		}
	}
	return float64(n)
}

// soonest is when the first of the secondary zones expires, in Unix seconds; 0
// where there is none.
func (p primaries) soonest() float64 {
	first := time.Time{}
	for _, s := range p.Standing() {
		if !s.Expires.IsZero() && (first.IsZero() || s.Expires.Before(first)) {
			first = s.Expires
		}
	}
	if first.IsZero() {
		return 0
	}
	return float64(first.Unix())
}
