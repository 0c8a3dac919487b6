package submission

import (
	"strings"
	"testing"
	"time"
)

func doorOf(day Day) *Door { return &Door{days: newTally(day.withDefaults())} }

// TestDaysOutliveTheProcess: a restart gave an account its day's worth anew, and
// let one go on that had been stopped.
func TestDaysOutliveTheProcess(t *testing.T) {
	t.Parallel()
	noon := time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	limit := Day{Recipients: 10, Messages: 5, New: 4}
	old := doorOf(limit)
	old.days.begin(1, 3, noon)
	old.days.take(1, use{recipients: 9, messages: 2}, noon)
	old.days.begin(2, 0, noon)
	old.days.room(2, use{recipients: 11}, noon) // stopped
	old.days.forgive(3)
	for name, c := range map[string]struct {
		whole  bool
		now    time.Time
		limit  Day
		begun  bool // new recipients need not be counted again
		more   string
		second string
	}{
		"after a stop":                {true, noon.Add(time.Hour), limit, true, "recipients", "stopped"},
		"after a crash":               {false, noon.Add(time.Hour), limit, false, "recipients", "stopped"},
		"at another limit":            {true, noon.Add(time.Hour), Day{Recipients: 10, Messages: 6, New: 4}, true, "recipients", ""},
		"the next day":                {true, noon.Add(12 * time.Hour), limit, false, "", ""},
		"with a clock that went back": {true, noon.AddDate(0, 0, -1), limit, false, "", ""},
	} {
		text, _, err := old.Remember(c.whole, noon)
		if err != nil {
			t.Fatal(err)
		}
		d := doorOf(c.limit)
		if err := d.Recall(text, c.now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := d.days.begun(1, c.now); got != c.begun {
			t.Errorf("%s: begun %t", name, got)
		}
		if !c.begun && c.more != "" {
			d.days.begin(1, 2, c.now) // the database knows of fewer than the file
			if o := d.days.room(1, use{fresh: 2}, c.now); o.limit != "new recipients" {
				t.Errorf("%s: %+v", name, o)
			}
			delete(d.days.stopped, 1)
		}
		if o := d.days.room(1, use{recipients: 2}, c.now); o.limit != c.more {
			t.Errorf("%s: %+v, want %q", name, o, c.more)
		}
		if o := d.days.room(2, use{}, c.now); o.limit != c.second {
			t.Errorf("%s: the one that was stopped: %+v, want %q", name, o, c.second)
		}
	}
}

func TestRecallRefuses(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	for name, text := range map[string]string{
		"empty":           "",
		"cut short":       `{"version":1,"day":20833,"acc`,
		"another version": `{"version":2,"day":20833}`,
		"no account":      `{"version":1,"day":20833,"accounts":[{"id":0}]}`,
		"less than none":  `{"version":1,"day":20833,"accounts":[{"id":1,"recipients":-1}]}`,
		"too many":        `{"version":1,"day":20833,"accounts":[` + strings.Repeat(`{"id":1},`, maxDays) + `{"id":1}]}`,
	} {
		d := doorOf(Day{})
		if err := d.Recall([]byte(text), now); err == nil || len(d.days.sent) > 0 {
			t.Errorf("%s: %v, %d accounts", name, err, len(d.days.sent))
		}
	}
}

// Each change shows, so that it is written down.
func TestChangesOfADay(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	d := doorOf(Day{Recipients: 3})
	last := uint64(0)
	for name, do := range []struct {
		name string
		do   func()
	}{
		{"the day", func() {}},
		{"begin", func() { d.days.begin(1, 2, now) }},
		{"take", func() { d.days.take(1, use{recipients: 1}, now) }},
		{"give back", func() { d.days.giveBack(1, use{recipients: 1}, now) }},
		{"stop", func() { d.days.room(1, use{recipients: 9}, now) }},
		{"forgive", func() { d.days.forgive(1) }},
		{"limit", func() { d.days.setLimit(Day{Recipients: 4}) }},
	} {
		do.do()
		_, n, err := d.Remember(false, now)
		if err != nil || n == last {
			t.Errorf("%d %s: %d changes, %v", name, do.name, n, err)
		}
		last = n
	}
	d.days.room(1, use{recipients: 1}, now)
	if _, n, _ := d.Remember(false, now); n != last {
		t.Error("a question counts as a change")
	}
}
