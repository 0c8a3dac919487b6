package authority

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
)

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

// TestFirstLookFails: a start before the network is up neither signs a zone of
// which the parent may have another DS, nor leaves it unsigned for long where
// nobody can be asked at all.
func TestFirstLookFails(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{true, false} {
		p := policies()[0]
		b, r, at := rollBench(t, p)
		b.stop()
		foreign := dsOf(t, ofZone(t, r)[0])
		foreign.KeyTag++
		b.cfg.StateDir, b.cfg.Keys = t.TempDir(), newRing(t)
		at.mu.Lock()
		at.err, at.asked = errors.New("no route"), 0
		at.mu.Unlock()
		b.start()
		began := *b.wall
		waits := func() {
			s := b.status("external", "example.test.")
			if s.State != Failed || s.Reason != rollover.ReasonParentUnknown || !strings.Contains(s.Problem, "or else at ") || !strings.Contains(s.Problem, "check_ds") {
				t.Fatalf("after %s: %+v", b.wall.Sub(began), s)
			}
		}
		waits()
		b.pass(54*time.Second, 6*time.Second, waits)
		if at.asked < 8 {
			t.Errorf("asked %d times in 54 s", at.asked)
		}
		if answers {
			at.mu.Lock()
			at.err, at.security, at.ds = nil, rollover.Secure, []*dns.DS{foreign}
			at.mu.Unlock()
			b.pass(10*time.Minute, 30*time.Second, func() {})
			if s := b.status("external", "example.test."); s.State != Failed || s.Reason != rollover.ReasonOrphanDS {
				t.Errorf("another's DS: %+v", s)
			}
			continue
		}
		b.pass(12*time.Second, 6*time.Second, func() {})
		b.wantSigned(p)
		if s := b.status("external", "example.test."); !slices.ContainsFunc(s.Keys.Alarms, func(a rollover.Alarm) bool { return a.Reason == rollover.ReasonParentUnknown }) {
			t.Errorf("nobody is told: %+v", s.Keys)
		}
	}
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

// TestParentIsAskedBeside: a zone that comes while others are served is signed
// as soon as its parent answered, and nobody waits for that.
func TestParentIsAskedBeside(t *testing.T) {
	t.Parallel()
	b, _, _ := rollBench(t, policies()[0])
	b.stop()
	second := name.Name("\x06second\x04test\x00")
	served, gate := make(chan bool, 1), make(chan bool)
	b.cfg.Changed = func(n name.Name, _ string, _ uint32) {
		if n == second {
			served <- true
		}
	}
	look := b.cfg.Parent
	b.cfg.Parent = func(ctx context.Context, n name.Name) (Parent, error) {
		if n == second {
			<-gate
		}
		return look(ctx, n)
	}
	b.start()
	if err := b.a.do(t.Context(), func() { b.a.owner.asks = 0 }); err != nil {
		t.Fatal(err)
	}
	b.write("external/second.test.zone", "@ 3600 SOA ns host 1 3600 900 604800 300\n@ NS ns\nns A 192.0.2.1\n")
	b.settle()
	if s := b.status("external", "second.test."); s.Reason != rollover.ReasonParentUnknown || s.State != Failed {
		t.Errorf("before the parent answers: %+v", s)
	}
	close(gate)
	select {
	case <-served:
	case <-time.After(20 * time.Second):
		t.Fatal("it is never served")
	}
	if s := b.status("external", "second.test."); s.State != OK || s.Policy == "" {
		t.Errorf("%+v", s)
	}
}
