package authority

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/attest"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
	"postern/internal/dns/rollover"
	"postern/internal/dns/zone"
)

const (
	kidTest = name.Name("\x03kid\x07example\x04test\x00")
	kidZone = "$TTL 300\n@ SOA ns admin 1 2h 1h 14d 5m\n@ NS ns\nns A 10.0.0.53\nwww A 10.0.0.80\n"
	kidCut  = "kid 600 NS ns.kid\nns.kid 600 A 10.0.0.53\n"
)

// kinBench has a signed zone and one below it, both here.
func kinBench(t *testing.T, p SignPolicy, files map[string]string) (*bench, *ring, *parent) {
	t.Helper()
	b, r, at := newBench(t), newRing(t), &parent{security: rollover.Insecure}
	began := time.Now().Truncate(time.Second)
	wall := began
	b.wall = &wall
	b.cfg.Sign, b.cfg.Keys, b.cfg.DeriveDS, b.cfg.DeriveSignals = &p, r, true, true
	b.tellTime()
	b.cfg.Up = func() time.Duration { return b.cfg.Now().Sub(began) }
	b.cfg.Parent = at.look(b.cfg.Now)
	for path, text := range files {
		b.write(path, text)
	}
	b.start()
	return b, r, at
}

// dsAt is the DS set of a name in a view's zone, as its text and records.
func (b *bench) dsAt(view, zoneName string, n name.Name) []*dns.DS {
	b.t.Helper()
	return delegated(b.zone(view, zoneName), n)
}

// chained says that the child validates from what the zone above shows now, and
// from what it showed as long ago as caches may go back; it returns the keys
// that the DS lead to.
func (b *bench) chained(view string, before map[time.Time][]*dns.DS) []uint16 {
	b.t.Helper()
	ds, z := b.dsAt(view, "example.test", kidTest), b.zone(view, "kid.example.test")
	for at := range before {
		if b.wall.Sub(at) > 10*time.Minute { // the TTL of the cut
			delete(before, at)
		}
	}
	before[*b.wall] = ds
	var tags []uint16
	for _, set := range before {
		if problems := attest.Check(z, *b.wall, attest.Context{DS: set, Workers: 1, ZONEMD: true}); len(problems) > 0 {
			b.t.Fatalf("view %s, DS %v: %v", view, set, problems)
		}
	}
	if problems := attest.Check(b.zone(view, "example.test"), *b.wall, attest.Context{Workers: 1, ZONEMD: true}); len(problems) > 0 {
		b.t.Fatalf("view %s: %v", view, problems)
	}
	for _, d := range ds {
		tags = append(tags, d.KeyTag)
		if d.Hdr.Ttl != 600 {
			b.t.Errorf("the DS has TTL %d, its NS 600", d.Hdr.Ttl)
		}
	}
	slices.Sort(tags)
	return tags
}

