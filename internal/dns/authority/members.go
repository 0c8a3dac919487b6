package authority

import (
	"context"
	"errors"
	"fmt"

	"postern/internal/dns/name"
)

// Feed changes which zones of a view transfers feed, without another
// configuration: a catalog lists others than before. What is dropped goes with
// all that is known of it, its history among that. A zone that is here for
// another reason is not added, and is in the way: it is returned. On an error
// some of the rest may be done; doing it again does no harm.
func (a *Authority) Feed(ctx context.Context, view string, add, drop []name.Name) (inTheWay []name.Name, err error) {
	var failed error
	err = a.do(ctx, func() {
		if failed = a.owner.starve(view, drop); failed == nil {
			inTheWay = a.owner.feed(view, add)
		}
		if len(drop) > 0 {
			a.owner.scan(false) // a file may have waited for that
		} else {
			a.owner.build()
		}
	})
	return inTheWay, errors.Join(err, failed)
}

// starve drops zones that are fed, durably.
func (o *owner) starve(view string, drop []name.Name) error {
	v := o.plan.view(view)
	for _, n := range drop {
		k := key{n, view}
		if v != nil && !v.fed[n] && o.served[k] != nil && o.served[k].fed == nil {
			continue // it is the admin's own
		}
		if err := o.store.Remove(n.String(), view); err != nil {
			o.a.Counters.Journal.Inc()
			return fmt.Errorf("zone %s in view %s: %w", n, view, err)
		}
		if o.served[k] != nil {
			o.log.Info("zone is removed", "zone", n, "view", view)
		}
		delete(o.served, k)
		delete(o.dynamics, k)
		o.a.held.drop(k)
		if v != nil {
			delete(v.fed, n)
			delete(v.made, n)
			delete(v.private, n)
			v.full[n] = v.alone[n]
		}
		o.dirtyEverywhere(n)
	}
	return nil
}

// feed adds zones that are to be fed.
func (o *owner) feed(view string, add []name.Name) (inTheWay []name.Name) {
	v := o.plan.view(view)
	for _, n := range add {
		k := key{n, view}
		st := o.served[k]
		switch {
		case v == nil || o.sources[k] != nil || st != nil && st.content != nil && st.fed == nil:
			inTheWay = append(inTheWay, n)
			continue
		case v.fed[n]:
			continue
		case st != nil && st.fed != nil: // the journal had it
			st.reason, st.problems, st.logged = "", st.found, ""
			o.holdFed(st)
		}
		v.fed[n], v.full[n] = true, true
		o.dirtyEverywhere(n)
	}
	return inTheWay
}

func (o *owner) dirtyEverywhere(n name.Name) {
	for _, v := range o.plan.views {
		o.dirty[key{n, v.Name}] = true
	}
}

// made reports whether k is fed by Postern itself.
func (p *plan) made(k key) bool {
	v := p.view(k.view)
	return v != nil && v.made[k.zone]
}

// private reports whether k exists only for those who may transfer it.
func (p *plan) private(k key) bool {
	v := p.view(k.view)
	return v != nil && v.private[k.zone]
}

// feeder says whose content a zone that is fed has.
func (p *plan) feeder(k key) string {
	if p.made(k) {
		return fmt.Sprintf("zone %s in view %s is a catalog that Postern makes", k.zone, k.view)
	}
	return fmt.Sprintf("zone %s in view %s is what its primaries have", k.zone, k.view)
}
