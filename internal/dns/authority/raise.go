package authority

import (
	"sync"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// A secondary may have a serial ahead of ours: it was fed by another server
// before, or our state was lost. It would take nothing until ours is higher,
// which could be years. So ours goes above it: for a zone that was never served
// by this state before, whoever says so; for others where the secondary has
// proven itself by its key, since whoever can forge an answer could drive the
// serial round.

// raises are serials to go above, until the owner looks.
type raises struct {
	mu   sync.Mutex
	all  map[key]raise
	wake chan struct{}
}

type raise struct {
	serial uint32
	proven bool
}

// GoAbove hears that a secondary of a zone in a view serves that serial, which
// is ahead; proven says that its key vouches for it. It does not wait.
func (a *Authority) GoAbove(n name.Name, view string, serial uint32, proven bool) {
	if z, _ := a.Content(n, view); z == nil || !zone.SerialLess(z.Serial(), serial) {
		return // so there are no more of them than zones
	}
	a.raises.mu.Lock()
	defer a.raises.mu.Unlock()
	if a.raises.all == nil {
		a.raises.all = map[key]raise{}
	}
	if was, ok := a.raises.all[key{n, view}]; !ok || zone.SerialLess(was.serial, serial) || proven && !was.proven {
		a.raises.all[key{n, view}] = raise{serial, proven}
	}
	select {
	case a.raises.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// raiseAll goes above what secondaries have.
func (o *owner) raiseAll() {
	o.a.raises.mu.Lock()
	all := o.a.raises.all
	o.a.raises.all = nil
	o.a.raises.mu.Unlock()
	for k, r := range all {
		st := o.served[k]
		if st == nil || st.content == nil || !zone.SerialLess(st.content.Serial(), r.serial) {
			continue
		}
		if st.fed != nil && o.plan.policyOf(k.zone) == nil {
			continue // it has its primaries' serial, whoever has which
		}
		if !r.proven && !st.firstborn {
			o.log.Warn("a secondary without a key has a serial ahead of ours; it will not take the zone", "zone", k.zone, "view", k.view, "serial", st.content.Serial(), "secondary", r.serial)
			continue
		}
		o.log.Warn("serial goes above that of a secondary", "zone", k.zone, "view", k.view, "serial", st.content.Serial(), "secondary", r.serial)
		o.a.Counters.Raised.Inc()
		o.store.Raise(k.zone.String(), k.view, r.serial)
		st.raise, o.dirty[k] = true, true
	}
	o.build()
}
