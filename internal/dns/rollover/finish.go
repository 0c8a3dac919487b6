package rollover

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// lookAgain is how soon the secondaries are looked at again while they are
// waited for, if nobody tells of them, and the parent at the soonest.
const lookAgain = 10 * time.Minute

// lookSoon is the same for the parent of a zone that waits for its first
// signature.
const lookSoon = 6 * time.Second

// slow is how long a parent may take to do what it was asked for before somebody
// is told.
const slow = 3 * 24 * time.Hour

// finish fills in the plan what follows from the states.
func (m *machine) finish() {
	m.uses()
	m.hold()
	m.alarms()
	m.wake()
	m.next()
}

func (m *machine) uses() {
	m.plan.Uses = map[uint16]Use{}
	for i := range m.s.Keys {
		k := &m.s.Keys[i]
		var u Use
		for bit, t := range map[Use]*Turn{InSet: &k.Set, SignsKeys: &k.Keys, SignsData: &k.Data} {
			if t.On {
				u |= bit
			}
		}
		if u != 0 {
			m.plan.Uses[k.Tag] = u
		}
		if k.Want.On {
			m.plan.DS = append(m.plan.DS, k.Tag)
		}
	}
	slices.Sort(m.plan.DS)
	m.plan.Unsigned = m.s.Insecure && len(m.plan.Uses) == 0
	if m.p.CDS {
		m.plan.CDS = m.plan.DS
		m.plan.Delete = m.s.Insecure && !m.plan.Unsigned && len(m.plan.DS) == 0
	}
}

// hold says why a zone that was never signed is not signed now.
func (m *machine) hold() {
	if len(m.plan.Uses) == 0 && m.frozen && !m.plan.Unsigned {
		m.plan.Hold = m.plan.Alarms[0].Reason
		m.askBy(m.now.Add(lookOften))
	}
}

func (m *machine) alarms() {
	entries := m.keys(func(k *Key) bool { return k.Role.entry() && !k.idle() })
	named := slices.ContainsFunc(entries, func(k *Key) bool { return k.DS.Seen })
	for _, k := range entries {
		switch {
		case !named && !k.DS.Since.IsZero() && !m.s.Insecure:
			m.alarm(ReasonDSGone, "the parent has no DS any more: the zone is insecure")
		case k.Want.On && !k.DS.Seen && named && m.now.Sub(k.Want.Since) > slow:
			m.alarm(ReasonDSWaits, "the parent was asked for DS %d on %s and does not have it", k.Tag, date(k.Want.Since))
		case !k.Want.On && k.DS.Seen && m.leaving(k) && m.now.Sub(k.Want.Since) > slow:
			m.alarm(ReasonDSWaits, "the parent was asked to remove DS %d on %s and still has it", k.Tag, date(k.Want.Since))
		}
	}
	if !m.frozen && !m.open() && !m.safe() {
		m.alarm(ReasonStuck, "what is published does not validate as a whole")
	}
}

// open reports whether anything is on its way.
func (m *machine) open() bool {
	for i := range m.s.Keys {
		for _, t := range m.s.Keys[i].turns() {
			if !m.settled(t) {
				return true
			}
		}
	}
	return false
}

func (m *machine) wakeBy(t time.Time) {
	if m.plan.Wake.IsZero() || t.Before(m.plan.Wake) {
		m.plan.Wake = t
	}
}

func (m *machine) wake() {
	for i := range m.s.Keys {
		for _, t := range m.s.Keys[i].turns() {
			switch {
			case m.settled(t):
			case t.Until.IsZero():
				m.wakeBy(m.now.Add(lookAgain))
			default:
				m.wakeBy(t.Until)
			}
		}
	}
	for _, mark := range []*Mark{&m.s.KeyTTL, &m.s.DataTTL} {
		if t := &mark.Less; !t.Since.IsZero() && !t.Until.IsZero() {
			m.wakeBy(t.Until)
		}
	}
	for _, w := range m.waits {
		if w.at.After(m.now) {
			m.wakeBy(w.at)
		}
	}
	if at := m.seen.Parent.At; at.IsZero() || at.After(m.now) {
		m.askBy(m.now)
	} else {
		m.askBy(at.Add(m.every()))
		// A look that told nothing is not repeated at once.
		again := at.Add(lookAgain)
		if m.eager {
			again = at.Add(lookSoon)
		}
		if m.plan.Ask.Before(again) {
			m.plan.Ask = again
		}
	}
	if !m.plan.Wake.IsZero() && !m.plan.Wake.After(m.now) {
		m.plan.Wake = m.now.Add(lookAgain)
	}
	if len(m.plan.Make) > 0 {
		m.plan.Wake = m.now
	}
}

// next says in one line what happens next. What somebody has to do comes first,
// then what happens soonest.
func (m *machine) next() {
	switch expects, _ := m.expects(); {
	case len(m.plan.Make) > 0:
		m.plan.Next = "makes keys"
		return
	case m.plan.Unsigned:
		m.plan.Next = "the zone is unsigned: leave out its dnssec policy, or have it signed again"
		return
	case expects != "" && !m.frozen:
		m.plan.Next = expects
		return
	}
	best := -1
	for i, w := range m.waits {
		if best < 0 || w.before(m.waits[best]) {
			best = i
		}
	}
	if best < 0 {
		m.plan.Next = "nothing: keys are replaced when somebody asks for it"
		return
	}
	m.plan.Next = m.waits[best].String()
	if names := m.behind(); names != "" && m.waits[best].at.IsZero() {
		m.plan.Next += ": waits for " + names
	}
}

// before: what has no time waits for somebody, and comes first.
func (w wait) before(o wait) bool { return w.at.Before(o.at) }

func (w wait) String() string {
	if w.at.IsZero() {
		return w.what
	}
	return w.what + " at " + w.at.UTC().Format(time.RFC3339)
}

// behind names who does not serve yet what was decided.
func (m *machine) behind() string {
	var names []string
	for i := range m.s.Keys {
		for _, t := range m.s.Keys[i].turns() {
			if t.Since.IsZero() || !t.Until.IsZero() {
				continue
			}
			for j := range m.seen.Views {
				v := &m.seen.Views[j]
				had, ok := t.served[v.Name]
				if !ok {
					names = append(names, "view "+v.Name)
					continue
				}
				for _, s := range v.Secondaries {
					if s.Answered.IsZero() || less(s.Serial, had.serial) || less(v.Serial, s.Serial) {
						names = append(names, fmt.Sprintf("%s (view %s, serial %d)", s.Name, v.Name, had.serial))
					}
				}
			}
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }
