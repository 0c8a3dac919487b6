package rollover

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func reasons(p Plan) (all []string) {
	for _, a := range p.Alarms {
		all = append(all, a.Reason)
	}
	return all
}

// secure is a good world with a zone whose DS is at the parent for long.
func secure(t *testing.T, p Policy) *good {
	t.Helper()
	g := newGood(t, p)
	g.run(4 * day)
	if len(g.ds) == 0 || len(g.plan.Alarms) > 0 {
		t.Fatalf("not secure: %+v", g.plan)
	}
	return g
}

func (g *good) advance(look Parent) Plan {
	g.s, g.plan = Advance(g.p, g.s, Seen{Up: g.now.Sub(begin()), Views: []View{g.serve}, Parent: look}, g.now)
	return g.plan
}

// TestNothingUnderAnotherDS: a validated DS that leads to none of our keys, or a
// parent of which nothing is known, keeps a zone from being signed.
func TestNothingUnderAnotherDS(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		look  Parent
		after time.Duration
		want  string
	}{
		"never asked":        {Parent{}, 0, ReasonParentUnknown},
		"never asked, later": {Parent{}, day, ReasonParentUnknown},
		"no answer":          {Parent{Security: Unknown}, 0, ReasonParentUnknown},
		"no answer for long": {Parent{Security: Unknown}, 11 * time.Minute, ""},
		"no DS":              {Parent{Security: Insecure}, 0, ""},
		"another's DS":       {Parent{Security: Secure, Orphans: []string{"1 13 2"}}, 0, ReasonOrphanDS},
		"bogus":              {Parent{Security: Bogus}, 0, ReasonParentBogus},
		"our DS":             {Parent{Security: Secure, Tags: []uint16{1}}, 0, ""},
		"ours and another's": {Parent{Security: Secure, Tags: []uint16{1}, Orphans: []string{"1 13 2"}}, 0, ReasonOrphanDS},
	} {
		g := newGood(t, Policy{Algorithm: 13})
		if err := g.s.Add(Key{Tag: 1, Role: CSK, Alg: 13, Made: begin()}, nil); err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Duration{0, c.after} {
			g.now = begin().Add(at)
			if name != "never asked" && name != "never asked, later" {
				c.look.At = g.now
			}
			g.advance(c.look)
		}
		if g.plan.Hold != c.want || (len(g.plan.Uses) == 0) != (c.want != "") {
			t.Errorf("%s: hold %q, uses %v, want %q", name, g.plan.Hold, g.plan.Uses, c.want)
		}
		if c.want != "" && (g.plan.Ask.IsZero() || strings.HasPrefix(g.plan.Next, "nothing")) {
			t.Errorf("%s: asks at %v, next %q", name, g.plan.Ask, g.plan.Next)
		}
	}
}

// TestNoStepUnderDoubt: with a roll ready for its next step none is taken while
// the parent is bogus or has a DS that leads nowhere; all else goes on.
func TestNoStepUnderDoubt(t *testing.T) {
	t.Parallel()
	for name, look := range map[string]Parent{
		ReasonParentBogus: {Security: Bogus},
		ReasonOrphanDS:    {Security: Secure, Tags: []uint16{1}, TTL: day, Orphans: []string{"7 13 2"}},
	} {
		g := secure(t, Policy{Split: true, Algorithm: 13, CDS: true})
		g.s, _ = g.s.Roll(g.p, Signers, false)
		uses := g.plan.Uses
		look.At = g.now
		for range 5 {
			p := g.advance(look)
			if len(p.Make) > 0 || len(p.Steps) > 0 || !reflect.DeepEqual(p.Uses, uses) || !slices.Equal(p.CDS, []uint16{1}) {
				t.Errorf("%s: %+v", name, p)
			}
			if !slices.Contains(reasons(p), name) || p.Hold != "" {
				t.Errorf("%s: alarms %v, hold %q", name, reasons(p), p.Hold)
			}
			g.now = g.now.Add(day)
			look.At = g.now
		}
		g.run(10 * day)
		if !strings.Contains(strings.Join(g.steps, "\n"), "leaves") {
			t.Errorf("%s: it did not go on: %v", name, g.steps)
		}
	}
}

