package authority

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
	"postern/internal/dns/zone"
)

// Secondary is how one that is listed for a zone in a view was seen last.
type Secondary struct {
	Zone     name.Name
	View     string
	Name     string
	Serial   uint32
	Answered time.Time // zero: never
}

// Parent is what the parent of a zone said of it, validated by our own
// resolver.
type Parent struct {
	At       time.Time
	Security rollover.Security
	DS       []*dns.DS
}

const (
	// askTime bounds one look at a parent.
	askTime = 5 * time.Second
	// firstTime bounds all looks that Start, or an operator, waits for.
	firstTime = 8 * time.Second
	// askEvery is how soon the parent of a zone is asked again at the earliest.
	askEvery = 6 * time.Second
	// maxAsks is how many parents are asked at once; the others wait for a scan.
	maxAsks = 32
)

// secondaries returns those of all zones, by zone and view.
func (o *owner) secondaries() map[key][]rollover.Secondary {
	if o.a.cfg.Secondaries == nil {
		return nil
	}
	all := map[key][]rollover.Secondary{}
	for _, s := range o.a.cfg.Secondaries() {
		k := key{s.Zone, s.View}
		all[k] = append(all[k], rollover.Secondary{Name: s.Name, Serial: s.Serial, Answered: s.Answered})
	}
	return all
}

// views is what there is to see of a zone: what each view serves, or will
// serve, and what its secondaries and its parent have.
func (o *owner) views(n name.Name, r *rolling, p *SignPolicy, coming map[string]*zone.Zone, secondaries map[key][]rollover.Secondary) rollover.Seen {
	seen := rollover.Seen{Up: o.a.up(), Parent: r.parent()}
	if o.a.cfg.Parent == nil || p.Roll.NoParent {
		seen.Parent = rollover.Parent{At: o.a.cfg.Now(), Security: rollover.Insecure} // as of a zone that nobody delegates
	}
	for i := range o.plan.views {
		v := o.plan.views[i].Name
		k := key{n, v}
		st, next := o.served[k], coming[v]
		served := st != nil && st.content != nil
		if !served && next == nil {
			continue
		}
		f, soa := (*facts)(nil), (*dns.SOA)(nil)
		if served {
			f, soa = st.showsNow(), st.out.SOA()
		} else {
			f, soa = showing(next), next.SOA()
		}
		view := rollover.View{
			Name: v, KeyTTL: f.keyTTL, DataTTL: f.dataTTL, Secondaries: secondaries[k],
			Refresh: seconds(soa.Refresh), Retry: seconds(soa.Retry), Expire: seconds(soa.Expire),
		}
		if served {
			view.Serial, view.Pending = st.out.Serial(), o.pending(k, st)
			if st.signedBy != nil {
				view.Uses, view.CDS, view.Delete = f.uses, f.cds, f.delete
			}
		}
		seen.Views = append(seen.Views, view)
	}
	return seen
}

// pending reports whether readers see another state than the one that is held.
func (o *owner) pending(k key, st *served) bool { return o.a.state.Load().zone(k) != st.out }

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// parent is the last look, held against the keys that there are now.
func (r *rolling) parent() rollover.Parent {
	var keys []*dns.DNSKEY
	for _, k := range r.keys {
		keys = append(keys, k.Key.DNSKEY)
	}
	return rollover.Match(r.look.At, r.look.Security, r.look.DS, keys)
}

// sight names what there is to see of a zone: with another one it is asked
// again what to do.
func (o *owner) sight(n name.Name, r *rolling, secondaries map[key][]rollover.Secondary) string {
	var b strings.Builder
	fmt.Fprint(&b, r.look.At.UnixNano())
	for i := range o.plan.views {
		k := key{n, o.plan.views[i].Name}
		if st := o.served[k]; st != nil && st.content != nil {
			fmt.Fprintf(&b, " %d %t", st.out.Serial(), o.pending(k, st))
		}
		for _, s := range secondaries[k] {
			fmt.Fprintf(&b, " %q %d", s.Name, s.Serial)
		}
	}
	return b.String()
}

// askParents asks for the DS of zones of which it is time to.
func (o *owner) askParents(now time.Time) {
	if o.a.cfg.Parent == nil || !o.a.started.Load() {
		return
	}
	known := false
	for n, r := range o.rolls {
		if r.asking || !r.begun || r.policy.Roll.NoParent || r.plan.Ask.IsZero() || now.Before(r.plan.Ask) ||
			!r.look.At.IsZero() && !r.look.At.After(now) && now.Sub(r.look.At) < askEvery {
			continue
		}
		if look, ours := o.ownParent(n); ours {
			if !look.At.IsZero() {
				o.saw(n, r, look)
				known = true
			}
		} else if o.asks < maxAsks {
			o.askParent(n, r)
		}
	}
	if known {
		o.build()
	}
}

