package submission

import (
	"sync"
	"time"
)

// Day is what an account may send in a day (UTC).
type Day struct {
	Recipients int // 0: 1000
	Messages   int // 0: 1000
	New        int // recipients that it has never written to; 0: 200
}

func (d Day) withDefaults() Day {
	orInt := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	orInt(&d.Recipients, 1000)
	orInt(&d.Messages, 1000)
	orInt(&d.New, 200)
	return d
}

// exceeds returns the limit that a use is beyond, in words; "" for none.
func (d Day) exceeds(u use) string {
	switch {
	case u.recipients > d.Recipients:
		return "recipients"
	case u.messages > d.Messages:
		return "messages"
	case u.fresh > d.New:
		return "new recipients"
	}
	return ""
}

// use is what an account has sent, or is about to.
type use struct{ recipients, messages, fresh int }

func (u use) plus(v use) use {
	return use{u.recipients + v.recipients, u.messages + v.messages, u.fresh + v.fresh}
}

// tally counts what accounts send in a day. It holds at most one entry for each
// account that has sent today, and forgets all of them at midnight UTC. An account
// that has wanted more than a limit is stopped until it is forgotten.
type tally struct {
	mu      sync.Mutex // guards what follows
	limit   Day
	day     int64
	sent    map[int64]use // by account id
	stopped map[int64]bool
	asked   map[int64]bool // whose new recipients before a restart are known
	changes uint64
}

func newTally(limit Day) *tally {
	return &tally{limit: limit, sent: map[int64]use{}, stopped: map[int64]bool{}, asked: map[int64]bool{}}
}

// setLimit takes other limits, and with them a chance for those it has stopped.
func (t *tally) setLimit(d Day) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.limit != d {
		t.limit = d
		t.changes++
		clear(t.stopped)
	}
}

func (t *tally) turnLocked(now time.Time) {
	if day := now.Unix() / 86400; day != t.day {
		t.day = day
		t.changes++
		clear(t.asked)
		clear(t.sent)
		clear(t.stopped)
	}
}

// begun reports whether anything is known of the account today; else the caller
// says what new recipients it had before a restart.
func (t *tally) begun(id int64, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turnLocked(now)
	return t.asked[id]
}

func (t *tally) begin(id int64, fresh int, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turnLocked(now)
	if !t.asked[id] {
		u := t.sent[id]
		u.fresh = max(u.fresh, fresh)
		t.sent[id], t.asked[id] = u, true
		t.changes++
	}
}

// over is why an account may not send that much more; first says that nobody has
// heard of it yet.
type over struct {
	limit string // "": it may
	first bool
}

// room reports whether so much more would be within the limits.
func (t *tally) room(id int64, u use, now time.Time) over {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.roomLocked(id, u, now)
}

func (t *tally) roomLocked(id int64, u use, now time.Time) over {
	t.turnLocked(now)
	if t.stopped[id] {
		return over{limit: "stopped"}
	}
	what := t.limit.exceeds(t.sent[id].plus(u))
	if what != "" {
		t.stopped[id] = true
		t.changes++
	}
	return over{limit: what, first: what != ""}
}

// take counts, unless that would exceed a limit.
func (t *tally) take(id int64, u use, now time.Time) over {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.roomLocked(id, u, now)
	if o.limit == "" {
		t.sent[id] = t.sent[id].plus(u)
		t.changes++
	}
	return o
}

// giveBack undoes a take of the same day.
func (t *tally) giveBack(id int64, u use, taken time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if taken.Unix()/86400 == t.day {
		have := t.sent[id]
		t.changes++
		t.sent[id] = use{max(0, have.recipients-u.recipients), max(0, have.messages-u.messages), max(0, have.fresh-u.fresh)}
	}
}

// isStopped reports an account that has wanted more than a limit today.
func (t *tally) isStopped(id int64, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turnLocked(now)
	return t.stopped[id]
}

// forgive lets an account that was stopped send a day's worth anew.
func (t *tally) forgive(id int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent[id], t.asked[id] = use{}, true
	t.changes++
	delete(t.stopped, id)
}
