package route

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"postern/internal/lookup"
	"postern/internal/lookup/lookuptest"
)

// world is the DNS of these tests.
var world = lookuptest.Map{
	"two.example MX":    {"20 mx2.two.example", "10 mx1.two.example"},
	"mx1.two.example A": {"192.0.2.1"}, "mx1.two.example AAAA": {"2001:db8::1"},
	"mx2.two.example A": {"192.0.2.2", "192.0.2.3"},

	"null.example MX":     {"0 ."},
	"halfnull.example MX": {"0 .", "10 mx1.two.example"},
	"allnull.example MX":  {"0 .", "10 ."},
	"odd.example MX":      {"10 a/b:25.example", "20 <x>.example"},
	"halfodd.example MX":  {"10 a\nb.example", "20 mx1.two.example"},
	"bare.example A":      {"192.0.2.4"},
	"text.example TXT":    {"no mail here"},
	"servfail.example MX": {"SERVFAIL"},
	"alias.example CNAME": {"two.example"},

	"dangling.example MX":   {"10 nowhere.example", "20 text.example"},
	"slow.example MX":       {"10 slowhost.example"},
	"slowhost.example A":    {"TIMEOUT"},
	"slowhost.example AAAA": {"TIMEOUT"},
	"partslow.example MX":   {"10 slowhost.example", "20 mx1.two.example"},
	"v4only.example MX":     {"10 v4.example"},
	"v4.example A":          {"192.0.2.6"},
	"v4.example AAAA":       {"SERVFAIL"},
	"v6.example A":          {"SERVFAIL"},
	"v6.example AAAA":       {"2001:db8::6"},
	"v6only.example MX":     {"10 v6.example"},

	"inside.example MX":     {"10 in1.example", "20 in2.example"},
	"in1.example A":         {"127.0.0.1"},
	"in2.example A":         {"10.0.0.1"},
	"partinside.example MX": {"10 in1.example", "20 mx1.two.example"},
	"mixed.example MX":      {"10 mix.example"},
	"mix.example A":         {"10.0.0.1", "192.0.2.7"},
	"slowinside.example MX": {"10 in1.example", "20 slowhost.example"},
	"implicit.example AAAA": {"::1"},

	"backup.example MX":   {"10 mx1.two.example", "20 Edge.Ours.Example", "30 mx2.two.example"},
	"onlyus.example MX":   {"10 edge.ours.example"},
	"equal.example MX":    {"10 edge.ours.example", "10 mx1.two.example"},
	"disguise.example MX": {"10 mx1.two.example", "20 theirname.example", "20 mx2.two.example"},
	"theirname.example A": {"198.51.100.25"},
	"ouraddr.example MX":  {"10 theirname.example", "20 mx2.two.example"},
	"skipped.example MX":  {"10 in1.example", "20 mx1.two.example", "30 theirname.example"},

	"inner.example A":     {"10.0.0.5"},
	"edge.ours.example A": {"198.51.100.25"},
}

func router(change func(*Config)) *Router {
	cfg := Config{
		Lookup:   world,
		OwnNames: []string{"edge.OURS.example"},
		OwnAddrs: func(a netip.Addr) bool { return a == netip.MustParseAddr("198.51.100.25") },
		Rand:     rand.New(rand.NewPCG(1, 2)),
	}
	if change != nil {
		change(&cfg)
	}
	return New(cfg)
}

