package cli

import (
	"bytes"
	"strings"
	"testing"

	"postern/internal/manage"
)

func TestZoneChangesUsedWrongly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, want string }{
		{"zone apply", "say which zones, or --all"},
		{"zone apply a.example --all", "say which zones, or --all"},
		{"zone plan a.example b.example", "one zone"},
		{"zone history", "wants a zone"},
		{"zone rollback a.example yesterday", "postern zone history a.example"},
		{"zone rollback a.example 0", "not a version"},
		{"zone remove", "wants a zone"},
	} {
		code, _, errs := command(t, "", strings.Fields(c.line)...)
		if code != exitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("postern %s: exit %d, %q; want exit 2 with %q", c.line, code, errs, c.want)
		}
	}
}

// TestPrintDoneTellsWhatStoodAside, and why.
func TestPrintDoneTellsWhatStoodAside(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	printDone(&b, manage.ZonePlans{Zones: []manage.ZonePlan{
		{Zone: "a.", View: "out", NewSerial: 2, Removed: 5, Added: 1},
		{Zone: "c.", View: "out", Reason: "file-broken", Problems: []string{"c.zone:1:1: ERR x y"}},
	}}, "nothing")
	const want = "zone a. view out: serial 2 is published, 5 removed, 1 added\nzone c. view out: left as it is (file-broken)\n  c.zone:1:1: ERR x y\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// TestCommandsToCopyWork: they name the dangers and the server.
func TestCommandsToCopyWork(t *testing.T) {
	t.Parallel()
	plans := manage.ZonePlans{Zones: []manage.ZonePlan{{Needs: []string{"loses-mx", "large-change"}}, {Needs: []string{"loses-mx"}}}}
	e := &env{config: "/srv/p.toml"}
	if got := e.again("zone apply a." + accepting(plans)); got != "postern zone apply a. --accept large-change,loses-mx --reason TEXT --config /srv/p.toml" {
		t.Error(got)
	}
	if got := (&env{}).again("zone apply a." + accepting(manage.ZonePlans{})); got != "postern zone apply a." {
		t.Error(got)
	}
}

func TestPrintPlans(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	printPlans(&b, manage.ZonePlans{Plan: "x", Zones: []manage.ZonePlan{
		{
			Zone: "a.", View: "out", OldSerial: 1, NewSerial: 2, OldRecords: 10, Removed: 5, Added: 1, Percent: 50,
			Needs: []string{"large-change", "loses-mx"}, Gone: []string{"r1", "r2"}, Come: []string{"r3"},
		},
		{Zone: "a.", View: "in", NewSerial: 2, Follows: true, OldSerial: 1, OldRecords: 3},
		{Zone: "b.", View: "out", NewSerial: 1, Added: 9},
		{Zone: "c.", View: "out", Reason: "file-broken", Problems: []string{"c.zone:1:1: ERR x y"}},
		{Zone: "cat.", View: "out", Catalog: true, Removed: 9, OldRecords: 12, Needs: []string{"loses-zones"}, Gone: []string{"zone z."}, Problems: []string{"why"}},
	}})
	for _, want := range []string{
		"zone a. view out: serial 1 -> 2, 5 removed, 1 added of 10 (50 %)\n  needs --accept large-change,loses-mx --reason TEXT\n  - r1\n  - r2\n  - and 3 more\n  + r3\n",
		"0 added of 3 (0 %), since the view below changes\n", "zone b. view out: serial 0 -> 1, 0 removed, 9 added, a new zone\n",
		"zone c. view out: cannot be applied (file-broken)\n  c.zone:1:1: ERR x y\n",
		"catalog cat. view out: 9 of 12 zones go\n  needs --accept loses-zones --reason TEXT\n  - zone z.\n  - and 8 more\n  why\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
