package config

import (
	"fmt"
	"slices"
)

// NoCatalog is what is written where a zone is to be in none.
const NoCatalog = "none"

// longestCatalog is how long the name of a catalog may be, in characters: the
// names of its members are 39 longer, and longer ones are no names any more.
const longestCatalog = 210

// listed is a catalog that is named somewhere, for one view.
type listed struct {
	CatalogZone
	of    string // the zone that is to be in it; "": all
	at    int    // where it is named
	table table
}

// defaultCatalogs reads the catalogs of all zones.
func (b *builder) defaultCatalogs(t table) {
	views := t.sub("view")
	for _, name := range views.names() {
		b.addCatalog(views.sub(name), name, "", &b.checked.ZoneDefault.Views)
	}
	n := t.written("catalog")
	switch {
	case n == nil:
	case len(b.checked.Views) > 1:
		b.file.errorAt(n.key, "a catalog of all zones, and several views", "a catalog is of one view: write it in "+bracket(dotted([]string{"zone_default", "view", "NAME"}), false))
	case len(b.checked.Views) == 1:
		b.addCatalog(t, b.checked.Views[0].Name, "", &b.checked.ZoneDefault.Views)
	}
}

// zoneCatalogs reads the catalogs that one zone is in: of each view, and the
// one that is written without a view, which is of the view that alone holds the
// zone.
func (b *builder) zoneCatalogs(t table, z *Zone) {
	views := t.sub("view")
	for _, name := range views.names() {
		b.addCatalog(views.sub(name), name, z.Name, &z.Views)
	}
	if t.written("catalog") == nil {
		return
	}
	if view := b.onlyView(t, z, "catalog", "a catalog is of one view"); view != "" {
		b.addCatalog(t, view, z.Name, &z.Views)
	}
}

// addCatalog takes the catalog that a table names for a view.
func (b *builder) addCatalog(t table, view, zone string, to *[]ZoneView) {
	n := t.written("catalog")
	if n == nil || n.bad {
		return
	}
	i := slices.IndexFunc(*to, func(v ZoneView) bool { return v.View == view })
	if i < 0 {
		i, *to = len(*to), append(*to, ZoneView{View: view})
	}
	v := &(*to)[i]
	if v.Catalog != "" {
		b.file.errorAt(n.key, fmt.Sprintf("catalog is written twice: here, and for the view %q", view), "keep that of the view")
		return
	}
	if v.Catalog = canonical(n.text); v.Catalog != NoCatalog {
		b.catalogs = append(b.catalogs, listed{CatalogZone{v.Catalog, view}, zone, n.at, t})
	}
}

// zoneMembers reads whether a zone that has primaries is a catalog of others,
// whose members are to be here.
func (b *builder) zoneMembers(t table, z *Zone) {
	views := t.sub("view")
	for i := range z.Views {
		if v := views.sub(z.Views[i].View); v.n.field("members") != nil {
			b.follow(v, z, &z.Views[i], v.flag("members"))
		}
	}
	if t.n.field("members") == nil {
		return
	}
	i := -1
	if len(b.checked.Views) == 1 {
		i = slices.IndexFunc(z.Views, func(v ZoneView) bool { return v.View == b.checked.Views[0].Name })
	}
	if i < 0 {
		b.follow(t, z, &ZoneView{}, t.flag("members"))
		return
	}
	b.follow(t, z, &z.Views[i], t.flag("members"))
}

func (b *builder) follow(t table, z *Zone, v *ZoneView, members bool) {
	at := t.where("members")
	switch {
	case !members:
	case v.Primaries == nil:
		b.file.errorAt(at, "members without primaries: a catalog that others make is transferred from them", `add primaries = ["NAME"]; a catalog of our own zones is named by catalog`)
	case z.DNSSEC != "" && z.DNSSEC != "off":
		b.file.errorAt(at, fmt.Sprintf("members and dnssec: the catalog %s would be signed, and nobody looks at that", z.Name), "leave dnssec out, or make it off")
	default:
		v.Members = true
	}
}

// checkCatalogs looks at the catalogs that are to be made, with zones, views
// and peers.
func (b *builder) checkCatalogs() {
	told := map[CatalogZone]bool{}
	for _, c := range b.catalogs {
		if c.of == c.Zone {
			b.file.errorAt(c.at, fmt.Sprintf("the catalog %s would list itself", c.Zone), "")
			continue
		}
		if i := slices.IndexFunc(b.checked.Zones, func(z Zone) bool { return z.Name == c.of }); i >= 0 && b.checked.Zones[i].view(c.View).Members {
			b.file.errorAt(c.at, fmt.Sprintf("the zone %s is a catalog itself, and in no other", c.of), "leave catalog out")
		}
		if !told[c.CatalogZone] {
			told[c.CatalogZone] = true
			b.checkCatalog(c)
		}
	}
}

// checkCatalog looks at one catalog, where it is named first.
func (b *builder) checkCatalog(c listed) {
	if len(c.Zone) > longestCatalog {
		b.file.errorAt(c.at, fmt.Sprintf("the name of the catalog is longer than %d characters", longestCatalog), "")
	}
	z := Zone{Name: c.Zone}
	if i := slices.IndexFunc(b.checked.Zones, func(z Zone) bool { return z.Name == c.Zone }); i >= 0 {
		z = b.checked.Zones[i]
	}
	v := z.view(c.View)
	made := fmt.Sprintf("Postern makes the catalog %s", c.Zone)
	switch i := slices.IndexFunc(b.checked.Views, func(o View) bool { return o.Name == c.View }); {
	case i < 0: // told already
	case v.Primaries != nil:
		b.file.errorAt(c.at, made+", and it has primaries", "give it another name")
	case v.Catalog != "" && v.Catalog != NoCatalog:
		b.file.errorAt(c.at, made+", and it is to be in a catalog itself", "a catalog is in none")
	case z.DNSSEC != "" && z.DNSSEC != "off":
		b.file.errorAt(c.at, made+", and it is to be signed", "nobody looks at that: leave dnssec out")
	case b.checked.Views[i].Zones != "" && b.holds(b.checked.Views[i].Zones, &z):
		b.file.errorAt(c.at, fmt.Sprintf("%s, and there is a file of it in %s", made, b.checked.Views[i].Zones), "move the file away, or give the catalog another name")
	case len(b.checked.Secondaries(c.Zone, c.View)) == 0:
		b.file.warnAt(c.at, fmt.Sprintf("the catalog %s goes to nobody", c.Zone), "name its secondaries in "+bracket(dotted([]string{"zone", c.Zone, "view", c.View}), false))
	}
}

// CatalogZone is a catalog, which is a zone of one view.
type CatalogZone struct{ Zone, View string }

// Catalogs returns the catalogs to be made, by name and view.
func (c *Checked) Catalogs() []CatalogZone {
	var all []CatalogZone
	take := func(views []ZoneView) {
		for _, v := range views {
			if at := (CatalogZone{v.Catalog, v.View}); v.Catalog != "" && v.Catalog != NoCatalog && !slices.Contains(all, at) {
				all = append(all, at)
			}
		}
	}
	take(c.ZoneDefault.Views)
	for _, z := range c.Zones {
		take(z.Views)
	}
	slices.SortFunc(all, func(a, b CatalogZone) int {
		return slices.Compare([]string{a.Zone, a.View}, []string{b.Zone, b.View})
	})
	return all
}
