package view

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
	"postern/internal/dns/zonelint"
)

func parsed(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func parsedAll(t testing.TB, texts []string) []name.Name {
	t.Helper()
	var all []name.Name
	for _, s := range texts {
		all = append(all, parsed(t, s))
	}
	return all
}

func records(t testing.TB, file, text string) []zonefile.Record {
	t.Helper()
	rs, problems := zonefile.Parse(strings.NewReader("$TTL 60\n"+text), file, parsed(t, "example."), zonefile.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return rs
}

// lines prints records as "owner type data", without the last dot and zone.
func lines(rs []zonefile.Record) []string {
	var out []string
	for _, r := range rs {
		f := strings.Fields(r.RR.String())
		owner := strings.TrimSuffix(strings.TrimSuffix(f[0], "example."), ".")
		if owner == "" {
			owner = "@"
		}
		out = append(out, owner+" "+strings.Join(f[3:], " "))
	}
	slices.Sort(out)
	return out
}

const apex = "@ SOA ns1 admin 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\n"

var apexLines = []string{"@ NS ns1.example.", "@ SOA ns1.example. admin.example. 1 2 3 4 5", "ns1 A 192.0.2.1"}

// The rows of the overlay table.
func TestMaterialise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule               string
		external, internal string
		hide, hideTree     []string
		want               []string // besides apexLines
		codes              string
	}{
		{rule: "nothing differs", external: "www A 192.0.2.9\n", want: []string{"www A 192.0.2.9"}},
		{
			rule:     "grain: an internal owner replaces all external types",
			external: "mail A 192.0.2.9\nmail AAAA 2001:db8::9\nmail TXT t\n", internal: "mail A 10.0.0.9\n",
			want: []string{"mail A 10.0.0.9"},
		},
		{
			rule:     "grain: names below are other names",
			external: "mail A 192.0.2.9\n_25._tcp.mail TLSA 3 1 1 00\n", internal: "mail A 10.0.0.9\n",
			want: []string{"_25._tcp.mail TLSA 3 1 1 00", "mail A 10.0.0.9"},
		},
		{
			rule:     "apex: merges by type",
			external: "@ MX 10 mail\n@ TXT \"v=spf1 -all\"\n@ CAA 0 issue \"ca\"\nmail A 192.0.2.9\n", internal: "@ MX 5 inner\ninner A 10.0.0.5\n",
			want: []string{"@ CAA 0 issue \"ca\"", "@ MX 5 inner.example.", "@ TXT \"v=spf1 -all\"", "inner A 10.0.0.5", "mail A 192.0.2.9"},
		},
		{
			rule:     "apex: A, AAAA, HTTPS and SVCB are one group",
			external: "@ A 192.0.2.9\n@ AAAA 2001:db8::9\n@ HTTPS 1 . alpn=h2\n", internal: "@ A 10.0.0.9\n",
			want: []string{"@ A 10.0.0.9"},
		},
		{
			rule:     "hide: the name, not what is below",
			external: "vpn A 192.0.2.9\nx.vpn A 192.0.2.8\n", hide: []string{"vpn.example"},
			want: []string{"x.vpn A 192.0.2.8"},
		},
		{
			rule:     "hide_tree: the name with all below",
			external: "vpn A 192.0.2.9\nx.y.vpn A 192.0.2.8\n", hideTree: []string{"vpn.example"},
		},
		{rule: "hide: nothing there is a warning", hide: []string{"nope.example"}, hideTree: []string{"none.example"}, codes: "hide-nothing hide-nothing"},
		{rule: "hide: not the zone", hide: []string{"example"}, hideTree: []string{"example"}, codes: "hide-apex hide-apex"},
		{
			rule:     "hide: a wildcard answers instead",
			external: "* A 192.0.2.9\nvpn A 192.0.2.8\n", hide: []string{"vpn.example"},
			want: []string{"* A 192.0.2.9"}, codes: "hide-wildcard",
		},
		{
			rule:     "wildcards: an internal a.dept makes dept exist",
			external: "* A 192.0.2.9\n", internal: "a.dept A 10.0.0.1\nb.c.team A 10.0.0.2\n",
			want: []string{"* A 192.0.2.9", "a.dept A 10.0.0.1", "b.c.team A 10.0.0.2"}, codes: "wildcard-shadowed",
		},
		{
			rule:     "wildcards: one that never covered is no loss",
			external: "* A 192.0.2.9\nx.dept A 192.0.2.8\n", internal: "a.dept A 10.0.0.1\nhost A 10.0.0.2\n",
			want: []string{"* A 192.0.2.9", "a.dept A 10.0.0.1", "host A 10.0.0.2", "x.dept A 192.0.2.8"},
		},
		{
			rule:     "wildcards: an internal one leaves inherited names alone",
			external: "x.dept A 192.0.2.8\n", internal: "*.dept A 10.0.0.1\n",
			want: []string{"*.dept A 10.0.0.1", "x.dept A 192.0.2.8"},
		},
		{
			rule:     "CNAME: replaces and is replaced by name",
			external: "a CNAME ns1\nb A 192.0.2.9\n", internal: "a A 10.0.0.1\nb CNAME ns1\n",
			want: []string{"a A 10.0.0.1", "b CNAME ns1.example."},
		},
		{
			rule:     "DNAME: data below an inherited one",
			external: "d DNAME else.test.\n", internal: "x.d A 10.0.0.1\n",
			want: []string{"d DNAME else.test.", "x.d A 10.0.0.1"}, codes: "below-dname",
		},
		{
			rule:     "DNAME: replaced by name, data below is free",
			external: "d DNAME else.test.\n", internal: "d A 10.0.0.1\nx.d A 10.0.0.1\n",
			want: []string{"d A 10.0.0.1", "x.d A 10.0.0.1"},
		},
		{
			rule:     "DNAME: an internal one hides the external subtree",
			external: "d A 192.0.2.9\nx.d A 192.0.2.9\n", internal: "d DNAME else.test.\n",
			want: []string{"d DNAME else.test."},
		},
		{
			rule:     "delegation: inherited with its glue",
			external: "sub NS ns.sub\nns.sub A 192.0.2.9\n", internal: "x A 10.0.0.1\n",
			want: []string{"ns.sub A 192.0.2.9", "sub NS ns.sub.example.", "x A 10.0.0.1"},
		},
		{
			rule:     "delegation: internal data at it",
			external: "sub NS ns.else.test.\n", internal: "sub A 10.0.0.1\n",
			want: []string{"sub A 10.0.0.1"}, codes: "below-cut",
		},
		{
			rule:     "delegation: internal data below it, told once a name",
			external: "sub NS ns.else.test.\n", internal: "a.sub A 10.0.0.1\na.sub TXT t\n",
			want: []string{"a.sub A 10.0.0.1", "a.sub TXT \"t\"", "sub NS ns.else.test."}, codes: "below-cut",
		},
		{
			rule:     "delegation: an internal cut below an inherited one is data below it",
			external: "sub NS ns.else.test.\n", internal: "deep.sub NS ns.else.test.\n",
			want: []string{"deep.sub NS ns.else.test.", "sub NS ns.else.test."}, codes: "below-cut",
		},
		{
			rule:     "delegation: restated, the external subtree goes",
			external: "sub NS ns.sub\nns.sub A 192.0.2.9\nold.sub A 192.0.2.8\n", internal: "sub NS in.sub\nin.sub A 10.0.0.1\n",
			want: []string{"in.sub A 10.0.0.1", "sub NS in.sub.example."},
		},
		{
			rule:     "delegation: hidden, its glue does not become data",
			external: "sub NS ns.sub\nns.sub A 192.0.2.9\n", internal: "www.sub A 10.0.0.1\n", hide: []string{"sub.example"},
			want: []string{"www.sub A 10.0.0.1"},
		},
		{
			rule:     "delegation: only inside",
			internal: "lab NS ns.lab\nns.lab A 10.0.0.3\n", external: "lab A 192.0.2.9\nx.lab A 192.0.2.9\n",
			want: []string{"lab NS ns.lab.example.", "ns.lab A 10.0.0.3"},
		},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			got, problems := Materialise(Overlay{
				Origin: parsed(t, "example."), File: "internal/example.zone",
				External: records(t, "external", apex+c.external), Internal: records(t, "internal", c.internal),
				Hide: parsedAll(t, c.hide), HideTree: parsedAll(t, c.hideTree),
			})
			want := slices.Sorted(slices.Values(append(slices.Clone(apexLines), c.want...)))
			if !slices.Equal(lines(got), want) {
				t.Errorf("got  %q\nwant %q", lines(got), want)
			}
			var codes []string
			for _, p := range problems {
				codes = append(codes, p.Code)
			}
			if strings.Join(codes, " ") != c.codes {
				t.Errorf("problems %v, want %q", problems, c.codes)
			}
		})
	}
}