// TestDSOfChildren: the DS of a zone is in the one above it once every cache
// has the child's key, follows a roll without anybody's help, also over
// restarts, and goes before the signatures do.
func TestDSOfChildren(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		files   map[string]string
		views   []string // that have the DS
		without []string
	}{
		"inside only": {map[string]string{
			"external/example.test.zone": external, "internal/example.test.zone": kidCut, "internal/kid.example.test.zone": kidZone,
		}, []string{"internal"}, []string{"external"}},
		"outside too": {map[string]string{
			"external/example.test.zone": external + kidCut, "external/kid.example.test.zone": kidZone,
			"internal/example.test.zone": "inner A 10.0.0.1\n", "internal/kid.example.test.zone": "deep A 10.0.0.2\n",
		}, []string{"external", "internal"}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := policies()[0]
			p.Roll = RollPolicy{CDS: true}
			b, r, _ := kinBench(t, p, c.files)
			caches := map[string]map[time.Time][]*dns.DS{}
			tries := 0
			look := func() (tags []uint16) {
				for _, v := range c.views {
					if caches[v] == nil {
						caches[v] = map[time.Time][]*dns.DS{}
					}
					tags = b.chained(v, caches[v])
				}
				for _, v := range c.without {
					if ds := b.dsAt(v, "example.test", kidTest); len(ds) > 0 {
						t.Fatalf("view %s has %v", v, ds)
					}
				}
				if tries++; tries%29 == 0 {
					b.start()
				}
				return tags
			}
			if tags := look(); len(tags) > 0 {
				t.Fatalf("a DS before caches have the key: %v", tags)
			}
			b.pass(day, time.Hour, func() { look() })
			keys, err := r.Held(kidTest)
			if err != nil || len(keys) != 1 || !slices.Equal(look(), []uint16{keys[0].Tag}) {
				t.Fatalf("keys %v, %v, DS of %v", keys, err, look())
			}
			if err := b.a.Roll(t.Context(), Roll{Zone: "kid.example.test", Who: "test"}); err != nil {
				t.Fatal(err)
			}
			b.pass(9*day, time.Hour, func() { look() })
			next := look()
			if len(next) != 1 || next[0] == keys[0].Tag {
				t.Fatalf("after the roll the DS are of %v, before of %d", next, keys[0].Tag)
			}
			if err := b.a.Disable(t.Context(), "kid.example.test", false, "test"); err != nil {
				t.Fatal(err)
			}
			gone := false
			b.pass(5*day, time.Hour, func() {
				if z := b.zone(c.views[0], "kid.example.test"); z.Node(kidTest).Set(dns.TypeRRSIG) == nil {
					gone = true
					if ds := b.dsAt(c.views[0], "example.test", kidTest); len(ds) > 0 {
						t.Fatalf("unsigned under %v", ds)
					}
					return
				}
				look()
			})
			if !gone {
				t.Error("the signatures never go")
			}
		})
	}
}

// TestDSYields: the admin's own DS stays as it is; where he delegates nothing
// none is made, and he is told; and without being asked for it none is made.
func TestDSYields(t *testing.T) {
	t.Parallel()
	const own = "kid DS 4711 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF\n"
	for what, c := range map[string]struct {
		above  string
		off    bool
		ds     int
		reason string
	}{
		"as it should be": {kidCut, false, 1, ""},
		"not wanted":      {kidCut, true, 0, ""},
		"no delegation":   {"", false, 0, "not-delegated"},
	} {
		p := policies()[0]
		b, _, _ := kinBench(t, p, map[string]string{"external/example.test.zone": external + c.above, "external/kid.example.test.zone": kidZone})
		b.cfg.DeriveDS = !c.off
		b.start()
		b.pass(day, time.Hour, func() {})
		if ds := b.dsAt("external", "example.test", kidTest); len(ds) != c.ds {
			t.Errorf("%s: %v", what, ds)
		}
		problems := fmt.Sprint(b.status("external", "example.test.").Problems)
		if strings.Contains(problems, "not-delegated") != (c.reason != "") {
			t.Errorf("%s: %s", what, problems)
		}
		if c.ds == 0 {
			continue
		}
		b.write("external/example.test.zone", external+c.above+own)
		b.settle()
		if ds := b.dsAt("external", "example.test", kidTest); len(ds) != 1 || ds[0].KeyTag != 4711 {
			t.Errorf("the admin's DS became %v", ds)
		}
		if problems := fmt.Sprint(b.status("external", "example.test.").Problems); !strings.Contains(problems, "admin-record") {
			t.Errorf("nobody is told: %s", problems)
		}
		var made []dns.RR
		if err := b.a.do(t.Context(), func() { made = derivedRRs(b.a.owner.served[key{exampleTest, "external"}].records) }); err != nil || len(made) != 0 {
			t.Errorf("and beside it %v, %v", made, err)
		}
	}
}

const (
	cityOrg  = name.Name("\x04city\x03org\x00")
	hostsNet = name.Name("\x05hosts\x03net\x00")
	cityZone = "$TTL 300\n@ SOA ns1.hosts.net. admin 1 2h 1h 14d 5m\n@ NS ns1.hosts.net.\n@ NS ns2.hosts.net.\n@ NS ns.city.org.\n@ NS ns.elsewhere.net.\nns A 192.0.2.3\n"
	netZone  = "$TTL 300\n@ SOA ns1 admin 1 2h 1h 14d 5m\n@ NS ns1\nns1 A 192.0.2.1\nns2 A 192.0.2.2\n"
)

// signals are the records below _signal in the zone of the name servers, each
// owner's types with what they say.
func signals(z *zone.Zone) map[string]string {
	all := map[string]string{}
	for n := range z.Nodes() {
		for i := range n.Sets {
			if s := &n.Sets[i]; s.Type == dns.TypeCDS || s.Type == dns.TypeCDNSKEY {
				var data []string
				for _, rr := range s.RRs {
					data = append(data, strings.TrimPrefix(rr.String(), rr.Header().String()))
				}
				all[n.Name.String()+" "+dns.Type(s.Type).String()] = strings.Join(data, "; ")
			}
		}
	}
	return all
}

// TestSignals: what a zone asks of its parent stands in the zone of its name
// servers too (RFC 9615), from when the zone itself has it until the parent has
// a DS; not for a server within the zone, nor for one that is another's.
func TestSignals(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	p.Roll = RollPolicy{CDS: true}
	b, r, at := kinBench(t, p, map[string]string{"external/city.org.zone": cityZone, "external/hosts.net.zone": netZone})
	ours := at.look(b.cfg.Now)
	none := &parent{security: rollover.Insecure}
	b.cfg.Parent = func(ctx context.Context, n name.Name) (Parent, error) {
		if n == cityOrg {
			return ours(ctx, n)
		}
		return none.look(b.cfg.Now)(ctx, n)
	}
	b.start()
	asks := func() map[string]string {
		all := map[string]string{}
		for what, data := range signals(b.zone("external", "city.org")) {
			_, rtype, _ := strings.Cut(what, " ")
			for _, host := range []string{"ns1", "ns2"} {
				all["_dsboot.city.org._signal."+host+".hosts.net. "+rtype] = data
			}
		}
		return all
	}
	shown := func() map[string]string {
		all := signals(b.zone("external", "hosts.net"))
		for what := range all {
			if strings.HasPrefix(what, "hosts.net.") {
				delete(all, what) // its own
			}
		}
		return all
	}
	if got := shown(); len(got) != 0 {
		t.Errorf("before the zone asks: %v", got)
	}
	tries := 0
	b.pass(day, time.Hour, func() {
		if got, want := shown(), asks(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("signals %v, want %v", got, want)
		}
		for _, n := range []string{"city.org", "hosts.net"} {
			if problems := attest.Check(b.zone("external", n), *b.wall, attest.Context{Workers: 1, ZONEMD: true}); len(problems) > 0 {
				t.Fatal(problems)
			}
		}
		if tries++; tries == 20 {
			b.start()
		}
	})
	if got := shown(); len(got) != 4 {
		t.Fatalf("signals %v", got)
	}
	serial := b.zone("external", "hosts.net").Serial()
	b.start()
	if again := b.zone("external", "hosts.net").Serial(); again != serial || len(shown()) != 4 {
		t.Errorf("a restart made serial %d of %d, signals %v", again, serial, shown())
	}
	var ds []*dns.DS
	keys, err := r.Held(cityOrg)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		d, err := dnssec.DS(cityOrg, k.Key.DNSKEY, dns.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		d.Hdr.Ttl = 3600
		ds = append(ds, d)
	}
	at.set(rollover.Secure, ds...)
	b.pass(day, time.Hour, func() {})
	if got := shown(); len(got) != 0 {
		t.Errorf("with a DS there still is %v", got)
	}
}

