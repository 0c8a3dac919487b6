package app

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"postern/internal/dns/name"
	"postern/internal/dns/roster"
	"postern/internal/dns/xfr"
	"postern/internal/manage"
)

// transfers knows which zones there are and who gets them. Which there are
// follows from files, so the rules are made anew when one comes.
type transfers struct {
	served func(place) bool

	mu       sync.Mutex // guards what follows
	peering  *peering
	zones    map[place]bool // those that came; those that went are dropped with the next that comes
	expected map[place]bool // those that primaries feed: they have rules before they come
	rebuilt  int            // how often the rules were made, for tests

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

// expect takes the zones that primaries feed. Their rules do not wait for them,
// or thousands that come one after the other would have the rules of all made
// thousands of times.
func (t *transfers) expect(all []xfr.Inbound) {
	expected := make(map[place]bool, len(all))
	for _, in := range all {
		expected[place{in.Zone, in.View}] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expected = expected
	t.made.Store(nil)
}

// came hears of a zone that is served with another serial, and says whether it
// was not served before. It does not wait.
func (t *transfers) came(at place) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.zones[at] {
		return false
	}
	t.zones[at] = true
	t.changedLocked(at)
	return true
}

// changedLocked has the rules made anew where those of a zone came or went.
func (t *transfers) changedLocked(at place) {
	if !t.expected[at] && len(t.peering.of(at)) > 0 {
		t.made.Store(nil)
	}
}

// went hears of a zone that is not served any more. It does not wait.
func (t *transfers) went(at place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.zones, at)
	t.changedLocked(at)
}

// rules is who may have what, now.
func (t *transfers) rules() *xfr.Rules {
	if made := t.made.Load(); made != nil {
		return made
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rebuilt++
	maps.DeleteFunc(t.zones, func(at place, _ bool) bool { return !t.served(at) })
	all := maps.Clone(t.zones)
	maps.Copy(all, t.expected)
	var rules []xfr.Rule
	for _, at := range slices.SortedFunc(maps.Keys(all), place.compare) {
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
	if a.transfers.came(place{zone, view}) || a.roster.Follows(roster.Place{Zone: zone, View: view}) {
		a.roster.Look()
	}
	a.notifier.Changed(zone, view)
}

// zoneGone hears of every zone that is not served any more.
func (a *App) zoneGone(zone name.Name, view string) {
	a.transfers.went(place{zone, view})
	a.roster.Look()
}

// secondaries is the notifier as operators see it.
type secondaries struct{ *xfr.Notifier }

// List implements manage.Secondaries.
func (s secondaries) List() []manage.Secondary {
	list := []manage.Secondary{}
	for _, x := range s.Standing() {
		list = append(list, manage.Secondary{
			Zone: x.Zone.String(), View: x.View, Peer: x.Peer, Address: x.Address.String(),
			State: states[x.State], Serial: x.Serial, Asked: x.Seen, Since: x.Since, Reason: x.Reason(),
		})
	}
	return list
}

var states = map[xfr.State]manage.SecondaryState{
	xfr.Unknown: manage.SecondaryUnknown, xfr.OK: manage.SecondaryOK, xfr.Lagging: manage.SecondaryLagging, xfr.Unreachable: manage.SecondaryUnreachable,
}

// Notify implements manage.Secondaries.
func (s secondaries) Notify(zone name.Name, view string) []manage.Notified {
	list := []manage.Notified{}
	for _, t := range s.Again(zone, view) {
		list = append(list, manage.Notified{Zone: t.Zone.String(), View: t.View, Serial: t.Serial, Peers: t.Peers})
	}
	return list
}

// are counts the secondaries in any of these states.
func (s secondaries) are(states ...xfr.State) float64 {
	n := 0
	for _, x := range s.Standing() {
		if slices.Contains(states, x.State) {
			n++
		}
	}
	return float64(n)
}
