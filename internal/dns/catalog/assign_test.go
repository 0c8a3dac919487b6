package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"postern/internal/dns/catalog"
	"postern/internal/dns/name"
)

// TestAssign: each case is what is assigned, what catalogs list, and what
// follows. "one:a=cat" is the zone one with the label a, of the catalog cat;
// "one:a>b" a member that is given to the catalog b.
func TestAssign(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, now string
		sources   map[string]string // "?": not known
		own       string
		want      string
	}{
		{"nothing", "", nil, "", ""},
		{"broken: nothing changes", "one:1=a two:2=a", map[string]string{"a": "?"}, "", "zones[one:1=a two:2=a]"},
		{"not known yet", "", map[string]string{"a": "?"}, "", ""},
		{"our own is none of theirs", "", map[string]string{"a": "one:1 two:2"}, "one", "zones[two:2=a] added[two:2=a] refused[one:a!]"},
		{"it becomes our own", "one:1=a", map[string]string{"a": "one:1"}, "one", "released[one:1=a] refused[one:a!]"},
		{"our own, and not known", "one:1=a", map[string]string{"a": "?"}, "one", "released[one:1=a]"},
		{"new", "", map[string]string{"a": "one:1"}, "", "zones[one:1=a] added[one:1=a]"},
		{"as it was", "one:1=a", map[string]string{"a": "one:1"}, "", "zones[one:1=a]"},
		{"another label", "one:1=a", map[string]string{"a": "one:9"}, "", "zones[one:9=a] reset[one:9=a]"},
		{"not listed any more", "one:1=a", map[string]string{"a": "two:2"}, "", "zones[two:2=a] added[two:2=a] removed[one:1=a]"},
		{"emptied", "one:1=a", map[string]string{"a": ""}, "", "removed[one:1=a]"},
		{"not followed any more", "one:1=a", nil, "", "removed[one:1=a]"},
		{"both want it: the first gets it", "", map[string]string{"a": "one:1", "b": "one:1"}, "", "zones[one:1=a] added[one:1=a] refused[one:b!a]"},
		{"both want it: who has it keeps it", "one:1=b", map[string]string{"a": "one:1", "b": "one:1"}, "", "zones[one:1=b] refused[one:a!b]"},
		{"who has it is broken, and keeps it", "one:1=b", map[string]string{"a": "one:1", "b": "?"}, "", "zones[one:1=b] refused[one:a!b]"},
		{"given away, not taken yet", "one:1=a", map[string]string{"a": "one:1>b", "b": ""}, "", "zones[one:1=a]"},
		{"given away, and the other not known", "one:1=a", map[string]string{"a": "one:1>b", "b": "?"}, "", "zones[one:1=a]"},
		{"given to somebody else", "one:1=a", map[string]string{"a": "one:1>x", "b": "one:1"}, "", "zones[one:1=a] refused[one:b!a]"},
		{"given away and taken, same label", "one:1=a", map[string]string{"a": "one:1>b", "b": "one:1"}, "", "zones[one:1=b] moved[one:1=b]"},
		{"given away and taken, another label", "one:1=a", map[string]string{"a": "one:1>b", "b": "one:2"}, "", "zones[one:2=b] reset[one:2=b]"},
		{"given to one that comes before", "one:1=b", map[string]string{"a": "one:1", "b": "one:1>a"}, "", "zones[one:1=a] moved[one:1=a]"},
		{"moved, then left by the old one", "one:1=b", map[string]string{"a": "", "b": "one:1"}, "", "zones[one:1=b]"},
		{"moved, still listed by the old one", "one:1=b", map[string]string{"a": "one:1>b", "b": "one:1"}, "", "zones[one:1=b]"},
		{"dropped by one, listed by the other", "one:1=a", map[string]string{"a": "", "b": "one:1"}, "", "zones[one:1=b] reset[one:1=b]"},
		{"dropped by one that is followed no more", "one:1=a", map[string]string{"b": "one:1"}, "", "zones[one:1=b] reset[one:1=b]"},
		{"reset and given away at once", "one:1=a", map[string]string{"a": "one:2>b", "b": "one:2"}, "", "zones[one:2=b] reset[one:2=b]"},
		{"new and given away at once", "", map[string]string{"a": "one:1>b", "b": "one:1"}, "", "zones[one:1=b] added[one:1=b]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var sources []catalog.Source
			for _, cat := range []string{"a", "b"} {
				if list, followed := c.sources[cat]; followed {
					sources = append(sources, sourceOf(t, cat, list))
				}
			}
			got := catalog.Assign(assigned(t, c.now), sources, func(n name.Name) bool { return strings.TrimSuffix(n.String(), ".") == c.own })
			if said := say(got); said != c.want {
				t.Errorf("%s, want %s", said, c.want)
			}
			if again := catalog.Assign(got.Zones, sources, func(n name.Name) bool { return strings.TrimSuffix(n.String(), ".") == c.own }); say(catalog.Assignment{Zones: again.Zones, Refused: again.Refused}) != say(again) || !slices.Equal(again.Zones, got.Zones) {
				t.Errorf("it does not rest: %s after %s", say(again), say(got))
			}
		})
	}
}

func sourceOf(t *testing.T, cat, list string) catalog.Source {
	t.Helper()
	s := catalog.Source{Catalog: parse(t, cat), Known: list != "?"}
	if !s.Known {
		return s
	}
	for _, word := range strings.Fields(list) {
		member, owner, given := strings.Cut(word, ">")
		zone, id, _ := strings.Cut(member, ":")
		m := catalog.Member{Zone: parse(t, zone), ID: id}
		if given {
			m.Owner = parse(t, owner)
		}
		s.Members = append(s.Members, m)
	}
	return s
}

func assigned(t *testing.T, list string) []catalog.Assigned {
	t.Helper()
	var all []catalog.Assigned
	for _, word := range strings.Fields(list) {
		member, cat, _ := strings.Cut(word, "=")
		zone, id, _ := strings.Cut(member, ":")
		all = append(all, catalog.Assigned{Zone: parse(t, zone), ID: id, Catalog: parse(t, cat)})
	}
	return all
}

func say(a catalog.Assignment) string {
	bare := func(n name.Name) string {
		if n == "" {
			return ""
		}
		return strings.TrimSuffix(n.String(), ".")
	}
	var parts []string
	for _, list := range []struct {
		what string
		all  []catalog.Assigned
	}{{"zones", a.Zones}, {"added", a.Added}, {"reset", a.Reset}, {"moved", a.Moved}, {"removed", a.Removed}, {"released", a.Released}} {
		var words []string
		for _, z := range list.all {
			words = append(words, fmt.Sprintf("%s:%s=%s", bare(z.Zone), z.ID, bare(z.Catalog)))
		}
		if len(words) > 0 {
			parts = append(parts, fmt.Sprintf("%s%v", list.what, words))
		}
	}
	var refused []string
	for _, r := range a.Refused {
		refused = append(refused, fmt.Sprintf("%s:%s!%s", bare(r.Zone), bare(r.Catalog), bare(r.Holder)))
	}
	if len(refused) > 0 {
		parts = append(parts, fmt.Sprintf("refused%v", refused))
	}
	return strings.Join(parts, " ")
}