// hosts shows a plan as "host addr addr; host addr".
func hosts(p Plan) string {
	var out []string
	for _, h := range p.Hops {
		text := h.Host
		for _, a := range h.Addrs {
			text += " " + a.String()
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func TestRouteRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule, domain string
		temporary    bool
		enhanced     string
		reason       string
	}{
		{"bare postmaster", "", false, "5.1.2", "no-domain"},
		{"no such domain", "absent.example", false, "5.1.2", "no-such-domain"},
		{"neither MX nor address", "text.example", false, "5.4.4", "mx-unresolved"},
		{"RFC 7505 null MX", "null.example", false, "5.1.10", "null-mx"},
		{"only null MXs", "allnull.example", false, "5.4.4", "mx-unusable"},
		{"names that are no hosts'", "odd.example", false, "5.4.4", "mx-unusable"},
		{"MX lookup fails", "servfail.example", true, "4.4.3", "dns-temporary"},
		{"hosts without address", "dangling.example", false, "5.4.4", "mx-unresolved"},
		{"hosts that cannot be looked up", "slow.example", true, "4.4.3", "dns-temporary"},
		{"all addresses inside", "inside.example", false, "5.4.6", "mx-inside"},
		{"inside and unknown", "slowinside.example", true, "4.4.3", "dns-temporary"},
		{"implicit MX inside", "implicit.example", false, "5.4.6", "mx-inside"},
		{"only us by name", "onlyus.example", false, "5.4.6", "mx-loop"},
		{"equal to us", "equal.example", false, "5.4.6", "mx-loop"},
		{"only us by address", "ouraddr.example", false, "5.4.6", "mx-loop"},
		{"literal inside", "[127.0.0.1]", false, "5.4.6", "mx-inside"},
		{"literal of ours", "[198.51.100.25]", false, "5.4.6", "mx-inside"},
		{"literal inside, mapped", "[IPv6:::ffff:10.0.0.1]", false, "5.4.6", "mx-inside"},
		{"malformed literal", "[mx.example]", false, "5.1.2", "bad-literal"},
	} {
		plan, err := router(nil).Route(context.Background(), c.domain)
		var e *Error
		if !errors.As(err, &e) || e.Temporary != c.temporary || e.Enhanced != c.enhanced || e.Reason != c.reason {
			t.Errorf("%s: %q: %v, error %v; want %s %s", c.rule, c.domain, hosts(plan), err, c.enhanced, c.reason)
			continue
		}
		if class := e.Code / 100; (class == 4) != c.temporary || e.Text == "" || strings.Contains(e.Text, "10.0.0") && !strings.HasPrefix(c.domain, "[") {
			t.Errorf("%s: code %d, text %q", c.rule, e.Code, e.Text)
		}
	}
}

func TestRouteByMX(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rule, domain, want string }{
		{"RFC 5321, 5.1: sorted by preference", "two.example", "mx1.two.example [2001:db8::1]:25 192.0.2.1:25; mx2.two.example 192.0.2.2:25 192.0.2.3:25"},
		{"a CNAME is followed", "alias.example", "mx1.two.example [2001:db8::1]:25 192.0.2.1:25; mx2.two.example 192.0.2.2:25 192.0.2.3:25"},
		{"implicit MX", "bare.example", "bare.example 192.0.2.4:25"},
		{"a null MX among others does not count", "halfnull.example", "mx1.two.example [2001:db8::1]:25 192.0.2.1:25"},
		{"nor does a name that is no host's", "halfodd.example", "mx1.two.example [2001:db8::1]:25 192.0.2.1:25"},
		{"AAAA fails, A is there", "v4only.example", "v4.example 192.0.2.6:25"},
		{"A fails, AAAA is there", "v6only.example", "v6.example [2001:db8::6]:25"},
		{"one host cannot be looked up", "partslow.example", "mx1.two.example [2001:db8::1]:25 192.0.2.1:25"},
		{"one host is inside", "partinside.example", "mx1.two.example [2001:db8::1]:25 192.0.2.1:25"},
		{"one address is inside", "mixed.example", "mix.example 192.0.2.7:25"},
		{"we are second", "backup.example", "mx1.two.example [2001:db8::1]:25 192.0.2.1:25"},
		{"we are second under another name", "disguise.example", "mx1.two.example [2001:db8::1]:25 192.0.2.1:25"},
		{"a skipped host does not count as a better one", "skipped.example", "mx1.two.example [2001:db8::1]:25 192.0.2.1:25"},
		{"literal", "[192.0.2.9]", "192.0.2.9 192.0.2.9:25"},
		{"literal, IPv6", "[IPv6:2001:db8::9]", "2001:db8::9 [2001:db8::9]:25"},
	} {
		// Both orders of mx2's addresses are right; take the first by sorting.
		plan, err := router(nil).Route(context.Background(), c.domain)
		for _, h := range plan.Hops {
			if h.Host == "mx2.two.example" {
				slices.SortFunc(h.Addrs, netip.AddrPort.Compare)
			}
			if h.Protocol != SMTP || h.TLS.Mode != Opportunistic || h.Static {
				t.Errorf("%s: hop %+v", c.rule, h)
			}
		}
		if err != nil || hosts(plan) != c.want || plan.Static {
			t.Errorf("%s: %s: %s (%v), want %s", c.rule, c.domain, hosts(plan), err, c.want)
		}
	}
}

