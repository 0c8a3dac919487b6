package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/manage"
)

func catalogPrimary(own, other string) string {
	return `[server]
state   = "state"
control = "c.sock"
[dns]
rrl = "off"
[derived]
publish = []
[[listen]]
serve   = "dns"
address = ["` + own + `"]
[key."out."]
secret = "file:out.key"
[peer.out]
notify = ["` + other + `"]
keys   = ["out."]
[[view]]
name    = "inside"
clients = ["127.0.0.2"]
overlay = "outside"
[[view]]
name    = "outside"
clients = ["any"]
zones   = "zones"
[zone_default.view.outside]
catalog     = "cat.example"
secondaries = ["out"]
[zone."shy.example".view.outside]
catalog = "none"
`
}

func catalogSecondary(own, other string) string {
	return `[server]
state   = "state"
control = "c.sock"
[dns]
rrl = "off"
[derived]
publish = []
[[listen]]
serve   = "dns"
address = ["` + own + `"]
[key."out."]
secret = "file:out.key"
[peer.main]
address = ["` + other + `"]
keys    = ["out."]
[[view]]
name    = "over"
clients = ["127.0.0.3"]
overlay = "outside"
zones   = "over"
[[view]]
name    = "outside"
clients = ["any"]
zones   = "zones"
[zone."cat.example".view.outside]
primaries = ["main"]
members   = true
`
}

// row waits until a zone of the outer view is so; an empty one is not there.
func (h *house) row(zone string, is func(manage.Zone) bool) manage.Zone {
	h.t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.After(30 * time.Second)
	for {
		var last manage.Zone
		for _, z := range ask[[]manage.Zone](h, manage.VerbZoneList, struct{}{}) {
			if z.View == "outside" && z.Zone == zone {
				last = z
			}
		}
		if is(last) {
			return last
		}
		select {
		case <-look.C:
		case <-late:
			h.t.Fatalf("it stands otherwise: %+v %+v %+v", last, last.Upstream, last.Lists)
		}
	}
}

func gone(z manage.Zone) bool { return z.Zone == "" }

func lists(n int) func(manage.Zone) bool {
	return func(z manage.Zone) bool { return z.Lists != nil && z.Lists.Known && z.Lists.Members == n }
}

// zoneNamed is a zone of that name, whose www has that address.
func zoneNamed(name, address string) string {
	return strings.NewReplacer("city.example", name, "192.0.2.2", address).Replace(houseZone)
}

