package view

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/name"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
	"postern/internal/dns/zonefile"
)

// sight is what two views hold of zones, whose names are the keys.
type sight struct {
	external, internal map[string]string
	hide, hideTree     []string
}

// records reads a zone file.
func readZone(t testing.TB, file, origin, text string) []zonefile.Record {
	t.Helper()
	rs, problems := zonefile.Parse(strings.NewReader("$TTL 60\n"+text), file, parsed(t, origin), zonefile.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return rs
}

func compileRecords(t testing.TB, origin string, rs []zonefile.Record) *answer.Zone {
	t.Helper()
	b := zone.NewBuilder(parsed(t, origin))
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

// views makes both views and returns the codes of what was wrong.
func (s sight) views(t testing.TB) (*Table, string) {
	t.Helper()
	out, in := map[name.Name]*answer.Zone{}, map[name.Name]*answer.Zone{}
	var codes []string
	for origin, text := range s.external {
		rs := readZone(t, "external", origin, apex+text)
		out[parsed(t, origin)] = compileRecords(t, origin, rs)
		merged, problems := Materialise(Overlay{
			Origin: parsed(t, origin), File: "internal", External: rs, Internal: readZone(t, "internal", origin, s.internal[origin]),
			Hide: parsedAll(t, s.hide), HideTree: parsedAll(t, s.hideTree),
		})
		for _, p := range problems {
			codes = append(codes, p.Severity+" "+p.Code)
		}
		in[parsed(t, origin)] = compileRecords(t, origin, merged)
	}
	for origin, text := range s.internal {
		if _, overlaid := s.external[origin]; !overlaid {
			in[parsed(t, origin)] = compileRecords(t, origin, readZone(t, "internal", origin, apex+text))
		}
	}
	return NewTable([]View{
		{Name: "in", Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Recursion: true, Zones: in},
		{Name: "out", Clients: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, Zones: out},
	}), strings.Join(codes, ", ")
}

// look asks one question of a view, and prints rcode, aa, the answer's data,
// and the names of what else comes: "none of ours" where no zone has it.
func look(t testing.TB, tab *Table, view, question string) string {
	t.Helper()
	m := look1(t, tab.Named(view), question)
	if m == nil {
		return "none of ours"
	}
	text := dns.RcodeToString[m.Rcode]
	if m.Authoritative {
		text += " aa"
	}
	for _, rr := range m.Answer {
		text += " " + strings.Join(strings.Fields(rr.String())[3:], " ")
	}
	for _, rr := range m.Ns {
		text += " [" + rr.Header().Name + " " + dns.TypeToString[rr.Header().Rrtype] + "]"
	}
	for _, rr := range m.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			text += " +" + rr.Header().Name
		}
	}
	return text
}

func look1(t testing.TB, sel *Selected, question string) *dns.Msg {
	t.Helper()
	qname, qtype, _ := strings.Cut(question, " ")
	m := new(dns.Msg).SetQuestion(dns.Fqdn(qname), dns.StringToType[qtype])
	m.SetEdns0(4096, true)
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	if q.Parse(b) != wire.OK {
		t.Fatal(question)
	}
	z, ok := sel.Zone(parsed(t, qname), m.Question[0].Qtype)
	if !ok {
		return nil
	}
	reply, res := z.Append(q.Start(nil), &q, wire.MaxTCP, sel)
	flags := uint16(0)
	if res.AA {
		flags = wire.AA
	}
	got := new(dns.Msg)
	if err := got.Unpack(q.Finish(reply, flags, res.Rcode, res.Counts, nil)); err != nil {
		t.Fatal(question, err)
	}
	return got
}

// one is a sight of the zone example alone.
func one(external, internal string) sight {
	return sight{external: map[string]string{"example": external}, internal: map[string]string{"example": internal}}
}

func (s sight) hiding(names ...string) sight     { s.hide = names; return s }
func (s sight) hidingTree(names ...string) sight { s.hideTree = names; return s }

