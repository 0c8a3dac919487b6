package lab_test

import (
	"maps"
	"slices"
	"strings"
	"time"

	"postern/internal/manage"
)

// How time passes in a world in which keys are replaced.

// soonest is what happens next: what Postern is to do, or the end of what caches
// have; not the end of old key files, days later.
func (w *rolls) soonest() (at time.Time, end bool) {
	w.l.T().Helper()
	for zone, z := range w.status() {
		for _, t := range []time.Time{z.Wakes, z.Asks} {
			if !w.done(zone, z) && !t.IsZero() && (at.IsZero() || t.Before(at)) {
				at = t
			}
		}
	}
	w.ends = slices.DeleteFunc(w.ends, func(t time.Time) bool { return !t.After(w.clock.Now()) })
	for _, t := range w.ends {
		if at.IsZero() || t.Before(at) {
			at, end = t, true
		}
	}
	return at, end
}

// done reports whether no step of a zone's keys is under way. A file may be
// deleted before another key goes: then there are more keys than at rest.
func (w *rolls) done(zone string, z manage.SignedZone) bool {
	rest := w.rest[zone]
	return strings.HasPrefix(z.Next, "nothing") || strings.Contains(z.Next, "is deleted at") && (rest == 0 || len(z.Keys) == rest)
}

// quiet reports whether nothing is under way.
func (w *rolls) quiet() bool {
	w.l.T().Helper()
	for zone, z := range w.status() {
		if !w.done(zone, z) {
			return false
		}
	}
	return true
}

// live lets time pass until nothing is under way.
func (w *rolls) live(judges bool) {
	w.l.T().Helper()
	for range 150 {
		if !w.next(judges) {
			return
		}
	}
	w.l.T().Fatalf("it never comes to rest: %v", w.status())
}

// next lets time pass until something happens, and reports whether anything is
// under way.
func (w *rolls) next(judges bool) bool {
	w.l.T().Helper()
	at, end := w.soonest()
	switch {
	case at.IsZero() && w.quiet():
		return false
	case at.IsZero():
		at = w.clock.Now().Add(lookEvery)
	case end:
		w.clock.Set(at)
		w.judge("before a TTL ends")
		return true
	}
	w.step(at, judges, func() {})
	return true
}

// settle has all zones signed, with their DS at the parent, and caches that know
// that.
func (w *rolls) settle() {
	w.l.T().Helper()
	w.turn(w.began)
	w.keepers()
	w.live(false)
	for zone, z := range w.status() {
		if z.Parent != manage.ParentDS {
			w.l.T().Fatalf("%+v", z)
		}
		w.rest[zone] = len(z.Keys)
	}
	w.clock.Set(w.clock.Now().Add(2 * dsTTL))
	w.keep()
	w.judge("before anything")
}

// step lets what is due at a time be done, after act, and has it judged where
// anything is another than a second before.
func (w *rolls) step(at time.Time, judges bool, act func()) {
	w.l.T().Helper()
	w.pass(at, judges, func() {
		act()
		w.turn(at)
		for _, s := range w.sides {
			if !w.deaf[s.zone] {
				w.follow(s)
			}
		}
	})
}

// dead is a step without Postern.
func (w *rolls) dead(at time.Time, act func()) {
	w.l.T().Helper()
	for len(w.ends) > 0 {
		end := slices.MinFunc(w.ends, time.Time.Compare)
		if end.After(at) {
			break
		}
		w.clock.Set(end)
		w.judge("before a TTL ends, without Postern")
		w.ends = slices.DeleteFunc(w.ends, func(t time.Time) bool { return !t.After(end) })
	}
	w.pass(at, true, act)
}

// pass lets something happen at a time, and has it judged where anything is
// another than a second before.
func (w *rolls) pass(at time.Time, judges bool, act func()) {
	w.l.T().Helper()
	before, had := at.Add(-time.Second), maps.Clone(w.changed)
	if judges {
		if before.After(w.clock.Now()) {
			w.clock.Set(before)
		}
		w.keep()
	}
	w.clock.Set(at)
	act()
	if maps.Equal(had, w.changed) {
		return
	}
	for _, s := range w.sides {
		for what, ttl := range map[string]time.Duration{s.String(): rolledTTL, setOf(s.zone): dsTTL} {
			if w.changed[what] != had[what] {
				w.until[what] = before.Add(ttl)
				w.ends = append(w.ends, before.Add(missingTTL-time.Second), before.Add(ttl-time.Second))
			}
		}
	}
	if judges {
		w.judge("after a step")
	} else {
		w.ends = nil
	}
	if !w.edge.Running() {
		return
	}
	for zone, z := range w.status() {
		w.l.T().Logf("%s  %s %v %s %v", w.clock.Now().Sub(w.began), zone, z.Keys, z.Next, z.Alarms)
	}
}