// TestCatalogs follows zones by their catalog from one appliance to another:
// they come and go with files there, survive restarts here, and leave what is
// here already alone.
func TestCatalogs(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	one, two := f.address(), f.address()
	keys := map[string]string{"out.key": keyFile(oldSecret)}
	p, s := f.house(catalogPrimary(one, two), keys), f.house(catalogSecondary(two, one), keys)
	p.write("zones/city.example.zone", houseZone)
	p.write("zones/shy.example.zone", zoneNamed("shy.example", "192.0.2.7"))
	s.write("zones/own.example.zone", zoneNamed("own.example", "192.0.2.8"))
	s.write("over/town.example.zone", "www A 10.0.0.3\n")
	f.start(p)
	f.start(s)
	until(t, two, "127.0.0.1", "www.city.example.", "NOERROR 192.0.2.2")
	c := s.row("cat.example.", lists(1))
	if c.Upstream == nil || c.Lists.Made || c.State != "ok" || len(c.Problems) > 0 {
		t.Errorf("%+v", c)
	}
	if c := p.row("cat.example.", lists(1)); c.Upstream != nil || !c.Lists.Made || c.State != "ok" || len(c.Problems) > 0 {
		t.Errorf("%+v", c)
	}
	if z := s.row("city.example.", func(z manage.Zone) bool { return z.State == "ok" }); z.Catalog != "cat.example." || z.Upstream == nil || z.Lists != nil {
		t.Errorf("%+v", z)
	}
	for _, at := range []string{one, two} {
		for _, name := range []string{"cat.example.", "version.cat.example."} {
			if got := says(t, at, "127.0.0.1", name); !strings.HasPrefix(got, "REFUSED") {
				t.Errorf("a stranger asks for %s: %s", name, got)
			}
		}
	}
	if got := says(t, two, "127.0.0.1", "www.shy.example."); !strings.HasPrefix(got, "REFUSED") {
		t.Errorf("what is in no catalog: %s", got)
	}

	// A file comes there, and the zone here, and what lies over it.
	p.write("zones/town.example.zone", zoneNamed("town.example", "192.0.2.3"))
	f.tell(10 * time.Second)
	until(t, two, "127.0.0.1", "www.town.example.", "NOERROR 192.0.2.3")
	until(t, two, "127.0.0.3", "www.town.example.", "NOERROR 10.0.0.3")
	s.row("cat.example.", lists(2))
	if n := s.app.refresher.Counters.Incremental.Value(); n != 1 {
		t.Errorf("%d differences of the catalog", n)
	}

	// A zone that is here already stays what it is.
	p.write("zones/own.example.zone", zoneNamed("own.example", "192.0.2.9"))
	f.tell(10 * time.Second)
	c = s.row("cat.example.", func(z manage.Zone) bool { return z.Lists != nil && len(z.Lists.Refused) > 0 })
	if want := []string{"zone own.example. is here already"}; !slices.Equal(c.Lists.Refused, want) || c.Lists.Members != 2 || !s.metric("postern_dns_catalogs_faulty 1") {
		t.Errorf("%+v, want %v", c.Lists, want)
	}
	until(t, two, "127.0.0.1", "www.own.example.", "NOERROR 192.0.2.8")
	if z := s.row("own.example.", func(z manage.Zone) bool { return z.State == "ok" }); z.Catalog != "" {
		t.Errorf("%+v", z)
	}

	// A restart without the primary, and longer than zones live without one:
	// they expire, and stay members.
	p.down()
	s.down()
	f.start(s)
	for _, n := range []string{"www.city.example.", "www.town.example.", "www.own.example."} {
		if got := says(t, two, "127.0.0.1", n); !strings.HasPrefix(got, "NOERROR") {
			t.Errorf("after a restart %s is %s", n, got)
		}
	}
	f.tell(15 * 24 * time.Hour)
	until(t, two, "127.0.0.1", "www.city.example.", "SERVFAIL 24")
	s.row("cat.example.", lists(2))
	f.start(p)
	f.tell(2 * time.Hour)
	until(t, two, "127.0.0.1", "www.city.example.", "NOERROR 192.0.2.2")

	// A zone goes there, and all of it here.
	if err := os.Remove(filepath.Join(p.dir, "zones/town.example.zone")); err != nil {
		t.Fatal(err)
	}
	p.row("town.example.", func(z manage.Zone) bool { return z.State == "missing" })
	until(t, two, "127.0.0.1", "www.town.example.", "NOERROR 192.0.2.3")
	ask[manage.RemovedZone](p, manage.VerbZoneRemove, manage.PlanArgs{Zone: "town.example"})
	f.tell(10 * time.Second)
	s.row("town.example.", gone)
	s.row("cat.example.", lists(1))
	left, err := filepath.Glob(filepath.Join(s.dir, "state/zones/*town*outside*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left of what was removed: %v %v", left, err)
	}

	// The catalog is followed no more, and later made no more.
	s.write("postern.toml", strings.Replace(catalogSecondary(two, one), "members   = true", "", 1))
	told := ask[manage.ReloadReport](s, manage.VerbReload, struct{}{})
	if !slices.Contains(told.Changes, "members of catalog cat.example in view outside: gone") {
		t.Errorf("%q", told.Changes)
	}
	s.row("city.example.", gone)
	if z := s.row("cat.example.", func(z manage.Zone) bool { return z.Lists == nil }); z.State != "ok" {
		t.Errorf("%+v", z)
	}
	p.write("postern.toml", strings.Replace(catalogPrimary(one, two), `catalog     = "cat.example"`, "", 1))
	told = ask[manage.ReloadReport](p, manage.VerbReload, struct{}{})
	if !slices.Contains(told.Changes, "catalog of all zones in view outside: gone") {
		t.Errorf("%q", told.Changes)
	}
	p.row("cat.example.", gone)
}

// TestBrokenCatalogChangesNothing: one that means nothing is told of, and what
// followed from it stays; so does one that lists too much.
func TestBrokenCatalogChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	one, two := f.address(), f.address()
	keys := map[string]string{"out.key": keyFile(oldSecret)}
	theirs := strings.NewReplacer("catalog     = \"cat.example\"\n", "", "catalog = \"none\"\n", "secondaries = []\n").Replace(catalogPrimary(one, two))
	p, s := f.house(theirs, keys), f.house(catalogSecondary(two, one), keys)
	p.write("zones/city.example.zone", houseZone)
	cat := func(serial, version, more string) {
		p.write("zones/cat.example.zone", "@ 0 SOA invalid. invalid. "+serial+" 3600 600 2147483646 0\n@ 0 NS invalid.\nversion 0 TXT "+version+"\n"+more)
	}
	cat("1", "2", "a.zones 0 PTR city.example.\n")
	f.start(p)
	f.start(s)
	until(t, two, "127.0.0.1", "www.city.example.", "NOERROR 192.0.2.2")

	cat("2", "1", "b.zones 0 PTR town.example.\n")
	f.tell(10 * time.Second)
	c := s.row("cat.example.", func(z manage.Zone) bool { return z.Lists != nil && z.Lists.Broken != "" })
	if c.Lists.Known || !strings.Contains(c.Lists.Broken, "version") || c.Lists.Members != 1 || !s.metric("postern_dns_roster_broken_total 1") {
		t.Errorf("%+v", c.Lists)
	}
	until(t, two, "127.0.0.1", "www.city.example.", "NOERROR 192.0.2.2")

	// Another label: the zone begins anew.
	cat("3", "2", "c.zones 0 PTR city.example.\n")
	f.tell(10 * time.Second)
	s.row("cat.example.", func(z manage.Zone) bool {
		return lists(1)(z) && s.metric("postern_dns_roster_reset_total 1")
	})
	until(t, two, "127.0.0.1", "www.city.example.", "NOERROR 192.0.2.2")
	if h := ask[[]manage.ZoneVersion](s, manage.VerbZoneHistory, manage.ZoneRef{Zone: "city.example", View: "outside"}); len(h) != 1 {
		t.Errorf("what was known of it before: %+v", h)
	}
}