// TestEqualsAreShuffled sees both orders of two equals (RFC 5321, Section 5.1).
func TestEqualsAreShuffled(t *testing.T) {
	t.Parallel()
	r := router(func(c *Config) {
		c.Lookup = lookuptest.Map{"d.example MX": {"5 a.example", "5 b.example", "1 c.example"}, "a.example A": {"192.0.2.1"}, "b.example A": {"192.0.2.2"}, "c.example A": {"192.0.2.3"}}
	})
	seen := map[string]int{}
	for range 50 {
		plan, err := r.Route(context.Background(), "d.example")
		if err != nil {
			t.Fatal(err)
		}
		seen[hosts(plan)]++
	}
	if len(seen) != 2 || seen["c.example 192.0.2.3:25; a.example 192.0.2.1:25; b.example 192.0.2.2:25"] == 0 {
		t.Errorf("orders: %v", seen)
	}
}

// TestEqualToDisguise: whichever of two equals comes first, neither is better
// than ourselves under another name.
func TestEqualToDisguise(t *testing.T) {
	t.Parallel()
	r := router(nil)
	for range 30 {
		plan, err := r.Route(context.Background(), "disguise.example")
		if err != nil || len(plan.Hops) != 1 || plan.Hops[0].Host != "mx1.two.example" {
			t.Fatalf("%s, %v", hosts(plan), err)
		}
	}
}

func TestFamiliesCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	asked := &lookuptest.Recorder{Map: world}
	r := router(func(c *Config) { c.DisableIPv6, c.Lookup = true, asked })
	if plan, err := r.Route(context.Background(), "two.example"); err != nil || strings.Contains(hosts(plan), "2001") {
		t.Errorf("%s, %v", hosts(plan), err)
	}
	if slices.ContainsFunc(asked.Asked(), func(q string) bool { return strings.HasSuffix(q, " AAAA") }) {
		t.Errorf("asked %v", asked.Asked())
	}
}

