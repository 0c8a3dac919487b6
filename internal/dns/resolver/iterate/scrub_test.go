package iterate

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

func mustName(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatalf("name %q: %v", s, err)
	}
	return n
}

func question(t testing.TB, s string) Question {
	t.Helper()
	owner, rtype, _ := strings.Cut(s, " ")
	return Question{Name: mustName(t, owner), Type: dns.StringToType[rtype]}
}

// message reads a reply written as lines: flags and rcode first, then records
// after "an", "ns" or "ar".
func message(t testing.TB, text string) *dns.Msg {
	t.Helper()
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, word := range strings.Fields(lines[0]) {
		switch word {
		case "AA":
			m.Authoritative = true
		case "RA":
			m.RecursionAvailable = true
		case "TC":
			m.Truncated = true
		default:
			m.Rcode = dns.StringToRcode[word]
		}
	}
	for _, line := range lines[1:] {
		section, record, _ := strings.Cut(strings.TrimSpace(line), " ")
		rr, err := dns.NewRR(record)
		if err != nil || rr == nil {
			t.Fatalf("record %q: %v", record, err)
		}
		switch section {
		case "an":
			m.Answer = append(m.Answer, rr)
		case "ns":
			m.Ns = append(m.Ns, rr)
		case "ar":
			m.Extra = append(m.Extra, rr)
		default:
			t.Fatalf("line %q", line)
		}
	}
	return m
}