func TestMaterialiseNamesTheWildcardLoss(t *testing.T) {
	t.Parallel()
	_, problems := Materialise(Overlay{
		Origin: parsed(t, "example."), File: "in.zone",
		External: records(t, "ext", apex+"* A 192.0.2.9\n"), Internal: records(t, "int", "a.dept A 10.0.0.1\na.team A 10.0.0.1\n"),
	})
	if len(problems) != 1 || !strings.Contains(problems[0].String(), "dept.example., team.example.") || problems[0].Blocks() {
		t.Error(problems)
	}
}

func TestMaterialiseSOAAndNSInside(t *testing.T) {
	t.Parallel()
	got, _ := Materialise(Overlay{
		Origin: parsed(t, "example."), External: records(t, "ext", apex),
		Internal: records(t, "int", "@ SOA in admin 9 2 3 4 5\n@ NS in\nin A 10.0.0.1\n"),
	})
	want := []string{"@ NS in.example.", "@ SOA in.example. admin.example. 9 2 3 4 5", "in A 10.0.0.1", "ns1 A 192.0.2.1"}
	if !slices.Equal(lines(got), want) {
		t.Errorf("%q", lines(got))
	}
	if p := zonelint.Check(got, parsed(t, "example."), zonelint.Context{}); slices.ContainsFunc(p, zonefile.Problem.Blocks) {
		t.Error(p)
	}
}

