package authority

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/attest"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
	"postern/internal/dns/signer"
)

// parent is one that a test speaks for. It follows CDS where it is told to.
type parent struct {
	mu       sync.Mutex // guards the rest
	security rollover.Security
	ds       []*dns.DS
	err      error
	asked    int
}

func (p *parent) look(now func() time.Time) func(context.Context, name.Name) (Parent, error) {
	return func(context.Context, name.Name) (Parent, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked++
		return Parent{At: now(), Security: p.security, DS: slices.Clone(p.ds)}, p.err
	}
}

func (p *parent) set(security rollover.Security, ds ...*dns.DS) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.security, p.ds = security, ds
}

// rollBench is a signed zone of two views, with a parent.
func rollBench(t *testing.T, p SignPolicy) (*bench, *ring, *parent) {
	t.Helper()
	b, r, at := newBench(t), newRing(t), &parent{security: rollover.Insecure}
	began := time.Now().Truncate(time.Second)
	wall := began
	b.wall = &wall
	b.cfg.Sign, b.cfg.Keys = &p, r
	b.tellTime()
	b.cfg.Up = func() time.Duration { return b.cfg.Now().Sub(began) }
	b.cfg.Parent = at.look(b.cfg.Now)
	b.write("external/example.test.zone", signable)
	b.write("internal/example.test.zone", "inner A 10.0.0.1\n")
	b.start()
	return b, r, at
}

// pass lets time pass in steps, with a look at the parent and a scan in each. f
// looks at what is served.
func (b *bench) pass(during, step time.Duration, f func()) {
	b.t.Helper()
	for end := b.wall.Add(during); b.wall.Before(end); {
		b.later(step)
		b.tick()
		if f(); b.t.Failed() {
			return
		}
	}
}

