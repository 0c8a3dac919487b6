package rollover

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSecondaries: who is waited for, and for how long. A key enters the set at
// 0; what is asked is whether its wait is counted, and what is told.
func TestSecondaries(t *testing.T) {
	t.Parallel()
	const old, current, ahead = 7, 10, 11
	for name, c := range map[string]struct {
		serial   uint32
		answered time.Duration // since when; negative: before the end
		never    bool
		after    time.Duration
		counts   bool
		alarm    string
	}{
		"has it":                         {serial: current, after: 0, counts: true},
		"had it, silent now":             {serial: current, answered: 0, after: 9 * day, counts: true},
		"has an old one":                 {serial: old, answered: hour, after: hour},
		"has an old one for two hours":   {serial: old, answered: 2 * hour, after: 2 * hour, alarm: ReasonBehind},
		"has an old one until expire":    {serial: old, answered: 14 * day, after: 14 * day, alarm: ReasonBehind},
		"has an old one after expire":    {serial: old, answered: 14*day + 2*time.Second, after: 14*day + 2*time.Second, counts: true, alarm: ReasonBehind},
		"has one that we never had":      {serial: ahead, answered: hour, after: hour},
		"silent for an hour":             {serial: old, answered: 0, after: hour},
		"silent for longer":              {serial: old, answered: 0, after: 75*time.Minute + time.Second, counts: true, alarm: ReasonSilent},
		"silent since long":              {serial: old, answered: -day, after: hour},
		"silent since long, and longer":  {serial: old, answered: -day, after: 75*time.Minute + time.Second, counts: true, alarm: ReasonSilent},
		"never heard of":                 {never: true, after: hour},
		"never heard of, and longer":     {never: true, after: 76 * time.Minute, counts: true, alarm: ReasonSilent},
		"answered by a clock set ahead":  {serial: old, answered: 300 * day, after: hour},
		"answered by a clock, and later": {serial: old, answered: 300 * day, after: 76 * time.Minute, alarm: ReasonBehind},
	} {
		s := State{Keys: []Key{{Tag: 1, Role: CSK, Alg: 13, Made: begin()}}}
		s.Keys[0].Set, s.Keys[0].Keys, s.Keys[0].Data = Turn{On: true, Since: begin()}, Turn{On: true, Since: begin()}, Turn{On: true, Since: begin()}
		view := View{Name: "external", Serial: current, Uses: map[uint16]Use{1: 7}, KeyTTL: hour, DataTTL: hour, Refresh: hour, Retry: hour / 4, Expire: 14 * day,
			Secondaries: []Secondary{{Name: "other", Serial: current, Answered: begin()}, {Name: "a", Serial: old}}}
		s, _ = Advance(Policy{Algorithm: 13}, s, Seen{Views: []View{view}}, begin())
		if !c.never {
			view.Secondaries[1] = Secondary{"a", c.serial, begin().Add(c.answered)}
		} else {
			view.Secondaries[1] = Secondary{Name: "a"}
		}
		now := begin().Add(c.after)
		s, p := Advance(Policy{Algorithm: 13}, s, Seen{Up: c.after, Views: []View{view}}, now)
		if counts := !s.Keys[0].Set.Until.IsZero(); counts != c.counts {
			t.Errorf("%s: counted %v", name, counts)
		}
		if got := slices.DeleteFunc(reasons(p), func(r string) bool { return r == ReasonParentUnknown }); strings.Join(got, " ") != c.alarm {
			t.Errorf("%s: alarms %v", name, got)
		}
		if !c.counts && (!p.Wake.After(now) || !strings.Contains(p.Next, "a (view external, serial 10)")) {
			t.Errorf("%s: wake %s, next %q", name, p.Wake, p.Next)
		}
	}
}

// TestPendingIsNotServed: no wait begins with what is made and not yet served,
// neither for a key that comes nor for one that goes.
func TestPendingIsNotServed(t *testing.T) {
	t.Parallel()
	s := State{Keys: []Key{{Tag: 1, Role: ZSK, Alg: 13, Made: begin()}, {Tag: 2, Role: ZSK, Alg: 13, Made: begin()}, {Tag: 3, Role: KSK, Alg: 13, Made: begin()}}}
	for i, k := range s.Keys {
		s.Keys[i].Set = Turn{On: true, Since: begin()}
		if k.Role == KSK {
			s.Keys[i].Keys = Turn{On: true, Since: begin()}
		}
	}
	s.Keys[0].Data, s.Keys[1].Data = Turn{Since: begin()}, Turn{On: true, Since: begin()}
	view := View{Name: "external", Serial: 10, Pending: true, Uses: map[uint16]Use{1: InSet, 2: InSet | SignsData, 3: InSet | SignsKeys}, KeyTTL: hour, DataTTL: hour}
	dated := func(after time.Duration) (coming, going bool) {
		s, _ = Advance(Policy{Split: true, Algorithm: 13}, s, Seen{Up: after, Views: []View{view}}, begin().Add(after))
		return !s.Keys[1].Data.Until.IsZero(), !s.Keys[0].Data.Until.IsZero()
	}
	if coming, going := dated(time.Minute); coming || going {
		t.Errorf("pending: %v, %v", coming, going)
	}
	view.Pending = false
	if coming, going := dated(2 * time.Minute); !coming || !going {
		t.Errorf("served: %v, %v", coming, going)
	}
	if until, want := s.Keys[0].Data.Until, begin().Add(2*time.Minute+hour+5*time.Minute); !until.Equal(want) {
		t.Errorf("waits until %s, want %s", until, want)
	}
}

