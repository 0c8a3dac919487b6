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
	b.cfg.Sign, b.cfg.Keys, b.cfg.Now = &p, r, func() time.Time { return *b.wall }
	b.cfg.Up = func() time.Duration { return b.wall.Sub(began) }
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
		*b.wall = b.wall.Add(step)
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
			if look, err := b.a.cfg.Parent(b.t.Context(), n); err == nil && r.begun && !o.a.cfg.Now().Before(r.plan.Ask) {
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

// TestForeignDS: a zone whose parent has a DS that leads to no key here is not
// published signed, and says why; when the DS is gone it is.
func TestForeignDS(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	b, r, at := rollBench(t, p)
	b.stop()
	foreign := dsOf(t, ofZone(t, r)[0])
	foreign.KeyTag++
	b.cfg.StateDir = t.TempDir()
	b.cfg.Keys = newRing(t)
	at.set(rollover.Secure, foreign)
	b.start()
	if s := b.status("external", "example.test."); s.State != Failed || s.Reason != rollover.ReasonOrphanDS || !strings.Contains(s.Problem, "import example.test. KEYFILE") {
		t.Fatalf("%+v", s)
	}
	b.pass(2*day, 6*time.Hour, func() {
		if s := b.status("external", "example.test."); s.State != Failed {
			t.Fatalf("%+v", s)
		}
	})
	at.set(rollover.Insecure)
	b.pass(day, 6*time.Hour, func() {})
	b.wantSigned(p)
}

// TestParentIsAway: a zone does not wait long to be signed first, and no key
// that the parent pointed at goes while nobody can look there.
func TestParentIsAway(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	p.Roll = RollPolicy{CDS: true}
	b, r, at := rollBench(t, p)
	key := ofZone(t, r)[0]
	at.set(rollover.Secure, dsOf(t, key))
	b.pass(3*day, 6*time.Hour, func() { b.keysServed() })
	if err := b.a.Roll(t.Context(), Roll{Zone: "example.test", Who: "test"}); err != nil {
		t.Fatal(err)
	}
	at.mu.Lock()
	at.err = errors.New("no route")
	at.mu.Unlock()
	b.pass(20*day, 6*time.Hour, func() {
		if u := b.keysServed().uses[key.Tag]; !dnssec.Use(u).Does(dnssec.InSet | dnssec.SignsKeys) {
			t.Fatalf("the old key: %s", dnssec.Use(u))
		}
	})
	at.mu.Lock()
	at.err = nil
	at.mu.Unlock()
	b.pass(14*day, 6*time.Hour, func() { b.keysServed(); at.followCDS(b) })
	if u, there := b.keysServed().uses[key.Tag]; there || len(ofZone(t, r)) > 2 {
		t.Errorf("the old key: %s", dnssec.Use(u))
	}
}
