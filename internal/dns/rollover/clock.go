package rollover

import "time"

// Two clocks may part by tolerance before waits are dated anew: one of them is
// slewed. When they part by more than remarkable, somebody is told.
const (
	tolerance  = 30 * time.Second
	remarkable = 10 * time.Minute
)

// clock dates all that is counted by the clock on the wall, which somebody may
// set, anew by the one that does not jump. After a restart there is nothing to
// compare with but what lies in the future.
func (m *machine) clock() {
	last, here := m.s.Clock, Clock{m.now.Round(0), m.seen.Up} // wall time alone
	if m.s.Began.IsZero() {
		m.s.Began = m.now
	}
	if last.Wall.IsZero() || here.Up < last.Up {
		m.s.Clock = here
		if ahead := m.newest().Sub(m.now); ahead > tolerance {
			m.jumped(-ahead)
		}
		return
	}
	// They are compared over all the time since they were last set by each
	// other: a clock that runs fast does so a little at a time.
	if jump := here.Wall.Sub(last.Wall) - (here.Up - last.Up); jump.Abs() > tolerance {
		m.s.Clock = here
		m.jumped(jump)
	}
}

func (m *machine) jumped(by time.Duration) {
	if m.p.broken&noClock == 0 {
		m.shift(by)
	}
	if by.Abs() > remarkable {
		m.alarm(ReasonClock, "the clock went %s more than time did: waits are counted anew", by)
	}
}

// newest is the latest time at which something was decided.
func (m *machine) newest() time.Time {
	var latest time.Time
	m.dates(func(t *time.Time, decided bool) {
		if decided && t.After(latest) {
			latest = *t
		}
	})
	return latest
}

func (m *machine) shift(by time.Duration) {
	m.dates(func(t *time.Time, _ bool) {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	})
}

// dates calls for each time that waits are counted by, and tells whether it was
// past when it was written down.
func (m *machine) dates(yield func(t *time.Time, decided bool)) {
	turn := func(t *Turn) {
		yield(&t.Since, true)
		yield(&t.Until, false)
		for name, v := range t.served {
			yield(&v.at, true)
			t.served[name] = v
		}
	}
	for i := range m.s.Keys {
		k := &m.s.Keys[i]
		for _, t := range k.turns() {
			turn(t)
		}
		yield(&k.DS.Since, true)
	}
	for _, mark := range []*Mark{&m.s.KeyTTL, &m.s.DataTTL, &m.s.DSTTL} {
		turn(&mark.Less)
	}
	for who, h := range m.s.heard {
		yield(&h.at, true)
		m.s.heard[who] = h
	}
	yield(&m.s.Began, true)
	yield(&m.s.Looked, true)
}

// date finds the time by which this call's decisions are dated: to the second,
// as they are written down, and never that of an earlier one, since what was
// decided at one time was published at one time.
func (m *machine) date() {
	m.stamp = whole(m.now)
	for i := range m.s.Keys {
		for _, t := range m.s.Keys[i].turns() {
			if !t.Since.Before(m.stamp) {
				m.stamp = whole(t.Since.Add(time.Second))
			}
		}
	}
}