// TestSecondaryComesBack: one that was silent answers with what it had before
// the wait is over; then it is waited for again.
func TestSecondaryComesBack(t *testing.T) {
	t.Parallel()
	g := secure(t, Policy{Split: true, Algorithm: 13, CDS: true})
	look := func() Parent { return Parent{At: g.now, Security: Secure, Tags: g.ds, TTL: day} }
	silent := Secondary{Name: "b", Serial: g.serve.Serial, Answered: g.now}
	g.serve.Secondaries = append(g.serve.Secondaries, silent)
	g.s, _ = g.s.Roll(g.p, Signers, false)
	g.turn()
	g.now = g.now.Add(80 * time.Minute)
	if p := g.advance(look()); !slices.Contains(reasons(p), ReasonSilent) || g.s.Keys[2].Set.Until.IsZero() {
		t.Fatalf("it was waited for: %+v", p)
	}
	g.now = g.now.Add(10 * time.Minute)
	g.serve.Secondaries[1].Answered = g.now
	g.advance(look())
	if !g.s.Keys[2].Set.Until.IsZero() {
		t.Error("it is back, and is not waited for")
	}
	g.now = g.now.Add(5 * hour)
	g.serve.Secondaries[1].Answered = g.now
	if p := g.advance(look()); len(p.Steps) > 0 {
		t.Errorf("steps %v", p.Steps)
	}
}

// TestSerialsWrap: RFC 1982, Section 3.2.
func TestSerialsWrap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b uint32
		less bool
	}{{1, 1, false}, {1, 2, true}, {2, 1, false}, {1<<32 - 1, 0, true}, {0, 1<<32 - 1, false}, {1<<31 - 1, 1 << 31, true}, {0, 1<<31 - 1, true}} {
		if less(c.a, c.b) != c.less {
			t.Errorf("%d < %d: want %v", c.a, c.b, c.less)
		}
	}
}

// TestClock: the same roll takes the same time by the clock that does not jump,
// whatever somebody does with the other.
func TestClock(t *testing.T) {
	t.Parallel()
	for name, wall := range map[string]func(up time.Duration) time.Time{
		"right": func(up time.Duration) time.Time { return begin().Add(up) },
		"jumps ahead": func(up time.Duration) time.Time {
			return begin().Add(up + 1000*day*time.Duration(min(up/(4*day+hour/2), 1)))
		},
		"jumps back": func(up time.Duration) time.Time {
			return begin().Add(up - 1000*day*time.Duration(min(up/(4*day+hour/2), 1)))
		},
		"twice as fast": func(up time.Duration) time.Time { return begin().Add(2 * up) },
		"to and fro":    func(up time.Duration) time.Time { return begin().Add(up + 300*day*(up/hour%2)) },
		"stands":        func(up time.Duration) time.Time { return begin().Add(min(up, 4*day+hour/2)) },
	} {
		g := newGood(t, Policy{Split: true, Algorithm: 13, CDS: true})
		var took []time.Duration
		jumped := false
		for up := time.Duration(0); up < 8*day; up += 5 * time.Minute {
			if up == 4*day {
				g.s, _ = g.s.Roll(g.p, Signers, false)
			}
			g.now = wall(up)
			look := Parent{At: g.now, Security: Insecure}
			if len(g.ds) > 0 {
				look = Parent{At: g.now, Security: Secure, Tags: g.ds, TTL: day}
			}
			g.serve.Secondaries[0].Answered = g.now
			for range 5 {
				var p Plan
				g.s, p = Advance(g.p, g.s, Seen{Up: up, Views: []View{g.serve}, Parent: look}, g.now)
				for _, m := range p.Make {
					g.next++
					_ = g.s.Add(Key{Tag: g.next, Role: m.Role, Alg: m.Alg, Made: g.now}, nil)
				}
				if len(p.Steps) > 0 && up >= 4*day {
					took = append(took, up-4*day)
				}
				jumped = jumped || slices.Contains(reasons(p), ReasonClock)
				if len(p.Make) == 0 && p.Hold == "" {
					g.serve.Serial++
					g.serve.Uses, g.serve.CDS = p.Uses, p.CDS
					g.serve.Secondaries[0].Serial = g.serve.Serial
					g.ds = p.DS
				}
			}
		}
		want := []time.Duration{0, hour + 5*time.Minute, hour + 5*time.Minute + 6*hour + 5*time.Minute}
		if len(took) != 3 {
			t.Errorf("%s: steps after %v", name, took)
			continue
		}
		for i := range want {
			if early := want[i] - took[i]; early > time.Minute || early < -10*time.Minute {
				t.Errorf("%s: step %d after %s, want %s", name, i, took[i], want[i])
			}
		}
		if loud := strings.Contains("jumps ahead, jumps back, to and fro", name); jumped != loud { // the others part a little at a time
			t.Errorf("%s: alarm %v", name, jumped)
		}
	}
}

// TestClockWasWrongBefore: the times written down lie in the future, since the
// last process had a clock that was ahead. Waits begin anew, in their order.
func TestClockWasWrongBefore(t *testing.T) {
	t.Parallel()
	ahead := begin().Add(1000 * day)
	s := State{Keys: []Key{{Tag: 1, Role: CSK, Alg: 13, Made: begin(), Set: Turn{On: true, Since: ahead, Until: ahead.Add(hour)}, Data: Turn{On: true, Since: ahead.Add(-hour)}}}}
	s, p := Advance(Policy{Algorithm: 13}, s, Seen{}, begin())
	if k := s.Keys[0]; !k.Set.Since.Equal(begin()) || !k.Set.Until.Equal(begin().Add(hour)) || !k.Data.Since.Equal(begin().Add(-hour)) {
		t.Errorf("%+v", s.Keys[0])
	}
	if !slices.Contains(reasons(p), ReasonClock) {
		t.Errorf("alarms %v", p.Alarms)
	}
}
