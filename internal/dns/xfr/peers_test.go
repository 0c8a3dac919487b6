package xfr

import (
	"net/netip"
	"testing"

	"postern/internal/dns/name"
)

func prefixes(t testing.TB, all ...string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// TestFind: nobody gets what no entry gives him, whatever he shows instead.
func TestFind(t *testing.T) {
	t.Parallel()
	a, b, c, d := mustName(t, "a-key."), mustName(t, "b-key."), mustName(t, "c-key."), mustName(t, "d-key.")
	zone, other, inner := mustName(t, "example."), mustName(t, "other."), mustName(t, "inner.example.")
	keyed := &Peer{Name: "keyed", Keys: []name.Name{a, b}}
	placed := &Peer{Name: "placed", Keys: []name.Name{c}, From: prefixes(t, "198.51.100.0/28", "2001:db8::/64")}
	plain := &Peer{Name: "plain", From: prefixes(t, "203.0.113.5/32", "10.0.0.0/8"), ByAddress: true}
	careless := &Peer{Name: "careless", From: prefixes(t, "192.0.2.0/24")} // neither key nor permission
	nowhere := &Peer{Name: "nowhere", ByAddress: true}
	within := &Peer{Name: "within", Keys: []name.Name{d}, TLS: true}
	both := &Peer{Name: "both", Keys: []name.Name{mustName(t, "in."), mustName(t, "out."), mustName(t, "free.")}}
	r := NewRules([]Rule{
		{zone, "external", []*Peer{keyed, placed, careless, nowhere, within}},
		{zone, "internal", []*Peer{plain}},
		{inner, "internal", []*Peer{keyed}},
		{other, "external", []*Peer{both}},
		{other, "internal", []*Peer{both}},
	}, map[name.Name]string{mustName(t, "in."): "internal", mustName(t, "out."): "external"})
	for _, c := range []struct {
		name string
		zone name.Name
		a    Asker
		want string // view and peer
	}{
		{"no signature", zone, Asker{From: netip.MustParseAddr("198.51.100.1")}, ""},
		{"a key of nobody's", zone, Asker{Key: mustName(t, "z."), From: netip.MustParseAddr("198.51.100.1")}, ""},
		{"another zone of the same peer", mustName(t, "none."), Asker{Key: a}, ""},
		{"above the zone", name.Root, Asker{Key: a}, ""},
		{"below the zone", mustName(t, "x.example."), Asker{Key: a}, ""},
		{"the key, but from elsewhere", zone, Asker{Key: c, From: netip.MustParseAddr("198.51.100.16")}, ""},
		{"the address of a peer that has keys", zone, Asker{From: netip.MustParseAddr("198.51.100.1")}, ""},
		{"the address of a peer without permission", zone, Asker{From: netip.MustParseAddr("192.0.2.1")}, ""},
		{"no address at all", zone, Asker{}, ""},
		{"a signature of somebody else from the address of a peer without keys", zone, Asker{Key: mustName(t, "z."), From: netip.MustParseAddr("10.1.2.3")}, ""},
		{"not within TLS", zone, Asker{Key: d, From: netip.MustParseAddr("192.0.2.1")}, ""},

		{"the first key, from anywhere", zone, Asker{Key: a, From: netip.MustParseAddr("192.0.2.77")}, "external keyed"},
		{"another key of it", zone, Asker{Key: b, From: netip.MustParseAddr("10.0.0.1")}, "external keyed"},
		{"a peer of another view for another zone", inner, Asker{Key: a, From: netip.MustParseAddr("192.0.2.77")}, "internal keyed"},
		{"key and address", zone, Asker{Key: c, From: netip.MustParseAddr("198.51.100.15")}, "external placed"},
		{"key and address, IPv6", zone, Asker{Key: c, From: netip.MustParseAddr("2001:db8::9%eth0")}, "external placed"},
		{"by address", zone, Asker{From: netip.MustParseAddr("203.0.113.5")}, "internal plain"},
		{"by address, of a dual socket", zone, Asker{From: netip.MustParseAddr("::ffff:10.9.9.9")}, "internal plain"},
		{"within TLS", zone, Asker{Key: d, From: netip.MustParseAddr("192.0.2.1"), TLS: true}, "external within"},
		{"in two views, by the view's key", other, Asker{Key: mustName(t, "in.")}, "internal both"},
		{"in two views, by the other view's key", other, Asker{Key: mustName(t, "out.")}, "external both"},
	} {
		g, ok := r.Find(c.zone, c.a)
		got := ""
		if ok {
			got = g.View + " " + g.Peer.Name
		}
		if got != c.want || ok && g.Zone != c.zone {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if _, ok := (*Rules)(nil).Find(zone, Asker{Key: a}); ok {
		t.Error("no rules let somebody in")
	}
	if _, ok := (*Out)(nil).Grant(zone, Asker{Key: a}); ok || (*Out)(nil).Open() {
		t.Error("no Out lets somebody in")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	k, l := mustName(t, "k."), mustName(t, "l.")
	zone, other := mustName(t, "example."), mustName(t, "other.")
	peer := func(from []netip.Prefix, keys ...name.Name) *Peer {
		return &Peer{Name: "p", Keys: keys, From: from, ByAddress: len(keys) == 0}
	}
	here, there := prefixes(t, "192.0.2.0/24"), prefixes(t, "198.51.100.0/24")
	inner := map[name.Name]string{k: "internal"}
	for _, c := range []struct {
		name  string
		p, q  *Peer
		zones [2]name.Name
		views [2]string
		homes map[name.Name]string
		want  string
	}{
		{"the same peer", peer(nil, k), peer(nil, k), [2]name.Name{zone, zone}, [2]string{"external", "internal"}, nil,
			"zone example. in views external and internal: nothing tells peer p apart by key k."},
		{"a key in common", peer(here, k, l), peer(nil, l), [2]name.Name{zone, zone}, [2]string{"external", "internal"}, inner,
			"zone example. in views external and internal: nothing tells peer p apart by key l."},
		{"a key of a third view", peer(nil, k), peer(nil, k), [2]name.Name{zone, zone}, [2]string{"external", "third"}, inner,
			"zone example. in views external and third: nothing tells peer p apart by key k."},
		{"one address", peer(here), peer(prefixes(t, "192.0.2.7/32")), [2]name.Name{zone, zone}, [2]string{"external", "internal"}, nil,
			"zone example. in views external and internal: nothing tells peer p apart by address or certificate"},
		{"one view", peer(nil, k), peer(nil, k), [2]name.Name{zone, zone}, [2]string{"external", "external"}, nil, ""},
		{"two zones", peer(nil, k), peer(nil, k), [2]name.Name{zone, other}, [2]string{"external", "internal"}, nil, ""},
		{"two keys", peer(nil, k), peer(nil, l), [2]name.Name{zone, zone}, [2]string{"external", "internal"}, nil, ""},
		{"a key that one view names", peer(nil, k), peer(nil, k), [2]name.Name{zone, zone}, [2]string{"external", "internal"}, inner, ""},
		{"two places", peer(here, k), peer(there, k), [2]name.Name{zone, zone}, [2]string{"external", "internal"}, nil, ""},
		{"two addresses", peer(here), peer(there), [2]name.Name{zone, zone}, [2]string{"external", "internal"}, nil, ""},
		{"signed and not", peer(here), peer(here, k), [2]name.Name{zone, zone}, [2]string{"external", "internal"}, nil, ""},
	} {
		got := ""
		for _, conflict := range Check([]Rule{{c.zones[0], c.views[0], []*Peer{c.p}}, {c.zones[1], c.views[1], []*Peer{c.q}}}, c.homes) {
			got += conflict.String()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
