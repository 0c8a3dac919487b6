package authority

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestABrokenFileIsNoPlan: of a change that waited and then was broken nothing
// is left to do, neither here nor in the view above, and apply says so.
func TestABrokenFileIsNoPlan(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", twelve)
	b.write("external/other.test.zone", external)
	b.write("internal/example.test.zone", "intranet 300 A 10.0.0.1\n")
	b.start()
	less := strings.Replace(twelve, "@\tMX 10 mail\n", "", 1)
	b.write("external/example.test.zone", less)
	b.settle()
	if plans := b.plan(""); len(plans) != 2 || len(plans[0].Removed) != 1 || plans[1].View != "internal" {
		t.Fatalf("%+v", plans)
	}
	b.write("external/example.test.zone", less+"x A 1.2.3\n")
	b.write("external/other.test.zone", strings.Replace(external, "@\tNS ns1\n", "@\tNS ns2\nns2 A 192.0.2.2\n", 1))
	b.settle()
	plans := b.plan("")
	if len(plans) != 2 {
		t.Fatalf("%+v", plans)
	}
	broken := plans[0]
	if broken.Reason != reasonBroken || len(broken.Removed)+len(broken.Added)+len(broken.Needs) != 0 || len(broken.Problems) != 1 {
		t.Errorf("%+v", broken)
	}
	if !slices.Equal(plans[1].Needs, []string{LosesNS}) || plans[1].Reason != "" || plans[1].Zone != "other.test." {
		t.Errorf("%+v", plans[1:])
	}
	done, err := b.a.Apply(t.Context(), Apply{Plan: HashOf(plans), Accept: []string{LosesNS}, Why: "moved"})
	if err != nil || len(done) != 2 || done[0].Reason != reasonBroken {
		t.Errorf("%v %+v", err, done)
	}
	b.want("external", "mail.example.test", "192.0.2.25")
	if got := b.rr("external", "other.test", "ns2.other.test", dns.TypeA); got != "192.0.2.2" {
		t.Errorf("%q", got)
	}
	b.wantState("external", LastGood, "bad-data")
}

// TestACopyDoesNotTakeTheZonesPlace, even where its name comes first.
func TestACopyDoesNotTakeTheZonesPlace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	b.write("external/Example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	b.settle()
	for range 2 {
		b.want("external", "www.example.test", "192.0.2.80")
		if f := b.a.Faults(); len(f) != 1 || !strings.HasSuffix(f[0].Problem.File, "Example.test.zone") {
			t.Errorf("%v", f)
		}
		b.start()
	}
}

func TestNamesOfFilesThatAreNoZones(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"city.example": "", "city.example.zone~": "", ".city.example.zone": "", ".zone": "", "city.example.ZONE": "",
		"Copy of city.example.zone": "", "city.example (copy).zone": "", "#city.example.zone": "", "city..example.zone": "", "city.example..zone": "",
		"city%20x.zone": "", "m\u00fcnchen.example.zone": "", "a\x00b.zone": "", "*.example.zone": "", "a%2fb..zone": "", strings.Repeat("a", 64) + ".zone": "",
		"city.example.zone": "city.example.", "City.Example.zone": "city.example.", "root.zone": ".", "xn--mnchen-3ya.example.zone": "xn--mnchen-3ya.example.",
		"0%2F25.2.0.192.in-addr.arpa.zone": "0/25.2.0.192.in-addr.arpa.", "_msdcs.ad.example.zone": "_msdcs.ad.example.",
	} {
		n, err := ZoneOfFile(file)
		if got := n.String(); err == nil && got != want || err != nil && want != "" {
			t.Errorf("%q: %q, %v, want %q", file, got, err, want)
		}
	}
}

// TestAFileThatNeverMadeAZoneIsForgotten when it goes: there is nothing to
// serve on, and nothing to remove.
func TestAFileThatNeverMadeAZoneIsForgotten(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"empty": "", "without NS": "$TTL 60\n@ SOA ns1 admin 1 2h 1h 14d 5m\n", "broken": "x (\n"} {
		b := newBench(t)
		b.write("external/example.test.zone", external)
		b.start()
		b.write("external/new.test.zone", text)
		b.settle()
		if zones := b.a.Zones(); len(zones) != 2 || zones[1].State != Failed {
			t.Errorf("%s: %+v", name, zones)
		}
		b.remove("external/new.test.zone")
		b.settle()
		if zones := b.a.Zones(); len(zones) != 1 {
			t.Errorf("%s: %+v", name, zones)
		}
		if err := os.Mkdir(filepath.Join(b.root, "external", "dir.test.zone"), 0o700); err != nil {
			t.Fatal(err)
		}
		b.settle()
		if zones := b.a.Zones(); len(zones) != 2 || !strings.Contains(zones[0].Problem, "a directory, a pipe or a device, not a file (it must be") {
			t.Errorf("%s: %+v", name, zones)
		}
		b.stop()
	}
}
