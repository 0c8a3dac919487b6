package xfr

import (
	"container/heap"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/zone"
)

// run is the loop: it takes changes, sends what is due, and waits.
func (n *Notifier) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(n.turn())
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		case <-timer.C:
		}
	}
}

// turn does what is due, and returns how long there is nothing more to do.
func (n *Notifier) turn() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.syncLocked()
	now := time.Now()
	for at := range n.changed {
		for _, e := range n.places[at] {
			if e.busy {
				e.anew = true
				continue
			}
			n.anewLocked(e, now)
		}
	}
	clear(n.changed)
	for len(n.queue) > 0 && n.flying < n.config.AtOnce {
		e := n.queue[0]
		if e.due.After(now) {
			return e.due.Sub(now)
		}
		heap.Pop(&n.queue)
		e.busy = true
		if !n.workers.Go("request", func(ctx context.Context) { n.do(ctx, e) }) {
			break // stopping
		}
		n.flying++
	}
	return mostWait // whoever comes back wakes the loop
}

// anewLocked begins anew with what is served now.
func (n *Notifier) anewLocked(e *entry, now time.Time) {
	z, _ := n.config.Source.Content(e.place.zone, e.place.view)
	e.anew = false
	if z == nil || e.gone {
		return
	}
	e.changed(z.Serial(), now, n.now())
	n.queueLocked(e)
}

func (n *Notifier) queueLocked(e *entry) {
	switch {
	case e.gone || e.phase == resting:
		if e.at >= 0 {
			heap.Remove(&n.queue, e.at)
		}
	case e.at >= 0:
		heap.Fix(&n.queue, e.at)
	default:
		heap.Push(&n.queue, e)
	}
}

// syncLocked follows the rules: who is new is told, who is gone is forgotten.
func (n *Notifier) syncLocked() {
	var rules *Rules
	if n.config.Rules != nil {
		rules = n.config.Rules()
	}
	if rules == n.rules {
		return
	}
	n.rules = rules
	now, stay := time.Now(), map[entryKey]bool{}
	if rules != nil {
		for _, rule := range rules.all {
			for _, p := range rule.Peers {
				for _, addr := range p.Notify {
					k := entryKey{place{rule.Zone, rule.View}, p.Name, addr}
					stay[k] = true
					n.followLocked(k, p, now)
				}
			}
		}
	}
	for k, e := range n.all {
		if !stay[k] {
			e.gone = true
			n.queueLocked(e)
			delete(n.all, k)
			n.places[k.place] = slices.DeleteFunc(n.places[k.place], func(o *entry) bool { return o == e })
			if len(n.places[k.place]) == 0 {
				delete(n.places, k.place)
			}
		}
	}
}

func (n *Notifier) followLocked(k entryKey, p *Peer, now time.Time) {
	if e := n.all[k]; e != nil {
		e.peer = p
		return
	}
	if len(n.all) >= n.config.Most {
		n.Counters.Dropped.Inc()
		return
	}
	e := &entry{peer: p, at: -1, place: k.place}
	e.secondary.Standing = Standing{Zone: k.zone, View: k.view, Peer: k.peer, Address: k.addr}
	e.phase = resting // until there is something to tell
	n.all[k] = e
	n.places[k.place] = append(n.places[k.place], e)
	n.anewLocked(e, now)
}

// do makes one request, and takes what comes of it.
func (n *Notifier) do(ctx context.Context, e *entry) {
	n.mu.Lock()
	peer, at, to, phase := e.peer, e.place, e.Address, e.phase
	n.mu.Unlock()
	z, _ := n.config.Source.Content(at.zone, at.view)
	var serial uint32
	var answered bool
	var err error
	if z != nil {
		serial, answered, err = n.request(ctx, phase, z, peer, to)
	}
	if n.config.Ahead != nil && z != nil && phase == asking && err == nil && zone.SerialLess(z.Serial(), serial) {
		n.config.Ahead(at.zone, at.view, serial, len(peer.Keys) > 0)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flying--
	defer n.look()
	e.busy = false
	now, before := time.Now(), e.State
	switch {
	case e.gone || ctx.Err() != nil:
		return
	case z == nil:
		e.phase = resting // until there is something to tell again
	case phase == telling:
		e.told, e.Served = now, z.Serial()
		e.notified(err, answered, now, n.now())
		n.count(phase, err, answered)
	default:
		e.seen(serial, err, now, n.now())
		n.count(phase, err, answered)
	}
	if e.anew && !n.knowsLocked(e, phase, z, err) {
		n.anewLocked(e, now)
		return
	}
	e.anew = false
	n.queueLocked(e)
	n.tell(before, e)
}

// knowsLocked reports whether what changed during a request is what the request
// told.
func (n *Notifier) knowsLocked(e *entry, phase phase, told *zone.Zone, err error) bool {
	z, _ := n.config.Source.Content(e.place.zone, e.place.view)
	return phase == telling && err == nil && z != nil && told != nil && z.Serial() == told.Serial()
}

// request sends a NOTIFY or a question, as the phase has it.
func (n *Notifier) request(ctx context.Context, phase phase, z *zone.Zone, peer *Peer, to netip.AddrPort) (serial uint32, answered bool, err error) {
	soa := z.SOA()
	if phase != telling {
		soa = nil
	}
	var id [2]byte
	if _, err := io.ReadFull(n.config.Rand, id[:]); err != nil {
		return 0, false, fmt.Errorf("id: %w", err)
	}
	var key name.Name
	if len(peer.Keys) > 0 {
		key = peer.Keys[0]
	}
	var keys *tsig.Keys
	if n.config.Keys != nil {
		keys = n.config.Keys()
	}
	m, err := newMessage(binary.BigEndian.Uint16(id[:]), z.Origin(), soa, keys, key, n.now())
	if err != nil {
		return 0, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	reply, err := n.config.Exchange(ctx, sourceFor(peer.Source, to.Addr()), to, m.wire)
	if err != nil {
		return 0, false, err
	}
	serial, err = m.read(reply, n.now())
	return serial, true, err
}

func (n *Notifier) count(phase phase, err error, answered bool) {
	c := &n.Counters
	if phase != telling {
		c.Asked.Inc()
		if err != nil {
			c.Failed.Inc()
		}
		return
	}
	c.Sent.Inc()
	switch {
	case err == nil:
		c.Answered.Inc()
	case answered:
		c.Refused.Inc()
	default:
		c.Lost.Inc()
	}
}

// tell logs a secondary that comes to have the zone, or cannot be reached any
// more.
func (n *Notifier) tell(before State, e *entry) {
	if e.State == before || e.State != OK && e.State != Unreachable {
		return
	}
	attrs := []any{
		slog.String("zone", e.Zone.String()), slog.String("view", e.View), slog.String("peer", e.Peer),
		slog.String("address", e.Address.String()), slog.Uint64("serial", uint64(e.Served)),
	}
	if e.State == OK {
		n.config.Log.Info("secondary has the zone", attrs...)
		return
	}
	n.config.Log.Warn("secondary is not reached", append(attrs, slog.String("reason", e.Reason()))...)
}

// queue is a heap of entries, the next due first.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	e, ok := x.(*entry)
	if !ok {
		return // cannot be
	}
	e.at = len(*q)
	*q = append(*q, e)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q, e.at = old[:len(old)-1], -1
	return e
}
