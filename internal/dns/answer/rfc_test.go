package answer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
)

var rfcZone = `
example. 3600 IN SOA ns.example. h.example. 1 2 3 4 300
example. 3600 IN NS ns.example.
ns.example. 60 IN A 192.0.2.1
host.example. 60 IN A 192.0.2.2
host.example. 60 IN MX 10 mail.example.
mail.example. 60 IN A 192.0.2.3
mail.example. 60 IN AAAA 2001:db8::3
_sip._udp.example. 60 IN SRV 1 2 5060 mail.example.
a.b.ent.example. 60 IN TXT "deep"
*.wild.example. 60 IN MX 10 host.example.
sub.*.wild.example. 60 IN TXT "literal"
taken.wild.example. 60 IN TXT "taken"
x.ent2.wild.example. 60 IN TXT "x"
*.star.example. 60 IN CNAME host.example.
alias.example. 60 IN CNAME host.example.
chain.example. 60 IN CNAME alias.example.
dangling.example. 60 IN CNAME nowhere.example.
away.example. 60 IN CNAME www.other.
loop1.example. 60 IN CNAME loop2.example.
loop2.example. 60 IN CNAME loop1.example.
incut.example. 60 IN CNAME www.sub.example.
over.example. 60 IN CNAME www.child.
dn.example. 60 IN DNAME target.example.
below.dn.example. 60 IN A 192.0.2.9
www.target.example. 60 IN A 192.0.2.4
far.example. 60 IN DNAME ` + far + `
sub.example. 60 IN NS ns.sub.example.
sub.example. 60 IN NS ns.example.
sub.example. 60 IN DS 1 13 2 abababababababababababababababababababababababababababababababab
ns.sub.example. 60 IN A 192.0.2.53
hidden.sub.example. 60 IN A 192.0.2.54
out.example. 60 IN NS ns.other.
`

const childZone = `
child. 60 IN SOA ns.child. h.child. 1 2 3 4 5
child. 60 IN NS ns.child.
www.child. 60 IN A 192.0.2.70
`

var far = strings.Repeat(strings.Repeat("f", 60)+".", 3) + "example."

// brief is a reply in one line: rcode, AA, then the sections.
func brief(m *dns.Msg) string {
	s := dns.RcodeToString[m.Rcode]
	if m.Authoritative {
		s += " aa"
	}
	if m.Truncated {
		s += " tc"
	}
	for _, section := range []struct {
		name string
		rrs  []dns.RR
	}{{"|", m.Answer}, {"/", m.Ns}, {"+", m.Extra}} {
		for _, rr := range section.rrs {
			f := strings.Fields(rr.String())
			if strings.HasPrefix(f[0], ";") {
				continue
			}
			s += " " + section.name + strings.TrimSuffix(f[0], ".example.") + " " + f[1] + " " + f[3]
			if f[3] != "DS" {
				s += " " + strings.TrimSuffix(f[len(f)-1], ".example.")
			}
		}
	}
	return s
}

func TestRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rfcZone, childZone)
	const soa = " /example. 300 SOA 300"
	for _, c := range []struct {
		rule, qname string
		qtype       uint16
		want        string
	}{
		{"no such name; TTL is the smaller (RFC 2308, Section 3)", "nowhere.example.", dns.TypeA, "NXDOMAIN aa" + soa},
		{"no such type (RFC 2308, Section 2.2)", "ns.example.", dns.TypeTXT, "NOERROR aa" + soa},
		{"SOA asked for keeps its TTL", "example.", dns.TypeSOA, "NOERROR aa |example. 3600 SOA 300"},
		{"empty non-terminal (RFC 4592, Section 2.2.2)", "ent.example.", dns.TypeA, "NOERROR aa" + soa},
		{"below an empty non-terminal", "x.b.ent.example.", dns.TypeA, "NXDOMAIN aa" + soa},
		{"positive with additional", "host.example.", dns.TypeMX, "NOERROR aa |host 60 MX mail +mail 60 A 192.0.2.3 +mail 60 AAAA 2001:db8::3"},
		{"SRV with additional (RFC 2782)", "_sip._udp.example.", dns.TypeSRV, "NOERROR aa |_sip._udp 60 SRV mail +mail 60 A 192.0.2.3 +mail 60 AAAA 2001:db8::3"},
		{"wildcard (RFC 4592, Section 3.3)", "q.wild.example.", dns.TypeMX, "NOERROR aa |q.wild 60 MX host +host 60 A 192.0.2.2"},
		{"wildcard covers several labels", "r.q.wild.example.", dns.TypeMX, "NOERROR aa |r.q.wild 60 MX host +host 60 A 192.0.2.2"},
		{"wildcard without the type", "q.wild.example.", dns.TypeA, "NOERROR aa" + soa},
		{"a name there blocks the wildcard", "taken.wild.example.", dns.TypeMX, "NOERROR aa" + soa},
		{"and for what is below it", "q.taken.wild.example.", dns.TypeMX, "NXDOMAIN aa" + soa},
		{"an empty non-terminal blocks it too", "q.ent2.wild.example.", dns.TypeMX, "NXDOMAIN aa" + soa},
		{"the wildcard itself", "*.wild.example.", dns.TypeMX, "NOERROR aa |*.wild 60 MX host +host 60 A 192.0.2.2"},
		{"an asterisk in the middle is a label", "sub.*.wild.example.", dns.TypeTXT, `NOERROR aa |sub.*.wild 60 TXT "literal"`},
		{"nothing below an asterisk", "q.*.wild.example.", dns.TypeMX, "NXDOMAIN aa" + soa},
		{"wildcard CNAME", "q.star.example.", dns.TypeA, "NOERROR aa |q.star 60 CNAME host |host 60 A 192.0.2.2"},
		{"CNAME (RFC 1034, Section 3.6.2)", "alias.example.", dns.TypeA, "NOERROR aa |alias 60 CNAME host |host 60 A 192.0.2.2"},
		{"CNAME asked for", "alias.example.", dns.TypeCNAME, "NOERROR aa |alias 60 CNAME host"},
		{"CNAME of CNAME", "chain.example.", dns.TypeA, "NOERROR aa |chain 60 CNAME alias |alias 60 CNAME host |host 60 A 192.0.2.2"},
		{"CNAME to no such type", "alias.example.", dns.TypeTXT, "NOERROR aa |alias 60 CNAME host" + soa},
		{"CNAME to no such name (RFC 6604, Section 3)", "dangling.example.", dns.TypeA, "NXDOMAIN aa |dangling 60 CNAME nowhere" + soa},
		{"CNAME out of our zones", "away.example.", dns.TypeA, "NOERROR aa |away 60 CNAME www.other."},
		{"CNAME loop", "loop1.example.", dns.TypeA, "NOERROR aa |loop1 60 CNAME loop2 |loop2 60 CNAME loop1"},
		{"CNAME below a cut", "incut.example.", dns.TypeA, "NOERROR aa |incut 60 CNAME www.sub /sub 60 NS ns.sub /sub 60 NS ns +ns.sub 60 A 192.0.2.53 +ns 60 A 192.0.2.1"},
		{"CNAME into another zone of ours", "over.example.", dns.TypeA, "NOERROR aa |over 60 CNAME www.child. |www.child. 60 A 192.0.2.70"},
		{"DNAME (RFC 6672, Section 3.1)", "www.dn.example.", dns.TypeA, "NOERROR aa |dn 60 DNAME target |www.dn 60 CNAME www.target |www.target 60 A 192.0.2.4"},
		{"DNAME at its owner", "dn.example.", dns.TypeA, "NOERROR aa" + soa},
		{"CNAME made from a DNAME, asked for", "none.dn.example.", dns.TypeCNAME, "NOERROR aa |dn 60 DNAME target |none.dn 60 CNAME none.target"},
		{"ANY below a DNAME", "none.dn.example.", dns.TypeANY, "NOERROR aa |dn 60 DNAME target |none.dn 60 CNAME none.target"},
		{"data below a DNAME is not seen (RFC 6672, Section 2.4)", "below.dn.example.", dns.TypeA, "NXDOMAIN aa |dn 60 DNAME target |below.dn 60 CNAME below.target" + soa},
		{"DNAME to a name too long", strings.Repeat(strings.Repeat("l", 60)+".", 2) + "far.example.", dns.TypeA, "YXDOMAIN aa |far 60 DNAME " + strings.TrimSuffix(far, ".example.")},
		{"referral, glue first (RFC 9471)", "www.sub.example.", dns.TypeA, "NOERROR /sub 60 NS ns.sub /sub 60 NS ns +ns.sub 60 A 192.0.2.53 +ns 60 A 192.0.2.1"},
		{"referral at the cut", "sub.example.", dns.TypeNS, "NOERROR /sub 60 NS ns.sub /sub 60 NS ns +ns.sub 60 A 192.0.2.53 +ns 60 A 192.0.2.1"},
		{"glue is no answer", "ns.sub.example.", dns.TypeA, "NOERROR /sub 60 NS ns.sub /sub 60 NS ns +ns.sub 60 A 192.0.2.53 +ns 60 A 192.0.2.1"},
		{"referral without glue", "out.example.", dns.TypeA, "NOERROR /out 60 NS ns.other."},
		{"DS at the cut (RFC 4035, Section 3.1.4.1)", "sub.example.", dns.TypeDS, "NOERROR aa |sub 60 DS"},
		{"no DS at the cut", "out.example.", dns.TypeDS, "NOERROR aa" + soa},
		{"DS below the cut", "www.sub.example.", dns.TypeDS, "NOERROR /sub 60 NS ns.sub /sub 60 NS ns +ns.sub 60 A 192.0.2.53 +ns 60 A 192.0.2.1"},
		{"ANY gives one set (RFC 8482, Section 4.1)", "mail.example.", dns.TypeANY, "NOERROR aa |mail 60 A 192.0.2.3"},
		{"ANY of an alias", "alias.example.", dns.TypeANY, "NOERROR aa |alias 60 CNAME host"},
		{"ANY of an empty non-terminal", "ent.example.", dns.TypeANY, "NOERROR aa" + soa},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			m, _, _ := w.ask(t, c.qname, c.qtype, wire.MaxTCP)
			if got := brief(m); got != c.want {
				t.Errorf("%s %s\n got %s\nwant %s", c.qname, dns.Type(c.qtype), got, c.want)
			}
		})
	}
}

