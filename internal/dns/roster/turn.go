package roster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"postern/internal/dns/catalog"
	"postern/internal/dns/name"
)

// turn looks at all catalogs and does what lacks.
func (r *Roster) turn(ctx context.Context) error {
	r.config.Lock.Lock()
	defer r.config.Lock.Unlock()
	plan := r.config.Plan()
	slices.SortFunc(plan.Follow, Place.compare)
	t := &pass{Roster: r, plan: plan}
	views := map[string]bool{}
	for _, at := range plan.Follow {
		views[at.View] = true
	}
	for view := range r.members {
		views[view] = true
	}
	var errs []error
	for _, view := range slices.Sorted(maps.Keys(views)) {
		errs = append(errs, t.follow(ctx, view))
	}
	if t.others {
		r.show(plan.Follow, t.standing)
		r.config.Changed(t.dropped)
	}
	errs = append(errs, t.makeAll(ctx))
	if r.dirty {
		err := r.save()
		r.dirty = err != nil
		errs = append(errs, err)
	}
	r.show(plan.Follow, t.standing)
	err := errors.Join(errs...)
	if err != nil {
		r.Counters.Failed.Inc()
		r.config.Log.Error("catalogs are not followed", "err", err)
	}
	return err
}

// pass is one turn.
type pass struct {
	*Roster
	plan     Plan
	standing []Standing
	dropped  []Place
	others   bool // other zones follow from catalogs than before
}

// follow does what the catalogs of one view say.
func (t *pass) follow(ctx context.Context, view string) error {
	var sources []catalog.Source
	for _, at := range t.plan.Follow {
		if at.View == view {
			sources = append(sources, t.read(at))
		}
	}
	own := func(n name.Name) bool { return t.plan.Own(Place{n, view}) }
	a := catalog.Assign(t.members[view], sources, own)
	inTheWay, err := t.carryOut(ctx, view, a)
	if err != nil {
		return err
	}
	maps.DeleteFunc(t.accepted, func(at Place, _ map[name.Name]bool) bool { return at.View == view }) // done
	for _, n := range inTheWay {
		i := slices.IndexFunc(a.Zones, func(z catalog.Assigned) bool { return z.Zone == n })
		if i >= 0 {
			a.Refused = append(a.Refused, catalog.Refused{Zone: n, Catalog: a.Zones[i].Catalog})
			a.Zones = slices.Delete(a.Zones, i, i+1)
		}
	}
	if !slices.Equal(a.Zones, t.members[view]) {
		t.others, t.dirty = true, true
		if t.members[view] = a.Zones; len(a.Zones) == 0 {
			delete(t.members, view)
		}
	}
	t.tellAll(view, a)
	return nil
}

// read reads a catalog of somebody else.
func (t *pass) read(at Place) catalog.Source {
	s, st := catalog.Source{Catalog: at.Zone}, Standing{Place: at}
	if z := t.config.Content(at.Zone, at.View); z != nil {
		members, err := catalog.Read(z)
		if err == nil && len(members) > t.config.Most {
			err = fmt.Errorf("%w: more than %d zones", catalog.ErrBroken, t.config.Most)
		}
		if err != nil {
			st.Broken = err.Error()
		} else {
			s.Members, s.Known, st.Known = members, true, true
			t.hold(at, &s, &st)
		}
	}
	t.standing = append(t.standing, st)
	return s
}

// carryOut has zones dropped and fed.
func (t *pass) carryOut(ctx context.Context, view string, a catalog.Assignment) ([]name.Name, error) {
	var add, drop []name.Name
	for _, list := range [][]catalog.Assigned{a.Added, a.Reset} {
		for _, z := range list {
			add = append(add, z.Zone)
		}
	}
	for _, list := range [][]catalog.Assigned{a.Removed, a.Reset} {
		for _, z := range list {
			drop = append(drop, z.Zone)
		}
	}
	c := &t.Counters
	if len(add)+len(drop)+len(a.Moved) == 0 {
		return nil, nil
	}
	var inTheWay []name.Name
	if len(add)+len(drop) > 0 {
		var err error
		if inTheWay, err = t.config.Feed(ctx, view, add, drop); err != nil {
			return nil, err
		}
		for _, n := range drop {
			t.dropped, t.others = append(t.dropped, Place{n, view}), true
		}
	}
	c.Added.Add(uint64(len(a.Added)))
	c.Reset.Add(uint64(len(a.Reset)))
	c.Moved.Add(uint64(len(a.Moved)))
	c.Removed.Add(uint64(len(a.Removed)))
	t.config.Log.Info("zones follow from catalogs", "view", view, "added", few(zonesIn(a.Added)), "reset", few(zonesIn(a.Reset)), "moved", few(zonesIn(a.Moved)), "removed", few(zonesIn(a.Removed)), "zones", len(a.Zones))
	return inTheWay, nil
}

func zonesIn(all []catalog.Assigned) []name.Name {
	var zones []name.Name
	for _, z := range all {
		zones = append(zones, z.Zone)
	}
	return zones
}

// few names the first of them.
func few(all []name.Name) []string {
	const most = 10
	var names []string
	for _, n := range all[:min(most, len(all))] {
		names = append(names, n.String())
	}
	if more := len(all) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return names
}

// tellAll notes how the catalogs of a view stand, and logs, once, what is wrong.
func (t *pass) tellAll(view string, a catalog.Assignment) {
	for i := range t.standing {
		st := &t.standing[i]
		if st.View != view || st.Made {
			continue
		}
		text := st.Broken
		for _, z := range a.Zones {
			if z.Catalog == st.Zone {
				st.Members++
			}
		}
		for _, refused := range a.Refused {
			if refused.Catalog == st.Zone {
				st.Refused = append(st.Refused, refused)
				text += "\n" + Text(refused)
			}
		}
		text += fmt.Sprint(st.Held)
		if text == t.told[st.Place] {
			continue
		}
		t.told[st.Place] = text
		if st.Broken != "" {
			t.Counters.Broken.Inc()
			t.config.Log.Error("catalog is broken; what followed from it before stays", "catalog", st.Zone, "view", view, "err", st.Broken)
		}
		if len(st.Held) > 0 {
			t.Counters.Held.Inc()
			t.config.Log.Error("catalog loses too many zones at once; they stay until somebody accepts it", "catalog", st.Zone, "view", view,
				"reason", LosesZones, "zones", few(st.Held), "lost", len(st.Held), "listed", st.Members)
		}
		t.Counters.Refused.Add(uint64(len(st.Refused)))
		const most = 10
		for _, refused := range st.Refused[:min(most, len(st.Refused))] {
			t.config.Log.Error("a zone of a catalog is refused", "catalog", st.Zone, "view", view, "reason", Text(refused), "refused", len(st.Refused))
		}
	}
}

// Text says why a zone does not follow from a catalog (RFC 9432, Section 5.2).
func Text(r catalog.Refused) string {
	if r.Holder == "" {
		return fmt.Sprintf("zone %s is here already", r.Zone)
	}
	return fmt.Sprintf("zone %s belongs to the catalog %s", r.Zone, r.Holder)
}