// TestOldLook: an old key goes only by a look of the last minutes.
func TestOldLook(t *testing.T) {
	t.Parallel()
	g := secure(t, Policy{Algorithm: 13, CDS: true})
	g.s, _ = g.s.Roll(g.p, All, false)
	var found Parent
	for range 2000 { // until the new DS, and it alone, was seen for long enough
		g.turn()
		g.now = g.now.Add(10 * time.Minute)
		if slices.Equal(g.ds, []uint16{2}) && g.s.Keys[0].DS.Since.After(begin()) && !g.s.Keys[0].DS.Seen && g.now.Sub(g.s.Keys[0].DS.Since) > 25*hour {
			break
		}
		found = Parent{At: g.now, Security: Secure, Tags: g.ds, TTL: day}
	}
	g.now = found.At
	g.advance(found)
	old := found.At
	g.now = g.now.Add(3 * day)
	for _, look := range []Parent{found, {At: g.now, Security: Unknown}, {At: g.now, Security: Bogus}} {
		if p := g.advance(look); p.Uses[1] == 0 || look.Security != Bogus && p.Ask.After(g.now.Add(lookAgain)) {
			t.Errorf("by a look of %s, now %s, %d: uses %v, asks at %s", old, g.now, look.Security, p.Uses, p.Ask)
		}
	}
	found.At = g.now
	if p := g.advance(found); p.Uses[1] != 0 {
		t.Errorf("by a fresh look: uses %v, next %q", p.Uses, p.Next)
	}
}

// TestParentGoesBackLate: the old key has left, and the parent names it again.
// It comes back, and goes once more when the parent has changed its mind.
func TestParentGoesBackLate(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]Policy{"same algorithm": {Algorithm: 13, CDS: true}, "another": {Algorithm: 15, CDS: true}} {
		g := secure(t, Policy{Algorithm: 13, CDS: true})
		g.p = to
		g.s, _ = g.s.Roll(g.p, All, false)
		g.run(5 * day)
		if _, there := g.plan.Uses[1]; there || len(g.s.Keys) != 2 {
			t.Fatalf("%s: the roll did not end: %+v", name, g.plan)
		}
		g.deaf, g.ds = true, []uint16{1}
		g.turn()
		if g.plan.Uses[1] != InSet|SignsKeys && name == "same algorithm" || g.plan.Uses[1] != InSet|SignsKeys|SignsData && name == "another" {
			t.Errorf("%s: the old key is not back: %v", name, g.plan.Uses)
		}
		g.run(4 * day)
		if !slices.Contains(reasons(g.plan), ReasonDSWaits) || !strings.Contains(g.plan.Next, "waits for DS") {
			t.Errorf("%s: alarms %v, next %q", name, reasons(g.plan), g.plan.Next)
		}
		g.deaf = false
		g.run(20 * day)
		if len(g.s.Keys) != 1 || len(g.plan.Alarms) > 0 {
			t.Errorf("%s: keys %v, alarms %v\n%s", name, g.s.Keys, g.plan.Alarms, strings.Join(g.steps, "\n"))
		}
	}
}

// TestDSGone: somebody takes the DS away in the middle of a roll. The old key
// stays, since it is the one that may come back.
func TestDSGone(t *testing.T) {
	t.Parallel()
	g := secure(t, Policy{Algorithm: 13, CDS: true})
	g.s, _ = g.s.Roll(g.p, All, false)
	g.deaf, g.ds = true, nil
	g.run(30 * day)
	if !slices.Contains(reasons(g.plan), ReasonDSGone) || g.plan.Uses[1] == 0 || g.plan.Uses[2] == 0 {
		t.Errorf("alarms %v, uses %v", reasons(g.plan), g.plan.Uses)
	}
	g.deaf = false
	g.run(30 * day)
	if g.plan.Uses[1] != 0 || g.plan.Uses[2] == 0 || len(g.plan.Alarms) > 0 {
		t.Errorf("afterwards: alarms %v, uses %v", reasons(g.plan), g.plan.Uses)
	}
}

