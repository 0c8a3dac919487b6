package rollover

import "time"

// tolerance is how far two clocks may part between two calls: one is slewed.
const tolerance = 2 * time.Second

// clock dates all that is counted by the clock on the wall, which somebody may
// set, anew by the one that does not jump. After a restart there is nothing to
// compare with but what lies in the future.
func (m *machine) clock() {
	last, here := m.s.Clock, Clock{m.now, m.seen.Up}
	m.s.Clock = here
	if m.s.Began.IsZero() {
		m.s.Began = m.now
	}
	if last.Wall.IsZero() || here.Up < last.Up {
		// Both sides of a step are dated by the same clock.
		if ahead := m.newest().Sub(m.now); ahead > tolerance {
			m.shift(-ahead)
			m.alarm(ReasonClock, "what was written down is %s in the future: the clock was set back", ahead)
		}
		return
	}
	jump := here.Wall.Round(0).Sub(last.Wall.Round(0)) - (here.Up - last.Up)
	if jump < -tolerance || jump > tolerance {
		if m.p.broken&noClock == 0 {
			m.shift(jump)
		}
		m.alarm(ReasonClock, "the clock went %s more than time did", jump)
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
