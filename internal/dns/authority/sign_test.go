package authority

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/attest"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/signer"
	"postern/internal/dns/zone"
)

// ring is keys in a directory of the test's own, and can fail.
type ring struct {
	*keyring.Ring
	dir  string
	err  error // of all it is asked for
	keep error // of what it is to write down
}

func newRing(t *testing.T) *ring {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	r, err := keyring.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &ring{Ring: r, dir: dir}
}

func (r *ring) Held(n name.Name) ([]keyring.Held, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.Ring.Held(n)
}

func (r *ring) SetFields(n name.Name, tag uint16, fields []keyring.Field) error {
	if err := cmp.Or(r.err, r.keep); err != nil {
		return err
	}
	return r.Ring.SetFields(n, tag, fields)
}

const signable = external + `*.wild	TXT wild
a.gap	A 192.0.2.7
sub	NS ns.sub
ns.sub	A 192.0.2.53
sec	NS ns.elsewhere.test.
sec	DS 4711 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
old	DNAME new.elsewhere.test.
`

func signBench(t *testing.T, p SignPolicy) (*bench, *ring) {
	b := newBench(t)
	r := newRing(t)
	at := time.Now().Truncate(time.Second)
	b.wall = &at
	b.cfg.Sign, b.cfg.Keys = &p, r
	b.tellTime()
	b.cfg.Up = func() time.Duration { return b.cfg.Now().Sub(at) }
	b.write("external/example.test.zone", signable)
	b.write("internal/example.test.zone", "inner A 10.0.0.1\n")
	b.start()
	return b, r
}

// wantSigned says that both views serve what validates, and returns the
// serials.
func (b *bench) wantSigned(p SignPolicy) (serials [2]uint32) {
	b.t.Helper()
	for i, view := range []string{"external", "internal"} {
		z := b.zone(view, "example.test")
		if problems := attest.Check(z, *b.wall, attest.Context{OptOut: p.OptOut, ZONEMD: p.ZONEMD, Workers: 1}); len(problems) > 0 {
			b.t.Fatalf("view %s: %v", view, problems)
		}
		if p.ZONEMD == (z.Node(z.Origin()).Set(dns.TypeZONEMD) == nil) || (p.Denial == signer.NSEC3) == (z.Node(z.Origin()).Set(dns.TypeNSEC3PARAM) == nil) {
			b.t.Fatalf("view %s is signed by another policy than %+v", view, p)
		}
		if s := b.status(view, "example.test."); s.Policy != p.Name || s.Expires.Sub(*b.wall) < 14*day || s.ServedSerial != z.Serial() {
			b.t.Fatalf("view %s: %+v", view, s)
		}
		serials[i] = z.Serial()
	}
	return serials
}

func policies() []SignPolicy {
	var all []SignPolicy
	for _, model := range []signer.Model{signer.CSK, signer.KSKZSK} {
		for _, denial := range []signer.Denial{signer.NSEC, signer.NSEC3} {
			all = append(all, SignPolicy{Name: fmt.Sprintf("p%d-%d", model, denial), Model: model, Algorithm: dnssec.ECDSAP256SHA256, Denial: denial, ZONEMD: true})
		}
	}
	return append(all, SignPolicy{Name: "opt-out", Model: signer.CSK, Algorithm: dnssec.ECDSAP256SHA256, Denial: signer.NSEC3, OptOut: true})
}

// TestSigned follows a zone of two views through its life, by each policy.
func TestSigned(t *testing.T) {
	t.Parallel()
	for _, p := range policies() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			b, r := signBench(t, p)
			first := b.wantSigned(p)
			if made := r.Counters.Created.Value(); made != uint64(p.Model) {
				t.Errorf("%d keys were made", made)
			}
			if inner := b.zone("external", "example.test").Node("\x05inner\x07example\x04test\x00"); inner != nil {
				t.Error("an internal name is outside")
			}

			b.scan()
			if again := b.wantSigned(p); again != first {
				t.Errorf("a look made serials %v of %v", again, first)
			}

			b.write("external/example.test.zone", signable+"new A 192.0.2.99\n")
			b.settle()
			edited := b.wantSigned(p)
			if !zone.SerialLess(first[0], edited[0]) || !zone.SerialLess(first[1], edited[1]) {
				t.Errorf("after an edit serials %v, before %v", edited, first)
			}
			_, deltas := b.a.Content(exampleTest, "external")
			if d := deltas[len(deltas)-1]; len(d.Added) > 14 || len(d.Removed) > 9 {
				t.Errorf("one new record takes away %v\nand brings %v", d.Removed, d.Added)
			}

			before := b.zone("external", "example.test")
			b.start()
			if again := b.wantSigned(p); again != edited {
				t.Errorf("a restart made serials %v of %v", again, edited)
			}
			if removed, added := zone.Diff(before, b.zone("external", "example.test")); len(removed)+len(added) > 0 {
				t.Errorf("a restart changed -%v +%v", removed, added)
			}

			b.later(5 * day)
			b.scan()
			refreshed := b.wantSigned(p)
			if !zone.SerialLess(edited[0], refreshed[0]) || !zone.SerialLess(edited[1], refreshed[1]) {
				t.Errorf("days later serials are %v, before %v", refreshed, edited)
			}
			b.stop()
			b.later(40 * day)
			b.start()
			b.wantSigned(p)
			if made := r.Counters.Created.Value(); made != uint64(p.Model) {
				t.Errorf("%d keys were made", made)
			}
		})
	}
}

