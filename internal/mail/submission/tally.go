package submission

import (
	"sync"
	"time"
)

// tally counts recipients per account and day. It holds at most one entry for
// each account that has sent today, and forgets all of them at midnight UTC
// and at a restart.
type tally struct {
	mu    sync.Mutex // guards what follows
	limit int
	day   int64
	sent  map[int64]int // by account id
}

func newTally(limit int) *tally { return &tally{limit: limit, sent: map[int64]int{}} }

func (t *tally) setLimit(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit = n
}

func (t *tally) turnLocked(now time.Time) {
	if day := now.Unix() / 86400; day != t.day {
		t.day = day
		clear(t.sent)
	}
}

// room reports whether n more would be within the limit.
func (t *tally) room(id int64, n int, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turnLocked(now)
	return t.sent[id]+n <= t.limit
}

// take counts n, unless that would exceed the limit.
func (t *tally) take(id int64, n int, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turnLocked(now)
	if t.sent[id]+n > t.limit {
		return false
	}
	t.sent[id] += n
	return true
}

// giveBack undoes a take of the same day.
func (t *tally) giveBack(id int64, n int, taken time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if taken.Unix()/86400 == t.day {
		t.sent[id] = max(0, t.sent[id]-n)
	}
}
