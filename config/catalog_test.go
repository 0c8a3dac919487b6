package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestCatalogs: named for a view, for one zone, or not; each is one zone of one
// view, and there is no file of it.
func TestCatalogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := `[peer.p]
address = ["192.0.2.1:53"]
transfer_from = ["192.0.2.1"]
notify = ["192.0.2.1:53"]
insecure_by_address = true
[[view]]
name = "one"
clients = ["loopback"]
zones = "."
[[view]]
name = "two"
clients = ["any"]
[zone_default.view.one]
catalog = "Cat.Test."
secondaries = ["p"]
[zone."none.test".view.one]
catalog = "none"
[zone."other.test".view.one]
catalog = "other-cat.test"
[zone."both.test".view.two]
catalog = "cat.test"
[zone."cat.test".view.two]
secondaries = []
[zone."theirs.test".view.two]
primaries = ["p"]
members = true
`
	c, problems := Parse([]byte(text), "postern.toml", dir)
	if c == nil {
		t.Fatal(problems)
	}
	if got, want := fmt.Sprint(c.Catalogs()), "[{cat.test one} {cat.test two} {other-cat.test one}]"; got != want {
		t.Errorf("catalogs %s, want %s", got, want)
	}
	for _, z := range c.Zones {
		for _, v := range z.Views {
			if v.Members != (z.Name == "theirs.test") {
				t.Errorf("%s: %+v", z.Name, v)
			}
		}
	}
	if d := c.ZoneDefault.Views; len(d) != 1 || d[0].Catalog != "cat.test" || len(d[0].Secondaries) != 1 {
		t.Errorf("%+v", d)
	}
	if err := os.WriteFile(filepath.Join(dir, "CAT.test.zone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems = Parse([]byte(text), "postern.toml", dir)
	want := "postern.toml:14:11: Postern makes the catalog cat.test, and there is a file of it in " + dir + " (move the file away, or give the catalog another name)"
	if c != nil || !slices.ContainsFunc(problems, func(p Problem) bool { return p.String() == want }) {
		t.Errorf("%v", problems)
	}
}
