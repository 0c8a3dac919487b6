package view

import (
	"fmt"
	"strings"
	"testing"

	"postern/internal/dns/zonelint"
)

func TestDriftAndLeaks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule               string
		external, internal string
		inner              bool
		want               []string // FILE:LINE CODE
	}{
		{rule: "A21: an address of the inside, outside", external: "db A 10.0.0.5\n", internal: "store A 10.0.0.5\n", want: []string{"ext:5 leak-address"}},
		{rule: "A21: IPv6", external: "db AAAA fd00::5\n", internal: "db AAAA fd00::5\ndb TXT t\n", want: []string{"ext:5 leak-address"}},
		{rule: "a public address is none", external: "db A 192.0.2.5\n", internal: "store A 192.0.2.5\n"},
		{rule: "an address that is not used inside is not told of here", external: "db A 10.0.0.5\n", internal: "store A 10.0.0.6\n"},
		{
			rule:     "A21: targets that exist only inside",
			external: "@ MX 1 in\nc CNAME in\n_x._tcp SRV 0 0 1 in\nsub NS in\nh HTTPS 1 in\n", internal: "in A 10.0.0.1\n",
			want: []string{"ext:5 leak-target", "ext:6 leak-target", "ext:7 leak-target", "ext:8 leak-target", "ext:9 leak-target"},
		},
		{rule: "a target that exists in both", external: "@ MX 1 m\nm A 192.0.2.5\n", internal: "m A 10.0.0.1\n"},
		{rule: "a target that a wildcard answers", external: "@ MX 1 m\n* A 192.0.2.5\n", internal: "m A 10.0.0.1\n"},
		{rule: "a target below a delegation", external: "c CNAME m.sub\nsub NS ns.else.test.\n", internal: "sub NS ns.else.test.\nm.sub A 10.0.0.1\n"},
		{rule: "a delegation that is restated for nothing", external: "sub NS ns.else.test.\n", internal: "sub NS ns.else.test.\n", want: []string{"int:2 view-same"}},
		{rule: "a target that exists nowhere is the zone's own matter", external: "c CNAME nowhere\n", internal: "m A 10.0.0.1\n"},
		{rule: "below an inner view nothing leaks", external: "db A 10.0.0.5\nc CNAME store\n", internal: "store A 10.0.0.5\n", inner: true},
		{rule: "the same again, TTL apart", external: "a A 192.0.2.5\na TXT t\n", internal: "a 5 TXT t\na 5 A 192.0.2.5\n", want: []string{"int:2 view-same"}},
		{rule: "a part of it is a difference", external: "a A 192.0.2.5\na A 192.0.2.6\n", internal: "a A 192.0.2.5\n"},
		{rule: "the apex merges by type", external: "@ TXT t\n", internal: "@ TXT t\n"},
		{rule: "types that go with the name", external: "a A 192.0.2.5\na MX 1 ns1\na TXT t\n", internal: "a A 10.0.0.1\n", want: []string{"int:2 view-loses"}},
		{rule: "addresses are one group", external: "a A 192.0.2.5\na AAAA 2001:db8::5\na HTTPS 1 . alpn=h2\n", internal: "a A 10.0.0.1\n"},
		{rule: "a CNAME replaces all", external: "a A 192.0.2.5\na TXT t\n", internal: "a CNAME b\n"},
	} {
		_, problems := Materialise(Overlay{
			Origin: parsed(t, "example."), File: "int", Inner: c.inner, Notes: true,
			External: records(t, "ext", apex+c.external), Internal: records(t, "int", c.internal),
		})
		var got []string
		for _, p := range problems {
			got = append(got, fmt.Sprintf("%s:%d %s", p.File, p.Line, p.Code))
			if p.Blocks() || p.Hint == "" {
				t.Errorf("%s: %v", c.rule, p)
			}
		}
		if strings.Join(got, "; ") != strings.Join(c.want, "; ") {
			t.Errorf("%s: %q, want %q", c.rule, got, c.want)
		}
	}
}

func TestDriftIsBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 2 * maxTold {
		fmt.Fprintf(&b, "a%d A 192.0.2.5\n", i)
	}
	_, problems := Materialise(Overlay{
		Origin: parsed(t, "example."), File: "int", Notes: true, External: records(t, "ext", apex+b.String()), Internal: records(t, "int", b.String()),
	})
	if len(problems) != maxTold {
		t.Error(len(problems))
	}
}

// What the overlay reports has the severity that the table of codes gives it.
func TestCodesAreInTheTable(t *testing.T) {
	t.Parallel()
	table := map[string]zonelint.Code{}
	for _, c := range zonelint.Codes() {
		table[c.Code] = c
	}
	_, problems := Materialise(Overlay{
		Origin: parsed(t, "example."), File: "int", Notes: true, Hide: parsedAll(t, []string{"example", "nope.example", "vpn.example"}),
		External: records(t, "ext", apex+"@ DNSKEY 257 3 13 a2V5\n* A 192.0.2.9\nvpn A 192.0.2.8\ndb A 10.0.0.1\nc CNAME in.x.y\nd DNAME else.test.\nsub NS ns.else.test.\nm A 192.0.2.1\nm TXT t\n"),
		Internal: records(t, "int", "a.dept A 10.0.0.1\nx.d A 10.0.0.1\nx.sub A 10.0.0.1\nm A 10.0.0.1\n"),
	})
	seen := map[string]bool{}
	for _, p := range problems {
		seen[p.Code] = true
		if c := table[p.Code]; c.Severity != p.Severity || c.Blocks != p.Blocks() || c.From != "views" {
			t.Errorf("%v: the table has %+v", p, c)
		}
	}
	for _, code := range []string{"hide-apex", "hide-nothing", "hide-wildcard", "wildcard-shadowed", "below-cut", "below-dname", "leak-address", "view-loses", "view-unsigned"} {
		if !seen[code] {
			t.Errorf("%s is missing in %v", code, problems)
		}
	}
}