func TestCaseIsEchoed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rfcZone)
	m, _, _ := w.ask(t, "hOSt.EXample.", dns.TypeA, 512)
	if m.Question[0].Name != "hOSt.EXample." || m.Answer[0].Header().Name != "hOSt.EXample." {
		t.Errorf("%v", m)
	}
}

func TestTruncation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rfcZone)
	for _, c := range []struct {
		rule, qname string
		qtype       uint16
		limit       int
		want        string
	}{
		{"answer does not fit (RFC 2181, Section 9)", "mail.example.", dns.TypeAAAA, 50, "NOERROR aa tc"},
		{"glue does not fit (RFC 9471, Section 3.1)", "www.sub.example.", dns.TypeA, 75, "NOERROR tc"},
		{"other addresses may stay away", "www.sub.example.", dns.TypeA, 85, "NOERROR /sub 60 NS ns.sub /sub 60 NS ns +ns.sub 60 A 192.0.2.53"},
		{"optional addresses may stay away", "host.example.", dns.TypeMX, 80, "NOERROR aa |host 60 MX mail +mail 60 A 192.0.2.3"},
	} {
		m, _, _ := w.ask(t, c.qname, c.qtype, c.limit)
		if got := brief(m); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.rule, got, c.want)
		}
	}
}

// TestLongChain: a chain longer than is followed ends, and says where.
func TestLongChain(t *testing.T) {
	t.Parallel()
	text := "z. 60 IN SOA a. b. 1 2 3 4 5\n"
	for i := range 40 {
		text += fmt.Sprintf("c%d.z. 60 IN CNAME c%d.z.\n", i, i+1)
	}
	w := newWorld(t, text)
	m, res, _ := w.ask(t, "c0.z.", dns.TypeA, wire.MaxTCP)
	if res.Kind != Left || len(m.Answer) != maxHops+1 {
		t.Errorf("%v, %d records", res.Kind, len(m.Answer))
	}
}

// TestUnsignedDS: in a zone without signatures a DS stands for who asks for it.
func TestUnsignedDS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rfcZone)
	do := func(m *dns.Msg) { m.SetEdns0(1232, true) }
	m, _, _ := w.ask(t, "www.sub.example.", dns.TypeA, wire.MaxTCP, do)
	if got, want := brief(m), "NOERROR /sub 60 NS ns.sub /sub 60 NS ns +ns.sub 60 A 192.0.2.53 +ns 60 A 192.0.2.1"; got != want {
		t.Errorf("referral\n got %s\nwant %s", got, want)
	}
	if m, _, _ := w.ask(t, "sub.example.", dns.TypeDS, wire.MaxTCP, do); len(m.Answer) != 1 {
		t.Errorf("the DS itself: %s", brief(m))
	}
}