// TestFirstSignatureWaits: one look that told nothing is not enough to sign a zone
// for the first time; the parent is asked again and again, and after a minute of
// that the zone is signed, and somebody told.
func TestFirstSignatureWaits(t *testing.T) {
	t.Parallel()
	g := newGood(t, Policy{Algorithm: 13})
	if err := g.s.Add(Key{Tag: 1, Role: CSK, Alg: 13, Made: begin()}, nil); err != nil {
		t.Fatal(err)
	}
	looks := 0
	for g.advance(Parent{}); g.plan.Hold != ""; looks++ {
		if g.plan.Hold != ReasonParentUnknown || !strings.HasSuffix(g.plan.Next, " at "+begin().Add(patience).Format(time.RFC3339)) {
			t.Fatalf("after %d looks: hold %q, next %q", looks, g.plan.Hold, g.plan.Next)
		}
		if g.now.Sub(begin()) > patience {
			t.Fatal("it is never signed")
		}
		g.now = later(g.plan.Ask, g.now)
		g.advance(Parent{At: g.now})
	}
	if looks < 9 || g.now.Sub(begin()) < patience || g.plan.Uses[1] == 0 || !slices.Contains(reasons(g.plan), ReasonParentUnknown) {
		t.Errorf("after %d looks, %s: uses %v, alarms %v", looks, g.now.Sub(begin()), g.plan.Uses, reasons(g.plan))
	}
	// From then on there is no hurry.
	if next := g.plan.Ask.Sub(g.now); next < lookAgain {
		t.Errorf("asked again after %s", next)
	}
}

// TestStandby: the key that stands by is told of, takes no part when keys go by
// their age, and goes when the policy has none any more; one that nobody made
// for that stays.
func TestStandby(t *testing.T) {
	t.Parallel()
	g := secure(t, Policy{Split: true, Algorithm: 13, CDS: true, Standby: true, ZSKLifetime: 30 * day})
	if by := g.s.StandBy(); !slices.Equal(by, []uint16{2, 4}) {
		t.Fatalf("standing by: %v of %v", by, g.s.Keys)
	}
	g.run(35 * day)
	if by := g.s.StandBy(); len(by) != 2 || by[0] != 2 || len(g.s.Keys) != 4 {
		t.Errorf("after a roll by age %v of %v stand by", by, g.s.Keys)
	}
	g.p.Standby, g.p.ZSKLifetime = false, 0
	g.run(30 * day)
	if by := g.s.StandBy(); len(by) != 0 || len(g.s.Keys) != 2 || !slices.Equal(g.ds, []uint16{1}) || len(g.plan.Alarms) > 0 {
		t.Errorf("without a standby policy %v of %v stand by, DS %v, alarms %v", by, g.s.Keys, g.ds, g.plan.Alarms)
	}
	g = secure(t, Policy{Algorithm: 13, CDS: true})
	g.s = g.s.Adopt(Key{Tag: 99, Role: CSK, Alg: 13, Made: begin()})
	g.run(30 * day)
	if len(g.s.Keys) != 2 || !slices.Equal(g.s.StandBy(), []uint16{99}) {
		t.Errorf("adopted: %v, standing by %v", g.s.Keys, g.s.StandBy())
	}
}

// TestCompromised: with a key standing by the data is signed by it at once, in
// the first version after the order; the old key is deleted as soon as it left.
func TestCompromised(t *testing.T) {
	t.Parallel()
	g := secure(t, Policy{Algorithm: 13, CDS: true, Standby: true})
	if !slices.Equal(g.ds, []uint16{1, 2}) || g.plan.Uses[2] != InSet|SignsKeys {
		t.Fatalf("no key stands by: DS %v, uses %v", g.ds, g.plan.Uses)
	}
	g.s, _ = g.s.Roll(g.p, All, true)
	g.turn()
	if g.plan.Uses[2] != InSet|SignsKeys|SignsData || g.plan.Uses[1] != InSet|SignsKeys {
		t.Errorf("uses %v", g.plan.Uses)
	}
	g.run(4 * day)
	if slices.ContainsFunc(g.s.Keys, func(k Key) bool { return k.Tag == 1 }) || !slices.Equal(g.ds, []uint16{2, 3}) {
		t.Errorf("keys %v, DS %v", g.s.Keys, g.ds)
	}
}

