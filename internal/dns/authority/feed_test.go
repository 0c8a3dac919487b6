package authority

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// fedBench has example.test come by transfers into the external view; the
// internal one lies over it.
func fedBench(t *testing.T) *bench {
	b := newBench(t)
	at := time.Now().Truncate(time.Second)
	b.wall = &at
	b.tellTime()
	b.cfg.Views[1].Fed = []string{"example.test"}
	return b
}

// tellTime makes b.later what moves the clock: also while somebody looks at it.
func (b *bench) tellTime() {
	var now atomic.Pointer[time.Time]
	now.Store(b.wall)
	b.cfg.Now = func() time.Time { return *now.Load() }
	b.later = func(d time.Duration) {
		at := b.wall.Add(d)
		b.wall = &at
		now.Store(b.wall)
	}
}

// primary is what the zone file says, with that serial.
func primary(t *testing.T, text string, serial uint32) *zone.Zone {
	t.Helper()
	records, problems := zonefile.Parse(strings.NewReader(text), "primary", exampleTest, zonefile.Options{})
	for _, p := range problems {
		t.Logf("%v", p)
	}
	build := zone.NewBuilder(exampleTest)
	for _, r := range records {
		if err := build.AddNormal(r.RR); err != nil {
			t.Fatal(err)
		}
	}
	z, err := build.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z.WithSerial(serial)
}

func allOf(z *zone.Zone) []dns.RR {
	all := []dns.RR{z.SOA()}
	for node := range z.Nodes() {
		for _, set := range node.Sets {
			if set.Type != dns.TypeSOA {
				all = append(all, set.RRs...)
			}
		}
	}
	return all
}

func (b *bench) full(view string, z *zone.Zone) error {
	return b.a.Take(b.t.Context(), exampleTest, view, Transfer{SOA: z.SOA(), Full: allOf(z), Expires: b.wall.Add(time.Hour), From: "hidden"})
}

func (b *bench) delta(view string, states ...*zone.Zone) error {
	t := Transfer{SOA: states[len(states)-1].SOA(), Expires: b.wall.Add(time.Hour), From: "hidden"}
	for i := range states[1:] {
		t.Deltas = append(t.Deltas, zone.NewDelta(states[i], states[i+1]))
	}
	return b.a.Take(b.t.Context(), exampleTest, view, t)
}

