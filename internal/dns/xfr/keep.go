package xfr

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"postern/internal/dns/zone"
)

const (
	// lookEvery is how often a clock is looked at that may leap.
	lookEvery = time.Second
	// badTime is how long an address that did not answer is asked last, and once,
	// for all zones; then it is waited for again.
	badTime = 10 * time.Minute
)

// run is the loop: it begins what is due, and waits.
func (r *Refresher) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(r.turn())
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// turn does what is due, and returns how long there is nothing more to do.
func (r *Refresher) turn() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.syncLocked()
	now := r.now()
	wait := mostWait
	if r.config.Now != nil {
		wait = lookEvery
	}
	for len(r.queue) > 0 {
		f := r.queue[0]
		if at := f.wake(); at.After(now) {
			wait = min(wait, at.Sub(now))
			break
		}
		heap.Pop(&r.queue)
		r.dueLocked(f, now)
	}
	for kind := range r.lanes {
		for f := r.lanes[kind].next(); f != nil; f = r.lanes[kind].next() {
			r.runLocked(f)
		}
	}
	return wait
}

// dueLocked does what the time has come for.
func (r *Refresher) dueLocked(f *feed, now time.Time) {
	if f.expire(now) {
		r.Counters.Expired.Inc()
		r.workers.Go("expiry", func(context.Context) { r.tellExpired(f) })
	}
	if !f.busy && !f.due.After(now) {
		if targets := r.targetsLocked(f, now); len(targets) > 0 {
			held, ok := r.config.Have(f.in.Zone, f.in.View)
			if !ok {
				held.SOA = nil
			}
			f.start(held.SOA, targets, now)
			r.standLocked(f)
			return
		}
		f.badly("no primary", now, r.jitter())
	}
	r.queueLocked(f)
}

// standLocked puts a feed in line for the job that its round wants.
func (r *Refresher) standLocked(f *feed) {
	f.lane = checking
	if f.want != nil {
		f.lane = transferring
	}
	r.lanes[f.lane].wait(f.round[0].Name, f)
	r.queueLocked(f) // it may expire meanwhile
}

func (r *Refresher) runLocked(f *feed) {
	kind, in, t, want := f.lane, f.in, f.round[0], f.want
	f.runs = true
	job := func(ctx context.Context) {
		if want == nil {
			r.check(ctx, f, in, t)
		} else {
			r.transfer(ctx, f, in, t, *want)
		}
	}
	if !r.workers.Go(laneWords[kind], job) {
		r.lanes[kind].done(t.Name) // stopping
	}
}

// targetsLocked returns the addresses of a zone's primaries in the order to ask
// them: the one that told us first, and those that did not answer of late last.
func (r *Refresher) targetsLocked(f *feed, now time.Time) []target {
	var first, good, bad []target
	for _, p := range f.in.Primaries {
		for _, addr := range p.Addr {
			t := target{p, addr, false}
			switch until, is := r.bad[addr]; {
			case is && until.After(now):
				t.bad = true
				bad = append(bad, t)
			case p.Name == f.prefer:
				first = append(first, t)
			default:
				good = append(good, t)
			}
		}
	}
	f.prefer = ""
	return append(append(first, good...), bad...)
}

// check asks a primary for its serial.
func (r *Refresher) check(ctx context.Context, f *feed, in *Inbound, t target) {
	got, err := r.client.poll(ctx, in, t)
	r.mu.Lock()
	defer r.look()
	defer r.mu.Unlock()
	r.heardLocked(ctx, f, t, err)
	if ctx.Err() != nil || f.gone {
		return
	}
	if err == nil {
		r.Counters.Checked.Inc()
	}
	if why := f.answered(got, err); why != nil && err == nil {
		r.complain(f, t, why)
	}
	r.onLocked(ctx, f)
}

// transfer takes a zone from a primary.
func (r *Refresher) transfer(ctx context.Context, f *feed, in *Inbound, t target, w wanted) {
	within, cancel := context.WithTimeout(ctx, r.config.Longest)
	defer cancel()
	began := r.now()
	got, err := r.client.fetch(within, in, t, w)
	if err == nil && got.current {
		r.mu.Lock()
		defer r.look()
		defer r.mu.Unlock()
		r.heardLocked(ctx, f, t, nil)
		if !f.gone {
			f.want = nil
			_ = f.answered(polled{got.SOA.Serial, got.expire, got.expires}, nil) // the same as ours
			r.onLocked(ctx, f)
		}
		return
	}
	if err == nil {
		if err = r.take(within, f, in, got, began); errors.Is(err, zone.ErrMisfit) && got.Deltas != nil {
			got, err = r.whole(within, f, in, t, w, err, began)
		}
	}
	r.mu.Lock()
	defer r.look()
	defer r.mu.Unlock()
	r.heardLocked(ctx, f, t, err)
	if ctx.Err() != nil || f.gone {
		return
	}
	if err != nil {
		f.failed(err)
		r.onLocked(ctx, f)
		return
	}
	r.tookLocked(f, t, got)
}

