package app

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/miekg/dns"

	"postern/config"
	"postern/internal/dns/authority"
	"postern/internal/dns/name"
	"postern/internal/dns/roster"
	"postern/internal/dns/xfr"
	"postern/internal/dns/zone"
	"postern/internal/manage"
)

// listing is what a configuration says of catalogs: which zones are in which,
// which are made, which are followed, and which zones no catalog may bring. It is
// not changed once made.
type listing struct {
	own    map[place]string  // as written for the zone
	rest   map[string]string // by view
	made   map[place]bool
	follow map[place]bool
	bound  map[place]bool // zones that have primaries, are made, or are updated
}

func listingOf(cfg *config.Checked) (*listing, error) {
	l := &listing{own: map[place]string{}, rest: map[string]string{}, made: map[place]bool{}, follow: map[place]bool{}, bound: map[place]bool{}}
	for _, v := range cfg.ZoneDefault.Views {
		if v.Catalog != "" {
			l.rest[v.View] = v.Catalog
		}
	}
	for _, c := range cfg.Catalogs() {
		at, err := placeOf(c.Zone, c.View)
		if err != nil {
			return nil, err
		}
		l.made[at], l.bound[at] = true, true
	}
	for _, z := range cfg.Zones {
		for _, v := range z.Views {
			at, err := placeOf(z.Name, v.View)
			if err != nil {
				return nil, err
			}
			if v.Catalog != "" {
				l.own[at] = v.Catalog
			}
			l.bound[at] = l.bound[at] || v.Primaries != nil || len(v.Dynamic) > 0
			l.follow[at] = v.Members
		}
	}
	return l, nil
}

func placeOf(zone, view string) (place, error) {
	n, err := name.Parse(zone)
	if err != nil {
		return place{}, fmt.Errorf("zone %q: %w", zone, err)
	}
	return place{n, view}, nil
}

// catalog is the one that a zone is in; "" for none. Catalogs are in none.
func (l *listing) catalog(at place) string {
	is, written := l.own[at]
	if !written {
		is = l.rest[at.view]
	}
	if is == config.NoCatalog || l.made[at] || l.follow[at] {
		return ""
	}
	return is
}

// buildRoster makes what follows catalogs, and makes our own.
func (a *App) buildRoster() (err error) {
	a.roster, err = roster.New(roster.Config{
		Path: a.state.path("catalogs.json"), Lock: &a.reloading, Plan: a.catalogPlan,
		Content: func(n name.Name, view string) *zone.Zone {
			z, _ := a.authority.Content(n, view)
			return z
		},
		Held: func(n name.Name, view string) (uint32, bool) {
			h, ok := a.authority.Held(n, view)
			if !ok || h.SOA == nil {
				return 0, false
			}
			return h.SOA.Serial, true
		},
		Feed: func(ctx context.Context, view string, add, drop []name.Name) ([]name.Name, error) {
			return a.authority.Feed(ctx, view, add, drop)
		},
		Publish: a.publishCatalog, Changed: a.feedAll, Now: a.now, Log: a.log,
	})
	return err
}

// catalogPlan is what the configuration and the zones say. Whoever calls it
// holds the lock of reloads.
func (a *App) catalogPlan() roster.Plan {
	l, err := listingOf(a.cfg)
	if err != nil {
		a.log.Error("catalogs of the configuration", "err", err) // config has told
		l = &listing{}
	}
	p := roster.Plan{Own: a.ownZones(l), Members: a.candidatesOf(l), MostLost: a.cfg.DNS.MaxChange}
	for at, is := range l.follow {
		if is {
			p.Follow = append(p.Follow, roster.Place{Zone: at.zone, View: at.view})
		}
	}
	for at := range l.made {
		p.Make = append(p.Make, roster.Place{Zone: at.zone, View: at.view})
	}
	return p
}

// ownZones knows the zones that are here whatever catalogs say.
func (a *App) ownZones(l *listing) func(roster.Place) bool {
	own := sync.OnceValue(func() map[place]bool {
		own := map[place]bool{}
		for _, z := range a.authority.Zones() {
			if n, err := name.Parse(z.Zone); err == nil && !z.Secondary && !z.Made && !z.Left {
				own[place{n, z.View}] = true
			}
		}
		return own
	})
	return func(at roster.Place) bool {
		is := place{at.Zone, at.View}
		return l.bound[is] || own()[is]
	}
}

// candidatesOf knows the zones that catalogs are to list: all that exist in the
// view, those among them that it shows as the view below has them. Without a
// catalog nobody looks at the zones.
func (a *App) candidatesOf(l *listing) func(roster.Place) ([]roster.Candidate, bool) {
	rows := sync.OnceValue(func() map[string][]authority.Status {
		rows := map[string][]authority.Status{}
		for _, z := range a.authority.Zones() {
			rows[z.View] = append(rows[z.View], z)
		}
		return rows
	})
	blind := map[string]bool{}
	for _, f := range a.authority.Faults() {
		blind[f.View] = blind[f.View] || f.Problem.Code == authority.ReasonDirectory
	}
	below := map[string]string{}
	for _, v := range a.cfg.Views {
		below[v.Name] = v.Overlay
	}
	return func(at roster.Place) (all []roster.Candidate, whole bool) {
		seen := map[name.Name]bool{}
		whole = true
		for view := at.View; view != ""; view = below[view] {
			whole = whole && !blind[view]
			for _, z := range rows()[view] {
				n, err := name.Parse(z.Zone)
				own := place{n, view}
				if err != nil || seen[n] || z.Made || l.made[own] || l.follow[own] {
					continue
				}
				seen[n] = true
				is := place{n, at.View}
				if c, err := name.Parse(l.catalog(is)); err != nil || c != at.Zone || z.State == authority.Planned && z.ServedSerial == 0 {
					continue
				}
				all = append(all, roster.Candidate{Zone: n, Served: a.isServed(is)})
			}
		}
		return all, whole
	}
}