// TestSignalsYield: what the admin wrote at such a name stays, and is no fault;
// elsewhere such records are. A name that would be too long is left out.
func TestSignalsYield(t *testing.T) {
	t.Parallel()
	const mine = "_dsboot.city.org._signal.ns1 CDS 1 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF\n"
	p := policies()[0]
	p.Roll = RollPolicy{CDS: true}
	b, _, _ := kinBench(t, p, map[string]string{"external/city.org.zone": cityZone, "external/hosts.net.zone": netZone + mine})
	b.pass(day, time.Hour, func() {})
	got := signals(b.zone("external", "hosts.net"))
	if len(got) != 4+2 || !strings.HasPrefix(got["_dsboot.city.org._signal.ns1.hosts.net. CDS"], "1 13 2") {
		t.Errorf("%v", got)
	}
	if problems := fmt.Sprint(b.status("external", "hosts.net.").Problems); !strings.Contains(problems, "admin-record") || strings.Contains(problems, codePresigned) {
		t.Error(problems)
	}
	b.write("external/hosts.net.zone", netZone+strings.ReplaceAll(mine, "_dsboot", "_other"))
	b.settle()
	if s := b.status("external", "hosts.net."); !strings.Contains(s.Problem, codePresigned) {
		t.Errorf("%+v", s)
	}
	long := name.Name(strings.Repeat("\x30"+strings.Repeat("a", 48), 5) + "\x00")
	if at, fits := signalName(long, hostsNet); fits {
		t.Errorf("%d octets fit", len(at))
	}
	if at, fits := signalName(cityOrg, hostsNet); !fits || at.String() != "_dsboot.city.org._signal.hosts.net." {
		t.Errorf("%s, %t", at, fits)
	}
}

// TestZoneAboveLags: while a secondary of the zone above still gives out the old
// DS, no key that it leads to goes; one that is silent is not waited for.
func TestZoneAboveLags(t *testing.T) {
	t.Parallel()
	p := policies()[0]
	p.Roll = RollPolicy{CDS: true}
	b, r, _ := kinBench(t, p, map[string]string{
		"external/example.test.zone": external, "internal/example.test.zone": kidCut, "internal/kid.example.test.zone": kidZone,
	})
	lag := Secondary{Zone: exampleTest, View: "internal", Name: "far"}
	var stuck, silent bool
	b.cfg.Secondaries = func() []Secondary {
		s := lag
		if !stuck {
			s.Serial = b.zone("internal", "example.test").Serial()
		}
		if !silent {
			s.Answered = b.cfg.Now()
		}
		return []Secondary{s}
	}
	b.a.cfg.Secondaries = b.cfg.Secondaries
	b.pass(day, time.Hour, func() {})
	keys, err := r.Held(kidTest)
	if err != nil || len(keys) != 1 || len(b.dsAt("internal", "example.test", kidTest)) != 1 {
		t.Fatal(keys, err, b.dsAt("internal", "example.test", kidTest))
	}
	lag.Serial, stuck = b.zone("internal", "example.test").Serial(), true
	if err := b.a.Roll(t.Context(), Roll{Zone: "kid.example.test", Who: "test"}); err != nil {
		t.Fatal(err)
	}
	uses := func() rollover.Use { return showing(b.zone("internal", "kid.example.test")).uses[keys[0].Tag] }
	b.pass(10*day, time.Hour, func() {
		if uses()&rollover.InSet == 0 {
			t.Fatal("the old key went")
		}
	})
	if ds := b.dsAt("internal", "example.test", kidTest); len(ds) != 1 || ds[0].KeyTag == keys[0].Tag {
		t.Errorf("the DS is %v", ds)
	}
	lag.Answered, silent = *b.wall, true
	b.pass(3*day, time.Hour, func() {})
	if uses() != 0 {
		t.Errorf("the old key still: %b", uses())
	}
}