// TestDifferingKeys: keys that are not the policy's stay as they are until
// somebody rolls them all.
func TestDifferingKeys(t *testing.T) {
	t.Parallel()
	g := secure(t, Policy{Algorithm: 13, CDS: true})
	g.p = Policy{Split: true, Algorithm: 15, CDS: true, ZSKLifetime: day}
	g.run(10 * day)
	if !slices.Equal(reasons(g.plan), []string{ReasonPolicy}) || len(g.s.Keys) != 1 || g.plan.Uses[1] != InSet|SignsKeys|SignsData {
		t.Errorf("alarms %v, keys %v", reasons(g.plan), g.s.Keys)
	}
	if _, err := g.s.Roll(g.p, Signers, false); !errors.Is(err, ErrWhole) {
		t.Errorf("roll of one: %v", err)
	}
	var err error
	if g.s, err = g.s.Roll(g.p, All, false); err != nil {
		t.Fatal(err)
	}
	if _, err = g.s.Roll(g.p, All, false); !errors.Is(err, ErrUnder) {
		t.Errorf("roll during a roll: %v", err)
	}
	g.p.ZSKLifetime = 0
	g.run(20 * day)
	if len(g.s.Keys) != 2 || g.plan.Uses[2] != InSet|SignsKeys || g.plan.Uses[3] != InSet|SignsData {
		t.Errorf("keys %v, uses %v", g.s.Keys, g.plan.Uses)
	}
	if _, err := (State{}).Roll(g.p, All, false); !errors.Is(err, ErrNothing) {
		t.Errorf("roll of nothing: %v", err)
	}
	if _, err := g.s.Disable().Roll(g.p, All, false); !errors.Is(err, ErrInsecure) {
		t.Errorf("roll while going insecure: %v", err)
	}
}

// TestInsecure: the DS is asked away first, with CDS delete, and nothing else
// happens until it is gone from all caches.
func TestInsecure(t *testing.T) {
	t.Parallel()
	g := secure(t, Policy{Algorithm: 13, CDS: true})
	g.s, g.deaf = g.s.Disable(), true
	g.run(10 * day)
	if !g.plan.Delete || len(g.plan.CDS) > 0 || g.plan.Uses[1] != InSet|SignsKeys|SignsData || g.plan.Next != "waits for DS 1 to leave the parent" {
		t.Errorf("%+v", g.plan)
	}
	g.deaf = false
	g.steps = nil
	at := g.now
	g.run(3 * day)
	if !g.plan.Unsigned || g.plan.Delete || len(g.plan.Remove) > 0 || len(g.s.Keys) != 1 {
		t.Errorf("%+v", g.plan)
	}
	if want := at.Add(25 * hour).Sub(begin()).String(); len(g.steps) != 1 || g.steps[0] < want {
		t.Errorf("steps %v, after %s", g.steps, want)
	}
	g.s = g.s.Enable()
	g.run(3 * day)
	if g.plan.Unsigned || g.plan.Uses[1] != InSet|SignsKeys|SignsData || !slices.Equal(g.ds, []uint16{1}) {
		t.Errorf("signed again: %+v", g.plan)
	}
}

// TestAdopted: keys that the world knows go on, at once, under their DS.
func TestAdopted(t *testing.T) {
	t.Parallel()
	g := newGood(t, Policy{Split: true, Algorithm: 13, CDS: true})
	g.s = g.s.Adopt(Key{Tag: 7, Role: KSK, Alg: 13, Made: begin()}).Adopt(Key{Tag: 8, Role: ZSK, Alg: 13, Made: begin()})
	g.ds = []uint16{7}
	g.turn()
	if g.plan.Hold != "" || g.plan.Uses[7] != InSet|SignsKeys || g.plan.Uses[8] != InSet|SignsData || len(g.plan.Make) > 0 || len(g.plan.Alarms) > 0 {
		t.Errorf("%+v", g.plan)
	}
	g.s, _ = g.s.Roll(g.p, All, false)
	g.next = 20
	g.run(15 * day)
	if len(g.s.Keys) != 2 || !slices.Equal(g.ds, []uint16{20}) {
		t.Errorf("keys %v, DS %v\n%s", g.s.Keys, g.ds, strings.Join(g.steps, "\n"))
	}
}

