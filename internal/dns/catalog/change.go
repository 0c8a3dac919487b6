package catalog

import (
	"slices"

	"postern/internal/dns/name"
)

// Changes is what a reader of a catalog must do.
type Changes struct {
	Added   []Member // zones that are new
	Reset   []Member // zones whose label is another now: all that is known of them goes, then they are as new (RFC 9432, Section 5.6)
	Removed []Member // zones that are not listed any more, as they were
	Kept    []Member // zones that are as they were, their properties as they are now
}

// Compare returns what leads from one reading of a catalog to the next, each
// list in order of the zones' names.
func Compare(old, next []Member) Changes {
	var c Changes
	before := map[name.Name]Member{}
	for _, m := range old {
		before[m.Zone] = m
	}
	for _, m := range next {
		was, known := before[m.Zone]
		delete(before, m.Zone)
		switch {
		case !known:
			c.Added = append(c.Added, m)
		case was.ID != m.ID:
			c.Reset = append(c.Reset, m)
		default:
			c.Kept = append(c.Kept, m)
		}
	}
	for _, m := range before {
		c.Removed = append(c.Removed, m)
	}
	for _, list := range []*[]Member{&c.Added, &c.Reset, &c.Removed, &c.Kept} {
		slices.SortFunc(*list, func(a, b Member) int { return a.Zone.Compare(b.Zone) })
	}
	return c
}

// Takes reports whether a catalog that lists a zone takes it over from the
// catalog that it belongs to now: only where that one says so (RFC 9432,
// Section 5.5). Else the zone stays where it is: who writes one catalog must
// not be able to take the zones of another.
func Takes(catalog name.Name, m Member, current Member) bool {
	return m.Zone == current.Zone && current.Owner == catalog
}
