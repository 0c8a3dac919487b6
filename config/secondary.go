package config

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// listing is one list of secondaries, with where each of them stands.
type listing struct {
	view  string
	peers []string
	at    []int
}

// zoneDefaults reads [zone_default] and what it says about each view.
func (b *builder) zoneDefaults() {
	t := b.root.sub("zone_default")
	b.checked.ZoneDefault.DNSSEC = b.policyOf(t)
	views := t.sub("view")
	for _, name := range views.names() {
		v := views.sub(name)
		b.viewExists(name, v.at)
		if list := b.listing(v, name); list != nil {
			b.defaults = append(b.defaults, *list)
		}
	}
	list := b.listing(t, "")
	switch {
	case list == nil:
	case len(b.checked.Views) > 1:
		b.file.errorAt(t.written("secondaries").key, "secondaries of all zones, and several views", "a transfer is of one view: write it in "+bracket(dotted([]string{"zone_default", "view", "NAME"}), false))
	case len(b.checked.Views) == 1:
		list.view = b.checked.Views[0].Name
		b.addListing(&b.defaults, *list, t)
	}
	for _, list := range b.defaults {
		b.checked.ZoneDefault.Views = append(b.checked.ZoneDefault.Views, ZoneView{View: list.view, Secondaries: list.peers})
	}
	b.defaultCatalogs(t)
}

// listing reads the secondaries of a table; nil when they are not written.
func (b *builder) listing(t table, view string) *listing {
	peers := b.secondaries(t)
	if peers == nil {
		return nil
	}
	list := &listing{view: view, peers: peers}
	for _, n := range t.list("secondaries") { // without those that are no peers
		list.at = append(list.at, n.at)
	}
	return list
}

// addListing adds what is said without a view to what is said of each.
func (b *builder) addListing(to *[]listing, list listing, t table) {
	if slices.ContainsFunc(*to, func(o listing) bool { return o.view == list.view }) {
		b.file.errorAt(t.written("secondaries").key, fmt.Sprintf("secondaries are written twice: here, and for the view %q", list.view), "keep those of the view")
		return
	}
	*to = append(*to, list)
}

// zoneSecondaries reads the secondaries of one zone: of each view, and those
// that are written without one, which go to the view that alone holds the zone.
func (b *builder) zoneSecondaries(t table, z *Zone) {
	var lists []listing
	views := t.sub("view")
	for _, name := range views.names() {
		if list := b.listing(views.sub(name), name); list != nil {
			lists = append(lists, *list)
		}
	}
	if list := b.listing(t, ""); list != nil {
		if list.view = b.onlyView(t, z, "secondaries", "a transfer is of one view"); list.view != "" {
			b.addListing(&lists, *list, t)
		}
	}
	for _, list := range lists {
		i := slices.IndexFunc(z.Views, func(v ZoneView) bool { return v.View == list.view })
		if i < 0 {
			i, z.Views = len(z.Views), append(z.Views, ZoneView{View: list.view})
		}
		z.Views[i].Secondaries = list.peers
	}
	b.lists[z.Name] = lists
}

// onlyView returns the view that alone holds a zone, or "": then it is said why.
func (b *builder) onlyView(t table, z *Zone, key, why string) string {
	var with, holding []string
	for _, v := range b.checked.Views {
		fed := z.view(v.Name).Primaries != nil
		if v.Zones == "" && !fed {
			continue
		}
		with = append(with, v.Name)
		if fed || b.holds(v.Zones, z) {
			holding = append(holding, v.Name)
		}
	}
	at := t.written(key).key
	hint := func(views []string) string {
		if len(views) == 0 {
			return "add zones to a [[view]]"
		}
		return why + ": write it in " + bracket(dotted([]string{"zone", z.Name, "view", views[len(views)-1]}), false)
	}
	switch {
	case len(holding) == 1:
		return holding[0]
	case len(holding) > 1:
		b.file.errorAt(at, fmt.Sprintf("the views %s hold the zone %s", strings.Join(holding, ", "), z.Name), hint(holding))
	case len(with) == 1:
		return with[0] // the file may come yet
	default:
		b.file.errorAt(at, fmt.Sprintf("no view holds the zone %s", z.Name), hint(with))
	}
	return ""
}

// holds reports whether there is a file of the zone in a directory.
func (b *builder) holds(dir string, z *Zone) bool {
	entries, read := b.dirs[dir]
	if !read {
		entries, _ = os.ReadDir(dir) // that it cannot be read is told with the view
		b.dirs[dir] = entries
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		if z.File != "" {
			return e.Name() == z.File
		}
		name, ok := strings.CutSuffix(strings.ToLower(e.Name()), ".zone")
		if name == "root" {
			name = "."
		}
		return ok && canonical(strings.ReplaceAll(name, "%2f", "/")) == z.Name
	})
}