// TestCatalogThatEmptiesIsHeld: what it lists no more stays, and is told of,
// until an operator accepts it with a reason; a restart changes nothing of that.
func TestCatalogThatEmptiesIsHeld(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	one, two := f.address(), f.address()
	keys := map[string]string{"out.key": keyFile(oldSecret)}
	theirs := strings.NewReplacer("catalog     = \"cat.example\"\n", "", "catalog = \"none\"\n", "secondaries = []\n").Replace(catalogPrimary(one, two))
	p, s := f.house(theirs, keys), f.house(catalogSecondary(two, one), keys)
	p.write("zones/city.example.zone", houseZone)
	p.write("zones/town.example.zone", zoneNamed("town.example", "192.0.2.3"))
	cat := func(serial, more string) {
		p.write("zones/cat.example.zone", "@ 0 SOA invalid. invalid. "+serial+" 3600 600 2147483646 0\n@ 0 NS invalid.\nversion 0 TXT 2\n"+more)
	}
	cat("1", "a.zones 0 PTR city.example.\nb.zones 0 PTR town.example.\n")
	f.start(p)
	f.start(s)
	serve := func(result string) {
		t.Helper()
		until(t, two, "127.0.0.1", "www.city.example.", result+map[string]string{"NOERROR": " 192.0.2.2"}[result])
		until(t, two, "127.0.0.1", "www.town.example.", result+map[string]string{"NOERROR": " 192.0.2.3"}[result])
	}
	serve("NOERROR")

	cat("2", "")
	f.tell(10 * time.Second)
	held := func(z manage.Zone) bool { return z.Lists != nil && len(z.Lists.Held) == 2 }
	if c := s.row("cat.example.", held); c.Lists.Members != 2 || c.Serial != 2 || !slices.Equal(c.Lists.Held, []string{"city.example.", "town.example."}) {
		t.Errorf("%+v", c.Lists)
	}
	for _, m := range []string{"postern_dns_catalog_held 2", "postern_dns_catalogs_faulty 1", "postern_dns_roster_held_total 1"} {
		if !s.metric(m) {
			t.Errorf("no %s", m)
		}
	}
	s.down()
	f.start(s)
	s.row("cat.example.", held)
	serve("NOERROR")

	plan := ask[manage.ZonePlans](s, manage.VerbZonePlan, manage.PlanArgs{Zone: "CAT.example"})
	if len(plan.Zones) != 1 || plan.Zones[0].Removed != 2 || !plan.Zones[0].Catalog || !slices.Equal(plan.Zones[0].Needs, []string{"loses-zones"}) {
		t.Errorf("%+v", plan)
	}
	for _, a := range []manage.ApplyArgs{{Zones: []string{"cat.example"}}, {Zones: []string{"cat.example"}, Accept: []string{"loses-zones"}}} {
		raw, _ := json.Marshal(a) // it is a plain struct
		if _, err := s.app.desk.Do(t.Context(), manage.Caller{}, manage.VerbZoneApply, raw); err == nil {
			t.Errorf("%+v is done", a)
		}
	}
	ask[manage.ZonePlans](s, manage.VerbZoneApply, manage.ApplyArgs{All: true}) // all that can be applied: this cannot
	serve("NOERROR")
	done := ask[manage.ZonePlans](s, manage.VerbZoneApply, manage.ApplyArgs{Zones: []string{"cat.example"}, Accept: []string{"loses-zones"}, Reason: "all sold"})
	if len(done.Zones) != 1 || done.Zones[0].Removed != 2 {
		t.Errorf("%+v", done)
	}
	serve("REFUSED 20")
	s.row("city.example.", gone)
	s.row("cat.example.", lists(0))
}
