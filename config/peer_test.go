package config

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const twoViews = "[peer.isp1]\nnotify = [\"198.51.100.53:53\"]\ntransfer_from = [\"198.51.100.53\"]\ninsecure_by_address = true\n" +
	"[[view]]\nname = \"internal\"\nclients = [\"10.0.0.0/8\"]\nzones = \"in\"\n" +
	"[[view]]\nname = \"external\"\nclients = [\"any\"]\nzones = \"out\"\n"

// TestSecondariesOfTheOneView: without a view they go to the one that alone
// holds the zone, and nowhere where that is not one.
func TestSecondariesOfTheOneView(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, file := range []string{"in/both.test.zone", "out/Both.TEST.zone", "out/one.test.zone", "in/inner.test.zone", "out/0%2f25.test.zone", "in/root.zone", "out/other", "out/named.test.zone"} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ zone, file, want string }{
		{"both.test", "", `14:1: the views internal, external hold the zone both.test (a transfer is of one view: write it in [zone."both.test".view.external])`},
		{"none.test", "", `14:1: no view holds the zone none.test (a transfer is of one view: write it in [zone."none.test".view.external])`},
		{"named.test", "another", `14:1: no view holds the zone named.test (a transfer is of one view: write it in [zone."named.test".view.external])`},
		{"One.test.", "", "external"},
		{"inner.test", "", "internal"},
		{"0/25.test", "", "external"},
		{".", "", "internal"},
		{"none.test", "other", "external"},
	} {
		text := twoViews + "[zone." + quoted(c.zone) + "]\nsecondaries = [\"isp1\"]\n"
		if c.file != "" {
			text += "file = " + quoted(c.file) + "\n"
		}
		got := ""
		checked, problems := Parse([]byte(text), "postern.toml", dir)
		for _, p := range problems {
			if p.Blocks() {
				got += strings.TrimPrefix(p.String(), "postern.toml:")
			}
		}
		if checked != nil {
			for _, v := range checked.Views {
				if len(checked.Secondaries(checked.Zones[0].Name, v.Name)) == 1 {
					got += v.Name
				}
			}
		}
		if got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.zone, c.file, got, c.want)
		}
	}
}

// TestSecondaries is which of the lists counts.
func TestSecondaries(t *testing.T) {
	t.Parallel()
	peer := func(name, from string) string {
		return "[peer." + name + "]\nnotify = []\ntransfer_from = [\"" + from + "\"]\ninsecure_by_address = true\n"
	}
	text := peer("b", "192.0.2.2") + peer("a", "192.0.2.1") + peer("c", "10.0.0.1") + twoViews[strings.Index(twoViews, "[[view]]"):] +
		"[zone_default.view.external]\nsecondaries = [\"b\", \"a\"]\n[zone_default.view.internal]\nsecondaries = [\"c\"]\n" +
		"[zone.\"none.test\".view.external]\nsecondaries = []\n[zone.\"a.test\".view.external]\nsecondaries = [\"a\"]\n" +
		"[zone.\"full.test\".view.internal]\noverlay = \"none\"\n"
	c, problems := Parse([]byte(text), "postern.toml", t.TempDir())
	if c == nil {
		t.Fatal(problems)
	}
	for _, w := range []struct{ zone, view, want string }{
		{"other.test", "external", "a b"},
		{"other.test", "internal", "c"},
		{"other.test", "nowhere", ""},
		{"none.test", "external", ""},
		{"none.test", "internal", "c"},
		{"a.test", "external", "a"},
		{"full.test", "internal", "c"},
		{"full.test", "external", "a b"},
	} {
		var got []string
		for _, p := range c.Secondaries(w.zone, w.view) {
			got = append(got, p.Name)
		}
		if strings.Join(got, " ") != w.want {
			t.Errorf("%s in %s: %q, want %q", w.zone, w.view, got, w.want)
		}
	}
}

// TestKeyedPeers: with good keys, and their order is kept, for the first signs.
func TestKeyedPeers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "k"), []byte(keyText(sharedSecret)), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "[key.\"a.\"]\nsecret = \"file:k\"\n[key.\"b.\"]\nsecret = \"file:k\"\n" +
		"[peer.isp1]\nnotify = [\"[::ffff:198.51.100.53]:53\"]\nkeys = [\"B.\", \"a\"]\n" +
		"[[view]]\nname = \"external\"\nclients = [\"any\"]\n[zone_default]\nsecondaries = [\"isp1\"]\n[[listen]]\nserve = \"dns\"\naddress = [\"10.0.0.1:53\"]\n"
	c, problems := Parse([]byte(text), "postern.toml", dir)
	if c == nil || len(problems) > 0 {
		t.Fatal(problems)
	}
	p := c.Secondaries("example.test", "external")
	if len(p) != 1 || !slices.Equal(p[0].Keys, []string{"b", "a"}) || p[0].ByAddress || len(p[0].From) > 0 || p[0].Notify[0].String() != "198.51.100.53:53" {
		t.Errorf("%+v", p)
	}
	first := Effective(c)
	again, problems := Parse(first, "effective.toml", t.TempDir())
	if again == nil {
		t.Fatalf("%v\n%s", problems, first)
	}
	if second := Effective(again); !bytes.Equal(first, second) {
		t.Errorf("not the same:\n%s\n%s", first, second)
	}
}

// TestPrimaries: in the order written, of the view alone, and not beside a file.
func TestPrimaries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	peer := func(name, address string) string {
		return "[peer." + name + "]\naddress = [\"" + address + "\"]\ninsecure_by_address = true\n"
	}
	text := peer("b", "[::ffff:192.0.2.2]:53") + peer("a", "192.0.2.1:5353") + "[[view]]\nname = \"one\"\nclients = [\"any\"]\nzones = \".\"\n" +
		"[zone.\"Some.test.\".view.one]\nprimaries = [\"b\", \"a\"]\n[zone.\"file.test\"]\nfile = \"x\"\n"
	c, problems := Parse([]byte(text), "postern.toml", dir)
	if c == nil || len(problems) != 1 { // nothing is listened for
		t.Fatal(problems)
	}
	got := c.Primaries("some.test", "one")
	if len(got) != 2 || got[0].Name != "b" || got[0].Address[0].String() != "192.0.2.2:53" || got[1].Address[0].String() != "192.0.2.1:5353" {
		t.Errorf("%+v", got)
	}
	for _, none := range [][2]string{{"some.test", "two"}, {"file.test", "one"}, {"other.test", "one"}} {
		if got := c.Primaries(none[0], none[1]); len(got) > 0 {
			t.Errorf("%v: %+v", none, got)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "SOME.test.zone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems = Parse([]byte(text), "postern.toml", dir)
	want := "postern.toml:12:1: the zone some.test has primaries, and a file in " + dir + " (move the file away, or leave primaries out)"
	if c != nil || !slices.ContainsFunc(problems, func(p Problem) bool { return p.String() == want }) {
		t.Errorf("%v", problems)
	}
}
