package authority

import (
	"fmt"
	"maps"
	"time"

	"postern/internal/dns/name"
	"postern/internal/dns/update"
	"postern/internal/dns/zonefile"
)

// byFile is who a version is by that nobody had to apply.
const byFile = "file"

// byTransfer is who a version is by that came from a primary.
const byTransfer = "transfer"

// order is what an operator wants of a (zone, view).
type order struct {
	own      []zonefile.Record // instead of the file's; nil: the file's
	who, why string

	update  bool // nobody ordered it: it is updates, that leave this
	dynamic *update.Overlay
}

// round is one pass over views and zones that makes candidates. With orders it
// makes theirs and what follows from them, and leaves no trace; without, it
// makes what is dirty and notes refusals.
type round struct {
	o       *owner
	orders  map[key]*order
	now     time.Time
	made    []*candidate // each after those it lies over
	latest  map[key]*candidate
	touched map[key]bool // what lies over a candidate that changes
	refused []Plan       // orders that cannot be carried out
}

// prepare makes candidates. Nothing is published before commit.
func (o *owner) prepare(orders map[key]*order) *round {
	r := &round{o: o, orders: orders, now: o.a.cfg.Now(), latest: map[key]*candidate{}, touched: map[key]bool{}}
	exists := map[string]map[name.Name]bool{}
	for _, i := range o.plan.order {
		v := &o.plan.views[i]
		base := exists[v.Overlay]
		here := maps.Clone(base)
		if here == nil {
			here = map[name.Name]bool{}
		}
		for _, n := range o.zonesOf(v, base) {
			k := key{n, v.Name}
			r.visit(v, k, base)
			if st := o.served[k]; r.latest[k] != nil || st != nil && !st.unborn() {
				here[n] = true
			}
		}
		exists[v.Name] = here
		if orders == nil {
			o.warnHides(v, base)
		}
	}
	return r
}

func (r *round) visit(v *viewPlan, k key, base map[name.Name]bool) {
	o := r.o
	if v.fed[k.zone] {
		r.visitFed(k)
		return
	}
	hide, tree := v.hides(k.zone, base)
	overlay := base[k.zone] && !v.full[k.zone]
	if overlay && o.source(k) == nil && len(hide)+len(tree) == 0 && !o.updatable(k) {
		if r.orders == nil {
			o.inherit(k)
		}
		return
	}
	wanted := r.touched[k] || r.orders[k] != nil
	if r.orders == nil {
		wanted = wanted || o.dirty[k] || o.served[k] == nil || o.due(k, r.now)
	}
	if !wanted {
		return
	}
	c := r.candidate(v, k, overlay, hide, tree)
	if c == nil {
		return
	}
	c.changed = o.changes(c, r.now)
	r.made, r.latest[k] = append(r.made, c), c
	if c.changed {
		r.touch(k)
	}
}

// touch marks whoever lies over k, even over a view in between that shows it as
// it is.
func (r *round) touch(k key) {
	for _, v := range r.o.plan.views {
		for up := &v; up != nil && up.Overlay != ""; up = r.o.plan.view(up.Overlay) {
			if up.Overlay == k.view {
				r.touched[key{k.zone, v.Name}] = true
			}
		}
	}
}

// below returns the records that the view lies over: those of the nearest
// state of the zone.
func (r *round) below(v *viewPlan, n name.Name) (records []zonefile.Record, of string, good bool) {
	for v.Overlay != "" {
		v = r.o.plan.view(v.Overlay)
		k := key{n, v.Name}
		st := r.o.served[k]
		switch c := r.latest[k]; {
		case st != nil && st.expired && (c == nil || !c.took):
			return nil, v.Name, false
		case c != nil && c.fed != nil:
			return asRecords(c.content), v.Name, true
		case c != nil:
			return c.records, v.Name, true
		case st != nil && !st.unborn():
			return r.o.base(st), v.Name, st.content != nil
		}
	}
	return nil, "", false
}

// awaits reports whether the zone is only planned in a view below.
func (r *round) awaits(v *viewPlan, n name.Name) bool {
	for v.Overlay != "" {
		v = r.o.plan.view(v.Overlay)
		if st := r.o.served[key{n, v.Name}]; st != nil {
			return st.unborn()
		}
	}
	return false
}

