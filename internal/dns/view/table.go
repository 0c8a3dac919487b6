// Package view decides who sees what: which view a client belongs to, which
// of the view's zones answers a name, and how an internal zone is made from
// the external one and a file that holds only the differences (the overlay).
//
// It is pure: tables are built, an overlay is merged when zones are built, never
// while a question is answered, and which zones there are never changes in a
// table; only the state of one can be replaced, at once. RFC 1034, Section 4.3.2,
// step 2; RFC 4035, Section 3.1.4.1; RFC 4592.
package view

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

// View is one set of clients and what exists for them.
type View struct {
	Name      string
	Clients   []netip.Prefix
	Keys      []name.Name // requests signed with these TSIG keys belong here
	Recursion bool

	// Zones holds what this view answers with authority. A nil zone is one
	// without a good state: its names get SERVFAIL, never another zone's
	// answer and never recursion.
	Zones map[name.Name]*answer.Zone

	// Expired are those among them that have none because their primaries did
	// not vouch for them for too long.
	Expired map[name.Name]bool

	// Private are zones that exist for those alone who transfer them: catalogs
	// tell which zones there are (RFC 9432, Section 7). Nobody else's question
	// finds them, nor does a chain; see ForPeers.
	Private map[name.Name]*answer.Zone

	// Lapsed is Expired for those that are private.
	Lapsed map[name.Name]bool
}

// Table is a set of views in their order of precedence. Which zones they have
// does not change; Replace has one answered from another state.
type Table struct {
	views  []Selected
	peers  []Selected // the same, with what is private
	ranges ranges
}

// Selected is the view a request belongs to. Of its View the zones are left out:
// Zone and Has know them.
type Selected struct {
	View
	slots  map[name.Name]*slot
	levels []level // the zones, by the number of labels of their names
}

// slot is where a zone of a view stands: a table of thousands need not be made
// anew because one of them changed.
type slot struct {
	zone    atomic.Pointer[answer.Zone]
	expired atomic.Bool // while there is no zone
}

func newSlot(z *answer.Zone, expired bool) *slot {
	s := new(slot)
	s.set(z, expired)
	return s
}

func (s *slot) set(z *answer.Zone, expired bool) {
	s.expired.Store(expired) // first: it is asked where there is no zone
	s.zone.Store(z)
}

// NewTable returns the table of these views.
func NewTable(views []View) *Table {
	t := &Table{views: make([]Selected, len(views)), peers: make([]Selected, len(views))}
	for i, v := range views {
		slots := make(map[name.Name]*slot, len(v.Zones))
		for n, z := range v.Zones {
			slots[n] = newSlot(z, v.Expired[n])
		}
		own := v
		own.Zones, own.Expired, own.Private, own.Lapsed = nil, nil, nil, nil
		t.views[i] = Selected{View: own, slots: slots, levels: newLevels(slots)}
		if t.peers[i] = t.views[i]; len(v.Private) > 0 {
			all := make(map[name.Name]*slot, len(slots)+len(v.Private))
			for n, s := range slots {
				all[n] = s // the same
			}
			for n, z := range v.Private {
				all[n] = newSlot(z, v.Lapsed[n])
			}
			t.peers[i].slots, t.peers[i].levels = all, newLevels(all)
		}
	}
	t.ranges = newRanges(t.views)
	return t
}

// Replace has a view answer from another state of a zone that it has, private
// ones among them; nil is one without a good state, and expired says why. Whoever
// asks meanwhile gets the one or the other. It reports false where the view has
// no such zone.
func (t *Table) Replace(view string, n name.Name, z *answer.Zone, expired bool) bool {
	peers := t.ForPeers(view)
	if peers == nil || peers.slots[n] == nil {
		return false
	}
	peers.slots[n].set(z, expired)
	return true
}

// Select returns the first view among listenerViews (none named: all) whose
// clients hold the address; nil where there is none, and where the address
// belongs to a view that the listener does not serve: an internal source
// address that arrives outside is forged. Such a request gets no reply: the
// reply would go to somebody else.
func (t *Table) Select(listenerViews []string, client netip.Addr) (sel *Selected, forged bool) {
	for _, c := range t.ranges.of(client) {
		v := &t.views[c.view]
		switch {
		case len(listenerViews) == 0 || slices.Contains(listenerViews, v.Name):
			return v, false
		case c.exact:
			return nil, true
		}
	}
	return nil, false
}

// Keyed returns the view whose clients sign with that key; nil where none names
// it. The caller has verified the signature. It goes before everything else:
// before the listener and before the address.
func (t *Table) Keyed(key name.Name) *Selected {
	for i := range t.views {
		if slices.Contains(t.views[i].Keys, key) {
			return &t.views[i]
		}
	}
	return nil
}