// tick is what the owner does by itself in time: a look at the parent, a scan,
// and another for what follows from it.
func (b *bench) tick() {
	b.t.Helper()
	err := b.a.do(b.t.Context(), func() {
		o := b.a.owner
		for n, r := range o.rolls {
			if !r.begun || r.plan.Ask.IsZero() || o.a.cfg.Now().Before(r.plan.Ask) {
				continue
			}
			look, ours := o.ownParent(n)
			if !ours {
				look = b.a.lookAt(b.t.Context(), n)
			}
			if !look.At.IsZero() {
				o.saw(n, r, look)
			}
		}
		o.build()
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.scan()
	b.scan()
}

// keysServed are what the keys do, as a validator sees it: the same in both
// views. All of it must validate.
func (b *bench) keysServed() *facts {
	b.t.Helper()
	var first *facts
	for _, view := range []string{"external", "internal"} {
		z := b.zone(view, "example.test")
		f := showing(z)
		if first == nil {
			first = f
		} else if !f.showsPlan(&rollover.Plan{Uses: first.uses, CDS: first.cds, Delete: first.delete}) {
			b.t.Fatalf("outside the keys are %v, inside %v", first, f)
		}
		c := attest.Context{Workers: 1, ZONEMD: true}
		err := b.a.do(b.t.Context(), func() {
			for _, k := range b.a.owner.rolls[exampleTest].keys {
				if f.uses[k.Tag]&rollover.InSet == 0 {
					c.Outside = append(c.Outside, k.Key.DNSKEY)
				}
			}
		})
		if err != nil {
			b.t.Fatal(err)
		}
		if problems := attest.Check(z, *b.wall, c); len(problems) > 0 {
			b.t.Fatalf("view %s: %v", view, problems)
		}
	}
	return first
}

func dsOf(t *testing.T, k keyring.Held) *dns.DS {
	t.Helper()
	ds, err := dnssec.DS(k.Zone, k.Key.DNSKEY, dns.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	ds.Hdr.Ttl = 3600
	return ds
}

// followCDS has the parent do what CDS ask for.
func (p *parent) followCDS(b *bench) {
	set := b.zone("external", "example.test").Node(exampleTest).Set(dns.TypeCDS)
	if set == nil {
		return
	}
	var all []*dns.DS
	for _, rr := range set.RRs {
		if cds := rr.(*dns.CDS); cds.Algorithm != 0 {
			ds := cds.DS
			ds.Hdr = dns.RR_Header{Name: "example.test.", Rrtype: dns.TypeDS, Class: dns.ClassINET, Ttl: 3600}
			all = append(all, &ds)
		}
	}
	p.set(rollover.Insecure)
	if len(all) > 0 {
		p.set(rollover.Secure, all...)
	}
}

func ofZone(t *testing.T, r *ring) []keyring.Held {
	t.Helper()
	keys, err := r.Held(exampleTest)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestZoneKeyIsReplaced: by its age alone, step by step, in both views at once,
// also over restarts; nothing is published that does not validate.
func TestZoneKeyIsReplaced(t *testing.T) {
	t.Parallel()
	p := policies()[2]
	p.Model, p.Roll = signer.KSKZSK, RollPolicy{ZoneKeyLifetime: 30 * day, CDS: true}
	b, r, at := rollBench(t, p)
	first := ofZone(t, r)
	seen := map[string]bool{}
	tries := 0
	b.pass(34*day, 6*time.Hour, func() {
		f := b.keysServed()
		seen[usesText(f.uses, first)] = true
		at.followCDS(b)
		if tries++; tries%17 == 0 {
			b.start()
		}
	})
	for _, want := range []string{"ksk: in set, signs keys; zsk: in set, signs data", "ksk: in set, signs keys; zsk: in set, signs data; new: in set", "ksk: in set, signs keys; zsk: in set; new: in set, signs data", "ksk: in set, signs keys; new: in set, signs data"} {
		if !seen[want] {
			t.Errorf("never %q, but %v", want, slices.Sorted(maps.Keys(seen)))
		}
	}
	if len(seen) != 4 {
		t.Errorf("%q", slices.Sorted(maps.Keys(seen)))
	}
}

// usesText says what keys do, those that were there first by their role.
func usesText(uses map[uint16]rollover.Use, first []keyring.Held) string {
	var words []string
	known := map[uint16]bool{}
	for _, k := range first {
		known[k.Tag] = true
		if u := uses[k.Tag]; u != 0 {
			words = append(words, k.Role.String()+": "+dnssec.Use(u).String())
		}
	}
	var others []string
	for tag, u := range uses {
		if !known[tag] {
			others = append(others, "new: "+dnssec.Use(u).String())
		}
	}
	slices.Sort(others)
	return strings.Join(append(words, others...), "; ")
}

// TestStandbyTakesOver: the key that stands by signs the zone in the version after
// the order to replace one that is compromised, and another comes to stand by.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	for _, model := range []signer.Model{signer.CSK, signer.KSKZSK} {
		p := policies()[0]
		p.Model, p.Roll = model, RollPolicy{CDS: true, Standby: true}
		b, r, at := rollBench(t, p)
		b.pass(3*day, 6*time.Hour, func() { b.keysServed(); at.followCDS(b) })
		status := func() *Keys { return b.status("external", "example.test.").Keys }
		by := status().StandBy
		if all := ofZone(t, r); len(by) != int(model) || len(all) != 2*int(model) || !status().Stepped.IsZero() {
			t.Fatalf("model %v: %v of %d keys stand by, a roll since %s", model, by, len(all), status().Stepped)
		}
		if err := b.a.Roll(t.Context(), Roll{Zone: "example.test", Compromised: true, Who: "test"}); err != nil {
			t.Fatal(err)
		}
		if status().Stepped.IsZero() {
			t.Error("no roll is seen to be under way")
		}
		signs := false
		for tag, u := range b.keysServed().uses {
			signs = signs || dnssec.Use(u).Does(dnssec.SignsData) && slices.Contains(by, tag)
		}
		if !signs {
			t.Errorf("model %v: of %v none signs the zone at once: %v", model, by, b.keysServed().uses)
		}
		b.pass(9*day, 6*time.Hour, func() { b.keysServed(); at.followCDS(b) })
		if next := status().StandBy; len(next) != int(model) || slices.Contains(next, by[0]) || !status().Stepped.IsZero() || len(ofZone(t, r)) != 2*int(model) {
			t.Errorf("model %v: afterwards %v stand by, of %d keys", model, next, len(ofZone(t, r)))
		}
	}
}

// TestAlgorithmIsReplaced: signatures first, then keys, then the DS, and back in
// the other order; over restarts.
func TestAlgorithmIsReplaced(t *testing.T) {
	t.Parallel()
	for _, model := range []signer.Model{signer.CSK, signer.KSKZSK} {
		p := policies()[0]
		p.Model, p.Roll = model, RollPolicy{CDS: true}
		b, r, at := rollBench(t, p)
		first := ofZone(t, r)
		b.pass(3*day, 6*time.Hour, func() { b.keysServed(); at.followCDS(b) })
		if len(at.ds) != 1 {
			t.Fatalf("the parent has %v", at.ds)
		}
		next := p
		next.Algorithm = dnssec.ED25519
		if err := b.a.Roll(t.Context(), Roll{Zone: "example.test", Algorithm: dnssec.ED25519}); !declined(err, ReasonOther) {
			t.Errorf("a roll to what is not the policy's: %v", err)
		}
		b.cfg.Sign = &next
		if err := b.a.Reconfigure(t.Context(), b.cfg); err != nil {
			t.Fatal(err)
		}
		b.pass(2*day, 6*time.Hour, func() {
			if f := b.keysServed(); len(f.uses) != len(first) {
				t.Errorf("nobody asked for a roll: %v", f.uses)
			}
		})
		if s := b.status("external", "example.test."); !slices.ContainsFunc(s.Keys.Alarms, func(a rollover.Alarm) bool { return a.Reason == rollover.ReasonPolicy }) {
			t.Errorf("nobody is told that the keys are others: %+v", s.Keys)
		}
		if err := b.a.Roll(t.Context(), Roll{Zone: "example.test", Algorithm: dnssec.ED25519}); err != nil {
			t.Fatal(err)
		}
		hidden, tries := false, 0
		b.pass(25*day, 6*time.Hour, func() {
			f := b.keysServed()
			hidden = hidden || len(outside(f.uses)) > 0
			at.followCDS(b)
			if tries++; tries%13 == 0 {
				b.start()
			}
		})
		uses := b.keysServed().uses
		for _, k := range first {
			if u, still := uses[k.Tag]; still {
				t.Errorf("key %d still: %s", k.Tag, dnssec.Use(u))
			}
		}
		if len(uses) != len(first) || !hidden || len(at.ds) != 1 || at.ds[0].Algorithm != dnssec.ED25519 {
			t.Errorf("keys %v, signatures ahead %v, the parent has %v", uses, hidden, at.ds)
		}
		if err := b.a.Roll(t.Context(), Roll{Zone: "example.test", Algorithm: dnssec.ED25519}); !declined(err, ReasonNoKeys) {
			t.Errorf("a roll to what is there: %v", err)
		}
	}
}

func declined(err error, reason string) bool {
	d := (*Declined)(nil)
	return errors.As(err, &d) && d.Reason == reason
}

// TestDisable: first the DS goes, then, when nobody can have it, the signatures;
// and not before that by a change of the configuration.
func TestDisable(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	p.Roll = RollPolicy{CDS: true}
	b, r, at := rollBench(t, p)
	at.set(rollover.Secure, dsOf(t, ofZone(t, r)[0]))
	b.pass(3*day, 6*time.Hour, func() { b.keysServed() })
	b.cfg.Sign = nil
	if err := b.a.Reconfigure(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
	off := Apply{Zones: []string{"example.test"}, Accept: []string{LosesSignatures}, Who: "admin", Why: "test"}
	if _, err := b.a.Apply(t.Context(), off); !declined(err, ReasonDS) {
		t.Fatalf("off under a DS: %v", err)
	}
	b.keysServed()
	b.cfg.Sign = &p
	if err := b.a.Reconfigure(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
	for _, undo := range []bool{false, true, false} {
		if err := b.a.Disable(t.Context(), "example.test", undo, "test"); err != nil {
			t.Fatal(err)
		}
		b.pass(2*day, 6*time.Hour, func() { b.keysServed() }) // the parent does nothing
	}
	if f := b.keysServed(); !f.delete {
		t.Errorf("the parent is not asked: %+v", f)
	}
	if err := b.a.Roll(t.Context(), Roll{Zone: "example.test"}); !declined(err, ReasonOther) {
		t.Errorf("a roll of a zone that goes insecure: %v", err)
	}
	at.followCDS(b)
	for _, left := range []time.Duration{0, time.Hour} { // the TTL of the DS
		b.later(left)
		b.tick()
		b.keysServed()
	}
	b.pass(2*day, 6*time.Hour, func() {})
	unsigned := func() {
		t.Helper()
		for _, view := range []string{"external", "internal"} {
			if f := showing(b.zone(view, "example.test")); len(f.uses) > 0 || f.delete {
				t.Errorf("view %s: %+v", view, f)
			}
		}
	}
	unsigned()
	b.start()
	b.pass(30*day, 5*day, unsigned)
	if err := b.a.Disable(t.Context(), "example.test", true, "test"); err != nil {
		t.Fatal(err)
	}
	b.keysServed()
}

// TestStepIsWrittenFirst: what cannot be written down is not done, and the zone
// is kept signed as it was.
func TestStepIsWrittenFirst(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	b, r, _ := rollBench(t, p)
	b.pass(2*day, 12*time.Hour, func() { b.keysServed() })
	was := b.keysServed()
	r.keep = errors.New("the disk is full")
	if err := b.a.Roll(t.Context(), Roll{Zone: "example.test"}); err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("%v", err)
	}
	b.pass(20*day, day, func() {
		if f := b.keysServed(); !f.showsPlan(&rollover.Plan{Uses: was.uses, CDS: was.cds}) {
			t.Errorf("keys are %v, were %v", f.uses, was.uses)
		}
	})
	r.keep = nil
	if err := b.a.Roll(t.Context(), Roll{Zone: "example.test"}); err != nil {
		t.Error(err)
	}
	b.pass(day, 6*time.Hour, func() {})
	if f := b.keysServed(); len(f.uses) < 2 {
		t.Errorf("%v", f.uses)
	}
}

// TestStepInAllViews: where a view cannot be signed, no view takes a step, and
// the others go on with the keys that they have.
func TestStepInAllViews(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	p.Roll = RollPolicy{CDS: true}
	b, _, _ := rollBench(t, p)
	b.pass(2*day, 12*time.Hour, func() { b.keysServed() })
	was := b.keysServed()
	// An expiry beyond the validity keeps the internal view from being signed.
	short := p
	short.Validity = 20 * day
	b.cfg.Sign = &short
	if err := b.a.Reconfigure(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
	b.write("internal/example.test.zone", "@ 3600 SOA ns1 host 1 3600 900 3000000 300\ninner A 10.0.0.1\n")
	b.settle()
	if s := b.status("internal", "example.test."); s.Reason != ReasonSign {
		t.Fatalf("%+v", s)
	}
	if err := b.a.Roll(t.Context(), Roll{Zone: "example.test"}); err != nil {
		t.Fatal(err)
	}
	b.write("external/example.test.zone", signable+"new A 192.0.2.99\n")
	b.settle()
	b.want("external", "new.example.test.", "192.0.2.99")
	if f := showing(b.zone("external", "example.test")); !f.showsPlan(&rollover.Plan{Uses: was.uses, CDS: was.cds}) {
		t.Errorf("outside keys are %v, were %v", f.uses, was.uses)
	}
	b.write("internal/example.test.zone", "inner A 10.0.0.1\n")
	b.settle()
	if f := b.keysServed(); len(f.uses) < 2 {
		t.Errorf("%v", f.uses)
	}
}

// TestSecondaryLags: a key that a secondary does not have yet is not signed
// with; one that does not answer at all is waited for an hour, and told of.
func TestSecondaryLags(t *testing.T) {
	t.Parallel()
	for _, dead := range []bool{false, true} {
		p := policies()[2]
		b, r, at := newBench(t), newRing(t), &parent{security: rollover.Insecure}
		began := time.Now().Truncate(time.Second)
		wall := began
		b.wall = &wall
		b.cfg.Sign, b.cfg.Keys = &p, r
		b.tellTime()
		b.cfg.Up = func() time.Duration { return b.cfg.Now().Sub(began) }
		b.cfg.Parent = at.look(b.cfg.Now)
		var mu sync.Mutex // guards has
		has := Secondary{Zone: exampleTest, View: "external", Name: "isp"}
		b.cfg.Secondaries = func() []Secondary {
			mu.Lock()
			defer mu.Unlock()
			if !dead {
				has.Answered = b.cfg.Now()
			}
			return []Secondary{has}
		}
		catchUp := func() {
			serial := b.zone("external", "example.test").Serial()
			mu.Lock()
			defer mu.Unlock()
			has.Serial = serial
		}
		b.write("external/example.test.zone", signable)
		b.write("internal/example.test.zone", "inner A 10.0.0.1\n")
		b.start()
		catchUp()
		b.pass(2*day, 6*time.Hour, func() { b.keysServed(); catchUp() })
		first := ofZone(t, r)
		if err := b.a.Roll(t.Context(), Roll{Zone: "example.test", Which: rollover.Signers}); err != nil {
			t.Fatal(err)
		}
		waits := func() bool {
			return usesText(b.keysServed().uses, first) == "ksk: in set, signs keys; zsk: in set, signs data; new: in set"
		}
		if !waits() {
			t.Fatal(usesText(b.keysServed().uses, first))
		}
		silent := func() bool {
			return slices.ContainsFunc(b.status("external", "example.test.").Keys.Alarms, func(a rollover.Alarm) bool { return a.Reason == rollover.ReasonSilent })
		}
		told := false
		b.pass(day, time.Hour, func() { told = told || silent() })
		if waits() == dead || told != dead {
			t.Errorf("dead %v: it waits %v, told %v: %s", dead, waits(), told, b.status("external", "example.test.").Keys.Next)
		}
		catchUp()
		b.pass(day, 6*time.Hour, func() { b.keysServed(); catchUp() })
		if waits() {
			t.Errorf("dead %v: it waits on", dead)
		}
	}
}
