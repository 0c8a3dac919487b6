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

func TestPrintComparison(t *testing.T) {
	t.Parallel()
	c := manage.Comparison{
		Zone: "a.", View: "out", Against: "192.0.2.1:53", HereSerial: 2, ThereSerial: 9, Transfer: true,
		OnlyHere: 2, Here: []string{"r1"}, OnlyThere: 1, There: []string{"r2"}, OtherTTLs: 2, TTLs: []manage.SetTTL{{Owner: "w.a.", Type: "A", Here: 60, There: 300}}, Same: 5,
	}
	print := func() string {
		var b bytes.Buffer
		printComparison(&b, c)
		return b.String()
	}
	const differences = "  here  r1\n  here  and 1 more\n  there r2\n  TTL   w.a. A: 60 here, 300 there\n  TTL   and 1 more\n"
	if got, want := print(), "zone a. view out: serial 2 here, 9 at 192.0.2.1:53, seen by transfer\n"+differences+
		"2 records only here, 1 only there, 2 sets with another TTL, 5 records alike\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	c.Transfer, c.NotTransfer, c.Asked, c.Open, c.Unseen = false, "refused", 7, []string{"m.a. MX: silent"}, 3
	c.ThereMade = manage.SigningMade{Records: 9, Keys: []string{"ed25519/7"}}
	if got, want := print(), "zone a. view out: serial 2 here, 9 at 192.0.2.1:53, seen by 7 questions\n"+differences+"  ?     m.a. MX: silent\n"+
		"2 records only here, 1 only there, 2 sets with another TTL, 5 records alike\n"+
		"signing, not compared: none here, 9 records with ed25519/7 there\n"+
		"no transfer (refused): what is only there, at names that are not here, was not seen\n"+
		"3 records here are not known there: below a delegation, or not answered\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
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
