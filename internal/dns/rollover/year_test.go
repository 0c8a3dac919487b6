package rollover

import (
	"maps"
	"os"
	"slices"
	"testing"
	"time"
)

// deed is something that an operator does.
type deed struct {
	after time.Duration
	do    func(*world) error
}

// life is a policy with what happens in its year.
type life struct {
	name  string
	p     Policy
	deeds []deed
	// least and most are how many steps are taken in a quiet year.
	least, most int
}

func roll(which Which, compromised bool) func(*world) error {
	return func(x *world) (err error) {
		x.s, err = x.s.Roll(x.p, which, compromised)
		return err
	}
}

func lives() []life {
	change := func(split bool, alg uint8) func(*world) error {
		return func(x *world) error {
			x.p.Split, x.p.Algorithm = split, alg
			return roll(All, false)(x)
		}
	}
	return []life{
		{"csk", Policy{Algorithm: 13, CDS: true, KSKLifetime: 90 * day}, []deed{{150 * day, roll(All, true)}}, 12, 40},
		{"ksk+zsk", Policy{Split: true, Algorithm: 13, CDS: true, KSKLifetime: 120 * day, ZSKLifetime: 30 * day},
			[]deed{{100 * day, roll(Signers, true)}, {210 * day, roll(Entries, true)}}, 40, 80},
		{"by hand", Policy{Split: true, Algorithm: 8}, []deed{{30 * day, roll(Entries, false)}, {90 * day, roll(Signers, false)}, {200 * day, roll(All, false)}}, 12, 40},
		{"algorithm", Policy{Algorithm: 13, CDS: true}, []deed{{40 * day, change(false, 15)}, {220 * day, change(false, 14)}}, 12, 40},
		{"algorithm, ksk+zsk", Policy{Split: true, Algorithm: 8, CDS: true, ZSKLifetime: 60 * day}, []deed{{50 * day, change(true, 13)}, {230 * day, change(false, 15)}}, 12, 60},
		{"model", Policy{Algorithm: 13, CDS: true}, []deed{{40 * day, change(true, 13)}, {220 * day, change(false, 13)}}, 8, 40},
		{"standby", Policy{Algorithm: 13, CDS: true, Standby: true}, []deed{{60 * day, roll(All, true)}, {200 * day, roll(All, false)}}, 8, 40},
		{"standby, then none", Policy{Split: true, Algorithm: 13, CDS: true, Standby: true}, []deed{
			{60 * day, func(x *world) error { x.p.Standby = false; return nil }},
			{150 * day, func(x *world) error { x.p.Standby = true; return roll(Entries, true)(x) }},
			{250 * day, func(x *world) error { x.p.Standby = false; return roll(Signers, true)(x) }},
		}, 8, 60},
		{"insecure", Policy{Split: true, Algorithm: 13, CDS: true, ZSKLifetime: 30 * day}, []deed{
			{80 * day, func(x *world) error { x.s = x.s.Disable(); return nil }},
			{250 * day, func(x *world) error { x.s = x.s.Enable(); return nil }},
		}, 10, 60},
	}
}

// play lives a year.
func play(t *testing.T, l life, w trouble, seed uint64, broken fault) *world {
	t.Helper()
	p := l.p
	p.broken = broken
	return l.live(newWorld(t, p, w, seed))
}

func (l life) live(x *world) *world {
	for _, d := range l.deeds {
		x.run(begin().Add(d.after).Sub(x.now))
		if len(x.wrong) > 0 {
			return x
		}
		// What is asked for while a roll is under way is refused, and asked again.
		for tries := 0; ; tries++ {
			err := d.do(x)
			x.note("operator: %v", err)
			x.advance()
			if err == nil || tries > 20 {
				break
			}
			x.run(5 * day)
			if len(x.wrong) > 0 {
				return x
			}
		}
	}
	x.run(begin().Add(365 * day).Sub(x.now))
	return x
}