// wantFed says that the view serves exactly what the primary has.
func (b *bench) wantFed(view string, z *zone.Zone) {
	b.t.Helper()
	got := b.zone(view, "example.test")
	if removed, added := zone.Diff(got, z); len(removed)+len(added) > 0 {
		b.t.Fatalf("%s: %v are served and not the primary's, %v lack", view, removed, added)
	}
	h, ok := b.a.Held(exampleTest, view)
	if !ok || h.Expired || h.SOA.Serial != z.Serial() || !h.Expires.After(*b.wall) {
		b.t.Fatalf("held: %+v", h)
	}
	if s := b.status(view, "example.test."); s.State != OK || !s.Secondary || s.ServedSerial != z.Serial() || s.FileSerial != z.Serial() || s.File != "" {
		b.t.Fatalf("%+v", s)
	}
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func wantUnfit(t *testing.T, err error, reason, says string) {
	t.Helper()
	u := (*Unfit)(nil)
	if !errors.As(err, &u) || u.Reason != reason || !strings.Contains(u.Error(), says) {
		t.Errorf("%v, want %s %q", err, reason, says)
	}
}

func TestFedZoneWaits(t *testing.T) {
	t.Parallel()
	b := fedBench(t)
	b.cfg.Manual, b.cfg.Strict = true, true // of no meaning for others' zones
	b.write("internal/example.test.zone", "inner A 10.0.0.1\n")
	b.start()
	for range 2 {
		b.wantState("external", Waiting, "not-transferred")
		if !b.failed("external", "www.example.test") || b.a.Table().Named("external").HasExpired(exampleTest, dns.TypeA) {
			t.Error("it is not SERVFAIL, or said to have expired")
		}
		if _, ok := b.a.Held(exampleTest, "external"); ok {
			t.Error("something is held")
		}
		if err := b.delta("external", primary(t, external, 1), primary(t, external, 2)); !errors.Is(err, zone.ErrMisfit) {
			t.Errorf("deltas to nothing: %v", err)
		}
		if z, _ := b.a.Content(exampleTest, "external"); z != nil {
			t.Error("there is content")
		}
		b.start()
	}
	one := primary(t, external, 4)
	b.ok(b.full("external", one))
	b.wantFed("external", one)
	b.start()
	b.wantFed("external", one)
}

// TestFedZoneFollows: whole, step by step, several steps at once, backwards,
// and after a restart; a bad one changes nothing.
func TestFedZoneFollows(t *testing.T) {
	t.Parallel()
	b := fedBench(t)
	var changed []uint32
	b.cfg.Changed = func(_ name.Name, view string, serial uint32) {
		if view == "external" {
			changed = append(changed, serial)
		}
	}
	b.start()
	v := func(address string, serial uint32) *zone.Zone {
		return primary(t, strings.Replace(external, "192.0.2.80", address, 1), serial)
	}
	b.ok(b.full("external", v("192.0.2.1", 4_000_000_000)))
	b.ok(b.delta("external", v("192.0.2.1", 4_000_000_000), v("192.0.2.2", 4_000_000_001)))
	b.ok(b.delta("external", v("192.0.2.2", 4_000_000_001), v("192.0.2.3", 4_000_000_002), v("192.0.2.4", 5)))
	b.wantFed("external", v("192.0.2.4", 5))
	b.want("internal", "www.example.test", "192.0.2.4")
	if _, deltas := b.a.Content(exampleTest, "external"); len(deltas) != 2 {
		t.Errorf("%d deltas for secondaries", len(deltas))
	}
	if n := b.a.Counters.Amended.Value(); n == 0 {
		t.Error("deltas are not taken at their price")
	}

	if err := b.delta("external", v("192.0.2.3", 5), v("192.0.2.5", 6)); !errors.Is(err, zone.ErrMisfit) {
		t.Errorf("a delta of something else: %v", err)
	}
	wantUnfit(t, b.full("external", primary(t, external+"www CNAME mail\n", 7)), "zone-unfit", "cname-other")
	wantUnfit(t, b.delta("external", v("192.0.2.4", 5), primary(t, strings.Replace(external, "192.0.2.80", "192.0.2.4", 1)+"www CNAME mail\n", 7)), "zone-unfit", "cname-other")
	b.wantState("external", LastGood, "cname-other")
	b.want("external", "www.example.test", "192.0.2.4")
	if err := b.a.Take(t.Context(), exampleTest, "external", Transfer{Full: allOf(v("x.", 7))[1:]}); err == nil {
		t.Error("a zone without SOA is taken")
	}
	b.ok(b.full("external", v("192.0.2.4", 5))) // the same again, as it should be
	b.wantFed("external", v("192.0.2.4", 5))

	b.ok(b.full("external", v("192.0.2.9", 2))) // backwards
	b.wantFed("external", v("192.0.2.9", 2))
	if _, deltas := b.a.Content(exampleTest, "external"); len(deltas) != 0 {
		t.Errorf("%d deltas lead to a serial that is behind", len(deltas))
	}
	b.start()
	b.wantFed("external", v("192.0.2.9", 2))
	b.ok(b.delta("external", v("192.0.2.9", 2), v("192.0.2.10", 3)))
	b.wantFed("external", v("192.0.2.10", 3))
	want := []uint32{4_000_000_000, 4_000_000_001, 5, 2, 2, 3}
	if !slices.Equal(changed, want) {
		t.Errorf("told of %v, want %v", changed, want)
	}
	history, err := b.a.History(t.Context(), "example.test", "")
	if err != nil || len(history) != 5 || history[0].Who != "transfer" || history[0].Why != "from hidden" || history[1].Serial != 2 {
		t.Errorf("%v %+v", err, history)
	}
}

// TestFedZoneExpires: SERVFAIL in its view and where something lies over it,
// also after a restart, until a primary vouches for it or brings another.
func TestFedZoneExpires(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"expire", "restart"} {
		for _, back := range []string{"fresh", "transfer"} {
			t.Run(way+" "+back, func(t *testing.T) {
				t.Parallel()
				way := way // it is changed below
				b := fedBench(t)
				b.cfg.Views = append(b.cfg.Views, ViewConfig{Name: "shown", Overlay: "external"}, ViewConfig{Name: "copy", Dir: b.cfg.Views[0].Dir, Overlay: "external", Full: []string{"example.test"}})
				b.write("internal/example.test.zone", external+"inner A 10.0.0.1\n")
				b.start()
				one := primary(t, external, 4)
				b.ok(b.full("external", one))
				// A check in between moves the expiry, and that is remembered.
				b.later(time.Minute)
				b.ok(b.a.Fresh(t.Context(), exampleTest, "external", b.wall.Add(2*time.Hour)))
				b.start()
				b.later(2*time.Hour - time.Second)
				b.start()
				b.wantFed("external", one)
				b.later(time.Second)
				if way == "expire" {
					b.ok(b.a.Expire(t.Context(), exampleTest, "external"))
				}
				for range 2 {
					if way == "restart" {
						b.start()
					}
					b.wantState("external", Expired, "zone-expired")
					b.wantState("internal", Expired, "base-failed")
					for _, view := range []string{"external", "internal", "shown"} {
						if !b.failed(view, "www.example.test") || !b.a.Table().Named(view).HasExpired("\x03www\x07example\x04test\x00", dns.TypeA) {
							t.Errorf("%s goes on", view)
						}
						if z, _ := b.a.Content(exampleTest, view); z != nil {
							t.Errorf("%s gives it to secondaries", view)
						}
					}
					b.want("copy", "www.example.test", "192.0.2.80")
					if h, ok := b.a.Held(exampleTest, "external"); !ok || !h.Expired || h.SOA.Serial != 4 {
						t.Errorf("held: %+v", h)
					}
					way = "restart"
				}
				if back == "fresh" {
					b.ok(b.a.Fresh(t.Context(), exampleTest, "external", b.wall.Add(time.Hour)))
				} else {
					one = primary(t, external+"new A 192.0.2.7\n", 3)
					b.ok(b.full("external", one))
				}
				b.wantFed("external", one)
				b.want("internal", "inner.example.test", "10.0.0.1")
				if s := b.status("internal", "example.test."); s.State != OK {
					t.Errorf("%+v", s)
				}
				b.want("shown", "www.example.test", "192.0.2.80")
				b.start()
				b.wantFed("external", one)
			})
		}
	}
}