// askParent looks at the parent of a zone, beside the owner's work.
func (o *owner) askParent(n name.Name, r *rolling) {
	a := o.a
	r.asking, o.asks = true, o.asks+1
	if !a.workers.Go("parent of a zone", func(ctx context.Context) {
		look := a.lookAt(ctx, n)
		_ = a.do(ctx, func() { o.looked(n, look) }) // it fails where all ends
	}) {
		r.asking, o.asks = false, o.asks-1
	}
}

// lookAt asks for the DS of a zone, and does not wait for long.
func (a *Authority) lookAt(ctx context.Context, n name.Name) Parent {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	look, err := a.cfg.Parent(ctx, n)
	if err != nil {
		a.cfg.Log.Debug("parent is not known", "zone", n, "err", err)
		look = Parent{}
	}
	if look.At.IsZero() {
		look.At = a.cfg.Now()
	}
	return look
}

// firstLooks asks for the DS of zones that are not signed before their parents
// were asked. Those that take too long are asked again by and by.
func (o *owner) firstLooks(ctx context.Context) {
	if o.a.cfg.Parent == nil {
		return
	}
	for n, look := range o.a.looks(ctx, o.unasked(nil)) {
		if r := o.rolls[n]; r != nil {
			o.saw(n, r, look)
		}
	}
	o.build()
}

// unlooked reports whether the parent of a zone was not asked yet.
func (o *owner) unlooked(n name.Name) bool {
	r := o.rolls[n]
	return r == nil || r.look.At.IsZero()
}

// unasked are the zones, among some or of all, whose parents were not asked yet
// though much depends on what they say: whether they are signed, or lose their
// signatures.
func (o *owner) unasked(only map[name.Name]bool) []name.Name {
	known := map[name.Name]bool{}
	for k := range o.served {
		n := k.zone
		if len(only) > 0 && !only[n] || known[n] {
			continue
		}
		p, r := o.signed(n), o.rolls[n]
		known[n] = p != nil && !p.Roll.NoParent && (r == nil || !r.asking && r.look.At.IsZero() || o.plan.policyOf(n) == nil)
	}
	var all []name.Name
	for n, asked := range known {
		if _, ours := o.ownParent(n); asked && !ours {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, name.Name.Compare)
	return all
}

// looks asks for the DS of several zones at once.
func (a *Authority) looks(ctx context.Context, zones []name.Name) map[name.Name]Parent {
	ctx, cancel := context.WithTimeout(ctx, firstTime)
	defer cancel()
	found := map[name.Name]Parent{}
	var mu sync.Mutex // guards found
	var all sync.WaitGroup
	room := make(chan struct{}, maxAsks)
	for _, n := range zones {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			all.Wait()
			return found
		}
		all.Go(func() {
			look := a.lookAt(ctx, n)
			mu.Lock()
			found[n] = look
			mu.Unlock()
			<-room
		})
	}
	all.Wait()
	return found
}

// lookFirst asks, before an operator's order, for what it depends on.
func (a *Authority) lookFirst(ctx context.Context, zones ...string) error {
	if a.cfg.Parent == nil {
		return nil
	}
	only := map[name.Name]bool{}
	for _, s := range zones {
		n, err := name.Parse(s)
		if err != nil {
			return fmt.Errorf("zone %q: %w", s, err)
		}
		only[n] = true
	}
	var ask []name.Name
	if err := a.do(ctx, func() { ask = a.owner.unasked(only) }); err != nil || len(ask) == 0 {
		return err
	}
	looks := a.looks(ctx, ask)
	return a.do(ctx, func() {
		for n, look := range looks {
			o := a.owner
			if o.rolls[n] == nil {
				o.rolls[n] = &rolling{}
			}
			o.saw(n, o.rolls[n], look)
		}
	})
}

// looked takes what the parent said.
func (o *owner) looked(n name.Name, look Parent) {
	o.asks--
	if r := o.rolls[n]; r != nil {
		r.asking = false
		o.saw(n, r, look)
		o.build()
	}
}

// saw takes a look at the parent, and what follows from it.
func (o *owner) saw(n name.Name, r *rolling, look Parent) {
	r.look = look
	if p := o.signed(n); p != nil {
		o.advance(n, r, p, nil, o.a.cfg.Now())
	}
}