const denied, empty = "NXDOMAIN aa [example. SOA]", "NOERROR aa [example. SOA]"

// TestViewsRow asks what each row of the overlay defines, of both views:
// Materialise is held to the records elsewhere, this to the answers.
func TestViewsRow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		row   string
		s     sight
		codes string
		asked []string // VIEW NAME TYPE: what comes
	}{
		{row: "grain", s: one("mail A 192.0.2.9\nmail TXT t\n_25._tcp.mail TLSA 3 1 1 00\n", "mail A 10.0.0.9\n"), asked: []string{
			"out mail.example A: NOERROR aa A 192.0.2.9", "in mail.example A: NOERROR aa A 10.0.0.9",
			"out mail.example TXT: NOERROR aa TXT \"t\"", "in mail.example TXT: " + empty,
			"in _25._tcp.mail.example TLSA: NOERROR aa TLSA 3 1 1 00",
		}},
		{row: "apex", s: one("@ MX 10 mail\n@ TXT t\n@ A 192.0.2.8\n@ AAAA 2001:db8::8\n@ HTTPS 1 . alpn=h2\nmail A 192.0.2.9\n", "@ A 10.0.0.8\n@ MX 5 mail\n"), asked: []string{
			"in example SOA: NOERROR aa SOA ns1.example. admin.example. 1 2 3 4 5", "in example NS: NOERROR aa NS ns1.example. +ns1.example.",
			"in example MX: NOERROR aa MX 5 mail.example. +mail.example.", "in example TXT: NOERROR aa TXT \"t\"",
			"in example A: NOERROR aa A 10.0.0.8", "in example AAAA: " + empty, "in example HTTPS: " + empty,
			"out example A: NOERROR aa A 192.0.2.8", "out example AAAA: NOERROR aa AAAA 2001:db8::8",
		}},
		{row: "removing a public name inside", s: one("vpn A 192.0.2.9\na.b.c A 192.0.2.8\nx.tree A 192.0.2.7\ntree A 192.0.2.7\n", "").hiding("vpn.example", "a.b.c.example").hidingTree("tree.example"), asked: []string{
			"in vpn.example A: " + denied, "out vpn.example A: NOERROR aa A 192.0.2.9",
			"out b.c.example A: " + empty, "in b.c.example A: " + denied, "in c.example A: " + denied, // emptied non-terminals go
			"in tree.example A: " + denied, "in x.tree.example A: " + denied,
		}},
		{row: "hiding nothing is a WARN", s: one("", "").hiding("nope.example"), codes: "WARN hide-nothing", asked: []string{"in nope.example A: " + denied}},
		{row: "wildcards", s: one("* A 192.0.2.9\n", "a.dept A 10.0.0.1\n"), codes: "WARN wildcard-shadowed", asked: []string{
			"out x.dept.example A: NOERROR aa A 192.0.2.9", "in x.dept.example A: " + denied, "in dept.example A: " + empty,
			"in a.dept.example A: NOERROR aa A 10.0.0.1", "in other.example A: NOERROR aa A 192.0.2.9",
		}},
		{row: "an internal wildcard", s: one("x.dept A 192.0.2.8\n", "*.dept A 10.0.0.1\n"), asked: []string{
			"in x.dept.example A: NOERROR aa A 192.0.2.8", "in x.dept.example TXT: " + empty, "in y.dept.example A: NOERROR aa A 10.0.0.1", "out y.dept.example A: " + denied,
		}},
		{row: "CNAME, DNAME", s: one("a CNAME b\nb A 192.0.2.9\nc A 192.0.2.9\nd DNAME else.example.\nx.else A 192.0.2.7\n", "b A 10.0.0.9\nc CNAME b\nx.else A 10.0.0.7\n"), asked: []string{
			"out a.example A: NOERROR aa CNAME b.example. A 192.0.2.9", "in a.example A: NOERROR aa CNAME b.example. A 10.0.0.9", // the target resolves in the client's view
			"in c.example A: NOERROR aa CNAME b.example. A 10.0.0.9",
			"in x.d.example A: NOERROR aa DNAME else.example. CNAME x.else.example. A 10.0.0.7", "out x.d.example A: NOERROR aa DNAME else.example. CNAME x.else.example. A 192.0.2.7",
		}},
		{row: "data below an inherited DNAME", s: one("d DNAME else.test.\n", "x.d A 10.0.0.1\n"), codes: "ERR below-dname"},
		{row: "inherited delegation", s: one("sub NS ns.sub\nns.sub A 192.0.2.9\n", "www A 10.0.0.1\n"), asked: []string{
			"in x.sub.example A: NOERROR [sub.example. NS] +ns.sub.example.", "out x.sub.example A: NOERROR [sub.example. NS] +ns.sub.example.",
		}},
		{row: "internal data at an inherited delegation", s: one("sub NS ns.else.test.\n", "sub A 10.0.0.1\n"), codes: "ERR below-cut"},
		{row: "internal data below an inherited delegation", s: one("sub NS ns.else.test.\n", "x.sub A 10.0.0.1\n"), codes: "ERR below-cut"},
		{row: "a restated delegation", s: one("sub NS ns.sub\nns.sub A 192.0.2.9\nold.sub A 192.0.2.8\n", "sub NS in.sub\nin.sub A 10.0.0.1\n"), asked: []string{
			"in x.sub.example A: NOERROR [sub.example. NS] +in.sub.example.", "in old.sub.example A: NOERROR [sub.example. NS] +in.sub.example.",
		}},
		{row: "an internal NS hides the external subtree", s: one("lab A 192.0.2.9\nx.lab A 192.0.2.9\n", "lab NS ns.lab\nns.lab A 10.0.0.3\n"), asked: []string{
			"in x.lab.example A: NOERROR [lab.example. NS] +ns.lab.example.", "out x.lab.example A: NOERROR aa A 192.0.2.9",
		}},
		{row: "an internal DNAME hides the external subtree", s: one("x.lab A 192.0.2.9\n", "lab DNAME else.example.\n"), asked: []string{
			"in x.lab.example A: NXDOMAIN aa DNAME else.example. CNAME x.else.example. [example. SOA]", "out x.lab.example A: NOERROR aa A 192.0.2.9",
		}},
		{row: "delegation that exists only inside", s: one("", "ad NS dc.ad\ndc.ad A 10.0.0.3\n"), asked: []string{
			"in host.ad.example A: NOERROR [ad.example. NS] +dc.ad.example.", "out host.ad.example A: " + denied, "out ad.example NS: " + denied, "out dc.ad.example A: " + denied,
		}},
		{
			row: "DS of internal children",
			s: sight{
				external: map[string]string{"example": "sub NS ns.else.test.\nsub DS 1 13 2 " + digest + "\n"},
				internal: map[string]string{"example": "corp NS ns1.corp\nns1.corp A 10.0.0.1\n", "corp.example": "www A 10.0.0.2\n"},
			},
			asked: []string{
				"in corp.example DS: " + empty, // the parent's side: provably none
				"in sub.example DS: NOERROR aa DS 1 13 2 " + strings.ToUpper(digest), "out sub.example DS: NOERROR aa DS 1 13 2 " + strings.ToUpper(digest),
				"in example DS: none of ours", "out example DS: " + empty, // the apex of our own: the resolver's, where there is one
			},
		},
		{
			row: "zone in one view only",
			s: sight{
				external: map[string]string{"example": "www A 192.0.2.9\n", "public.test": "www A 192.0.2.9\n"},
				internal: map[string]string{"corp.test": "www A 10.0.0.2\n", "corp.example": "www A 10.0.0.2\n"},
			},
			asked: []string{
				"in www.public.test A: NOERROR aa A 192.0.2.9",
				"in www.corp.test A: NOERROR aa A 10.0.0.2", "out www.corp.test A: none of ours", "out www.nowhere.test A: none of ours",
				"in www.corp.example A: NOERROR aa A 10.0.0.2", "out www.corp.example A: " + denied, "out www.absent.example A: " + denied, "out corp.example SOA: " + denied,
			},
		},
		{
			row: "reverse zones",
			s: sight{
				external: map[string]string{"2.0.192.in-addr.arpa": "5 PTR www.example.\n9 CNAME 9.8-15\n", "8-15.2.0.192.in-addr.arpa": "9 PTR nine.example.\n"},
				internal: map[string]string{"2.0.192.in-addr.arpa": "5 PTR www.corp.test.\n", "10.in-addr.arpa": "1.0.0 PTR db.corp.test.\n"},
			},
			asked: []string{
				"out 5.2.0.192.in-addr.arpa PTR: NOERROR aa PTR www.example.", "in 5.2.0.192.in-addr.arpa PTR: NOERROR aa PTR www.corp.test.",
				"in 1.0.0.10.in-addr.arpa PTR: NOERROR aa PTR db.corp.test.", "out 1.0.0.10.in-addr.arpa PTR: none of ours",
				// RFC 2317: the target is answered here, in every view.
				"out 9.2.0.192.in-addr.arpa PTR: NOERROR aa CNAME 9.8-15.2.0.192.in-addr.arpa. PTR nine.example.",
				"in 9.2.0.192.in-addr.arpa PTR: NOERROR aa CNAME 9.8-15.2.0.192.in-addr.arpa. PTR nine.example.",
			},
		},
		{
			row: "chasing and additional data stay in the view",
			s: sight{
				external: map[string]string{"example": "c CNAME www.corp.test.\n@ MX 1 www.corp.test.\ns SRV 0 0 1 in\nsub NS ns.corp.test.\n"},
				internal: map[string]string{"example": "in A 10.0.0.9\n", "corp.test": "www A 10.0.0.2\nns A 10.0.0.3\n"},
			},
			codes: "WARN leak-target",
			asked: []string{
				"out c.example A: NOERROR aa CNAME www.corp.test.", "in c.example A: NOERROR aa CNAME www.corp.test. A 10.0.0.2",
				"out example MX: NOERROR aa MX 1 www.corp.test.", "in s.example SRV: NOERROR aa SRV 0 0 1 in.example. +in.example.",
				"out s.example SRV: NOERROR aa SRV 0 0 1 in.example.", "out x.sub.example A: NOERROR [sub.example. NS]",
			},
		},
	} {
		t.Run(c.row, func(t *testing.T) {
			t.Parallel()
			tab, codes := c.s.views(t)
			if codes != c.codes {
				t.Errorf("codes %q, want %q", codes, c.codes)
			}
			for _, a := range c.asked {
				question, want, _ := strings.Cut(a, ": ")
				view, question, _ := strings.Cut(question, " ")
				if got := look(t, tab, view, question); got != want {
					t.Errorf("%s %s:\n got %s\nwant %s", view, question, got, want)
				}
			}
		})
	}
}

const digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

const signedZone = `@ DNSKEY 257 3 13 a2V5
@ RRSIG SOA 13 1 60 20400101000000 20200101000000 1 example. c2ln
@ RRSIG NSEC 13 1 60 20400101000000 20200101000000 1 example. c2ln
@ NSEC www NS SOA RRSIG NSEC DNSKEY
www A 192.0.2.9
www RRSIG A 13 2 60 20400101000000 20200101000000 1 example. c2ln
www NSEC @ A RRSIG NSEC
sub NS ns.else.test.
sub DS 1 13 2 ` + digest + "\n"

// TestSignedBelow: the chain and the signatures of the zone outside mean
// nothing in the merged one: they are left out, and a validator inside will
// not be content, which is an ERR.
func TestSignedBelow(t *testing.T) {
	t.Parallel()
	tab, codes := one(signedZone, "vault A 10.0.0.1\n").views(t)
	if codes != "ERR view-unsigned" {
		t.Error(codes)
	}
	for question, want := range map[string]string{
		"out none.example A": "NXDOMAIN aa [example. SOA] [example. RRSIG] [example. NSEC] [example. RRSIG]",
		"in none.example A":  denied,
		"in www.example A":   "NOERROR aa A 192.0.2.9",
		"in example DNSKEY":  empty,
		"in vault.example A": "NOERROR aa A 10.0.0.1",
		"in sub.example DS":  "NOERROR aa DS 1 13 2 " + strings.ToUpper(digest),
	} {
		view, question, _ := strings.Cut(question, " ")
		if got := look(t, tab, view, question); got != want {
			t.Errorf("%s %s:\n got %s\nwant %s", view, question, got, want)
		}
	}
	_, problems := Materialise(Overlay{Origin: parsed(t, "example."), File: "int", External: records(t, "ext", apex+signedZone)})
	if len(problems) != 1 || problems[0].Blocks() || !strings.Contains(problems[0].String(), "int:1:1: ERR view-unsigned") {
		t.Error(problems)
	}
}