// TestOverlayFollowsATransfer: what lies over a fed zone follows it with a
// serial that never goes back, and a fed zone lies over nothing.
func TestOverlayFollowsATransfer(t *testing.T) {
	t.Parallel()
	b := fedBench(t)
	b.write("internal/example.test.zone", "www A 10.0.0.1\n")
	b.start()
	b.wantState("internal", Waiting, "base-failed")
	b.ok(b.full("external", primary(t, external, 40)))
	b.want("internal", "www.example.test", "10.0.0.1")
	b.want("external", "www.example.test", "192.0.2.80")
	before := b.zone("internal", "example.test").Serial()
	b.ok(b.full("external", primary(t, external+"more A 192.0.2.6\n", 30)))
	b.want("internal", "more.example.test", "192.0.2.6")
	if now := b.zone("internal", "example.test").Serial(); !zone.SerialLess(before, now) {
		t.Errorf("serial %d after %d", now, before)
	}

	in := newBench(t)
	in.wall = b.wall
	in.cfg.Now = b.cfg.Now
	in.cfg.Views[0].Fed = []string{"example.test"}
	in.write("external/example.test.zone", external)
	in.start()
	if !in.failed("internal", "www.example.test") {
		t.Error("the external zone shows through")
	}
	inner := primary(t, "@ 60 SOA ns admin 3 1 1 1 1\n@ 60 NS ns\nns 60 A 10.0.0.53\nwww 60 A 10.0.0.80\n", 3)
	in.ok(in.full("internal", inner))
	in.wantFed("internal", inner)
	in.write("external/example.test.zone", external+"more A 192.0.2.6\n")
	in.settle()
	in.want("external", "more.example.test", "192.0.2.6")
	in.wantFed("internal", inner)
}