// checkSecondaries looks at peers, zones and views together.
func (b *builder) checkSecondaries() {
	b.checkListings("", nil)
	for _, z := range b.checked.Zones {
		b.checkListings(z.Name, b.lists[z.Name])
	}
	b.checkPeers()
	b.checkFiles()
}

// placed is a peer that is a secondary in a view.
type placed struct {
	*Peer
	view string
	at   int
	own  bool // written for this zone, not for all
}

// checkListings looks at the secondaries of one zone, those of all zones among
// them; of "" at those of zones that have none of their own.
func (b *builder) checkListings(zone string, lists []listing) {
	var all []placed
	take := func(list listing, own bool) {
		for i, name := range list.peers {
			all = append(all, placed{b.peer(name), list.view, list.at[i], own})
		}
	}
	for _, list := range lists {
		take(list, true)
	}
	for _, list := range b.defaults {
		if !slices.ContainsFunc(lists, func(own listing) bool { return own.view == list.view }) {
			take(list, false)
		}
	}
	for i, p := range all {
		if p.own || zone == "" {
			b.sees(p)
		}
		for _, o := range all[:i] {
			switch {
			case !p.own && !o.own && zone != "":
			case o.view == p.view:
				b.stricter(zone, p, o)
			default:
				b.tellApart(zone, o, p)
			}
		}
	}
}

// sees refuses a peer whose every key chooses another view than the one it is
// to be given.
func (b *builder) sees(p placed) {
	if len(p.Keys) == 0 || slices.ContainsFunc(p.Keys, func(k string) bool {
		owner := b.keyOwner(k)
		return owner == "" || owner == p.view
	}) {
		return
	}
	b.file.errorAt(p.at, fmt.Sprintf("the key %q of the peer %q belongs to the view %q", p.Keys[0], p.Name, b.keyOwner(p.Keys[0])), fmt.Sprintf("give it a key of its own for the view %q", p.view))
}

// tellApart refuses two views of one zone for which a transfer could be meant
// alike. Peers are told apart by key or, without one, by address; one peer may
// have two views if each view names one of its keys.
func (b *builder) tellApart(zone string, o, p placed) {
	of := "all zones"
	if zone != "" {
		of = "the zone " + zone
	}
	if !overlap(o.Peer, p.Peer) {
		return
	}
	who := fmt.Sprintf("the peer %q", p.Name)
	if o.Name != p.Name {
		who = fmt.Sprintf("the peers %q and %q", o.Name, p.Name)
	}
	for _, k := range p.Keys {
		owner := b.keyOwner(k) // a view that names the key as its own is meant by it
		if slices.Contains(o.Keys, k) && (owner == "" || owner != o.view && owner != p.view) {
			b.file.errorAt(p.at, fmt.Sprintf("%s could mean %s in the view %q or %q: the key %q is the same", who, of, o.view, p.view, k), "a key of its own, and a peer of its own, for each view")
			return
		}
	}
	if o.certified() && (p.ByAddress || p.certified() && sameCert(o.Peer, p.Peer)) || o.ByAddress && p.certified() {
		b.file.errorAt(p.at, fmt.Sprintf("%s could mean %s in the view %q or %q: one certificate could be shown for both", who, of, o.view, p.view), "a key for each view tells them apart")
	}
	if o.ByAddress && p.ByAddress {
		b.file.errorAt(p.at, fmt.Sprintf("%s could mean %s in the view %q or %q: the addresses are the same", who, of, o.view, p.view), "a key for each view tells them apart")
	}
}

// overlap reports whether two peers could come from one address.
func overlap(o, p *Peer) bool {
	return len(o.From) == 0 || len(p.From) == 0 || slices.ContainsFunc(o.From, func(f netip.Prefix) bool {
		return slices.ContainsFunc(p.From, f.Overlaps)
	})
}

// Secondaries returns the peers that a zone, by its canonical name, has in a
// view: those written for it there, else those of all zones there.
func (c *Checked) Secondaries(zone, view string) []Peer {
	names := func(views []ZoneView) ([]string, bool) {
		for _, v := range views {
			if v.View == view && v.Secondaries != nil {
				return v.Secondaries, true
			}
		}
		return nil, false
	}
	list, own := []string(nil), false
	for _, z := range c.Zones {
		if z.Name == zone {
			list, own = names(z.Views)
		}
	}
	if !own {
		list, _ = names(c.ZoneDefault.Views)
	}
	var peers []Peer
	for _, p := range c.Peers {
		if slices.Contains(list, p.Name) {
			peers = append(peers, p)
		}
	}
	return peers
}
