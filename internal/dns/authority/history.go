package authority

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"postern/internal/dns/journal"
	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

// Version is one published state of a (zone, view).
type Version = journal.Version

// History returns the versions that are kept, newest first. The view may be
// left out where one alone has a file for the zone. A version is one state of
// the admin's file; records that Postern derives, and changes of a view below,
// make no version.
func (a *Authority) History(ctx context.Context, zoneName, viewName string) ([]Version, error) {
	var all []Version
	var failed error
	err := a.do(ctx, func() {
		var k key
		if k, failed = a.owner.find(zoneName, viewName); failed == nil {
			all, failed = a.owner.store.History(k.zone.String(), k.view)
		}
	})
	return all, errors.Join(err, failed)
}

// find returns the (zone, view) that is meant.
func (o *owner) find(zoneName, viewName string) (key, error) {
	n, err := name.Parse(zoneName)
	if err != nil {
		return key{}, fmt.Errorf("zone %q: %w", zoneName, err)
	}
	var views []string
	for k, st := range o.served {
		own := o.sources[k] != nil || o.plan.fed(k) || viewName != ""
		if k.zone == n && (viewName == "" || k.view == viewName) && !st.unborn() && own {
			views = append(views, k.view)
		}
	}
	slices.Sort(views)
	switch len(views) {
	case 0:
		return key{}, fmt.Errorf("zone %s: %w", n, ErrNoZone)
	case 1:
		return key{n, views[0]}, nil
	}
	return key{}, fmt.Errorf("zone %s: %w: %s", n, ErrAmbiguous, strings.Join(views, ", "))
}

// Rollback is an order to publish a former version.
type Rollback struct {
	Zone, View string
	Version    int // 0: the one before the present
	Who, Why   string
}

// Rollback publishes what the admin's file held in a former version, with a
// new serial, the derived records of today, and the view below as it is now.
// It pins the zone: the file is published again only once it has changed and
// Apply is called. That survives a restart.
func (a *Authority) Rollback(ctx context.Context, do Rollback) ([]Plan, error) {
	var plans []Plan
	var failed error
	err := a.do(ctx, func() {
		o := a.owner
		o.scan(false)
		plans, failed = o.rollback(do)
	})
	return plans, errors.Join(err, failed)
}

func (o *owner) rollback(do Rollback) ([]Plan, error) {
	k, err := o.find(do.Zone, do.View)
	if err != nil {
		return nil, err
	}
	s := o.sources[k]
	if o.plan.fed(k) {
		return nil, &Declined{Reason: ReasonFed, Detail: o.plan.feeder(k)}
	}
	if s == nil || !s.good {
		return nil, &Declined{Reason: ReasonNoFile, Detail: fmt.Sprintf("view %s has no file of its own for zone %s", k.view, k.zone)}
	}
	snap, err := o.former(k, do.Version)
	if err != nil {
		return nil, err
	}
	own := []zonefile.Record{}
	for _, rr := range snap.Source {
		own = append(own, zonefile.Record{RR: rr, File: s.path()})
	}
	r := o.prepare(map[key]*order{k: {own: own, who: do.Who, why: strings.TrimSuffix(fmt.Sprintf("rollback to version %d: %s", snap.Version, do.Why), ": ")}})
	plans := o.planOf(r)
	if len(r.refused) > 0 {
		return nil, &Declined{Reason: r.refused[0].Reason, Detail: fmt.Sprintf("version %d of zone %s makes no zone today", snap.Version, k.zone), Problems: r.refused[0].Problems}
	}
	// The pin first: without it the file would undo the rollback at the next
	// start.
	pins := maps.Clone(o.pins)
	pins[k] = journal.Pin{
		Zone: k.zone.String(), View: k.view, Hash: s.hash, Version: snap.Version, At: o.a.cfg.Now(), Who: do.Who, Why: do.Why,
	}
	before := o.pins
	if err := o.replacePins(pins); err != nil {
		return nil, err
	}
	if err := o.commit(r.made, true); err != nil {
		return nil, errors.Join(notCommitted(err), o.replacePins(before))
	}
	o.log.Warn("zone is rolled back and pinned", "zone", k.zone, "view", k.view, "version", snap.Version, "who", do.Who, "why", do.Why)
	o.dirty[k] = true
	o.build()
	for i := range plans {
		plans[i].Reason, plans[i].Needs, plans[i].Waits = "", nil, nil
	}
	return plans, nil
}

