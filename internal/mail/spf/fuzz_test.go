package spf

import (
	"context"
	"net/netip"
	"testing"

	"postern/internal/lookup"
	"postern/internal/mail/address"
)

// maze answers everything: a TXT with one of two records, many hosts, and other
// addresses than anybody's.
type maze struct {
	first, other string
	asked        int
}

func (m *maze) Query(_ context.Context, name string, t lookup.Type) (lookup.Answer, error) {
	m.asked++
	a := lookup.Answer{Status: lookup.Found, Canonical: name}
	switch t {
	case lookup.TXT:
		text := m.other
		if name == "start.example" {
			text = m.first
		}
		a.Records = []lookup.Record{{Text: text}}
	case lookup.MX, lookup.PTR:
		for range 12 {
			a.Records = append(a.Records, lookup.Record{Host: "host." + name})
		}
	default:
		a.Records = []lookup.Record{{Addr: netip.MustParseAddr("203.0.113.1")}, {Addr: netip.MustParseAddr("2001:db8:1::1")}}
	}
	return a, nil
}

// FuzzEvaluate evaluates foreign records for a foreign sender: whatever they say,
// the result is one, and the questions stay within what RFC 7208, Section 4.6.4
// allows: ten terms, each with its hosts, and the client's names.
func FuzzEvaluate(f *testing.F) {
	for _, s := range []string{
		"v=spf1 a mx/24 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:%{d1r}.example -all", "v=spf1 redirect=%{i}.%{v}._spf.%{d2}",
		"v=spf1 exists:%{l1r-}.%{s}.%{o}.%{h}.%{p}.example ptr:example ?all", "v=spf1 a:%%%_%-.example exp=%{c}%{r}%{t} x=%{S}", "V=SPF1 ~all",
	} {
		f.Add(s, "v=spf1 include:b.example mx -all", "a.b-c", true)
	}
	f.Fuzz(func(t *testing.T, first, other, local string, six bool) {
		client := netip.MustParseAddr("192.0.2.1")
		if six {
			client = netip.MustParseAddr("2001:db8::1")
		}
		m := &maze{first: first, other: other}
		got := CheckMailFrom(t.Context(), m, client, "helo.example", address.Address{Local: local, Domain: "start.example"})
		if got.Status > PermError || got.Identity != MailFrom || got.Domain != "start.example" {
			t.Errorf("%q: %+v", first, got)
		}
		if most := 1 + maxTerms*(1+maxHosts) + 1 + maxHosts; m.asked > most {
			t.Errorf("%q: %d questions, at most %d", first, m.asked, most)
		}
	})
}
