package queue

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/dsn"
	"postern/internal/mail/envelope"
	"postern/internal/mail/spool"
)

// A message from the world that fails, and for whose sender nothing vouches, is
// kept: telling that sender would most often molest somebody whose address was
// forged (RFC 3834, Section 2), and telling nobody would lose mail in silence
// (RFC 5321, Section 6.1). It is held, and postmaster is told, once an hour at
// most. None is held for ever: those whose time has run out are dropped, and the
// oldest where there are too many. Log and counters tell of each, and the next
// notice of all.

// ReasonUnvouched is why such a message is held.
const ReasonUnvouched = "sender-unvouched"

const (
	maxKept     = 1000                // messages; also how many a flood can leave here
	keptAge     = 14 * 24 * time.Hour // of those that nobody decides on
	noticeEvery = time.Hour           // to postmaster
)

// keeping counts what is kept. It is reached from workers and the owner.
type keeping struct {
	mu      sync.Mutex // guards what follows
	ids     map[envelope.ID]time.Time
	order   []keptAt  // oldest first; those that ids has no more, or anew, are passed over
	last    time.Time // of the last notice
	since   int       // messages kept after it
	dropped int       // and dropped
}

// keptAt is a message, and since when it is kept.
type keptAt struct {
	id envelope.ID
	at time.Time
}

// room takes a message in, unless it is there already. Where there are too many,
// the oldest goes out.
func (k *keeping) room(id envelope.ID, now time.Time) (out envelope.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, here := k.ids[id]; here {
		return ""
	}
	if len(k.ids) >= maxKept {
		if oldest, ok := k.oldestLocked(); ok {
			out = oldest.id
			delete(k.ids, out)
			k.dropped++
		}
	}
	k.ids[id] = now
	k.order = append(k.order, keptAt{id, now})
	k.since++
	return out
}

// oldestLocked is the one that is kept longest.
func (k *keeping) oldestLocked() (keptAt, bool) {
	for len(k.order) > 0 {
		if at, here := k.ids[k.order[0].id]; here && at.Equal(k.order[0].at) {
			return k.order[0], true
		}
		k.order = k.order[1:]
	}
	return keptAt{}, false
}

// end is when the time of the oldest has run out.
func (k *keeping) end() (time.Time, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	oldest, ok := k.oldestLocked()
	return oldest.at.Add(keptAge), ok
}

// expired takes out those whose time has run out.
func (k *keeping) expired(now time.Time) (out []envelope.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		oldest, ok := k.oldestLocked()
		if !ok || now.Sub(oldest.at) < keptAge {
			return out
		}
		delete(k.ids, oldest.id)
		k.dropped++
		out = append(out, oldest.id)
	}
}

// forget gives the room back.
func (k *keeping) forget(id envelope.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.ids, id)
}

// restore takes in what was kept before a restart.
func (k *keeping) restore(id envelope.ID, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ids[id] = at
	k.order = append(k.order, keptAt{id, at})
}

// recovered puts what was kept before a restart into order, and begins to count
// for the next notice.
func (k *keeping) recovered() {
	k.mu.Lock()
	defer k.mu.Unlock()
	slices.SortStableFunc(k.order, func(a, b keptAt) int { return a.at.Compare(b.at) })
	k.since = 0
}

// due reports whether postmaster is to be told now, and of how many.
func (k *keeping) due(now time.Time) (others, dropped int, due bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.last.IsZero() && now.Sub(k.last) < noticeEvery && !now.Before(k.last) {
		return 0, 0, false
	}
	others, dropped = max(k.since-1, 0), k.dropped
	k.since, k.dropped, k.last = 0, 0, now
	return others, dropped, true
}

// keep leaves failed recipients open, for an operator to decide on.
func (q *Queue) keep(j job, failed []*fate) {
	env := j.env
	if oldest := q.kept.room(env.ID, q.cfg.Now()); oldest != "" {
		select {
		case q.ops <- func() { q.push(oldest) }:
		case <-q.quit: // it is kept again after the restart
		}
	}
	q.Counters.Kept.Inc()
	q.cfg.Log.Warn("message failed, and nothing vouches for its sender: held, and postmaster is told", "queue_id", env.ID,
		"from", env.From.String(), "reason", ReasonUnvouched, "rcpts", len(failed))
	if others, dropped, due := q.kept.due(q.cfg.Now()); due {
		q.notice(j, failed, others, dropped)
	}
	for _, f := range failed {
		f.state.Status, f.kept = spool.Held, true
	}
}

