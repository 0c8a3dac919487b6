package xfr

import (
	"container/heap"
	"net/netip"
	"slices"
)

// syncLocked follows the zones that there are to be.
func (r *Refresher) syncLocked() {
	if !r.follow {
		return
	}
	r.follow = false
	stay := map[place]bool{}
	for _, in := range r.config.Zones() {
		if at := (place{in.Zone, in.View}); !stay[at] && r.followLocked(at, &in) {
			stay[at] = true
		}
	}
	for at, f := range r.zones {
		if !stay[at] {
			r.forgetLocked(at, f)
		}
	}
	now := r.now()
	for addr, until := range r.bad {
		if !until.After(now) {
			delete(r.bad, addr)
		}
	}
}

// followLocked takes a zone, or another idea of one.
func (r *Refresher) followLocked(at place, in *Inbound) bool {
	now, f := r.now(), r.zones[at]
	switch {
	case f != nil:
		other := !slices.EqualFunc(f.in.Primaries, in.Primaries, samePrimary)
		if f.in = in; other {
			f.due = now
			r.queueLocked(f)
		}
		return true
	case len(r.zones) >= r.config.Most:
		r.Counters.Dropped.Inc()
		return false
	}
	f = &feed{in: in, at: -1}
	held, ok := r.config.Have(in.Zone, in.View)
	f.have(held, ok, now)
	r.zones[at] = f
	r.views[at.zone] = append(r.views[at.zone], f)
	r.queueLocked(f)
	return true
}

func (r *Refresher) forgetLocked(at place, f *feed) {
	f.gone = true
	r.queueLocked(f)
	delete(r.zones, at)
	r.views[at.zone] = slices.DeleteFunc(r.views[at.zone], func(o *feed) bool { return o == f })
	if len(r.views[at.zone]) == 0 {
		delete(r.views, at.zone)
	}
}

func samePrimary(a, b *Primary) bool {
	return a == b || a.Name == b.Name && a.Key == b.Key && a.TLS == b.TLS && slices.Equal(a.Addr, b.Addr) && slices.Equal(a.Source, b.Source)
}

// toldLocked takes that a primary told of a new version.
func (r *Refresher) toldLocked(f *feed, serial uint32, has bool, from netip.Addr) {
	if !f.notified(serial, has, r.now()) {
		return
	}
	for _, p := range f.in.Primaries {
		if p.at(from) {
			f.prefer = p.Name
			for _, a := range p.Addr {
				delete(r.bad, a) // it lives
			}
		}
	}
	r.queueLocked(f)
	r.look()
}

// at reports whether the address is one of the primary's.
func (p *Primary) at(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(p.Addr, func(own netip.AddrPort) bool { return own.Addr().Unmap().WithZone("") == a })
}

// queueLocked puts a feed where its time is.
func (r *Refresher) queueLocked(f *feed) {
	switch {
	case f.gone || f.resting():
		if f.at >= 0 {
			heap.Remove(&r.queue, f.at)
		}
	case f.at >= 0:
		heap.Fix(&r.queue, f.at)
	default:
		heap.Push(&r.queue, f)
	}
}

// feeds is a heap of feeds, the next to be looked at first.
type feeds []*feed

func (q feeds) Len() int           { return len(q) }
func (q feeds) Less(i, j int) bool { return q[i].wake().Before(q[j].wake()) }
func (q feeds) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push implements heap.Interface.
func (q *feeds) Push(x any) {
	f, ok := x.(*feed)
	if !ok {
		return // cannot be
	}
	f.at = len(*q)
	*q = append(*q, f)
}

// Pop implements heap.Interface.
func (q *feeds) Pop() any {
	old := *q
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*q, f.at = old[:len(old)-1], -1
	return f
}