// TestSameKeys: a full copy of a signed zone is signed, with the same keys.
func TestSameKeys(t *testing.T) {
	t.Parallel()
	const k1, k2 = "@ DNSKEY 257 3 13 a2V5\n", "@ DNSKEY 256 3 13 a2V6\n"
	for _, c := range []struct{ why, below, here, want string }{
		{"neither is signed", "", "", ""},
		{"signed here alone", "", k1, ""},
		{"the same keys, TTLs apart", k1 + k2, "@ 5 DNSKEY 256 3 13 a2V6\n@ 5 DNSKEY 257 3 13 a2V5\n", ""},
		{"not signed here", k1, "", "view-unsigned"},
		{"another key", k1, k2, "view-keys"},
		{"one key less", k1 + k2, k1, "view-keys"},
		{"a key that is not the zone's", k1, "x DNSKEY 257 3 13 a2V5\n", "view-unsigned"},
	} {
		got := ""
		for _, p := range SameKeys(parsed(t, "example."), "int", records(t, "ext", c.below), records(t, "int", c.here)) {
			got += p.Code
			if p.Severity != zonefile.ERR || p.Blocks() || p.Hint == "" {
				t.Errorf("%s: %+v", c.why, p)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
}

// TestDenialChainHasNoInternalName walks the chain of a signed external zone
// from one name to the next, as anybody can: what it shows is what the
// external file holds.
func TestDenialChainHasNoInternalName(t *testing.T) {
	t.Parallel()
	tab, _ := one(signedZone, "vault A 10.0.0.1\na.dept A 10.0.0.1\nwww A 10.0.0.2\n").views(t)
	var walked []string
	for at := "example."; ; {
		m := look1(t, tab.Named("out"), at+" NSEC")
		if m == nil || len(m.Answer) == 0 {
			t.Fatalf("the chain ends at %s: %v", at, m)
		}
		next := m.Answer[0].(*dns.NSEC).NextDomain
		walked = append(walked, at)
		if at = next; slices.Contains(walked, at) {
			break
		}
	}
	if !slices.Equal(walked, []string{"example.", "www.example."}) {
		t.Error(walked)
	}
	for _, q := range []string{"vault.example A", "vault.example NSEC", "dept.example NSEC", "a.dept.example A", "xvault.example A"} {
		m := look1(t, tab.Named("out"), q)
		m.Question = nil
		if text := m.String(); strings.Contains(text, "vault") || strings.Contains(text, "dept") || strings.Contains(text, "10.0.0.") {
			t.Errorf("%s:\n%s", q, text)
		}
	}
}