// former reads the version that is wanted.
func (o *owner) former(k key, number int) (journal.Snapshot, error) {
	all, err := o.store.History(k.zone.String(), k.view)
	if err != nil {
		return journal.Snapshot{}, err
	}
	for _, v := range all {
		if v.Present && number == v.Number {
			return journal.Snapshot{}, &Declined{Reason: ReasonNoVersion, Detail: fmt.Sprintf("version %d of zone %s in view %s is the present one", number, k.zone, k.view)}
		}
		if v.Present || number != 0 && v.Number != number {
			continue
		}
		snap, err := o.store.Former(k.zone.String(), k.view, v.Number)
		if err != nil {
			return snap, err
		}
		if snap.Source == nil {
			return snap, &Declined{Reason: ReasonNoFile, Detail: fmt.Sprintf("version %d had no file of its own", v.Number)}
		}
		snap.Version = v.Number
		return snap, nil
	}
	what := fmt.Sprintf("version %d", number)
	if number == 0 {
		what = "a version before the present one"
	}
	return journal.Snapshot{}, &Declined{Reason: ReasonNoVersion, Detail: fmt.Sprintf("%s of zone %s in view %s is not kept", what, k.zone, k.view)}
}

func (o *owner) replacePins(pins map[key]journal.Pin) error {
	var all []journal.Pin
	for _, k := range slices.SortedFunc(maps.Keys(pins), key.compare) {
		all = append(all, pins[k])
	}
	if err := o.store.SavePins(all); err != nil {
		return &Declined{Reason: reasonJournal, Detail: err.Error()}
	}
	o.pins = pins
	return nil
}

// unpin lets go of what was applied.
func (o *owner) unpin(orders map[key]*order) error {
	pins := maps.Clone(o.pins)
	for k := range orders {
		delete(pins, k)
	}
	if len(pins) == len(o.pins) {
		return nil
	}
	return o.replacePins(pins)
}

// Remove forgets a zone whose file is gone, with its history, in every view
// where that is so, and returns these views.
func (a *Authority) Remove(ctx context.Context, zoneName string) ([]string, error) {
	var views []string
	var failed error
	err := a.do(ctx, func() {
		if failed = a.owner.refresh(ctx); failed == nil {
			views, failed = a.owner.remove(zoneName)
		}
	})
	return views, errors.Join(err, failed)
}

func (o *owner) remove(zoneName string) ([]string, error) {
	n, err := name.Parse(zoneName)
	if err != nil {
		return nil, fmt.Errorf("zone %q: %w", zoneName, err)
	}
	var vanished []key
	known := false
	for _, v := range o.plan.views {
		k := key{n, v.Name}
		if o.served[k] == nil {
			continue
		}
		known = true
		if v.fed[n] {
			return nil, &Declined{Reason: ReasonFed, Detail: o.plan.feeder(k) + ": take it out of the configuration first, or out of the catalog that lists it"}
		}
		if s := o.sources[k]; s == nil || s.reason == reasonMissing {
			vanished = append(vanished, k)
		}
	}
	if !known {
		return nil, fmt.Errorf("zone %s: %w", n, ErrNoZone)
	}
	if len(vanished) == 0 {
		return nil, &Declined{Reason: ReasonPresent, Detail: fmt.Sprintf("zone %s has its file still: remove that first", n)}
	}
	pins := maps.Clone(o.pins)
	var views []string
	for _, k := range vanished {
		if err := o.store.Remove(n.String(), k.view); err != nil {
			o.build()
			return views, err
		}
		delete(o.served, k)
		delete(o.sources, k)
		delete(o.dynamics, k)
		delete(pins, k)
		views = append(views, k.view)
		o.log.Info("zone is removed", "zone", n, "view", k.view)
	}
	if len(pins) < len(o.pins) {
		err = o.replacePins(pins)
	}
	for _, v := range o.plan.views {
		o.dirty[key{n, v.Name}] = true
	}
	o.build()
	return views, err
}