// TestFileBecomesFedAndBack: what the file made serves until the first
// transfer, though that have the same serial; what a transfer brought, until
// it is removed.
func TestFileBecomesFedAndBack(t *testing.T) {
	t.Parallel()
	b := fedBench(t)
	fed := b.cfg.Views[1].Fed
	b.cfg.Views[1].Fed = nil
	b.write("external/example.test.zone", external)
	b.start()
	reconfigure := func(fed []string) {
		t.Helper()
		cfg := b.cfg
		cfg.Views = slices.Clone(cfg.Views)
		cfg.Views[1].Fed = fed
		b.cfg = cfg
		b.ok(b.a.Reconfigure(t.Context(), cfg))
	}
	reconfigure(fed)
	for range 2 {
		b.want("external", "www.example.test", "192.0.2.80")
		b.wantState("external", LastGood, "not-transferred")
		if _, ok := b.a.Held(exampleTest, "external"); ok {
			t.Error("a file is taken for a transfer")
		}
		wantLines(t, b.faults(), "external/example.test.zone:1:1: ERR file-passed-over view external: the file is passed over: zone example.test. comes from its primaries")
		b.start()
	}
	one := primary(t, strings.Replace(external, "192.0.2.80", "192.0.2.81", 1), 10)
	b.ok(b.full("external", one))
	b.wantFed("external", one)
	b.start()
	b.wantFed("external", one)

	wantDeclined(t, b.removed(), ReasonFed)
	_, err := b.a.Rollback(t.Context(), Rollback{Zone: "example.test"})
	wantDeclined(t, err, ReasonFed)
	if err := b.a.Publish(t.Context(), "_dmarc.example.test", "x", []string{"v=DMARC1"}); !isRefusal(err, ReasonFed) {
		t.Errorf("a record of ours in others' zone: %v", err)
	}
	if plans := b.plan("example.test"); len(plans) != 0 {
		t.Errorf("%+v", plans)
	}

	b.remove("external/example.test.zone")
	reconfigure(nil)
	b.wantState("external", Missing, "file-missing")
	b.want("external", "www.example.test", "192.0.2.81")
	if err := b.full("external", one); !errors.Is(err, ErrNotFed) {
		t.Errorf("taken all the same: %v", err)
	}
	if err := b.a.Fresh(t.Context(), exampleTest, "external", *b.wall); !errors.Is(err, ErrNotFed) {
		t.Errorf("fresh: %v", err)
	}
	b.ok(b.removed())
	if _, err := b.a.Export("example.test", "external"); !errors.Is(err, ErrNoZone) {
		t.Errorf("%v", err)
	}
}

func (b *bench) removed() error {
	_, err := b.a.Remove(b.t.Context(), "example.test")
	return err
}

// TestSignerInTheMiddle: signed here, with serials of its own that never go
// back, be those of the primary what they are.
func TestSignerInTheMiddle(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	b, _ := signBench(t, p)
	b.remove("external/example.test.zone")
	b.stop()
	b.tellTime()
	b.cfg.Views[1].Fed, b.cfg.StateDir = []string{"example.test"}, filepath.Join(b.root, "fresh")
	b.start()
	one, two := primary(t, signable, 70), primary(t, signable+"new A 192.0.2.7\n", 71)
	b.ok(b.full("external", one))
	first := b.wantSigned(p)
	if first[0] != 70 {
		t.Errorf("first serial %d", first[0])
	}
	b.ok(b.delta("external", one, two))
	b.start()
	second := b.wantSigned(p)
	if h, ok := b.a.Held(exampleTest, "external"); !ok || h.SOA.Serial != 71 || second[0] != 71 {
		t.Errorf("held %+v, served %d", h, second[0])
	}
	b.ok(b.full("external", one.WithSerial(3))) // backwards
	third := b.wantSigned(p)
	if third[0] != 72 || !zone.SerialLess(second[1], third[1]) {
		t.Errorf("served %d", third)
	}
	b.later(20 * day) // signed anew, though nobody brought anything
	b.scan()
	fourth := b.wantSigned(p)
	b.ok(b.delta("external", one.WithSerial(3), two.WithSerial(4)))
	fifth := b.wantSigned(p)
	if fourth[0] != 73 || fifth[0] != 74 {
		t.Errorf("served %d and %d", fourth, fifth)
	}
	b.want("external", "new.example.test", "192.0.2.7")
	wantUnfit(t, b.full("external", primary(t, signable+"@ DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==\n", 9)), "zone-unfit", "presigned")

	// Without its policy it keeps its signatures until somebody means it.
	b.cfg.Sign = nil
	b.start()
	b.wantState("external", Planned, "loses-signatures")
	b.ok(b.delta("external", two.WithSerial(4), one.WithSerial(5)))
	b.wantSigned(p)
	wantDeclined(t, b.apply(Apply{Zones: []string{"example.test"}}), ReasonAccept)
	b.ok(b.apply(Apply{Zones: []string{"example.test"}, Accept: []string{LosesSignatures}, Why: "it is signed elsewhere"}))
	b.wantFed("external", one.WithSerial(5))
}