// TestSignedBeforeAnythingWasWritten: a zone that is signed with keys that have
// no fields goes on being signed by them.
func TestSignedBeforeAnythingWasWritten(t *testing.T) {
	t.Parallel()
	g := newGood(t, Policy{Algorithm: 13, CDS: true})
	if err := g.s.Add(Key{Tag: 5, Role: CSK, Alg: 13, Made: begin().Add(-100 * day)}, nil); err != nil {
		t.Fatal(err)
	}
	g.serve.Uses, g.ds, g.next = map[uint16]Use{5: InSet | SignsKeys | SignsData}, []uint16{5}, 9
	g.turn()
	if g.plan.Uses[5] != InSet|SignsKeys|SignsData || len(g.plan.Alarms) > 0 || g.plan.Hold != "" || len(g.s.Keys) != 1 {
		t.Errorf("%+v", g.plan)
	}
	g.run(day)
	if !slices.Equal(g.plan.CDS, []uint16{5}) {
		t.Errorf("CDS %v, steps %v", g.plan.CDS, g.steps)
	}
}

// TestAdvanceLeavesItsStateAlone: what it is given may be asked with again.
func TestAdvanceLeavesItsStateAlone(t *testing.T) {
	t.Parallel()
	g := secure(t, Policy{Split: true, Algorithm: 13, CDS: true})
	g.s, _ = g.s.Roll(g.p, All, false)
	for range 40 {
		before := g.s.clone()
		seen := Seen{Up: g.now.Sub(begin()), Views: []View{g.serve}, Parent: Parent{At: g.now, Security: Secure, Tags: g.ds, TTL: day}}
		s1, p1 := Advance(g.p, g.s, seen, g.now)
		s2, p2 := Advance(g.p, g.s, seen, g.now)
		if !reflect.DeepEqual(before, g.s) || !reflect.DeepEqual(s1, s2) || !reflect.DeepEqual(p1, p2) {
			t.Fatal("the state was changed, or the answers differ")
		}
		g.run(hour)
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	key := &dns.DNSKEY{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeDNSKEY, Class: 1}, Flags: 257, Protocol: 3, Algorithm: 15,
		PublicKey: "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4="}
	ds := key.ToDS(dns.SHA256)
	ds.Hdr.Ttl = 300
	upper := *ds
	upper.Digest = strings.ToUpper(ds.Digest[:10]) + " " + strings.ToUpper(ds.Digest[10:])
	wrong := *ds
	wrong.Digest = strings.Repeat("00", 32)
	other := *ds
	other.Algorithm = 13
	for name, c := range map[string]struct {
		set     []*dns.DS
		tags    int
		orphans int
	}{
		"none": {nil, 0, 0}, "ours": {[]*dns.DS{ds}, 1, 0}, "twice": {[]*dns.DS{ds, key.ToDS(dns.SHA384), key.ToDS(dns.SHA1)}, 1, 0},
		"upper case": {[]*dns.DS{&upper}, 1, 0}, "wrong digest": {[]*dns.DS{&wrong}, 0, 1}, "other algorithm": {[]*dns.DS{ds, &other}, 1, 1},
		"unknown digest": {[]*dns.DS{{KeyTag: ds.KeyTag, Algorithm: 15, DigestType: 200, Digest: "00"}}, 0, 1},
	} {
		p := Match(begin(), Secure, c.set, []*dns.DNSKEY{key})
		if len(p.Tags) != c.tags || len(p.Orphans) != c.orphans || !p.At.Equal(begin()) {
			t.Errorf("%s: %+v", name, p)
		}
		if c.tags > 0 && name != "twice" && p.TTL != 300*time.Second {
			t.Errorf("%s: TTL %s", name, p.TTL)
		}
	}
}
