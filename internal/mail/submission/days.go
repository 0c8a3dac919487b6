package submission

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// What accounts have sent today outlives the process: a restart gave whoever had
// a stolen password a day's worth anew. What is written down in between, and not
// at the end, lacks what was sent since, which a crash makes good.

const (
	daysVersion = 1
	maxDays     = 100_000 // accounts; one that sends has an entry
)

type remembered struct {
	Version  int           `json:"version"`
	Day      int64         `json:"day"`   // since 1970
	Whole    bool          `json:"whole"` // nothing was sent after it
	Limit    Day           `json:"limit"` // by which accounts were stopped
	Accounts []accountsDay `json:"accounts"`
}

type accountsDay struct {
	ID         int64 `json:"id"`
	Recipients int   `json:"recipients"`
	Messages   int   `json:"messages"`
	New        int   `json:"new"`
	Stopped    bool  `json:"stopped,omitempty"`
}

// errDays is what somebody else has written.
var errDays = errors.New("it is of another version, or says what cannot be")

// Remember returns what accounts have sent today, for the Recall of the next
// process, and how often that has changed. whole says that nobody sends any more.
func (d *Door) Remember(whole bool, now time.Time) (text []byte, changes uint64, err error) {
	t := d.days
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turnLocked(now)
	m := remembered{Version: daysVersion, Day: t.day, Whole: whole, Limit: t.limit, Accounts: []accountsDay{}}
	for id, u := range t.sent {
		m.Accounts = append(m.Accounts, accountsDay{id, u.recipients, u.messages, u.fresh, t.stopped[id]})
	}
	slices.SortFunc(m.Accounts, func(a, b accountsDay) int { return cmp.Compare(a.ID, b.ID) })
	m.Accounts = m.Accounts[:min(len(m.Accounts), maxDays)]
	text, err = json.Marshal(m)
	return text, t.changes, err
}

// Recall takes what the process before this one has left, where that is of today.
// It is called before anybody can send.
func (d *Door) Recall(text []byte, now time.Time) error {
	var m remembered
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("what was sent today: %w", err)
	}
	impossible := slices.ContainsFunc(m.Accounts, func(a accountsDay) bool {
		return a.ID <= 0 || a.Recipients < 0 || a.Messages < 0 || a.New < 0
	})
	if m.Version != daysVersion || len(m.Accounts) > maxDays || impossible {
		return fmt.Errorf("what was sent today: %w", errDays)
	}
	t := d.days
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.turnLocked(now); m.Day != t.day {
		return nil
	}
	for _, a := range m.Accounts {
		t.sent[a.ID] = use{a.Recipients, a.Messages, a.New}
		if a.Stopped && m.Limit == t.limit { // as after a reload
			t.stopped[a.ID] = true
		}
		if m.Whole {
			t.asked[a.ID] = true
		}
	}
	return nil
}