// refuse leaves k as it is and says why.
func (r *round) refuse(k key, reason string, problems []zonefile.Problem) {
	if r.orders == nil {
		r.o.refuse(k, reason, problems)
	} else if r.orders[k] != nil {
		r.refused = append(r.refused, Plan{Zone: k.zone.String(), View: k.view, Reason: reason, Problems: problems})
	}
}

// candidate makes the next state of k, or refuses it and returns nil. Where
// the newest records do not make a zone, or wait, those accepted before are
// tried, so that a change below still comes through.
func (r *round) candidate(v *viewPlan, k key, overlay bool, hide, tree []name.Name) *candidate {
	o := r.o
	if r.orders == nil {
		delete(o.dirty, k)
		if st := o.served[k]; st != nil {
			st.tried = o.kin[k]
		}
	}
	c, base := r.gather(v, k, overlay)
	if c == nil {
		return nil
	}
	s, order := c.source, c.order
	if order != nil && order.own != nil {
		c.own = order.own
	}
	if st := o.served[k]; c.updates() && st != nil {
		c.fallback = st.reason != "" || len(st.held) > 0 // what is refused or waits is none of theirs
	}
	if o.amend(c) {
		return c
	}
	if r.orders == nil || order != nil {
		fit := o.assemble(c, base, hide, tree)
		if fit && (order != nil || o.mayPublish(c)) {
			return c
		}
		if !fit && r.orders == nil && !overlay && r.awaits(v, k.zone) {
			c.problems = nil // alone it is not what it will be
			o.hold(c, []zonefile.Problem{{
				File: s.path(), Severity: zonefile.WARN, Code: ReasonPlanned, Message: "the zone it changes is not applied yet",
				Hint: fmt.Sprintf("postern zone apply %s publishes both", k.zone),
			}})
			return nil
		}
		if !fit {
			r.refuse(k, reasonLint, c.problems)
		}
		if order != nil {
			return nil
		}
	}
	// What was accepted before, also where somebody else's order reaches here.
	if s != nil && o.accepted(s) == nil && len(hide)+len(tree) == 0 {
		return nil
	}
	c.own, c.problems, c.found, c.content = nil, nil, nil, nil
	if s != nil {
		c.own, c.fallback = o.accepted(s), true
	}
	if !o.assemble(c, base, hide, tree) {
		return nil
	}
	return c
}

// gather finds what the next state of k is made of: its own newest records,
// and those of the view below. It refuses k and returns nil where something is
// missing.
func (r *round) gather(v *viewPlan, k key, overlay bool) (c *candidate, base []zonefile.Record) {
	o, s := r.o, r.o.source(k)
	if s != nil && !s.good {
		r.refuse(k, s.reason, s.problems)
		return nil, nil
	}
	c = &candidate{key: k, source: s, order: r.orders[k]}
	wanting := func(file, reason, message, hint string) {
		r.refuse(k, reason, []zonefile.Problem{{File: file, Severity: zonefile.ERR, Code: reason, Message: message, Hint: hint}})
	}
	if _, err := o.dynamic(k); err != nil {
		wanting(o.fileOf(k), ReasonDynamic, err.Error(), fmt.Sprintf("put the file back, or give up what updates changed: postern zone remove %s --dynamic", k.zone))
		return nil, nil
	}
	if overlay {
		var good bool
		if base, c.over, good = r.below(v, k.zone); !good {
			wanting(o.fileOf(k), reasonBase, fmt.Sprintf("view %s has no good state of the zone", v.Overlay), "")
			return nil, nil
		}
	}
	if s == nil && !overlay {
		wanting(o.fileOf(k), reasonMissing, fmt.Sprintf("view %s has no file for the zone", v.Name), "")
		return nil, nil
	}
	if s != nil {
		if c.own = o.newest(s); c.own == nil {
			wanting(s.path(), reasonJournal, "the records that were accepted last cannot be read back", "the log says why")
			return nil, nil
		}
	}
	if v.full[k.zone] {
		c.beside, _, _ = r.below(v, k.zone)
	}
	return c, base
}
