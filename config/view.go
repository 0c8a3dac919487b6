package config

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

func (b *builder) views() {
	for _, t := range b.root.each("view") {
		v := View{
			Name:      t.text("name"),
			Clients:   b.clients(t, "clients"),
			Keys:      b.viewKeys(t),
			Zones:     t.path("zones", b.file.Dir),
			Overlay:   t.text("overlay"),
			Recursion: t.flag("recursion"),
		}
		v.Any = wholeFamily(v.Clients)
		for _, name := range t.texts("hide") {
			v.Hide = append(v.Hide, canonical(name))
		}
		for _, name := range t.texts("hide_tree") {
			v.HideTree = append(v.HideTree, canonical(name))
		}
		if v.Name != "" && slices.ContainsFunc(b.checked.Views, func(o View) bool { return o.Name == v.Name }) {
			b.file.errorAt(t.where("name"), fmt.Sprintf("the view %q is written twice", v.Name), "")
		}
		b.checkView(t, v)
		b.checked.Views = append(b.checked.Views, v)
	}
}

// checkView looks at one view alone.
func (b *builder) checkView(t table, v View) {
	if n := t.nobody("clients", len(v.Clients)); n != nil && len(t.list("keys")) == 0 {
		b.file.errorAt(n.at, fmt.Sprintf("the view %q has no clients: it can never match", v.Name), `want names of [networks], "any", or prefixes`)
	}
	if v.Recursion && v.Any {
		b.file.errorAt(t.where("recursion"), fmt.Sprintf("the view %q would resolve for anyone", v.Name), "recursion needs clients that are known")
	}
	if v.Overlay == "" {
		for _, name := range []string{"hide", "hide_tree"} {
			if len(t.list(name)) > 0 {
				b.file.errorAt(t.where(name), fmt.Sprintf("%s in the view %q, which lies over none", name, v.Name), "it needs overlay")
			}
		}
	}
	if v.Zones == "" {
		return
	}
	info, err := os.Stat(v.Zones)
	switch {
	case err != nil:
		b.file.warnAt(t.where("zones"), fmt.Sprintf("cannot read %s: %v", v.Zones, reason(err)), "make the directory; what was served from it serves on")
	case !info.IsDir():
		b.file.warnAt(t.where("zones"), v.Zones+" is not a directory", "every NAME.zone in it is a zone")
	}
	b.zonesTwice(t, v.Zones)
	for _, o := range b.checked.Views {
		if o.Zones == v.Zones {
			b.file.warnAt(t.where("zones"), fmt.Sprintf("the views %q and %q read the same directory", o.Name, v.Name), "what is in it shows in both")
		}
	}
}

// zonesTwice warns of two files of one zone in a directory: case and the
// spelling of a slash make no other zone.
func (b *builder) zonesTwice(t table, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // told already, or no directory
	}
	first := map[string]string{}
	for _, e := range entries {
		zone, ok := strings.CutSuffix(strings.ToLower(e.Name()), ".zone")
		if !ok || strings.HasPrefix(zone, ".") {
			continue
		}
		zone = strings.TrimSuffix(strings.ReplaceAll(zone, "%2f", "/"), ".")
		if other, twice := first[zone]; twice {
			b.file.warnAt(t.where("zones"), fmt.Sprintf("%s holds the zone %s twice: %s is read, %s is passed over", dir, zone, other, e.Name()), "remove one of them")
			continue
		}
		first[zone] = e.Name()
	}
}

// zones reads [zone."NAME"] and its views.
func (b *builder) zones() {
	s := b.root.sub("zone")
	for _, written := range s.names() {
		t := s.sub(written)
		if t.n == nil {
			continue
		}
		if hint, ok := checkZoneName(written); !ok {
			b.file.errorAt(t.at, fmt.Sprintf("bad zone name %q", written), hint)
			continue
		}
		z := Zone{Name: canonical(written), File: t.text("file"), DNSSEC: b.policyOf(t)}
		if slices.ContainsFunc(b.checked.Zones, func(o Zone) bool { return o.Name == z.Name }) {
			b.file.errorAt(t.at, fmt.Sprintf("the zone %q is written twice", z.Name), "case and a final dot make no difference")
			continue
		}
		views := t.sub("view")
		for _, name := range views.names() {
			v := views.sub(name)
			b.viewExists(name, v.at)
			z.Views = append(z.Views, ZoneView{View: name, NoOverlay: v.text("overlay") == "none"})
		}
		b.zoneDynamic(t, &z)
		b.zonePrimaries(t, &z)
		b.dynamicElsewhere(t, &z)
		b.zoneSecondaries(t, &z)
		b.zoneMembers(t, &z)
		b.zoneCatalogs(t, &z)
		b.checked.Zones = append(b.checked.Zones, z)
	}
	slices.SortFunc(b.checked.Zones, func(a, c Zone) int { return strings.Compare(a.Name, c.Name) })
}

func (b *builder) viewExists(name string, at int) bool {
	var names []string
	for _, v := range b.checked.Views {
		names = append(names, v.Name)
	}
	if slices.Contains(names, name) {
		return true
	}
	b.file.errorAt(at, fmt.Sprintf("there is no view %q", name), meant(name, names, "add it as [[view]]"))
	return false
}

