package app

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"postern/internal/dns/name"
	"postern/internal/dns/xfr"
)

// transfers knows which zones there are and who gets them. Which there are
// follows from files, so the rules are made anew when one comes.
type transfers struct {
	served func(place) bool

	mu      sync.Mutex // guards what follows
	peering *peering
	zones   map[place]bool // those that came; those that went are dropped with the next that comes

	made atomic.Pointer[xfr.Rules] // of both; nil: to be made
}

func newTransfers(served func(place) bool) *transfers {
	return &transfers{served: served, zones: map[place]bool{}}
}

// follow takes the secondaries of another configuration.
func (t *transfers) follow(p *peering) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peering = p
	t.made.Store(nil)
}

// came hears of a zone that is served with another serial. It does not wait.
func (t *transfers) came(at place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.zones[at] {
		t.zones[at] = true
		t.made.Store(nil)
	}
}

// rules is who may have what, now.
func (t *transfers) rules() *xfr.Rules {
	if made := t.made.Load(); made != nil {
		return made
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.zones, func(at place, _ bool) bool { return !t.served(at) })
	var rules []xfr.Rule
	for _, at := range slices.SortedFunc(maps.Keys(t.zones), place.compare) {
		if peers := t.peering.of(at); len(peers) > 0 {
			rules = append(rules, xfr.Rule{Zone: at.zone, View: at.view, Peers: peers})
		}
	}
	made := xfr.NewRules(rules, nil) // each peer has only the keys that mean its view
	t.made.Store(made)
	return made
}

func (p place) compare(q place) int {
	if c := p.zone.Compare(q.zone); c != 0 {
		return c
	}
	return strings.Compare(p.view, q.view)
}

// isServed reports whether readers see the zone.
func (a *App) isServed(at place) bool {
	z, _ := a.authority.Content(at.zone, at.view)
	return z != nil
}

// zoneChanged hears of every zone that is served with another serial.
func (a *App) zoneChanged(zone name.Name, view string, _ uint32) {
	a.transfers.came(place{zone, view})
}