// describe prints what is left of a reply, one fact a line.
func describe(r Reply) string {
	var b strings.Builder
	if r.Doubtful {
		b.WriteString("doubtful ")
	}
	b.WriteString([...]string{"unusable", "answered", "aliased", "referred", "denied"}[r.Kind] + "\n")
	for _, s := range r.Sets {
		b.WriteString([...]string{"?", "set", "nodata", "nxdomain"}[s.Kind] + " " + [...]string{"?", "part", "answer"}[s.Rank] + " " + s.Name.String() + "\n")
		for _, rr := range s.RRs {
			b.WriteString("  " + strings.Join(strings.Fields(rr.String()), " ") + "\n")
		}
	}
	if r.Target != "" {
		b.WriteString("to " + r.Target.String() + "\n")
	}
	if r.Kind == Referred {
		b.WriteString("cut " + r.Cut.Zone.String() + "\n")
		for _, s := range r.Cut.Servers {
			b.WriteString("  " + s.Name.String())
			for _, a := range s.Addrs {
				b.WriteString(" " + a.String())
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func TestScrub(t *testing.T) {
	t.Parallel()
	cases := []struct{ rule, zone, question, reply, want string }{
		{
			"records of other names in the answer are dropped",
			"com.", "www.example.com. A", `AA NOERROR
				an www.example.com. 60 IN A 192.0.2.1
				an www.bank.com. 60 IN A 192.0.2.66
				an www.example.com. 60 IN TXT "extra"`,
			"answered\nset answer www.example.com.\n  www.example.com. 60 IN A 192.0.2.1\n",
		},
		{
			"an answer for a name outside the zone is not one",
			"example.com.", "www.example.com. A", `AA NOERROR
				an www.example.net. 60 IN A 192.0.2.66`,
			"denied\nnodata answer www.example.com.\n",
		},
		{
			"NS and glue beside an answer are dropped (promiscuous NS)",
			"example.com.", "www.example.com. A", `AA NOERROR
				an www.example.com. 60 IN A 192.0.2.1
				ns example.com. 60 IN NS ns.evil.net.
				ns com. 60 IN NS ns.evil.net.
				ar ns.example.com. 60 IN A 192.0.2.66
				ar www.bank.com. 60 IN A 192.0.2.66`,
			"answered\nset answer www.example.com.\n  www.example.com. 60 IN A 192.0.2.1\n",
		},
		{
			"an alias out of the zone ends the chain, its target's data is dropped",
			"example.com.", "www.example.com. A", `AA NOERROR
				an www.example.com. 60 IN CNAME www.bank.com.
				an www.bank.com. 60 IN A 192.0.2.66`,
			"aliased\nset answer www.example.com.\n  www.example.com. 60 IN CNAME www.bank.com.\nto www.bank.com.\n",
		},
		{
			"in the zone the chain goes on, ranked lower (RFC 2181, Section 5.4.1)",
			"example.com.", "www.example.com. A", `AA NOERROR
				an www.example.com. 60 IN CNAME web.example.com.
				an web.example.com. 30 IN A 192.0.2.1`,
			"aliased\nset answer www.example.com.\n  www.example.com. 60 IN CNAME web.example.com.\n" +
				"set part web.example.com.\n  web.example.com. 30 IN A 192.0.2.1\nto web.example.com.\n",
		},
		{
			"the rcode is about the end of the chain (RFC 6604, Section 3)",
			"example.com.", "www.example.com. A", `AA NXDOMAIN
				an www.example.com. 60 IN CNAME gone.example.com.
				ns example.com. 60 IN SOA ns. host. 1 2 3 4 5`,
			"aliased\nset answer www.example.com.\n  www.example.com. 60 IN CNAME gone.example.com.\n" +
				"nxdomain part gone.example.com.\n  example.com. 5 IN SOA ns. host. 1 2 3 4 5\nto gone.example.com.\n",
		},
		{
			"the rcode does not deny a target elsewhere",
			"example.com.", "www.example.com. A", `AA NXDOMAIN
				an www.example.com. 60 IN CNAME www.bank.com.
				ns com. 60 IN SOA ns. host. 1 2 3 4 5`,
			"aliased\nset answer www.example.com.\n  www.example.com. 60 IN CNAME www.bank.com.\nto www.bank.com.\n",
		},
		{
			"a DNAME makes its own CNAME, the one sent is not believed (RFC 6672)",
			"example.com.", "a.old.example.com. A", `AA NOERROR
				an old.example.com. 60 IN DNAME new.example.com.
				an a.old.example.com. 60 IN CNAME www.evil.example.com.`,
			"aliased\nset answer a.old.example.com.\n  old.example.com. 60 IN DNAME new.example.com.\n" +
				"  a.old.example.com. 60 IN CNAME a.new.example.com.\nto a.new.example.com.\n",
		},
		{
			"a DNAME above the zone is nobody's business here",
			"example.com.", "a.example.com. A", `AA NOERROR
				an com. 60 IN DNAME evil.net.`,
			"denied\nnodata answer a.example.com.\n",
		},
		{
			"a DNAME at the name itself is no alias for it",
			"example.com.", "old.example.com. A", `AA NOERROR
				an old.example.com. 60 IN DNAME new.example.com.
				ns example.com. 60 IN SOA ns. host. 1 2 3 4 5`,
			"denied\nnodata answer old.example.com.\n  example.com. 5 IN SOA ns. host. 1 2 3 4 5\n",
		},
		{
			"a referral keeps glue for its own names in the zone only",
			"com.", "www.example.com. A", `NOERROR
				ns example.com. 60 IN NS ns1.example.com.
				ns example.com. 60 IN NS ns.example.net.
				ns example.com. 60 IN NS ns1.example.com.
				ar ns1.example.com. 60 IN A 192.0.2.1
				ar ns1.example.com. 60 IN AAAA 2001:db8::1
				ar ns.example.net. 60 IN A 192.0.2.66
				ar www.bank.com. 60 IN A 192.0.2.66`,
			"referred\ncut example.com.\n  ns1.example.com. 192.0.2.1 2001:db8::1\n  ns.example.net.\n",
		},
		{
			"one address under many names is kept once",
			"com.", "www.example.com. A", `NOERROR
				ns example.com. 60 IN NS a.example.com.
				ns example.com. 60 IN NS b.example.com.
				ar a.example.com. 60 IN A 192.0.2.1
				ar b.example.com. 60 IN A 192.0.2.1
				ar b.example.com. 60 IN AAAA ::ffff:192.0.2.1`,
			"referred\ncut example.com.\n  a.example.com. 192.0.2.1\n  b.example.com.\n",
		},
		{
			"an upward referral is lame", "example.com.", "www.example.com. A", `NOERROR
				ns . 60 IN NS a.root-servers.net.`, "unusable\n",
		},
		{
			"a referral to the zone itself is lame", "example.com.", "www.example.com. A", `NOERROR
				ns example.com. 60 IN NS ns.example.com.`, "unusable\n",
		},
		{
			"a sideways referral is lame", "com.", "www.example.com. A", `NOERROR
				ns bank.com. 60 IN NS ns.evil.net.`, "unusable\n",
		},
		{
			"of several cuts the one towards the name counts", "com.", "www.example.com. A", `NOERROR
				ns bank.com. 60 IN NS ns.evil.net.
				ns example.com. 60 IN NS ns.example.net.`,
			"referred\ncut example.com.\n  ns.example.net.\n",
		},
		{
			"a label is not a prefix", "com.", "www.notexample.com. A", `NOERROR
				ns example.com. 60 IN NS ns.example.net.`, "unusable\n",
		},
		{
			"the child does not answer for its DS", "com.", "example.com. DS", `AA NOERROR
				ns example.com. 60 IN SOA ns. host. 1 2 3 4 5`, "unusable\n",
		},
		{
			"a referral does not lead a DS question to the child", "com.", "example.com. DS", `NOERROR
				ns example.com. 60 IN NS ns.example.com.`, "unusable\n",
		},
		{
			"an SOA above the zone proves nothing", "example.com.", "www.example.com. A", `AA NXDOMAIN
				ns com. 900 IN SOA ns. host. 1 2 3 4 900`, "denied\nnxdomain answer www.example.com.\n",
		},
		{
			"an SOA beside the name proves nothing", "com.", "www.example.com. A", `AA NXDOMAIN
				ns bank.com. 900 IN SOA ns. host. 1 2 3 4 900`, "denied\nnxdomain answer www.example.com.\n",
		},
		{
			"a denial lives for the lesser of TTL and MINIMUM (RFC 2308, Section 5)",
			"example.com.", "www.example.com. A", `AA NOERROR
				ns example.com. 900 IN SOA ns. host. 1 2 3 4 30`,
			"denied\nnodata answer www.example.com.\n  example.com. 30 IN SOA ns. host. 1 2 3 4 30\n",
		},
		{
			"a denial is capped at three hours",
			"example.com.", "www.example.com. A", `AA NXDOMAIN
				ns example.com. 2000000 IN SOA ns. host. 1 2 3 4 2000000`,
			"denied\nnxdomain answer www.example.com.\n  example.com. 10800 IN SOA ns. host. 1 2 3 4 2000000\n",
		},
		{
			"TTLs of a set are one, the least, capped at a day; class CH is dropped",
			"example.com.", "www.example.com. A", `AA NOERROR
				an www.example.com. 999999 IN A 192.0.2.1
				an www.example.com. 888888 IN A 192.0.2.2
				an www.example.com. 888888 IN A 192.0.2.2`,
			"answered\nset answer www.example.com.\n  www.example.com. 86400 IN A 192.0.2.1\n  www.example.com. 86400 IN A 192.0.2.2\n",
		},
		{
			"a TTL with its highest bit set is zero (RFC 2181, Section 8)",
			"example.com.", "www.example.com. A", `AA NOERROR
				an www.example.com. 2147483648 IN A 192.0.2.1`,
			"answered\nset answer www.example.com.\n  www.example.com. 0 IN A 192.0.2.1\n",
		},
		{
			"letter case of owners is ours", "example.com.", "www.example.com. A", `AA NOERROR
				an wWw.eXample.com. 60 IN A 192.0.2.1`,
			"answered\nset answer www.example.com.\n  www.example.com. 60 IN A 192.0.2.1\n",
		},
		{
			"a resolver's cache is not the zone", "example.com.", "www.example.com. A", `RA NOERROR
				an www.example.com. 60 IN A 192.0.2.66`,
			"doubtful answered\nset part www.example.com.\n  www.example.com. 60 IN A 192.0.2.66\n",
		},
		{
			"without AA the answer ranks lower", "example.com.", "www.example.com. A", `NOERROR
				an www.example.com. 60 IN A 192.0.2.1`,
			"answered\nset part www.example.com.\n  www.example.com. 60 IN A 192.0.2.1\n",
		},
		{
			"an empty answer with NS records from above is lame, whatever AA says", "example.com.", "www.example.com. A", `AA NOERROR
				ns . 60 IN NS a.root-servers.net.`, "unusable\n",
		},
		{
			"with NS records of its own zone it is an authority's (RFC 2308, Section 2.2)", "example.com.", "www.example.com. A", `AA NOERROR
				ns example.com. 60 IN NS ns.example.com.`, "denied\nnodata answer www.example.com.\n",
		},
		{"REFUSED is no answer", "example.com.", "www.example.com. A", "REFUSED", "unusable\n"},
		{"SERVFAIL is no answer", "example.com.", "www.example.com. A", "AA SERVFAIL", "unusable\n"},
		{"what is still cut short over TCP is no answer", "example.com.", "www.example.com. A", "AA TC NOERROR", "unusable\n"},
	}
	for _, c := range cases {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			got := describe(Scrub(mustName(t, c.zone), question(t, c.question), message(t, c.reply), Limits{}))
			if got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

func TestScrubBoundsSizes(t *testing.T) {
	t.Parallel()
	var big, ns strings.Builder
	for i := range 101 {
		big.WriteString("\nan www.example.com. 60 IN A 192.0.2." + strconv.Itoa(i))
		ns.WriteString("\nns example.com. 60 IN NS ns" + strconv.Itoa(i) + ".example.com.")
		ns.WriteString("\nar ns0.example.com. 60 IN A 192.0.2." + strconv.Itoa(i))
	}
	q := question(t, "www.example.com. A")
	if r := Scrub(mustName(t, "com."), q, message(t, "AA NOERROR"+big.String()), Limits{}); !errors.Is(r.Why, errSetSize) {
		t.Errorf("101 addresses: %s %v", describe(r), r.Why)
	}
	r := Scrub(mustName(t, "com."), q, message(t, "NOERROR"+ns.String()), Limits{})
	if len(r.Cut.Servers) != 20 || len(r.Cut.Servers[0].Addrs) != 6 {
		t.Errorf("kept %d servers, %d addresses", len(r.Cut.Servers), len(r.Cut.Servers[0].Addrs))
	}
}

func TestScrubTooLongDNAME(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("a", 60)
	long := strings.Join([]string{label, label, label}, ".")
	r := Scrub(mustName(t, "example.com."), question(t, long+".x.example.com. A"), message(t, `AA YXDOMAIN
		an x.example.com. 60 IN DNAME `+label+`.example.com.`), Limits{})
	if r.Kind != Aliased || !errors.Is(r.Why, ErrLongName) {
		t.Errorf("%s %v", describe(r), r.Why)
	}
}

// FuzzScrub checks, for any message, that nothing about names outside the zone
// comes through.
func FuzzScrub(f *testing.F) {
	seed := message(f, "AA NOERROR\nan www.example.com. 60 IN CNAME a.example.com.\nns example.com. 60 IN NS ns.example.com.\nar ns.example.com. 60 IN A 192.0.2.1")
	if packed, err := seed.Pack(); err == nil {
		f.Add(packed)
	}
	zone, q := mustName(f, "example.com."), question(f, "www.example.com. A")
	f.Fuzz(func(t *testing.T, packet []byte) {
		m := new(dns.Msg)
		if m.Unpack(packet) != nil {
			return
		}
		r := Scrub(zone, q, m, Limits{})
		for _, s := range r.Sets {
			for _, rr := range s.RRs {
				if n, err := name.Parse(rr.Header().Name); err != nil || !n.IsBelow(zone) {
					t.Errorf("%s came through", rr)
				}
			}
		}
		if r.Kind == Referred && (r.Cut.Zone == zone || !r.Cut.Zone.IsBelow(zone) || !q.Name.IsBelow(r.Cut.Zone)) {
			t.Errorf("cut %s", r.Cut.Zone)
		}
	})
}
