package authority

import (
	"maps"
	"slices"
	"sync/atomic"

	"postern/internal/dns/answer"
	"postern/internal/dns/journal"
	"postern/internal/dns/name"
	"postern/internal/dns/view"
	"postern/internal/dns/zone"
)

// What readers see is one table of all zones, made anew after a change: at the
// price of all zones, for one may show through in other views, come or go. A
// secondary zone that nothing else is made of changes by itself: then its rows
// are replaced, at the price of that zone, or thousands of zones that are
// transferred one after the other would take thousands of tables of thousands.

// published is what readers see: but for what its rows hold it is never changed.
type published struct {
	table  *view.Table
	rows   map[key]*row // of all zones that views have
	listed []*row       // those with content of their own, by zone and view
	faults []Fault
}

// row is one (zone, view); shown is how it stands, and is never changed.
type row struct {
	key
	is atomic.Pointer[shown]
}

type shown struct {
	zone   *zone.Zone   // nil: nothing is served
	deltas []zone.Delta // by which it came about, see Content
	source key          // the secondary zone that it is, or is made of; zero: none
	status Status       // of a row that is listed
}

func (p *published) zone(k key) *zone.Zone {
	if r := p.rows[k]; r != nil {
		return r.is.Load().zone
	}
	return nil
}

func (p *published) statuses() []Status {
	all := make([]Status, len(p.listed))
	for i, r := range p.listed {
		all[i] = r.is.Load().status
	}
	return all
}

// Zones returns how every (zone, view) stands, by zone and view.
func (a *Authority) Zones() []Status { return a.state.Load().statuses() }

// layout is a table in the making.
type layout struct {
	o        *owner
	compiled map[string]map[name.Name]*answer.Zone // by view
	private  map[string]map[name.Name]*answer.Zone
	expired  map[string]map[name.Name]bool
	lapsed   map[string]map[name.Name]bool // private ones that expired
	rows     map[key]*shown
}

// tabulate publishes what is served, view by view, each after the one it
// overlays.
func (o *owner) tabulate() {
	l := &layout{
		o: o, compiled: map[string]map[name.Name]*answer.Zone{}, private: map[string]map[name.Name]*answer.Zone{},
		expired: map[string]map[name.Name]bool{}, lapsed: map[string]map[name.Name]bool{}, rows: map[key]*shown{},
	}
	of := map[string][]*served{}
	for k, st := range o.served {
		if !st.unborn() {
			of[k.view] = append(of[k.view], st)
		}
	}
	for _, i := range o.plan.order {
		l.view(&o.plan.views[i], of[o.plan.views[i].Name])
	}
	o.publish(l)
}

// view lays out one view: what the one below shows, and what it has itself.
func (l *layout) view(v *viewPlan, own []*served) {
	here, gone := maps.Clone(l.compiled[v.Overlay]), map[name.Name]bool{}
	if here == nil {
		here = map[name.Name]*answer.Zone{}
	}
	for n := range here {
		k, below := key{n, v.Name}, l.rows[key{n, v.Overlay}]
		gone[n] = l.expired[v.Overlay][n]
		l.rows[k] = l.o.showThrough(k, below)
	}
	for _, st := range own {
		k := st.key
		is := l.o.show(st)
		if v.private[k.zone] {
			if l.private[k.view] == nil {
				l.private[k.view], l.lapsed[k.view] = map[name.Name]*answer.Zone{}, map[name.Name]bool{}
			}
			l.private[k.view][k.zone], l.lapsed[k.view][k.zone] = nil, st.expired
			if is.zone != nil {
				l.private[k.view][k.zone] = st.compiled
			}
			l.rows[k] = is // views above do not have it
			continue
		}
		if below := l.rows[k]; below != nil && is.source == (key{}) && !v.full[k.zone] {
			is.source = below.source
		}
		here[k.zone] = st.compiled
		// What lies over a zone that expired is made of it.
		if gone[k.zone] = st.expired || gone[k.zone] && !v.full[k.zone]; gone[k.zone] {
			here[k.zone], is.zone, is.deltas = nil, nil, nil
		}
		l.rows[k] = is
	}
	maps.DeleteFunc(gone, func(_ name.Name, is bool) bool { return !is })
	l.compiled[v.Name], l.expired[v.Name] = here, gone
	l.o.laid += len(here)
}

// show is how a (zone, view) with content of its own stands.
func (o *owner) show(st *served) *shown {
	is := &shown{status: o.status(st)}
	if st.content != nil && !st.expired {
		is.zone, is.deltas = st.out, st.deltas
	}
	if o.plan.fed(st.key) && !o.plan.made(st.key) {
		is.source = st.key
	}
	return is
}

// showThrough is how a (zone, view) stands that is as the view below has it.
func (o *owner) showThrough(k key, below *shown) *shown {
	is := &shown{zone: below.zone, source: below.source}
	if below.zone != nil && !o.hadOwn(k) {
		is.deltas = below.deltas
	}
	return is
}