// TestTakeOnABrokenDisk: at each step of the journal an error, and then a
// restart: what is served is the old state or the new one, whole.
func TestTakeOnABrokenDisk(t *testing.T) {
	t.Parallel()
	one, two := primary(t, external, 4), primary(t, external+"new A 192.0.2.7\n", 3)
	for step := 0; ; step++ {
		b := fedBench(t)
		b.start()
		b.ok(b.full("external", one))
		count, broken := 0, true
		b.cfg.Writer = atomicfile.Writer{Fault: func(atomicfile.Step) error {
			if count++; broken && count == step+1 {
				return errors.New("the disk is full")
			}
			return nil
		}}
		b.start()
		count = 0
		err := b.full("external", two)
		if count <= step {
			b.ok(err)
			if step == 0 {
				t.Fatal("no step failed")
			}
			return
		}
		if err != nil {
			wantUnfit(t, err, "journal-write", "disk is full")
			b.want("external", "new.example.test", "")
		}
		broken = false
		b.start()
		if b.zone("external", "example.test").Serial() == 4 {
			b.wantFed("external", one)
		} else {
			b.wantFed("external", two)
		}
		b.ok(b.full("external", two))
		b.wantFed("external", two)
		b.stop()
	}
}

// TestFedEdits: random steps, one by one and several at once, with restarts
// between: after each what is served is what the primary has, and so is what a
// secondary makes of the differences.
func TestFedEdits(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		b := fedBench(t)
		r := rand.New(rand.NewPCG(seed, 3))
		serial := r.Uint32()
		have := map[string]bool{}
		next := func() *zone.Zone {
			for range 1 + r.IntN(4) {
				owner := []string{"a", "*.a", "b.c.a", "d", `e\.f`, "Sub", "ns.sub", "x.dn"}[r.IntN(8)]
				line := fmt.Sprintf("%s %d TXT t%d\n", owner, 60*(1+r.IntN(2)), r.IntN(3))
				have[line] = !have[line]
			}
			serial += uint32(r.IntN(3) + 1)
			text := external
			for line, is := range have {
				if is {
					text += line
				}
			}
			return primary(t, text, serial)
		}
		b.start()
		last := next()
		b.ok(b.full("external", last))
		for i := range 40 {
			before, _ := b.a.Content(exampleTest, "external")
			states := []*zone.Zone{last}
			for range 1 + r.IntN(3) {
				states = append(states, next())
			}
			last = states[len(states)-1]
			if r.IntN(5) == 0 {
				b.ok(b.full("external", last))
			} else {
				b.ok(b.delta("external", states...))
			}
			b.wantFed("external", last)
			now, deltas := b.a.Content(exampleTest, "external")
			records := recordsOf(before)
			if d := deltas[len(deltas)-1]; d.From.Serial == before.Serial() {
				records = replay(t, records, d)
				if !slices.Equal(records, recordsOf(now)) {
					t.Fatalf("seed %d step %d: the difference leads elsewhere", seed, i)
				}
			}
			if r.IntN(8) == 0 {
				b.start()
				b.wantFed("external", last)
			}
		}
		b.stop()
	}
}

// TestLargeFedZoneCostsItsDelta: what a difference does not touch is the very
// same afterwards, in memory and on disk, and is not judged again at once.
func TestLargeFedZoneCostsItsDelta(t *testing.T) {
	t.Parallel()
	b := fedBench(t)
	var large strings.Builder
	large.WriteString(external)
	for i := range 6000 {
		fmt.Fprintf(&large, "h%d A 10.0.%d.%d\n", i, i/250, i%250)
	}
	b.start()
	last := primary(t, large.String(), 1)
	b.ok(b.full("external", last))
	n, _ := name.Parse("h3000.example.test")
	before, _ := b.a.Content(exampleTest, "external")
	for serial := uint32(2); serial < 6; serial++ {
		next := primary(t, large.String()+fmt.Sprintf("new A 192.0.2.%d\n", serial), serial)
		b.ok(b.delta("external", last, next))
		b.wantFed("external", next)
		last = next
		now, _ := b.a.Content(exampleTest, "external")
		if now.Node(n).Set(dns.TypeA).RRs[0] != before.Node(n).Set(dns.TypeA).RRs[0] {
			t.Fatal("a record that nobody touched is another one")
		}
		info, err := os.Stat(filepath.Join(b.root, "state/zones/example.test@external.snapshot"))
		if err != nil || info.Size() > 4096 {
			t.Fatalf("the difference takes %d octets (%v)", info.Size(), err)
		}
	}
	if n := b.a.Counters.Amended.Value(); n != 4 {
		t.Errorf("%d of 4 were amended", n)
	}
	b.start()
	b.wantFed("external", last)
}
