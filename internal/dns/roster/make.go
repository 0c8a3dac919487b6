package roster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/catalog"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// makeAll makes the catalogs of our own, and drops those that are not to be
// made any more.
func (t *pass) makeAll(ctx context.Context) error {
	var errs []error
	slices.SortFunc(t.plan.Make, Place.compare)
	var kept []Place
	for _, at := range t.made {
		if slices.Contains(t.plan.Make, at) {
			continue
		}
		if !t.plan.Own(at) {
			if _, err := t.config.Feed(ctx, at.View, nil, []name.Name{at.Zone}); err != nil {
				errs = append(errs, err)
				kept = append(kept, at)
				continue
			}
		}
		t.dirty = true
		t.config.Log.Info("catalog is made no more", "catalog", at.Zone, "view", at.View)
	}
	for _, at := range t.plan.Make {
		t.dirty = t.dirty || !slices.Contains(t.made, at)
		errs = append(errs, t.make(ctx, at))
	}
	t.made = append(kept, t.plan.Make...)
	return errors.Join(errs...)
}

// make makes one catalog, where it is not what it should be.
func (t *pass) make(ctx context.Context, at Place) error {
	old, held := t.listed(at)
	want, whole := t.plan.Members(at)
	if !whole && !held {
		// Whoever follows it would drop what is not on the list.
		return fmt.Errorf("catalog %s in view %s is not made: not all zones of the view are known", at.Zone, at.View)
	}
	next := members(old, want, whole)
	st := Standing{Place: at, Made: true, Known: true, Members: len(next)}
	defer func() { t.standing = append(t.standing, st) }()
	if held && slices.Equal(old, next) {
		return nil
	}
	st.Members = len(old)
	if len(next) > catalog.MaxMembers {
		return fmt.Errorf("catalog %s in view %s stays as it is: more than %d zones", at.Zone, at.View, catalog.MaxMembers)
	}
	records, err := catalog.Make(at.Zone, next)
	if err != nil {
		return err
	}
	if soa, ok := records[0].(*dns.SOA); ok {
		soa.Serial = t.serial(at)
	}
	if err := t.config.Publish(ctx, at, records); err != nil {
		return fmt.Errorf("catalog %s in view %s: %w", at.Zone, at.View, err)
	}
	st.Members = len(next)
	t.Counters.Published.Inc()
	t.config.Log.Info("catalog is made", "catalog", at.Zone, "view", at.View, "zones", len(next))
	return nil
}

// listed returns the zones that a catalog of our own lists, in order; false
// where it was not made yet.
func (t *pass) listed(at Place) ([]name.Name, bool) {
	z := t.config.Content(at.Zone, at.View)
	if z == nil {
		return nil, false
	}
	all, err := catalog.Read(z)
	if err != nil {
		return nil, false // it was something else before
	}
	var zones []name.Name
	for _, m := range all {
		if m.ID == catalog.IDOf(m.Zone) {
			zones = append(zones, m.Zone)
		}
	}
	slices.SortFunc(zones, name.Name.Compare)
	return zones, true
}

// members returns what a catalog is to list, in order: a zone that is not served
// for a while is no zone that is gone, and whoever follows the catalog would drop
// it with all that he has.
func members(old []name.Name, want []Candidate, whole bool) []name.Name {
	var next []name.Name
	for _, c := range want {
		if _, was := slices.BinarySearchFunc(old, c.Zone, name.Name.Compare); c.Served || was {
			next = append(next, c.Zone)
		}
	}
	if !whole {
		next = append(next, old...)
	}
	slices.SortFunc(next, name.Name.Compare)
	return slices.Compact(next)
}

// serial is the next one: the time in seconds, which is ahead also where what is
// here was lost, or one more than the last.
func (t *pass) serial(at Place) uint32 {
	next := uint32(t.config.Now().Unix())
	if last, held := t.config.Held(at.Zone, at.View); held && !zone.SerialLess(last, next) {
		next = last + 1
	}
	return next
}