func troubles() map[string]trouble {
	return map[string]trouble{
		"none":        {kinds: []string{"good"}},
		"dead":        {kinds: []string{"good", "dead"}},
		"lagging":     {kinds: []string{"lagging", "good"}},
		"flaky":       {kinds: []string{"flaky", "flaky"}, clumsy: true},
		"stuck":       {kinds: []string{"stuck", "good"}},
		"ttls":        {kinds: []string{"lagging"}, ttls: true, restarts: true},
		"slow":        {kinds: []string{"good"}, slow: true, restarts: true},
		"refuses":     {kinds: []string{"good"}, refuses: true},
		"backwards":   {kinds: []string{"good"}, backwards: true},
		"blind":       {kinds: []string{"lagging"}, blind: true, backwards: true},
		"clock":       {kinds: []string{"good"}, clock: true, clumsy: true},
		"crashes":     {kinds: []string{"good"}, crashes: true},
		"everything":  {kinds: []string{"good", "lagging", "flaky", "dead"}, slow: true, backwards: true, blind: true, ttls: true, restarts: true, clumsy: true, clock: true, crashes: true},
		"all refused": {kinds: []string{"lagging", "stuck"}, refuses: true, blind: true, ttls: true, clock: true},
	}
}

// TestYear lives a year for each policy with each trouble: nothing that caches
// may have at any time fails, and what was to happen happened.
func TestYear(t *testing.T) {
	t.Parallel()
	long := os.Getenv("POSTERN_PROVE") != ""
	names := slices.Sorted(maps.Keys(troubles()))
	for i, l := range lives() {
		for j, name := range names {
			if !long && name != "none" && name != "crashes" && (name != "everything" || i%3 != 0) && (i+j)%6 != 0 {
				continue // the short form
			}
			t.Run(l.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				seeds := uint64(1)
				if long {
					seeds = 4
				}
				for seed := range seeds {
					x := play(t, l, troubles()[name], seed, 0)
					judge(t, l, name, seed, x)
				}
			})
		}
	}
}

func judge(t *testing.T, l life, name string, seed uint64, x *world) {
	t.Helper()
	if len(x.wrong) > 0 || x.alarms[ReasonStuck] > 0 {
		t.Fatalf("seed %d\n%s", seed, x.story())
	}
	// A parent that does nothing for months lets rolls wait for as long.
	patient := x.w.refuses || x.w.slow
	if !patient && !x.w.crashes && (x.steps < l.least || x.steps > l.most) {
		t.Errorf("seed %d: %d steps, want %d to %d\n%s", seed, x.steps, l.least, l.most, x.story())
	}
	for _, k := range x.s.Keys {
		if !patient && !x.p.fits(&k) && !k.idle() {
			t.Errorf("seed %d: key %s of algorithm %d is still in use\n%s", seed, &k, k.Alg, x.story())
		}
	}
	if os.Getenv("POSTERN_STORY") != "" {
		t.Logf("seed %d: %d events, %d checks, %d looks\n%s", seed, x.events, x.checks, x.looked, x.story())
	}
}

// TestYearBroken takes one wait or guard after the other out of the machine: in
// some year that must be noticed, or what is above proves nothing.
func TestYearBroken(t *testing.T) {
	t.Parallel()
	long := os.Getenv("POSTERN_PROVE") != ""
	for broken, where := range map[fault][]string{
		noGuard: {"none"}, noSecondaries: {"lagging"}, noPatience: {"lagging", "flaky"}, noTTL: {"none"}, noMarks: {"ttls"},
		noDSTTL: {"none", "slow"}, noLag: {"none", "slow"}, noDSGone: {"none"}, noFresh: {"backwards"}, noBogus: {"blind"},
		noStrict: {"none"}, noClock: {"clock"}, noCDSWait: {"lagging"}, noMending: {"crashes"},
	} {
		if broken == noFresh && !long {
			continue // many years pass until that is noticed; TestOldLook tries it alone
		}
		t.Run(broken.String(), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(40) {
				for _, l := range lives() {
					for _, name := range where {
						if x := play(t, l, troubles()[name], seed, broken); len(x.wrong) > 0 || x.alarms[ReasonStuck] > 0 {
							t.Logf("%s/%s, seed %d, day %.1f: %v", l.name, name, seed, float64(x.now.Sub(begin()))/float64(day), x.wrong)
							return
						}
					}
				}
			}
			t.Error("nobody noticed")
		})
	}
}