// publishCatalog makes records the content of a catalog of our own.
func (a *App) publishCatalog(ctx context.Context, at roster.Place, records []dns.RR) error {
	t := authority.Transfer{From: "the zones of view " + at.View}
	for _, rr := range records {
		normal, _, err := zone.Normalise(rr)
		if err != nil {
			return err
		}
		if soa, ok := normal.(*dns.SOA); ok {
			t.SOA = soa
		}
		t.Full = append(t.Full, normal)
	}
	return a.authority.Take(ctx, at.Zone, at.View, t)
}

// feedView says in v which zones of the view are fed.
func (a *App) feedView(v *authority.ViewConfig, cfg *config.Checked) {
	add := func(to *[]string, zone string) {
		if !slices.Contains(*to, zone) {
			*to = append(*to, zone)
		}
	}
	v.Fed = fed(cfg, v.Name)
	configured := slices.Clone(v.Fed)
	for _, c := range cfg.Catalogs() {
		if c.View == v.Name {
			v.Made = append(v.Made, c.Zone)
		}
	}
	for _, at := range a.roster.Made() { // until it drops them
		if zone := text(at.Zone); at.View == v.Name && !slices.Contains(configured, zone) {
			add(&v.Made, zone)
		}
	}
	v.Private = slices.Clone(v.Made)
	for _, z := range cfg.Zones {
		if slices.ContainsFunc(z.Views, func(o config.ZoneView) bool { return o.View == v.Name && o.Members }) {
			v.Private = append(v.Private, z.Name)
		}
	}
	for _, zone := range v.Made {
		add(&v.Fed, zone)
	}
	listed := map[string]bool{}
	for _, zone := range v.Fed {
		listed[zone] = true
	}
	for _, m := range a.roster.Members(v.Name) {
		if zone := text(m.Zone); !listed[zone] {
			v.Fed = append(v.Fed, zone)
		}
	}
}

// text is a zone's name as a configuration has it.
func text(n name.Name) string {
	if n == name.Root {
		return "."
	}
	s := n.String()
	return s[:len(s)-1]
}

// feedAll has all zones followed that come from primaries: those of the
// configuration, and the members of catalogs, which come from whom the catalog
// comes from. Those that were dropped begin anew, should they be there again.
// Whoever calls it holds the lock of reloads.
func (a *App) feedAll(dropped []roster.Place) {
	all := slices.Clone(a.configured)
	of := map[place]xfr.Inbound{}
	for _, in := range a.configured {
		of[place{in.Zone, in.View}] = in
	}
	for _, v := range a.cfg.Views {
		for _, m := range a.roster.Members(v.Name) {
			from, followed := of[place{m.Catalog, v.Name}]
			if _, own := of[place{m.Zone, v.Name}]; own || !followed {
				continue
			}
			from.Zone, from.Catalog = m.Zone, false
			all = append(all, from)
		}
	}
	a.feeding.Store(&all)
	a.transfers.expect(all)
	for _, at := range dropped {
		a.refresher.Forget(at.Zone, at.View)
	}
	a.refresher.Follow()
}

// catalogs is the roster as operators see it.
type catalogs struct{ *roster.Roster }

// Catalogs implements manage.Catalogs.
func (c catalogs) Catalogs() map[[2]string]manage.Catalog {
	all := map[[2]string]manage.Catalog{}
	for _, s := range c.Standing() {
		row := manage.Catalog{Made: s.Made, Members: s.Members, Known: s.Known, Broken: s.Broken}
		for _, r := range s.Refused {
			row.Refused = append(row.Refused, roster.Text(r))
		}
		for _, n := range s.Held {
			row.Held = append(row.Held, n.String())
		}
		all[[2]string{s.Zone.String(), s.View}] = row
	}
	return all
}

// Accept implements manage.Catalogs.
func (c catalogs) Accept(ctx context.Context, zone, view string) ([]string, error) {
	n, err := name.Parse(zone)
	if err != nil {
		return nil, fmt.Errorf("catalog %q: %w", zone, err)
	}
	held, err := c.Roster.Accept(ctx, roster.Place{Zone: n, View: view})
	var texts []string
	for _, n := range held {
		texts = append(texts, n.String())
	}
	return texts, err
}

// CatalogOf implements manage.Catalogs.
func (c catalogs) CatalogOf(view string) map[string]string {
	all := map[string]string{}
	for _, m := range c.Members(view) {
		all[m.Zone.String()] = m.Catalog.String()
	}
	return all
}

// faulty counts the catalogs of others that are broken, list what is not theirs,
// or lose too much at once.
func (c catalogs) faulty() float64 {
	n := 0
	for _, s := range c.Standing() {
		if s.Broken != "" || len(s.Refused)+len(s.Held) > 0 {
			n++
		}
	}
	return float64(n)
}

// held counts the zones that catalogs list no more, and that stay.
func (c catalogs) held() float64 {
	n := 0
	for _, s := range c.Standing() {
		n += len(s.Held)
	}
	return float64(n)
}

// following counts the zones that are here because a catalog lists them.
func (c catalogs) following() float64 {
	n := 0
	for _, s := range c.Standing() {
		if !s.Made {
			n += s.Members
		}
	}
	return float64(n)
}