// Named returns the view of that name, or nil.
func (t *Table) Named(view string) *Selected {
	for i := range t.views {
		if t.views[i].Name == view {
			return &t.views[i]
		}
	}
	return nil
}

// ForPeers returns the view of that name with its private zones, or nil. It is
// for the questions of those who may transfer the zone that they ask about.
func (t *Table) ForPeers(view string) *Selected {
	for i := range t.peers {
		if t.peers[i].Name == view {
			return &t.peers[i]
		}
	}
	return nil
}

// Views returns the views in their order of precedence. The caller must not
// change them.
func (t *Table) Views() []Selected { return t.views }

// Zone returns the zone that answers the question: the longest match. It
// reports false where none of the view's zones holds the name. A nil zone
// with true is a zone without a good state: SERVFAIL.
//
// A DS belongs to the parent's side of a cut (RFC 4035, Section 3.1.4.1): the
// question at a zone's apex goes to the zone above, if that is ours too; in a
// view with recursion else to the resolver; and without recursion the zone
// itself says that it has none.
func (s *Selected) Zone(q name.Name, qtype uint16) (*answer.Zone, bool) {
	z, length, ok := s.find(q)
	if ok && qtype == dns.TypeDS && length == len(q) && q != name.Root {
		above, _, isOurs := s.find(q.Parent())
		switch {
		case isOurs:
			return above, true
		case s.Recursion:
			return nil, false
		}
	}
	return z, ok
}

// Has reports whether a zone of that name is one of the view's, be it without a
// good state.
func (s *Selected) Has(origin name.Name) bool { return s.slots[origin] != nil }

// HasExpired tells of a question for which Zone has a zone without a good state
// whether that is because it expired.
func (s *Selected) HasExpired(q name.Name, qtype uint16) bool {
	if qtype == dns.TypeDS && q != name.Root && s.Has(q) {
		q = q.Parent() // see Zone
	}
	for ; ; q = q.Parent() {
		if slot := s.slots[q]; slot != nil {
			return slot.zone.Load() == nil && slot.expired.Load()
		}
		if q == name.Root {
			return false
		}
	}
}

// ZoneOf is Zone for the question of a query, which knows where its labels are.
func (s *Selected) ZoneOf(q *wire.Query) (*answer.Zone, bool) {
	if q.Type == dns.TypeDS {
		return s.Zone(q.Name(), q.Type)
	}
	n, labels := q.Name(), q.Labels()
	for depth := min(labels, len(s.levels)-1); depth >= 0; depth-- {
		above := n[q.Label(labels-depth):]
		switch l := &s.levels[depth]; {
		case l.zones != nil:
			if z, ok := l.zones[above]; ok {
				return z.zone.Load(), true
			}
		case l.origin == above:
			return l.zone.zone.Load(), true
		}
	}
	return nil, false
}

// Find makes a Selected an answer.Finder: chains that leave a zone go on in
// the zones of the same view only.
func (s *Selected) Find(q name.Name, qtype uint16) *answer.Zone {
	z, _ := s.Zone(q, qtype)
	return z
}

// level is the zones whose names have one number of labels.
type level struct {
	origin name.Name // where there is but one; "" for none
	zone   *slot
	zones  map[name.Name]*slot // where there are several
}

// newLevels sorts zones by the number of labels.
func newLevels(zones map[name.Name]*slot) []level {
	var levels []level
	for origin, z := range zones {
		n := origin.Labels()
		if n >= len(levels) {
			levels = append(levels, make([]level, n+1-len(levels))...)
		}
		switch l := &levels[n]; {
		case l.zones != nil:
			l.zones[origin] = z
		case l.origin == "":
			l.origin, l.zone = origin, z
		default:
			l.zones = map[name.Name]*slot{l.origin: l.zone, origin: z}
		}
	}
	return levels
}

// find returns the longest of the view's zones that the name is in, and the
// length of the zone's name. Nothing is looked up at numbers of labels that no
// zone has.
func (s *Selected) find(q name.Name) (z *answer.Zone, length int, ok bool) {
	labels := 0
	for i := 0; q[i] != 0; i += 1 + int(q[i]) {
		labels++
	}
	for ; labels >= len(s.levels) && labels > 0; labels-- {
		q = q[1+int(q[0]):]
	}
	for ; labels < len(s.levels); q, labels = q[1+int(q[0]):], labels-1 {
		switch l := &s.levels[labels]; {
		case l.zones != nil:
			if z, ok := l.zones[q]; ok {
				return z.zone.Load(), len(q), true
			}
		case l.origin == q:
			return l.zone.zone.Load(), len(q), true
		}
		if labels == 0 {
			break
		}
	}
	return nil, 0, false
}