// publish makes the table and the status what readers see.
func (o *owner) publish(l *layout) {
	var views []view.View
	for _, v := range o.plan.views {
		views = append(views, view.View{Name: v.Name, Clients: v.Clients, Keys: v.Keys, Recursion: v.Recursion, Zones: l.compiled[v.Name], Expired: l.expired[v.Name], Private: l.private[v.Name], Lapsed: l.lapsed[v.Name]})
	}
	p := &published{table: view.NewTable(views), rows: make(map[key]*row, len(l.rows)), faults: o.allFaults()}
	for k, is := range l.rows {
		r := &row{key: k}
		r.is.Store(is)
		p.rows[k] = r
	}
	for k, st := range o.served {
		r := p.rows[k]
		if st.unborn() { // nobody is answered from it, be there one of the view below
			r = &row{key: k}
			r.is.Store(&shown{status: o.status(st)})
		}
		p.listed = append(p.listed, r)
	}
	slices.SortFunc(p.listed, func(a, b *row) int { return a.compare(b.key) })
	before := o.a.state.Swap(p)
	o.tellChanged(before, p)
	o.rest()
}

// rest has memory given back after much was loaded.
func (o *owner) rest() {
	const large = 5_000
	o.untidy = o.untidy || o.loaded >= large
	o.loaded = 0
}

// tellChanged tells whoever wants to know which zones others can fetch anew.
func (o *owner) tellChanged(before, now *published) {
	for k := range before.rows {
		if before.zone(k) != nil && now.zone(k) == nil {
			o.tellGone(k)
		}
	}
	for k, r := range now.rows {
		if z := r.is.Load().zone; z != nil {
			o.tellServed(k, before.zone(k), z)
		}
	}
}

func (o *owner) tellGone(k key) {
	if o.a.cfg.Gone != nil {
		o.a.cfg.Gone(k.zone, k.view)
	}
}

func (o *owner) tellServed(k key, old, z *zone.Zone) {
	if o.a.cfg.Changed != nil && (old == nil || old.Serial() != z.Serial()) {
		o.a.cfg.Changed(k.zone, k.view, z.Serial())
	}
}

// alone returns the rows that a secondary zone has by itself: its own, and those
// of views that show it as it is. It reports false where something else is made
// of it, or is not published yet, so that all is to be tabulated.
func (o *owner) alone(k key) ([]*row, bool) {
	p, st := o.a.state.Load(), o.served[k]
	own := p.rows[k]
	if st == nil || own == nil || !o.plan.fed(k) || o.plan.made(k) {
		return nil, false
	}
	rows := []*row{own}
	if o.plan.private(k) {
		return rows, true
	}
	shows := map[string]bool{k.view: true}
	for _, i := range o.plan.order {
		v := &o.plan.views[i]
		if !shows[v.Overlay] || v.Name == k.view || v.fed[k.zone] {
			continue
		}
		up := key{k.zone, v.Name}
		r := p.rows[up]
		if r == nil || o.served[up] != nil || o.sources[up] != nil || v.hidesIn(k.zone) {
			return nil, false
		}
		shows[v.Name] = true
		rows = append(rows, r)
	}
	return rows, true
}

// hidesIn reports whether the view hides anything that could be in the zone.
func (v *viewPlan) hidesIn(zone name.Name) bool {
	return slices.ContainsFunc(slices.Concat(v.hide, v.hideTree), func(n name.Name) bool { return n == zone || n.IsBelow(zone) })
}

// replace publishes what became of one secondary zone, at the price of that one
// where it stands alone.
func (o *owner) replace(k key) {
	rows, alone := o.alone(k)
	if !alone {
		o.tabulate()
		return
	}
	p, st := o.a.state.Load(), o.served[k]
	is := o.show(st)
	compiled := st.compiled
	if is.zone == nil {
		compiled = nil
	}
	for i, r := range rows {
		next := is
		if i > 0 {
			next = o.showThrough(r.key, is)
		}
		old := r.is.Swap(next)
		p.table.Replace(r.view, k.zone, compiled, st.expired)
		o.laid++
		if next.zone != nil {
			o.tellServed(r.key, old.zone, next.zone)
		} else if old.zone != nil {
			o.tellGone(r.key)
		}
	}
	o.rest()
}

// takeAlone makes what was taken the state of its zone, where nothing else
// follows from it and we do not sign it; else it reports false.
func (o *owner) takeAlone(c *candidate) bool {
	if _, alone := o.alone(c.key); !alone || o.policyFor(c) != nil || o.served[c.key].signedBy != nil || o.rolls[c.zone] != nil {
		return false
	}
	delete(o.dirty, c.key)
	c.changed = o.changes(c, o.a.cfg.Now())
	_ = o.commit([]*candidate{c}, false) // a failure is in its zone's status
	o.replace(c.key)
	return true
}

// passing reports whether a state is of a zone that is what its primary has: its
// serials are not ours to keep track of.
func passing(s *journal.Snapshot) bool { return s.Feed != nil && s.Signed == "" }
