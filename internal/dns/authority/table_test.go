package authority

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// tiny is a zone of its own name with that serial.
func tiny(t *testing.T, origin string, serial uint32) *zone.Zone {
	t.Helper()
	n := mustName(t, origin)
	b := zone.NewBuilder(n)
	for _, text := range []string{"@ 60 SOA ns h 1 10 10 1000 10", "@ 60 NS ns", "ns 60 A 192.0.2.53"} {
		p := dns.NewZoneParser(strings.NewReader(text), origin+".", "")
		rr, ok := p.Next()
		if !ok {
			t.Fatal(p.Err())
		}
		if err := b.Add(rr); err != nil {
			t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z.WithSerial(serial)
}

func mustName(t *testing.T, text string) name.Name {
	t.Helper()
	n, err := name.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (b *bench) takeTiny(origin string, serial uint32) {
	b.t.Helper()
	z := tiny(b.t, origin, serial)
	b.ok(b.a.Take(b.t.Context(), z.Origin(), "external", Transfer{SOA: z.SOA(), Full: allOf(z), Expires: b.wall.Add(time.Hour), From: "hidden"}))
}

func (b *bench) wantTiny(view string, i int) {
	b.t.Helper()
	n := mustName(b.t, fmt.Sprintf("z%d.test", i))
	z, _ := b.a.Content(n, view)
	if of, _ := b.a.Table().Named(view).Zone(n, dns.TypeA); z == nil || z.Serial() != 7 || of == nil {
		b.t.Errorf("%s in %s: %v", n, view, z)
	}
}

// TestTransfersCostTheirZone: thousands of secondary zones that come one after
// the other cost that many zones, not that many tables of all: rows of tables
// are counted, and octets of the file of serials, which is not written for them.
func TestTransfersCostTheirZone(t *testing.T) {
	t.Parallel()
	zones := 500 // a disk takes its time for each
	b := fedBench(t)
	if dir, err := os.MkdirTemp("/dev/shm", "postern-test"); err == nil && os.Getenv("POSTERN_PROVE") != "" { // make prove
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		b.cfg.StateDir, zones = dir, 5_000
	}
	b.cfg.Views[1].Fed = nil
	for i := range zones {
		b.cfg.Views[1].Fed = append(b.cfg.Views[1].Fed, fmt.Sprintf("z%d.test", i))
	}
	changed := map[string]int{}
	b.cfg.Changed = func(_ name.Name, view string, _ uint32) { changed[view]++ }
	b.start()
	began := b.a.owner.laid
	for i := range zones {
		b.takeTiny(fmt.Sprintf("z%d.test", i), 7)
	}
	// The view that lies over it shows each of them too.
	if rows := b.a.owner.laid - began; rows != 2*zones {
		t.Errorf("%d rows were made for %d transfers", rows, zones)
	}
	if changed["external"] != zones || changed["internal"] != zones {
		t.Errorf("told of %v", changed)
	}
	for _, view := range []string{"internal", "external"} {
		b.wantTiny(view, zones-1)
	}
	if n := len(b.a.Zones()); n != zones {
		t.Errorf("%d zones in the status", n)
	}
	b.start() // what came is here at once
	b.wantTiny("internal", zones/2)
}

// seen is all that readers can see of a (zone, view).
type seen struct {
	zone    *zone.Zone
	deltas  int
	until   time.Time
	good    bool
	answers *answer.Zone
	has     bool
	expired bool
}

func (b *bench) seen(zones []string) (map[string]seen, []Status) {
	all := map[string]seen{}
	for _, v := range b.cfg.Views {
		for _, z := range zones {
			n := mustName(b.t, z)
			var s seen
			var deltas []zone.Delta
			s.zone, deltas = b.a.Content(n, v.Name)
			s.deltas = len(deltas)
			s.until, s.good = b.a.Good(n, v.Name)
			of := b.a.Table().ForPeers(v.Name)
			s.answers, _ = of.Zone(n, dns.TypeSOA)
			s.has, s.expired = b.a.Table().Named(v.Name).Has(n), of.HasExpired(n, dns.TypeSOA)
			all[v.Name+" "+z] = s
		}
	}
	return all, b.a.Zones()
}

// TestReplacedIsTabulated: what readers see after one zone was replaced is what
// they see after all were tabulated, whatever lies over it.
func TestReplacedIsTabulated(t *testing.T) {
	t.Parallel()
	b := fedBench(t)
	zones := []string{"shown.test", "laid.test", "copied.test", "inner.test", "hidden.test", "cat.test"}
	b.cfg.Views[1].Fed, b.cfg.Views[1].Private = slices.Clone(zones), []string{"cat.test"}
	b.cfg.Views[0].Fed, b.cfg.Views[0].Full, b.cfg.Views[0].Hide = []string{"inner.test"}, []string{"copied.test"}, []string{"ns.hidden.test"}
	b.cfg.Views = append(b.cfg.Views, ViewConfig{Name: "top", Overlay: "internal"})
	b.write("internal/laid.test.zone", "www 60 A 10.0.0.1\n")
	b.write("internal/copied.test.zone", "@ 60 SOA ns h 1 10 10 1000 10\n@ 60 NS ns\nns 60 A 10.0.0.53\n")
	b.start()
	random := rand.New(rand.NewPCG(1, 9))
	replaced := 0
	for i := range 150 {
		z := zones[random.IntN(len(zones))]
		n := mustName(t, z)
		before := b.a.state.Load()
		did := "take"
		switch _, held := b.a.Held(n, "external"); {
		case !held || random.IntN(3) == 0:
			b.takeTiny(z, uint32(random.IntN(1000)))
		case random.IntN(2) == 0:
			did = "expire"
			b.ok(b.a.Expire(t.Context(), n, "external"))
		default:
			did = "fresh"
			b.ok(b.a.Fresh(t.Context(), n, "external", b.wall.Add(time.Duration(1+i)*time.Hour)))
		}
		if b.a.state.Load() == before {
			replaced++
		}
		rows, states := b.seen(zones)
		b.ok(b.a.do(t.Context(), b.a.owner.tabulate))
		again, anew := b.seen(zones)
		for at, row := range rows {
			if !reflect.DeepEqual(row, again[at]) {
				t.Fatalf("%d: %s %s: of %s readers see %+v, and after all was tabulated %+v", i, did, z, at, row, again[at])
			}
		}
		for i := range states {
			if !reflect.DeepEqual(states[i], anew[i]) {
				t.Fatalf("%d: %s %s: readers see %+v, and after all was tabulated %+v", i, did, z, states[i], anew[i])
			}
		}
	}
	if replaced == 0 || replaced == 150 {
		t.Errorf("%d of 150 were replaced", replaced)
	}
}

// TestGood: how long a zone is good is known wherever it shows.
func TestGood(t *testing.T) {
	t.Parallel()
	b := fedBench(t)
	b.cfg.Views = append(b.cfg.Views, ViewConfig{Name: "shown", Overlay: "external"}, ViewConfig{Name: "above", Overlay: "internal"},
		ViewConfig{Name: "copy", Dir: b.cfg.Views[0].Dir, Overlay: "external", Full: []string{"example.test"}})
	b.write("internal/example.test.zone", external+"inner A 10.0.0.1\n")
	b.write("external/own.test.zone", strings.ReplaceAll(external, "example.test", "own.test"))
	b.start()
	b.ok(b.full("external", primary(t, external, 4)))
	want := b.wall.Add(time.Hour)
	for view, from := range map[string]bool{"external": true, "internal": true, "shown": true, "above": true, "copy": false} {
		if until, ok := b.a.Good(exampleTest, view); ok != from || ok && !until.Equal(want) {
			t.Errorf("%s: %v %t", view, until, ok)
		}
		if until, ok := b.a.Good(mustName(t, "own.test"), view); ok {
			t.Errorf("our own in %s: %v", view, until)
		}
	}
}
