package catalog_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/catalog"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

const head = `$ORIGIN cat.example.
$TTL 0
@ SOA invalid. invalid. 1 3600 600 2147483646 0
@ NS invalid.
`

const version = "version TXT 2\n"

func read(t *testing.T, text string) ([]catalog.Member, error) {
	t.Helper()
	b := zone.NewBuilder(parse(t, "cat.example"))
	p := dns.NewZoneParser(strings.NewReader(text), "", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if err := b.Add(rr); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return catalog.Read(z)
}

func parse(t *testing.T, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestReadBroken(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{
		"no version":             "a.zones PTR one.example.\n",
		"version without TXT":    "version A 192.0.2.1\n",
		"another version":        "version TXT 1\n",
		"two versions":           version + "version TXT 1\n",
		"version in two strings": "version TXT 2 2\n",
		"two zones at a label":   version + "a.zones PTR one.example.\na.zones PTR two.example.\n",
		"a zone twice":           version + "a.zones PTR one.example.\nb.zones PTR ONE.example.\n",
		"itself":                 version + "a.zones PTR cat.example.\n",
		"two owners":             version + "a.zones PTR one.example.\ncoo.a.zones PTR x.example.\ncoo.a.zones PTR y.example.\n",
	} {
		if members, err := read(t, head+text); !errors.Is(err, catalog.ErrBroken) || members != nil {
			t.Errorf("%s: %v, %v", what, members, err)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	got, err := read(t, head+version+`
a.zones PTR one.example.
group.a.zones TXT "sig" "ned"
group.a.zones TXT other
B.zones PTR TWO.example.
coo.b.zones PTR next.example.
c.zones TXT "no member"
group.d.zones TXT "of no zone"
x.ext.e.zones TXT "of somebody's own"
e.zones PTR three.example.
foo TXT bar
zones PTR four.example.
deep.deep.a.zones PTR five.example.
`)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		slices.Sort(got[i].Groups)
	}
	want := []catalog.Member{
		{Zone: parse(t, "one.example"), ID: "a", Groups: []string{"other", "signed"}},
		{Zone: parse(t, "two.example"), ID: "b", Owner: parse(t, "next.example")},
		{Zone: parse(t, "three.example"), ID: "e"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestMakeIsRead(t *testing.T) {
	t.Parallel()
	var zones []name.Name
	for i := range 300 {
		zones = append(zones, parse(t, fmt.Sprintf("z%d.example", i)))
	}
	zones = append(zones, name.Root, parse(t, `a\.b\000.example`))
	origin := parse(t, "cat.example")
	rrs, err := catalog.Make(origin, zones)
	if err != nil {
		t.Fatal(err)
	}
	b := zone.NewBuilder(origin)
	for _, rr := range rrs {
		if err := b.Add(rr); err != nil {
			t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	members, err := catalog.Read(z)
	if err != nil {
		t.Fatal(err)
	}
	got := map[name.Name]bool{}
	for _, m := range members {
		got[m.Zone] = m.ID == catalog.IDOf(m.Zone)
	}
	for _, n := range zones {
		if !got[n] {
			t.Errorf("%s is not listed, or by another label", n)
		}
	}
	if len(members) != len(zones) {
		t.Errorf("%d members, want %d", len(members), len(zones))
	}
	long := name.Root
	for range 4 {
		if longer, ok := long.Child(strings.Repeat("x", 55)); ok {
			long = longer
		}
	}
	if _, err := catalog.Make(long, zones); err == nil {
		t.Error("a name too long for its members was taken")
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	m := func(zone, id string) catalog.Member { return catalog.Member{Zone: parse(t, zone), ID: id} }
	c := catalog.Compare(
		[]catalog.Member{m("same", "1"), m("reset", "2"), m("gone", "3"), m("moved", "4")},
		[]catalog.Member{m("new", "9"), m("reset", "8"), m("same", "1"), m("moved", "4"), m("also-new", "3")})
	got := fmt.Sprint(c.Added, c.Reset, c.Removed, c.Kept)
	want := fmt.Sprint([]catalog.Member{m("also-new", "3"), m("new", "9")}, []catalog.Member{m("reset", "8")},
		[]catalog.Member{m("gone", "3")}, []catalog.Member{m("moved", "4"), m("same", "1")})
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestTakes: a catalog gets a zone of another one only when that one gives it.
func TestTakes(t *testing.T) {
	t.Parallel()
	one, mine, other := parse(t, "one.example"), parse(t, "cat.example"), parse(t, "other.example")
	for _, c := range []struct {
		current catalog.Member
		want    bool
	}{
		{catalog.Member{Zone: one}, false},
		{catalog.Member{Zone: one, Owner: other}, false},
		{catalog.Member{Zone: other, Owner: mine}, false},
		{catalog.Member{Zone: one, Owner: mine}, true},
	} {
		if got := catalog.Takes(mine, catalog.Member{Zone: one}, c.current); got != c.want {
			t.Errorf("%+v: %v", c.current, got)
		}
	}
}