// TestAnotherPolicy: what a reload changes, the zones are signed by at once.
func TestAnotherPolicy(t *testing.T) {
	t.Parallel()
	all := policies()
	b, _ := signBench(t, all[0])
	was := b.wantSigned(all[0])
	for _, p := range []SignPolicy{all[1], all[4], all[0]} {
		b.cfg.Sign = &p
		if err := b.a.Reconfigure(t.Context(), b.cfg); err != nil {
			t.Fatal(err)
		}
		now := b.wantSigned(p)
		if !zone.SerialLess(was[0], now[0]) || !zone.SerialLess(was[1], now[1]) {
			t.Errorf("policy %s: serials %v after %v", p.Name, now, was)
		}
		was = now
	}
}

// TestLosingSignatures: a zone that is signed does not become unsigned before
// somebody says that it is meant; until then its signatures are kept fresh.
func TestLosingSignatures(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	b, _ := signBench(t, p)
	was := b.wantSigned(p)
	b.cfg.Sign = nil
	if err := b.a.Reconfigure(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
	if s := b.status("external", "example.test."); s.State != Planned || s.Reason != LosesSignatures {
		t.Fatalf("%+v", s)
	}
	b.later(5 * day)
	b.scan()
	if now := b.wantSigned(p); !zone.SerialLess(was[0], now[0]) {
		t.Errorf("serials %v after %v", now, was)
	}
	b.start()
	b.later(5 * day)
	b.scan()
	b.wantSigned(p)
	wantDeclined(t, b.apply(Apply{Who: "eva"}), ReasonAccept)
	b.wantSigned(p)
	if err := b.apply(Apply{Who: "eva", Why: "the DS is gone", Accept: []string{LosesSignatures}}); err != nil {
		t.Fatal(err)
	}
	for _, view := range []string{"external", "internal"} {
		z := b.zone(view, "example.test")
		for node := range z.Nodes() {
			if node.Set(dns.TypeRRSIG) != nil || node.Set(dns.TypeDNSKEY) != nil {
				t.Fatalf("view %s: %s is signed", view, node.Name)
			}
		}
		if s := b.status(view, "example.test."); s.Policy != "" || !s.Expires.IsZero() || s.State != OK {
			t.Errorf("view %s: %+v", view, s)
		}
	}
}

// TestCannotSign: the zone stays as it was, says why, and goes on by itself.
func TestCannotSign(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	b, r := signBench(t, p)
	was := b.wantSigned(p)
	r.err = errors.New("the token does not answer")
	b.write("external/example.test.zone", signable+"new A 192.0.2.99\n")
	b.settle()
	if s := b.status("external", "example.test."); s.State != LastGood || s.Reason != ReasonSign || !strings.Contains(s.Problem, "token") {
		t.Errorf("%+v", s)
	}
	if now := b.zone("external", "example.test").Serial(); now != was[0] {
		t.Errorf("serial %d, want %d", now, was[0])
	}
	r.err = nil
	b.later(signAgain)
	b.scan()
	if s := b.status("external", "example.test."); s.State != OK {
		t.Errorf("%+v", s)
	}
	b.want("external", "new.example.test.", "192.0.2.99")
	b.wantSigned(p)

	presigned := signable + "@ DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==\n"
	b.write("external/example.test.zone", presigned)
	b.settle()
	if s := b.status("external", "example.test."); s.State != LastGood || s.Reason != reasonLint || !strings.Contains(s.Problem, "DNSKEY is made by signing") {
		t.Errorf("%+v", s)
	}
	was = b.wantSigned(p)
	b.later(13 * day) // what was accepted is signed anew all the same
	b.scan()
	if now := b.wantSigned(p); now[0] == was[0] {
		t.Errorf("serial %d still, %d days on", now[0], 13)
	}

	short := p
	short.Name, short.Validity = "short", 2*day
	b.cfg.Sign = &short
	if err := b.a.Reconfigure(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
	b.write("external/example.test.zone", signable)
	b.settle()
	if s := b.status("external", "example.test."); s.Reason != ReasonSign || !strings.Contains(s.Problem, "too short") {
		t.Errorf("%+v", s)
	}
}

// TestApplyCannotSign: who applies hears that it was signing that failed.
func TestApplyCannotSign(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	b, r := signBench(t, p)
	was := b.wantSigned(p)
	b.cfg.Manual = true
	if err := b.a.Reconfigure(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
	b.write("external/example.test.zone", signable+"new A 192.0.2.99\n")
	b.settle()
	r.err = errors.New("the token does not answer")
	_, err := b.a.Apply(t.Context(), Apply{Who: "admin", Why: "test"})
	d := (*Declined)(nil)
	if !errors.As(err, &d) || d.Reason != ReasonSign || !strings.Contains(d.Detail, "token") {
		t.Errorf("%v", err)
	}
	r.err = nil
	if now := b.wantSigned(p); now[0] != was[0] {
		t.Errorf("serial %d, want %d", now[0], was[0])
	}
	if _, err := b.a.Apply(t.Context(), Apply{Who: "admin", Why: "test"}); err != nil {
		t.Error(err)
	}
	b.want("external", "new.example.test.", "192.0.2.99")
}

func TestSigningNeedsKeys(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	for _, cfg := range []Config{{Sign: &p}, {Signing: map[string]*SignPolicy{"example.test": &p}}} {
		cfg.StateDir, cfg.Views = filepath.Join(t.TempDir(), "state"), []ViewConfig{{Name: "all", Clients: anyClient}}
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "without keys") {
			t.Errorf("%v", err)
		}
	}
}
