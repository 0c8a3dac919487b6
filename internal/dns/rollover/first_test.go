package rollover

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	hour = time.Hour
	day  = 24 * hour
)

func begin() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// good is a world in which everybody does at once what is asked for.
type good struct {
	t     *testing.T
	p     Policy
	s     State
	now   time.Time
	next  uint16
	plan  Plan
	steps []string
	ds    []uint16
	deaf  bool // the parent does nothing
	serve View
}

func newGood(t *testing.T, p Policy) *good {
	return &good{t: t, p: p, now: begin(), next: 1, serve: View{
		Name: "external", Serial: 1, KeyTTL: hour, DataTTL: 6 * hour, Refresh: hour, Retry: hour / 4, Expire: 14 * day,
		Secondaries: []Secondary{{Name: "a"}},
	}}
}

// turn asks the machine once, and does what it says.
func (g *good) turn() {
	g.t.Helper()
	look := Parent{At: g.now, Security: Insecure}
	if len(g.ds) > 0 {
		look = Parent{At: g.now, Security: Secure, Tags: g.ds, TTL: day}
	}
	for range 20 {
		g.s, g.plan = Advance(g.p, g.s, Seen{Up: g.now.Sub(begin()), Views: []View{g.serve}, Parent: look}, g.now)
		for _, m := range g.plan.Make {
			if err := g.s.Add(Key{Tag: g.next, Role: m.Role, Alg: m.Alg, Made: g.now}, nil); err != nil {
				g.t.Fatal(err)
			}
			g.next++
		}
		g.s = g.s.Forget(g.plan.Remove...)
		for _, step := range g.plan.Steps {
			g.steps = append(g.steps, g.now.Sub(begin()).String()+" "+step)
		}
		if len(g.plan.Make) == 0 && len(g.plan.Steps) == 0 && len(g.plan.Remove) == 0 {
			break
		}
		if len(g.plan.Make) == 0 && g.plan.Hold == "" {
			g.serve.Serial++
			g.serve.Uses, g.serve.CDS, g.serve.Delete = g.plan.Uses, g.plan.CDS, g.plan.Delete
			g.serve.Secondaries[0] = Secondary{"a", g.serve.Serial, g.now}
		}
	}
	if !g.deaf {
		g.ds = slices.Clone(g.plan.DS)
	}
}

// run lets time pass, from wake to wake.
func (g *good) run(d time.Duration) {
	g.t.Helper()
	for end := g.now.Add(d); g.now.Before(end); {
		g.turn()
		wake := end
		for _, t := range []time.Time{g.plan.Wake, g.plan.Ask} {
			if !t.IsZero() && t.Before(wake) {
				wake = t
			}
		}
		g.now = later(wake, g.now.Add(time.Second))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func TestFirstSignature(t *testing.T) {
	t.Parallel()
	g := newGood(t, Policy{Algorithm: 13, CDS: true})
	g.run(3 * day)
	want := []string{"0s the zone is signed", "6h5m0s the parent is asked for DS of 1 (csk)"}
	if !slices.Equal(g.steps, want) {
		t.Errorf("steps:\n%s", strings.Join(g.steps, "\n"))
	}
	if u := g.plan.Uses[1]; u != InSet|SignsKeys|SignsData {
		t.Errorf("uses %b", u)
	}
	if !slices.Equal(g.plan.CDS, []uint16{1}) || !slices.Equal(g.plan.DS, g.plan.CDS) || g.plan.Delete {
		t.Errorf("CDS %v, DS %v", g.plan.CDS, g.plan.DS)
	}
	if len(g.plan.Alarms) > 0 || g.plan.Next != "nothing: keys are replaced when somebody asks for it" {
		t.Errorf("next %q, alarms %v", g.plan.Next, g.plan.Alarms)
	}
}

func TestZSKRoll(t *testing.T) {
	t.Parallel()
	g := newGood(t, Policy{Split: true, Algorithm: 13, CDS: true, ZSKLifetime: 30 * day})
	g.run(32 * day)
	want := []string{
		"0s the zone is signed",
		"6h5m0s the parent is asked for DS of 1 (ksk)",
		"720h0m0s key 2 (zsk) has come to its age",
		"720h0m0s key 3 (zsk) enters the DNSKEY set",
		"721h5m0s key 3 (zsk) signs the zone in place of 2 (zsk)",
		"727h10m0s key 2 (zsk) leaves the DNSKEY set",
	}
	if !slices.Equal(g.steps, want) {
		t.Errorf("steps:\n%s", strings.Join(g.steps, "\n"))
	}
	if len(g.s.Keys) != 2 || g.plan.Uses[3] != InSet|SignsData || g.plan.Uses[1] != InSet|SignsKeys {
		t.Errorf("keys %v, uses %v", g.s.Keys, g.plan.Uses)
	}
}
