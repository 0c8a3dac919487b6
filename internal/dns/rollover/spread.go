package rollover

import (
	"slices"
	"time"
)

// hear notes which secondaries have answered since the last call. Their times are
// of the clock on the wall, and old as soon as that is set ahead.
func (m *machine) hear() {
	heard := map[[2]string]hearing{}
	for i := range m.seen.Views {
		v := &m.seen.Views[i]
		for _, s := range v.Secondaries {
			who := [2]string{v.Name, s.Name}
			h, known := m.s.heard[who]
			if s.Answered.IsZero() {
				continue
			}
			switch {
			case !known && s.Answered.Before(m.now):
				h = hearing{s.Answered, s.Answered}
			case !known || !h.raw.Equal(s.Answered):
				h = hearing{s.Answered, m.now}
			}
			heard[who] = h
		}
	}
	m.s.heard = heard
}

// settleAll finds which turns everybody serves by now.
func (m *machine) settleAll() {
	for i := range m.s.Keys {
		k := &m.s.Keys[i]
		use := func(bit Use) func(*View) bool { return func(v *View) bool { return v.Uses[k.Tag]&bit != 0 } }
		m.settle(&k.Set, use(InSet), m.ttl(&m.s.KeyTTL))
		m.settle(&k.Keys, use(SignsKeys), m.ttl(&m.s.KeyTTL))
		m.settle(&k.Data, use(SignsData), m.ttl(&m.s.DataTTL))
		m.settle(&k.Want, func(v *View) bool {
			if !m.p.CDS {
				return k.Want.On // a person is told of it, at once
			}
			return slices.Contains(v.CDS, k.Tag)
		}, m.ttl(&m.s.DataTTL))
	}
}

func (m *machine) ttl(mark *Mark) time.Duration {
	if m.p.broken&noTTL != 0 {
		return 0
	}
	return mark.TTL
}

// settle dates the end of a turn's wait, when each view serves it, and each
// secondary that counts has it too: caches may have what was before for as long
// as the TTL from now (RFC 7583, Section 3.2.1, Ipub and Iret).
func (m *machine) settle(t *Turn, has func(*View) bool, ttl time.Duration) {
	if t.Since.IsZero() || m.settled(t) {
		t.served = nil
		return
	}
	if !t.Until.IsZero() && t.served == nil {
		return // everybody had it before the process began
	}
	everywhere := len(m.seen.Views) > 0
	for i := range m.seen.Views {
		v := &m.seen.Views[i]
		if has(v) != t.On || v.Pending {
			delete(t.served, v.Name)
			everywhere = false
			continue
		}
		if !m.reached(t, v) {
			everywhere = false
		}
	}
	if m.p.broken&noSecondaries != 0 {
		everywhere = true
	}
	switch {
	case !everywhere:
		t.Until = time.Time{} // also when one that was silent is back with what it had
	case t.Until.IsZero():
		t.Until = whole(m.now.Add(ttl + m.p.Margin))
	}
}

// reached reports whether all secondaries of a view that count have the turn,
// and notes the first serial that was seen with it.
func (m *machine) reached(t *Turn, v *View) bool {
	had, ok := t.served[v.Name]
	if !ok || less(v.Serial, had.serial) {
		had = version{v.Serial, m.now}
		if t.served == nil {
			t.served = map[string]version{}
		}
		t.served[v.Name] = had
	}
	all := true
	for i := range v.Secondaries {
		s := &v.Secondaries[i]
		// A serial that we never had is not ours.
		if s.Answered.IsZero() || less(s.Serial, had.serial) || less(v.Serial, s.Serial) {
			all = m.passed(s, v, had) && all
		}
	}
	return all
}

// passed reports whether a secondary is waited for no longer, and raises the
// alarm.
func (m *machine) passed(s *Secondary, v *View, had version) bool {
	patience := max(time.Hour, v.Refresh+v.Retry)
	since := had.at
	if h := m.s.heard[[2]string{v.Name, s.Name}]; h.at.After(since) {
		since = h.at
	}
	if s.Answered.After(since) && !s.Answered.After(m.now) {
		since = s.Answered // by a clock that stands, every answer is as late
	}
	if m.p.broken&noPatience != 0 || m.now.Sub(since) > patience {
		m.alarm(ReasonSilent, "secondary %s of view %s does not answer and is not waited for", s.Name, v.Name)
		return true
	}
	if m.now.Sub(had.at) > v.Expire {
		// It would have expired the zone if it were a good secondary.
		m.alarm(ReasonBehind, "secondary %s of view %s has serial %d and is not waited for", s.Name, v.Name, s.Serial)
		return true
	}
	if m.now.Sub(had.at) > patience {
		m.alarm(ReasonBehind, "secondary %s of view %s has serial %d, and %d is waited for", s.Name, v.Name, s.Serial, had.serial)
	}
	m.later("secondary "+s.Name+" of view "+v.Name+" has the zone as it is", time.Time{})
	m.wakeBy(since.Add(patience + time.Second))
	m.wakeBy(had.at.Add(v.Expire + time.Second))
	return false
}

// less compares serials (RFC 1982, Section 3.2).
func less(a, b uint32) bool { return a != b && int32(b-a) > 0 }

// marks follows the largest TTLs that are served. One that is served no longer
// is still gone by until nobody can have it.
func (m *machine) marks() {
	var keys, data time.Duration
	for i := range m.seen.Views {
		v := &m.seen.Views[i]
		keys, data = max(keys, v.KeyTTL), max(data, v.DataTTL)
	}
	m.mark(&m.s.KeyTTL, keys, func(v *View) bool { return v.KeyTTL <= m.s.KeyTTL.Served })
	m.mark(&m.s.DataTTL, data, func(v *View) bool { return v.DataTTL <= m.s.DataTTL.Served })
}

func (m *machine) mark(mark *Mark, served time.Duration, has func(*View) bool) {
	served = min(served, maxTTL)
	switch {
	case served >= mark.TTL || m.p.broken&noMarks != 0:
		*mark = Mark{TTL: served}
	case mark.Less.Since.IsZero() || served < mark.Served:
		mark.Served, mark.Less = served, Turn{On: true, Since: m.stamp}
	case served > mark.Served:
		mark.Served = served
	}
	if mark.Less.Since.IsZero() {
		return
	}
	m.settle(&mark.Less, has, mark.TTL)
	if m.settled(&mark.Less) {
		*mark = Mark{TTL: mark.Served}
	}
}