// push drops the oldest for one that is new. The owner calls it.
func (q *Queue) push(oldest envelope.ID) {
	q.Counters.KeptPushed.Inc()
	q.discard(oldest, "too many are held")
}

// expire drops those that are kept long enough. The owner calls it.
func (q *Queue) expire(now time.Time) {
	for _, id := range q.kept.expired(now) {
		q.Counters.KeptExpired.Inc()
		q.discard(id, "nobody decided in "+days(keptAge))
	}
}

// discard drops the kept recipients of a message; others go on. The owner calls
// it.
func (q *Queue) discard(id envelope.ID, why string) {
	it := q.items[id]
	if it == nil || it.drop {
		return
	}
	queued, next := it.phase == waiting, it.next
	if queued {
		heap.Remove(q.line(it), it.index)
	}
	if it.env == nil && !q.readEnvelope(it, q.cfg.Now()) {
		return
	}
	open := 0
	var gone []spool.State
	for _, st := range q.recipients(it) {
		switch {
		case st.Status == spool.Held:
			st.Status, st.Next, st.At = spool.Dropped, time.Time{}, q.cfg.Now()
			gone = append(gone, st)
		case !st.Status.Final():
			open++
		}
	}
	q.record(gone...)
	q.cfg.Log.Warn("dropped a message that was held, since nothing vouches for its sender", "queue_id", id, "reason", ReasonUnvouched,
		"why", why, "from", it.env.From.String(), "rcpts", len(gone))
	switch {
	case it.phase == active: // rest sees to it
	case open == 0:
		q.remove(it)
	case queued:
		q.wait(it, next)
	default:
		it.env = nil
	}
}

// notice tells postmaster of one failed message, of how many others, and of how
// many that were dropped. That
// it cannot be made durable is no reason to let the message go.
func (q *Queue) notice(j job, failed []*fate, others, dropped int) {
	to := address.Address{Local: "postmaster", Domain: failed[0].result.Recipient.Domain}
	report := dsn.Kept{Report: q.report(j.env, nil), From: j.env.From, Others: others, Dropped: dropped, Age: days(keptAge)}
	report.To = to
	for _, f := range failed {
		r := q.told(j.env, f)
		r.RemoteMTA, r.Text = f.result.Host, f.result.Text // it is for our own people
		report.Recipients = append(report.Recipients, r)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.ctx), bounceTime)
	defer cancel()
	if err := q.cfg.Bounce(ctx, dsn.Notice(report)); err != nil {
		q.Counters.BounceFaults.Inc()
		q.cfg.Log.Error("postmaster not told of a held message", "queue_id", j.env.ID, "reason", "bounce", "err", err)
		return
	}
	q.Counters.Notices.Inc()
}

// restKept holds a message of which nothing is open but what was kept. The owner
// calls it.
func (q *Queue) restKept(it *item) {
	// It has room, unless there was a crash in between.
	if oldest := q.kept.room(it.id, q.cfg.Now()); oldest != "" {
		q.push(oldest)
	}
	q.record(spool.State{ID: it.id, Rcpt: spool.Whole, Status: spool.Held, At: q.cfg.Now(), Text: ReasonUnvouched})
	it.hold, it.phase, it.env = true, held, nil
}

// reopen has the kept recipients of a released message tried again.
func (q *Queue) reopen(id envelope.ID) {
	q.kept.forget(id)
	var open []spool.State
	for _, st := range slices.Clone(q.cfg.Spool.Journal().States(id)) {
		if st.Rcpt >= 0 && st.Status == spool.Held {
			st.Status, st.Next = spool.Waiting, time.Time{}
			open = append(open, st)
		}
	}
	if len(open) > 0 {
		q.record(open...)
	}
}
