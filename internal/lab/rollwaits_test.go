package lab_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// TestRollWaitsForSecondaries: a ZSK is not signed with before every secondary
// has it. One that died is waited for as long as it may be silent, one that
// answers an old serial until it must have expired the zone, and no longer; both
// are told of. Who asks any of them gets what validates all the while.
func TestRollWaitsForSecondaries(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		const dead, good, lagging = "dead.lab.", "good.lab.", "lagging.lab."
		const step, expires = 15 * time.Minute, 4 * time.Hour
		w := newRolls(l, rollsOf{
			expire: expires,
			zones:  map[string]string{dead: "pair-nsec3", good: "pair-nsec3", lagging: "pair-nsec"},
			at:     map[string]string{dead: "203.0.113.62", lagging: "203.0.113.63"},
		})
		w.turn(w.began)
		w.live(false)
		first := map[string]uint16{}
		for _, zone := range w.zones() {
			first[zone] = w.signer(zone)
		}
		w.seconds["203.0.113.62"].Down()
		w.reconfigure(`transfer_from = ["203.0.113.63"]`, `transfer_from = ["203.0.113.99"]`)
		w.away[dead], w.away[lagging] = true, true
		begin := w.clock.Now()
		for _, zone := range w.zones() {
			w.roll(zone, "--zsk")
		}
		signs, told := map[string]time.Duration{}, map[string]time.Duration{}
		for passed := time.Duration(0); passed < 6*time.Hour; passed += step {
			w.turn(begin.Add(passed))
			if passed > 0 {
				w.edge.Run("zone", "notify", "lagging.lab").Want(0)
			}
			if passed < expires-2*step { // it heard of a serial last before all this, and by then has no zone
				l.Eventually("it answers", func() error { return w.answered(lagging) })
			}
			w.turn(begin.Add(passed))
			for zone, z := range w.status() {
				if _, known := signs[zone]; !known && w.signer(zone) != first[zone] {
					signs[zone] = passed
				}
				for _, a := range z.Alarms {
					if _, known := told[zone+" "+strings.Fields(a)[0]]; !known {
						told[zone+" "+strings.Fields(a)[0]] = passed
					}
				}
				for _, q := range append(always(zone), once(zone, fmt.Sprintf("at%d", passed/step))...) {
					if got := w.tree.Unbound(q.Name, q.Qtype); got != "secure" {
						t.Errorf("after %s: %s %s is %s", passed, q.Name, dns.TypeToString[q.Qtype], got)
					}
				}
			}
		}
		t.Logf("signed with the new key after %v, told after %v", signs, told)
		// The TTL and five minutes after each was waited for: SOA refresh and
		// retry, and expire.
		const caches = rolledTTL + 5*time.Minute
		for zone, waits := range map[string]time.Duration{good: 0, dead: 70 * time.Minute, lagging: expires} {
			if at, does := signs[zone]; !does || at < waits+caches || at > waits+caches+3*step {
				t.Errorf("%s is signed with the new key after %s, want %s and little more", zone, at, waits+caches)
			}
		}
		for what, after := range map[string]time.Duration{dead + " secondary-silent:": 70 * time.Minute, lagging + " secondary-behind:": 70 * time.Minute} {
			if at, is := told[what]; !is || at < after || at > after+2*step {
				t.Errorf("%s told after %s: %v", what, at, told)
			}
			delete(told, what)
		}
		if len(told) > 0 {
			t.Errorf("told besides: %v", told)
		}
	})
}

// answered reports whether the zone's secondary was asked at this time, and
// answered.
func (w *rolls) answered(zone string) error {
	w.l.T().Helper()
	var s struct {
		Secondaries []struct {
			Zone  string
			Asked time.Time
		}
	}
	if err := json.Unmarshal([]byte(w.edge.Run("status", "--json").Stdout), &s); err != nil {
		return err
	}
	for _, one := range s.Secondaries {
		if dns.Fqdn(one.Zone) == zone && one.Asked.Before(w.clock.Now()) {
			return fmt.Errorf("it answered at %s, and it is %s", one.Asked, w.clock.Now())
		}
	}
	return nil
}
