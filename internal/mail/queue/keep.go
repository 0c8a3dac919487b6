package queue

import (
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
// most. What is beyond the bound is written off.

// ReasonUnvouched is why such a message is held.
const ReasonUnvouched = "sender-unvouched"

const (
	maxKept     = 1000      // messages; also how many a flood can leave here
	noticeEvery = time.Hour // to postmaster
)

// keeping counts what is kept. It is reached from workers and the owner.
type keeping struct {
	mu    sync.Mutex // guards what follows
	ids   map[envelope.ID]bool
	last  time.Time // of the last notice
	since int       // messages kept after it
}

// room takes a message in, if there is room or it is there already.
func (k *keeping) room(id envelope.ID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ids[id] {
		return true
	}
	if len(k.ids) >= maxKept {
		return false
	}
	k.ids[id] = true
	k.since++
	return true
}

// forget gives the room back.
func (k *keeping) forget(id envelope.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.ids, id)
}

// recovered begins to count for the next notice.
func (k *keeping) recovered() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.since = 0
}

// due reports whether postmaster is to be told now, and of how many.
func (k *keeping) due(now time.Time) (others int, due bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.last.IsZero() && now.Sub(k.last) < noticeEvery && !now.Before(k.last) {
		return 0, false
	}
	others, k.since, k.last = max(k.since-1, 0), 0, now
	return others, true
}

// keep leaves failed recipients open, for an operator to decide on. It reports
// false where there is no room.
func (q *Queue) keep(j job, failed []*fate) bool {
	env := j.env
	if !q.kept.room(env.ID) {
		return false
	}
	q.Counters.Kept.Inc()
	q.cfg.Log.Warn("message failed, and nothing vouches for its sender: held, and postmaster is told", "queue_id", env.ID,
		"from", env.From.String(), "reason", ReasonUnvouched, "rcpts", len(failed))
	if others, due := q.kept.due(q.cfg.Now()); due {
		q.notice(j, failed, others)
	}
	for _, f := range failed {
		f.state.Status, f.kept = spool.Held, true
	}
	return true
}

// notice tells postmaster of one failed message, and of how many others. That
// it cannot be made durable is no reason to let the message go.
func (q *Queue) notice(j job, failed []*fate, others int) {
	to := address.Address{Local: "postmaster", Domain: failed[0].result.Recipient.Domain}
	report := dsn.Kept{Report: q.report(j.env, nil), From: j.env.From, Others: others}
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
	q.kept.room(it.id) // it has, unless there was a crash in between
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
