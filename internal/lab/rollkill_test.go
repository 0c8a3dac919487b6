package lab_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"postern/internal/lab"
)

// TestKilledBesideItsParent: the process is killed between a step of its own and
// one of the parent. For some zones the parent has another DS when it comes up;
// for others it has done nothing in all that time, then has another that is never
// seen because of the next kill, and then goes back to what it had. Whatever
// caches hold from before validates with what they are told, of us or of the
// secondary alone, and the rolls go on and end.
func TestKilledBesideItsParent(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		early, late := map[string]string{"early.lab.": "csk-nsec3"}, map[string]string{"late.lab.": "pair-nsec"}
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			early["early2.lab."], late["late2.lab."] = "pair-nsec3", "csk-nsec"
			early["early3.lab."], late["late3.lab."] = "moving", "moving-pair"
		}
		zones := map[string]string{}
		for _, some := range []map[string]string{early, late} {
			for zone, policy := range some {
				zones[zone] = policy
			}
		}
		w := newRolls(l, rollsOf{zones: zones, more: moving})
		w.settle()
		first, former := w.status(), map[string]string{}
		w.step(w.clock.Now().Add(time.Minute), true, func() {
			w.reconfigure(`"ecdsap256sha256"`, `"ecdsap384sha384"`)
			for zone, policy := range zones {
				former[zone], w.deaf[zone] = w.ds[zone], true
				if strings.HasPrefix(policy, "moving") {
					w.roll(zone, "--algorithm", "ecdsap384sha384")
				} else {
					w.roll(zone)
				}
			}
		})
		w.waitFor("the parent is asked", func() error { return w.expected(zones) })

		// The parent of some acts while there is no Postern, that of others not.
		w.edge.Kill9()
		w.dead(w.clock.Now().Add(20*time.Minute), func() { w.followAll(early) })
		w.dead(w.clock.Now().Add(2*time.Hour), func() {})
		w.rises()
		w.step(w.clock.Now().Add(time.Minute), true, func() {})

		// It acts, and is seen by nobody before the next kill.
		w.dead(w.clock.Now().Add(time.Minute), func() {
			w.edge.Kill9()
			w.followAll(late)
		})
		w.dead(w.clock.Now().Add(20*time.Minute), func() {})
		w.rises()
		w.waitFor("the DS is seen", func() error {
			if err := w.expected(late); err == nil {
				return fmt.Errorf("the zones still wait")
			}
			return nil
		})

		// It goes back to what it had.
		w.edge.Kill9()
		w.dead(w.clock.Now().Add(30*time.Minute), func() {
			for zone := range late {
				w.delegate(zone, former[zone])
			}
		})
		w.rises()
		w.step(w.clock.Now().Add(lookEvery), true, func() {})
		for zone := range zones {
			w.deaf[zone] = false
		}
		w.live(true)
		w.replaced(first)
	})
}

// followAll has the parent follow what zones ask for, and wants it to do
// something.
func (w *rolls) followAll(zones map[string]string) {
	w.l.T().Helper()
	for _, s := range w.sides {
		if _, is := zones[s.zone]; !is {
			continue
		}
		had := w.ds[s.zone]
		if w.follow(s); w.ds[s.zone] == had {
			w.l.T().Fatalf("the parent of %s has nothing to do", s)
		}
	}
}

// expected wants all of the zones to wait for their parent, and for nothing else.
func (w *rolls) expected(zones map[string]string) error {
	w.l.T().Helper()
	status := w.status()
	for zone := range zones {
		if next := status[zone].Next; !strings.HasPrefix(next, "waits for DS") {
			return fmt.Errorf("%s: %s", zone, next)
		}
	}
	return nil
}

// waitFor lets time pass until something is so.
func (w *rolls) waitFor(what string, is func() error) {
	w.l.T().Helper()
	var err error
	for range 50 {
		if err = is(); err == nil {
			return
		}
		w.next(true)
	}
	w.l.T().Fatalf("%s: %v", what, err)
}

// rises starts Postern where it was killed, and has judged what it serves at once.
func (w *rolls) rises() {
	w.l.T().Helper()
	w.edge.Start()
	w.judge("at the start")
	w.turn(w.clock.Now())
	w.judge("after the start")
}