// A chain of overlays is one overlay after the other: the nearest wins, and
// what a lower view hides stays hidden.
func TestMaterialiseChain(t *testing.T) {
	t.Parallel()
	origin := parsed(t, "example.")
	middle, _ := Materialise(Overlay{
		Origin: origin, External: records(t, "ext", apex+"a A 192.0.2.1\nb A 192.0.2.1\nc A 192.0.2.1\n"),
		Internal: records(t, "mid", "a A 10.0.0.1\nb A 10.0.0.1\n"), Hide: parsedAll(t, []string{"c.example"}),
	})
	top, _ := Materialise(Overlay{Origin: origin, External: middle, Internal: records(t, "top", "a A 10.9.9.9\n")})
	want := slices.Sorted(slices.Values(append(slices.Clone(apexLines), "a A 10.9.9.9", "b A 10.0.0.1")))
	if !slices.Equal(lines(top), want) {
		t.Errorf("%q", lines(top))
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	order, err := Order([]string{"lab", "internal", "external"}, map[string]string{"internal": "external", "lab": "internal"})
	if err != nil || !slices.Equal(order, []int{2, 1, 0}) {
		t.Error(order, err)
	}
	for why, c := range map[string]struct {
		names    []string
		overlays map[string]string
		says     string
	}{
		"cycle":         {[]string{"a", "b"}, map[string]string{"a": "b", "b": "a"}, "ring: a over b over a"},
		"itself":        {[]string{"a"}, map[string]string{"a": "a"}, "ring"},
		"into a cycle":  {[]string{"x", "a", "b"}, map[string]string{"x": "a", "a": "b", "b": "a"}, "ring"},
		"unknown":       {[]string{"a"}, map[string]string{"a": "z"}, `"z", which is no view`},
		"twice":         {[]string{"a", "a"}, nil, "twice"},
		"five deep":     {[]string{"a", "b", "c", "d", "e"}, map[string]string{"a": "b", "b": "c", "c": "d", "d": "e"}, "more than 4 deep"},
		"four are fine": {[]string{"a", "b", "c", "d"}, map[string]string{"a": "b", "b": "c", "c": "d"}, ""},
	} {
		_, err := Order(c.names, c.overlays)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func compiled(t testing.TB, origin string) *answer.Zone {
	t.Helper()
	o := parsed(t, origin)
	b := zone.NewBuilder(o)
	rs, problems := zonefile.Parse(strings.NewReader("$TTL 60\n@ SOA ns. admin. 1 2 3 4 5\n@ NS ns.\n"), "", o, zonefile.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, r := range rs {
		if err := b.Add(r.RR); err != nil {
			t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return answer.Compile(z)
}

func table(t testing.TB) *Table {
	t.Helper()
	zones := func(origins ...string) map[name.Name]*answer.Zone {
		m := map[name.Name]*answer.Zone{}
		for _, o := range origins {
			m[parsed(t, o)] = compiled(t, o)
		}
		return m
	}
	inside := zones("example.", "sub.example.", "alone.test.")
	inside[parsed(t, "broken.example.")] = nil
	return NewTable([]View{
		{Name: "internal", Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}, Recursion: true, Zones: inside},
		{Name: "external", Clients: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, Zones: zones("example.", "sub.other.")},
	})
}

func TestSelect(t *testing.T) {
	t.Parallel()
	tab := table(t)
	for _, c := range []struct {
		why      string
		listener []string
		client   string
		want     string
		forged   bool
	}{
		{"first match wins", nil, "10.1.2.3", "internal", false},
		{"else any", nil, "198.51.100.1", "external", false},
		{"IPv6", nil, "fd00::1", "internal", false},
		{"mapped IPv4", nil, "::ffff:10.1.2.3", "internal", false},
		{"zone index", nil, "fd00::1%eth0", "internal", false},
		{"outside listener, internal source: forged", []string{"external"}, "10.1.2.3", "", true},
		{"outside listener", []string{"external"}, "198.51.100.1", "external", false},
		{"inside listener, stranger", []string{"internal"}, "198.51.100.1", "", false},
		{"inside listener", []string{"internal"}, "10.1.2.3", "internal", false},
	} {
		got := ""
		s, forged := tab.Select(c.listener, netip.MustParseAddr(c.client))
		if s != nil {
			got = s.Name
		}
		if got != c.want || forged != c.forged {
			t.Errorf("%s: %q forged %v", c.why, got, forged)
		}
	}
	if s, forged := NewTable(nil).Select(nil, netip.MustParseAddr("10.0.0.1")); s != nil || forged || tab.Named("nobody") != nil || tab.Named("external") == nil {
		t.Error("no views")
	}
}

func TestZone(t *testing.T) {
	t.Parallel()
	tab := table(t)
	for _, c := range []struct {
		why, view, q string
		qtype        uint16
		want         string // "" not ours, "-" failed
	}{
		{"longest match", "internal", "www.sub.example.", dns.TypeA, "sub.example."},
		{"zone itself", "internal", "example.", dns.TypeSOA, "example."},
		{"not ours", "internal", "example.test.", dns.TypeA, ""},
		{"root", "internal", ".", dns.TypeNS, ""},
		{"failed zone never falls back to its parent", "internal", "a.broken.example.", dns.TypeA, "-"},
		{"RFC 4035 3.1.4.1: DS of a child goes to the parent", "internal", "sub.example.", dns.TypeDS, "example."},
		{"DS below the cut is the child's", "internal", "x.sub.example.", dns.TypeDS, "sub.example."},
		{"DS of our own apex goes to the resolver", "internal", "example.", dns.TypeDS, ""},
		{"without recursion the child answers", "external", "sub.other.", dns.TypeDS, "sub.other."},
		{"internal zone outside", "external", "alone.test.", dns.TypeA, ""},
		{"other view's child", "external", "sub.example.", dns.TypeA, "example."},
	} {
		s := tab.Named(c.view)
		z, ok := s.Zone(parsed(t, c.q), c.qtype)
		got := ""
		switch {
		case ok && z == nil:
			got = "-"
		case ok:
			got = z.Origin().String()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
		if f := s.Find(parsed(t, c.q), c.qtype); f != z {
			t.Errorf("%s: Find and Zone differ", c.why)
		}
	}
}

func TestSelectDoesNotAllocate(t *testing.T) {
	tab := table(t)
	client, q := netip.MustParseAddr("10.1.2.3"), parsed(t, "a.b.c.www.sub.example.")
	if n := testing.AllocsPerRun(100, func() { s, _ := tab.Select(nil, client); s.Zone(q, dns.TypeA) }); n > 0 {
		t.Errorf("%v allocations a query", n)
	}
}

// TestReplace: a zone of the view answers from another state, private ones for
// peers alone, and a zone that is not there does not come by it.
func TestReplace(t *testing.T) {
	t.Parallel()
	one, other := new(answer.Zone), new(answer.Zone)
	z, secret, none := name.Name("\x01z\x00"), name.Name("\x01s\x00"), name.Name("\x01n\x00")
	table := NewTable([]View{{Name: "v", Zones: map[name.Name]*answer.Zone{z: one}, Private: map[name.Name]*answer.Zone{secret: one}}, {Name: "w", Zones: map[name.Name]*answer.Zone{z: one}}})
	for _, c := range []struct {
		view    string
		n       name.Name
		to      *answer.Zone
		expired bool
		has     bool
	}{
		{"v", none, other, false, false}, {"x", z, other, false, false}, {"w", secret, other, false, false},
		{"v", z, other, false, true}, {"v", secret, other, false, true}, {"v", z, nil, true, true}, {"v", z, nil, false, true}, {"v", z, one, true, true},
	} {
		if got := table.Replace(c.view, c.n, c.to, c.expired); got != c.has {
			t.Errorf("%+v: %t", c, got)
		}
		if !c.has {
			continue
		}
		peers, all := table.ForPeers(c.view), table.Named(c.view)
		if got, _ := peers.Zone(c.n, dns.TypeA); got != c.to || peers.HasExpired(c.n, dns.TypeA) != (c.to == nil && c.expired) {
			t.Errorf("%+v: peers get %p", c, got)
		}
		if got, ok := all.Zone(c.n, dns.TypeA); ok != (c.n == z) || ok && got != c.to {
			t.Errorf("%+v: all get %p, %t", c, got, ok)
		}
	}
	if got, _ := table.Named("w").Zone(z, dns.TypeA); got != one {
		t.Error("another view changed with it")
	}
}