// whole takes the zone whole after its differences did not fit what we have.
func (r *Refresher) whole(ctx context.Context, f *feed, in *Inbound, t target, w wanted, misfit error, began time.Time) (*fetched, error) {
	w.whole = true
	got, err := r.client.fetch(ctx, in, t, w)
	if err != nil {
		return nil, err
	}
	got.fell = &Fault{Misfit, misfit}
	if got.current {
		return nil, got.fell // cannot be: what was newer is not
	}
	return got, r.take(ctx, f, in, got, began)
}

// take gives a transfer to whoever keeps it. Its expiry is counted from when it
// was asked for.
func (r *Refresher) take(ctx context.Context, f *feed, in *Inbound, got *fetched, began time.Time) error {
	got.Expires = until(got.SOA, got.expire, got.expires, began)
	f.hooks.Lock()
	defer f.hooks.Unlock()
	r.mu.Lock()
	gone := f.gone
	r.mu.Unlock()
	if gone {
		return &Fault{Reason: NotTaken}
	}
	if err := r.config.Take(ctx, *in, got.Incoming); err != nil {
		return &Fault{NotTaken, err}
	}
	return nil
}

// tookLocked notes a transfer that was taken.
func (r *Refresher) tookLocked(f *feed, t target, got *fetched) {
	form := Whole
	if got.Deltas != nil {
		form = Steps
		r.Counters.Incremental.Inc()
	} else {
		r.Counters.Full.Inc()
	}
	attrs := r.attrs(f, t, slog.Uint64("serial", uint64(got.SOA.Serial)), slog.String("form", form.String()),
		slog.Int("records", got.records), slog.Int64("octets", got.octets))
	if got.fell != nil {
		r.Counters.FellBack.Inc()
		r.Faults.count(got.fell)
		attrs = append(attrs, slog.String("instead", got.fell.Error()))
	}
	r.config.Log.Info("transfer taken", attrs...)
	f.news = ""
	f.well(got.SOA, t, got.Expires, r.now(), r.jitter())
	r.queueLocked(f)
}

// heardLocked notes what a job says of an address, and gives its place away.
func (r *Refresher) heardLocked(ctx context.Context, f *feed, t target, err error) {
	f.runs = false
	r.lanes[f.lane].done(t.Name)
	if err == nil {
		delete(r.bad, t.addr)
		return
	}
	if ctx.Err() != nil {
		return // we stop: that is no fault of anybody
	}
	switch reasonOf(err) {
	case Silent, TooSlow, TLSFailed:
		if !t.bad { // else it was not waited for, and proves nothing new
			r.bad[t.addr] = r.now().Add(badTime)
		}
	}
	r.complain(f, t, err)
}

// complain counts what a primary did not give us, and logs it where that is
// news.
func (r *Refresher) complain(f *feed, t target, err error) {
	r.Faults.count(err)
	level, news := slog.LevelWarn, t.Name+" "+reasonOf(err).String()
	if f.news == news {
		level = slog.LevelDebug
	}
	f.news = news
	r.config.Log.Log(r.workers.Context(), level, "primary gives nothing", r.attrs(f, t, slog.String("reason", reasonOf(err).String()), slog.Any("cause", err))...)
}

func (r *Refresher) attrs(f *feed, t target, more ...any) []any {
	return append([]any{
		slog.String("zone", f.in.Zone.String()), slog.String("view", f.in.View),
		slog.String("primary", t.Name), slog.String("address", t.addr.String()),
	}, more...)
}

// onLocked goes on with a round, or ends it.
func (r *Refresher) onLocked(ctx context.Context, f *feed) {
	over, same := f.over()
	switch {
	case !over:
		r.standLocked(f)
	case same:
		r.freshLocked(ctx, f)
	default:
		r.Counters.Failed.Inc()
		f.badly(strings.Join(f.why, "; "), r.now(), r.jitter())
		r.queueLocked(f)
	}
}

// freshLocked ends a round that found the zone to be what a primary has. Whoever
// keeps it hears of that without the lock.
func (r *Refresher) freshLocked(ctx context.Context, f *feed) {
	r.Counters.Current.Inc()
	in, until := *f.in, f.fresh(r.now())
	r.mu.Unlock()
	f.hooks.Lock()
	err := r.config.Fresh(ctx, in, until)
	f.hooks.Unlock()
	r.mu.Lock()
	switch {
	case f.gone:
		return
	case err != nil:
		err = &Fault{NotTaken, err}
		r.Faults.count(err)
		r.config.Log.Error("zone cannot be kept", r.attrs(f, f.sameAt, slog.Any("cause", err))...)
		f.badly(err.Error(), r.now(), r.jitter())
	default:
		f.news = ""
		f.well(f.soa, f.sameAt, until, r.now(), r.jitter())
	}
	r.queueLocked(f)
}

// tellExpired says, without the lock, that a zone has expired, unless it came back meanwhile.
func (r *Refresher) tellExpired(f *feed) {
	f.hooks.Lock()
	defer f.hooks.Unlock()
	r.mu.Lock()
	still, since := f.expired && !f.gone, f.expires
	r.mu.Unlock()
	if still {
		r.config.Log.Error("zone has expired", slog.String("zone", f.in.Zone.String()), slog.String("view", f.in.View), slog.Time("since", since))
		r.config.Expired(f.in.Zone, f.in.View)
	}
}