func TestStaticRoutes(t *testing.T) {
	t.Parallel()
	hop := func(s string) Hop {
		h, err := ParseHop(s)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	asked := &lookuptest.Recorder{Map: world}
	r := router(func(c *Config) {
		c.Lookup = asked
		c.Routes = map[string][]Hop{
			"own.example":  {hop("smtp://10.0.0.5:2525"), hop("lmtp://[::1]")},
			"name.example": {hop("smtp://absent.example"), hop("smtp://inner.example")},
			"gone.example": {hop("smtp://absent.example")},
			"slow.example": {hop("smtp://slowhost.example")},
			"file.example": {hop("maildir:/var/mail")},
			"none.example": {},
		}
	})
	for _, c := range []struct{ domain, want, enhanced string }{
		{"own.example", "10.0.0.5 10.0.0.5:2525; ::1 [::1]:24", ""},
		{"name.example", "inner.example 10.0.0.5:25", ""},
		{"file.example", "", ""},
		{"gone.example", "", "4.4.4"},
		{"slow.example", "", "4.4.4"},
		{"none.example", "", "5.4.4"},
	} {
		plan, err := r.Route(context.Background(), c.domain)
		var e *Error
		if errors.As(err, &e) != (c.enhanced != "") || e != nil && e.Enhanced != c.enhanced || hosts(plan) != c.want {
			t.Errorf("%s: %s, %v", c.domain, hosts(plan), err)
		}
		if !r.Static(c.domain) || err == nil && (!plan.Static || !plan.Hops[0].Static) {
			t.Errorf("%s is not static", c.domain)
		}
	}
	if r.Static("two.example") {
		t.Error("two.example is static")
	}
	if slices.Contains(asked.Asked(), "own.example MX") {
		t.Error("a static route asked for MX")
	}
}

func TestSmarthost(t *testing.T) {
	t.Parallel()
	h, err := ParseHop("smtps://user@inner.example")
	if err != nil {
		t.Fatal(err)
	}
	r := router(func(c *Config) { c.Smarthost = []Hop{h} })
	for _, domain := range []string{"two.example", "null.example", "[192.0.2.9]"} {
		plan, err := r.Route(context.Background(), domain)
		if err != nil || hosts(plan) != "inner.example 10.0.0.5:465" || plan.Static || !plan.Hops[0].Static {
			t.Errorf("%s: %s %+v, %v", domain, hosts(plan), plan, err)
		}
	}
	if _, err := r.Route(context.Background(), ""); err == nil {
		t.Error("the bare postmaster went to the smart host")
	}
}

func TestInside(t *testing.T) {
	t.Parallel()
	r := router(nil)
	for _, in := range []string{
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "198.51.100.25",
		"::", "::1", "::7f00:1", "fe80::1", "fe80::1%eth0", "febf::1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "ff0e::1",
		"::ffff:127.0.0.1", "::ffff:192.168.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "::ffff:0:127.0.0.1", "2002:7f00:1::", "2002:c0a8:101::1", "2001::1", "100::1",
	} {
		if r.inside(netip.MustParseAddr(in)) == "" {
			t.Errorf("%s may be dialled", in)
		}
	}
	if r.inside(netip.Addr{}) == "" {
		t.Error("no address may be dialled")
	}
	for _, out := range []string{
		"192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "8.8.8.8", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.0.1.1",
		"2001:db8::1", "2600::1", "::ffff:192.0.2.1", "64:ff9b::192.0.2.1", "2002:c000:201::1", "2001:1::1",
	} {
		if why := r.inside(netip.MustParseAddr(out)); why != "" {
			t.Errorf("%s is %s", out, why)
		}
	}
}

// TestManyHosts bounds what a domain can make us do.
func TestManyHosts(t *testing.T) {
	t.Parallel()
	m := lookuptest.Map{}
	for i := range 200 {
		host := "h" + strings.Repeat("x", i%60) + string(rune('a'+i%26)) + ".example"
		m["many.example MX"] = append(m["many.example MX"], "10 "+host)
		m[host+" A"] = append(m[host+" A"], netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String())
	}
	for i := range 100 {
		m["wide.example A"] = append(m["wide.example A"], netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String())
	}
	asked := &lookuptest.Recorder{Map: m}
	r := router(func(c *Config) { c.Lookup = asked })
	plan, err := r.Route(context.Background(), "many.example")
	if err != nil || len(plan.Hops) > maxHops || len(asked.Asked()) > 1+2*maxMX {
		t.Errorf("%d hops after %d questions, %v", len(plan.Hops), len(asked.Asked()), err)
	}
	if plan, err = r.Route(context.Background(), "wide.example"); err != nil || len(plan.Hops[0].Addrs) > maxAddrs {
		t.Errorf("%s, %v", hosts(plan), err)
	}
}

// TestPermanentLookupFailure: what fails for good is not waited for.
func TestPermanentLookupFailure(t *testing.T) {
	t.Parallel()
	r := router(func(c *Config) { c.Lookup = failing{} })
	var e *Error
	if _, err := r.Route(context.Background(), "x.example"); !errors.As(err, &e) || e.Temporary || e.Enhanced != "5.1.2" {
		t.Errorf("%v", err)
	}
}

type failing struct{}

func (failing) Query(_ context.Context, name string, t lookup.Type) (lookup.Answer, error) {
	return lookup.Answer{}, &lookup.Error{Name: name, Type: t, Cause: errors.New("name too long")}
}

// TestOnlyConfiguredHopsAreLookedUpInside: what the administrator wrote is a
// name of the inside; what the world's MX say is not, whatever is there.
func TestOnlyConfiguredHopsAreLookedUpInside(t *testing.T) {
	t.Parallel()
	inside := &lookuptest.Recorder{Map: lookuptest.Map{
		"mail.corp.example A": {"10.0.0.9"}, "mx1.two.example A": {"10.0.0.1"}, "mx2.two.example A": {"10.0.0.2"},
	}}
	outside := &lookuptest.Recorder{Map: lookuptest.Map{
		"two.example MX": {"1 mx1.two.example"}, "mx1.two.example A": {"192.0.2.1"},
	}}
	r := router(func(c *Config) {
		c.Lookup, c.Inside, c.DisableIPv6 = outside, inside, true
		c.Routes = map[string][]Hop{"ours.example": {{Protocol: SMTP, Host: "mail.corp.example", Port: 25}}}
	})
	for domain, want := range map[string]string{"ours.example": "mail.corp.example 10.0.0.9:25", "two.example": "mx1.two.example 192.0.2.1:25"} {
		plan, err := r.Route(t.Context(), domain)
		if err != nil || strings.ReplaceAll(hosts(plan), ". ", " ") != want {
			t.Errorf("%s: %q, %v", domain, hosts(plan), err)
		}
	}
	if got := inside.Asked(); len(got) != 1 || got[0] != "mail.corp.example A" {
		t.Errorf("asked inside: %q", got)
	}
	for _, q := range outside.Asked() {
		if strings.HasPrefix(q, "mail.corp") {
			t.Errorf("the world is asked for %s", q)
		}
	}
}