// checkViews looks at views and listeners together.
func (b *builder) checkViews() {
	entries := b.root.each("view")
	b.checkOverlays(entries)
	recursive := slices.ContainsFunc(b.checked.Views, func(v View) bool { return v.Recursion })
	for i, t := range b.root.each("listen") {
		l := b.checked.Listen[i]
		if l.Serve != ServeDNS {
			continue
		}
		for _, n := range t.list("views") {
			b.viewExists(n.text, n.at)
		}
		if n := t.written("views"); n != nil && len(n.items) == 0 {
			b.file.errorAt(n.at, "views is empty: nobody would be answered", "leave it out for all views")
		}
		if t.n.field("views") != nil || !recursive {
			continue
		}
		for _, n := range t.list("address") {
			a, err := netip.ParseAddrPort(n.text)
			if err != nil || inner(a.Addr().Unmap()) || holds(b.checked.Networks["internal"], a.Addr().Unmap()) {
				continue
			}
			b.file.errorAt(n.at, fmt.Sprintf("%s is not a private address, a view recurses, and the listener does not say which views it serves", a.Addr()), `add views = ["…"]`)
		}
	}
	for i, t := range entries {
		b.checkReachable(t, i)
	}
}

// maxOverlays is how deep views may lie over each other.
const maxOverlays = 4

// checkOverlays follows each chain of overlays to its end.
func (b *builder) checkOverlays(entries []table) {
	over := map[string]string{}
	for _, v := range b.checked.Views {
		over[v.Name] = v.Overlay
	}
	for i, v := range b.checked.Views {
		if v.Overlay == "" || !b.viewExists(v.Overlay, entries[i].where("overlay")) {
			continue
		}
		chain := []string{v.Name}
		for at := v.Overlay; at != ""; at = over[at] {
			looped := slices.Contains(chain, at)
			chain = append(chain, at)
			if looped {
				if at == v.Name {
					b.file.errorAt(entries[i].where("overlay"), "overlays in a circle: "+strings.Join(chain, " over "), "")
				}
				break
			}
		}
		if len(chain) > maxOverlays && over[chain[len(chain)-1]] == "" {
			b.file.errorAt(entries[i].where("overlay"), fmt.Sprintf("more than %d views on top of each other: %s", maxOverlays, strings.Join(chain, " over ")), "")
		}
	}
}

// checkReachable finds a view that no client can ever get: on every listener
// that serves it, views before it take all its clients. A key gets it anywhere.
func (b *builder) checkReachable(t table, index int) {
	v := b.checked.Views[index]
	if len(v.Clients) == 0 || len(v.Keys) > 0 {
		return
	}
	listeners := slices.DeleteFunc(slices.Clone(b.checked.Listen), func(l Listen) bool { return l.Serve != ServeDNS })
	if len(listeners) == 0 {
		listeners = []Listen{{Serve: ServeDNS}}
	}
	served := false
	for _, l := range listeners {
		if len(l.Views) > 0 && !slices.Contains(l.Views, v.Name) {
			continue
		}
		served = true
		before := b.takenBefore(l, index)
		if slices.ContainsFunc(v.Clients, func(p netip.Prefix) bool { return !covers(before, p) }) {
			return
		}
	}
	if !served {
		b.file.warnAt(t.where("name"), fmt.Sprintf("no listener serves the view %q", v.Name), "")
		return
	}
	b.file.errorAt(t.where("clients"), fmt.Sprintf("the view %q can never match: views before it take all its clients", v.Name), "put the narrower view first")
}

// takenBefore returns the clients that never get as far as the view: those of
// the views before it that the listener serves, and those named by a view that
// it does not serve, whose addresses are taken for forged there. A view for
// any names nobody.
func (b *builder) takenBefore(l Listen, index int) []netip.Prefix {
	var before []netip.Prefix
	for _, o := range b.checked.Views[:index] {
		served := len(l.Views) == 0 || slices.Contains(l.Views, o.Name)
		for _, p := range o.Clients {
			if served || p.Bits() > 0 {
				before = append(before, p)
			}
		}
	}
	return before
}

// OwnPrefixViews lists the view of each prefix of [networks] and of each that a
// view names, one a line, by source address alone: what a listener's views
// would allow is not looked at. Where a narrower prefix is in another view it
// has its own line. The keys, which go before all that, come last.
func OwnPrefixViews(c *Checked) []string {
	var list []string
	seen := map[netip.Prefix]bool{}
	add := func(network string, p netip.Prefix) {
		if seen[p] {
			return
		}
		seen[p] = true
		list = append(list, p.String()+network+": "+viewOf(c, p))
	}
	names := make([]string, 0, len(c.Networks))
	for name := range c.Networks {
		if name != "any" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, p := range c.Networks[name] {
			add(" ("+name+")", p)
		}
	}
	for _, v := range c.Views {
		for _, p := range v.Clients {
			add("", p)
		}
	}
	for _, k := range c.Keys {
		list = append(list, "key "+k.Name+": "+keyView(c, k.Name))
	}
	return list
}

// keyView names the view that a key chooses.
func keyView(c *Checked, key string) string {
	for _, v := range c.Views {
		if slices.Contains(v.Keys, key) {
			return "view " + v.Name
		}
	}
	return "the view of listener and address"
}

// viewOf names the first view that has all of p.
func viewOf(c *Checked, p netip.Prefix) string {
	for _, v := range c.Views {
		if covers(v.Clients, p) {
			return "view " + v.Name
		}
	}
	return "no view"
}
