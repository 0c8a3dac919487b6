package update

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

const base = `
example.test. 300 IN SOA ns1.example.test. admin.example.test. 10 1 1 1 1
example.test. 300 IN NS ns1.example.test.
example.test. 300 IN NS ns2.example.test.
example.test. 300 IN MX 5 mail.example.test.
ns1.example.test. 300 IN A 192.0.2.1
www.example.test. 300 IN A 192.0.2.80
www.example.test. 300 IN A 192.0.2.81
www.example.test. 300 IN TXT "hello"
alias.example.test. 300 IN CNAME www.example.test.
a.b.c.example.test. 300 IN A 192.0.2.3
child.example.test. 300 IN NS ns1.child.example.test.
one.example.test. 300 IN NS ns1.example.test.
old.example.test. 300 IN DNAME www.example.test.
wks.example.test. 300 IN TYPE11 \# 6 c000020106ff
`

// parse reads records of the class and with the RDATA that a message may have,
// which no zone has: "NAME TTL CLASS TYPE [RDATA]".
func parse(t testing.TB, line string) dns.RR {
	t.Helper()
	f := strings.SplitN(line, " ", 5)
	class, typ := f[2], dns.StringToType[f[3]]
	var rr dns.RR = &dns.RFC3597{}
	if len(f) == 5 {
		var err error
		if rr, err = dns.NewRR(f[0] + " " + f[1] + " IN " + f[3] + " " + f[4]); err != nil {
			t.Fatal(line, err)
		}
	} else {
		ttl, n := uint32(0), 0
		if n, _ = fmt.Sscan(f[1], &ttl); n != 1 {
			t.Fatal(line)
		}
		rr = &dns.ANY{Hdr: dns.RR_Header{Name: f[0], Rrtype: typ, Ttl: ttl}}
	}
	rr.Header().Class = dns.StringToClass[class]
	return rr
}

// message packs an UPDATE of example.test.
func message(t testing.TB, requires, changes []string) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetUpdate("example.test.")
	for _, line := range requires {
		m.Answer = append(m.Answer, parse(t, line))
	}
	for _, line := range changes {
		m.Ns = append(m.Ns, parse(t, line))
	}
	m.Compress = true
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

func testZone(t testing.TB, text string) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder("\x07example\x04test\x00")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		rr, err := dns.NewRR(line)
		if err == nil {
			err = b.Add(rr)
		}
		if err != nil {
			t.Fatal(line, err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func mustName(t testing.TB, text string) name.Name {
	t.Helper()
	n, err := name.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// anything is rules by which the key may do all that any key may.
func anything(t testing.TB) []Rule {
	t.Helper()
	var types []uint16
	for typ := range uint16(300) {
		types = append(types, typ)
	}
	return []Rule{{Key: mustName(t, "key."), Types: types, Names: []Pattern{{Name: mustName(t, "example.test.")}, {Name: mustName(t, "example.test."), Below: true}}}}
}

// carry reads a message and applies it to the base zone.
func carry(t testing.TB, s *State, msg []byte, rules []Rule) ([]Change, int) {
	t.Helper()
	o, ok := Read(msg)
	if !ok {
		return nil, FormErr
	}
	r, refused := o.Request()
	if refused != nil {
		return nil, refused.Rcode
	}
	changes, refused := s.Apply(r, mustName(t, "key."), rules)
	if refused != nil {
		return nil, refused.Rcode
	}
	return changes, NoError
}

// RFC 2136, Section 3.2 and its order of errors.
func TestPrerequisites(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why      string
		requires string // lines
		want     int
	}{
		{"3.2.5: a TTL", "www.example.test. 1 ANY A", FormErr},
		{"3.2.5: a TTL before what is outside", "www.other.test. 1 ANY A", FormErr},
		{"3.2.5: outside", "www.other.test. 0 ANY A", NotZone},
		{"3.2.5: outside before RDATA with class ANY", "www.other.test. 0 ANY A 192.0.2.80", NotZone},
		{"3.2.4: RDATA with class ANY", "www.example.test. 0 ANY A 192.0.2.80", FormErr},
		{"3.2.4: RDATA with class NONE", "www.example.test. 0 NONE A 192.0.2.80", FormErr},
		{"3.2.5: another class", "www.example.test. 0 CH A 192.0.2.80", FormErr},
		{"a question's type", "www.example.test. 0 ANY AXFR", FormErr},
		{"no RDATA with the zone's class", "www.example.test. 0 IN A", FormErr},
		{"ANY with the zone's class", "www.example.test. 0 IN ANY", FormErr},

		{"2.4.1: the RRset is there", "www.example.test. 0 ANY A", NoError},
		{"2.4.1: it is not", "www.example.test. 0 ANY AAAA", NXRRSet},
		{"2.4.1: nor is the name", "nobody.example.test. 0 ANY A", NXRRSet},
		{"2.4.1: case does not count", "WwW.eXample.test. 0 ANY A", NoError},

		{"2.4.2: exactly so", "www.example.test. 0 IN A 192.0.2.81\nwww.example.test. 0 IN A 192.0.2.80", NoError},
		{"2.4.2: the same record twice", "www.example.test. 0 IN TXT \"hello\"\nwww.example.test. 0 IN TXT \"hello\"", NoError},
		{"2.4.2: less", "www.example.test. 0 IN A 192.0.2.81", NXRRSet},
		{"2.4.2: more", "www.example.test. 0 IN A 192.0.2.81\nwww.example.test. 0 IN A 192.0.2.80\nwww.example.test. 0 IN A 192.0.2.82", NXRRSet},
		{"2.4.2: another", "www.example.test. 0 IN TXT \"hullo\"", NXRRSet},
		{"2.4.2: case within RDATA of old types does not count", "alias.example.test. 0 IN CNAME WWW.example.test.", NoError},
		{"2.4.2: none there", "www.example.test. 0 IN AAAA 2001:db8::1", NXRRSet},

		{"2.4.3: the RRset is not there", "www.example.test. 0 NONE AAAA", NoError},
		{"2.4.3: it is", "www.example.test. 0 NONE A", YXRRSet},

		{"2.4.4: the name is in use", "www.example.test. 0 ANY ANY", NoError},
		{"2.4.4: it is not", "nobody.example.test. 0 ANY ANY", NXDomain},
		{"2.4.4: one with names below it alone is not", "b.c.example.test. 0 ANY ANY", NXDomain},

		{"2.4.5: the name is not in use", "nobody.example.test. 0 NONE ANY", NoError},
		{"2.4.5: one with names below it alone is not", "b.c.example.test. 0 NONE ANY", NoError},
		{"2.4.5: it is", "www.example.test. 0 NONE ANY", YXDomain},

		{"3.2.5: the first error counts", "nobody.example.test. 0 ANY ANY\nwww.other.test. 0 ANY A", NXDomain},
		{"3.2.5: sets are compared last", "www.example.test. 0 IN A 192.0.2.81\nwww.other.test. 0 ANY A", NotZone},
	} {
		msg := message(t, strings.Split(c.requires, "\n"), nil)
		if _, got := carry(t, NewState(testZone(t, base)), msg, anything(t)); got != c.want {
			t.Errorf("%s: %s: %s, want %s", c.why, c.requires, dns.RcodeToString[got], dns.RcodeToString[c.want])
		}
	}
}

// RFC 2136, Section 3.4.1, and what comes before and after it.
func TestPrescan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why     string
		changes string
		want    int
	}{
		{"outside", "www.other.test. 60 IN A 192.0.2.1", NotZone},
		{"outside before form", "www.other.test. 60 ANY A", NotZone},
		{"above", "test. 60 IN A 192.0.2.1", NotZone},
		{"class ANY with a TTL", "www.example.test. 1 ANY A", FormErr},
		{"class ANY with RDATA", "www.example.test. 0 ANY A 192.0.2.1", FormErr},
		{"class ANY, type AXFR", "www.example.test. 0 ANY AXFR", FormErr},
		{"class ANY, type MAILB", "www.example.test. 0 ANY MAILB", FormErr},
		{"class NONE with a TTL", "www.example.test. 1 NONE A 192.0.2.80", FormErr},
		{"class NONE, type ANY", "www.example.test. 0 NONE ANY", FormErr},
		{"class NONE without RDATA", "www.example.test. 0 NONE A", FormErr},
		{"the zone's class, type ANY", "www.example.test. 0 IN ANY", FormErr},
		{"the zone's class, type IXFR", "www.example.test. 0 IN IXFR", FormErr},
		{"the zone's class without RDATA", "www.example.test. 60 IN A", FormErr},
		{"another class", "www.example.test. 60 CH A 192.0.2.1", FormErr},
		{"a TTL above 2^31-1 (RFC 2181, Section 8)", "www.example.test. 2147483648 IN A 192.0.2.1", FormErr},
		{"what signing makes", "www.example.test. 60 IN NSEC a.example.test. A", Refused},
		{"what signing makes, removed", "www.example.test. 0 ANY RRSIG", Refused},
		{"form before permission", "www.example.test. 60 IN DNSKEY 257 3 13 AAAA\nwww.example.test. 1 ANY A", FormErr},
		{"nothing at all", "", NoError},
	} {
		var lines []string
		if c.changes != "" {
			lines = strings.Split(c.changes, "\n")
		}
		if changes, got := carry(t, NewState(testZone(t, base)), message(t, nil, lines), anything(t)); got != c.want || len(changes) > 0 {
			t.Errorf("%s: %s: %s, want %s; %v", c.why, c.changes, dns.RcodeToString[got], dns.RcodeToString[c.want], changes)
		}
	}
}

// A prerequisite that is not met goes before what is wrong with the changes.
func TestPrerequisitesComeFirst(t *testing.T) {
	t.Parallel()
	msg := message(t, []string{"www.example.test. 0 NONE A"}, []string{"www.other.test. 60 IN A 192.0.2.1"})
	if _, got := carry(t, NewState(testZone(t, base)), msg, nil); got != YXRRSet {
		t.Error(dns.RcodeToString[got])
	}
}

// RFC 2136, Section 3.4.2. What changed is told as "- record" and "+ record",
// of the whole RRset.
func TestChanges(t *testing.T) {
	t.Parallel()
	const newer, older = "example.test. 60 IN SOA ns9.example.test. admin.example.test. 11 1 1 1 1", "example.test. 60 IN SOA ns9.example.test. admin.example.test. 9 1 1 1 1"
	for _, c := range []struct {
		why, changes, want string
	}{
		{"3.4.2.2: add to nothing", "new.example.test. 60 IN A 192.0.2.9", "+ new A 60 192.0.2.9"},
		{"3.4.2.2: add to a set, which takes the TTL (RFC 2181, Section 5.2)", "www.example.test. 60 IN A 192.0.2.9", "- www A 300 192.0.2.80, - www A 300 192.0.2.81, + www A 60 192.0.2.9, + www A 60 192.0.2.80, + www A 60 192.0.2.81"},
		{"3.4.2.2: what is there", "www.example.test. 300 IN A 192.0.2.80", ""},
		{"3.4.2.2: what is there, in other words", "EXAMPLE.test. 300 IN MX 5 MAIL.example.test.", ""},
		{"3.4.2.2: what is there with another TTL", "www.example.test. 60 IN TXT \"hello\"", `- www TXT 300 "hello", + www TXT 60 "hello"`},
		{"3.4.2.2: a CNAME beside something", "www.example.test. 60 IN CNAME ns1.example.test.", ""},
		{"3.4.2.2: something beside a CNAME", "alias.example.test. 60 IN A 192.0.2.9", ""},
		{"3.4.2.2: a CNAME takes the place of another", "alias.example.test. 60 IN CNAME ns1.example.test.", "- alias CNAME 300 www.example.test., + alias CNAME 60 ns1.example.test."},
		{"RFC 6672, Section 5.2: so does a DNAME", "old.example.test. 60 IN DNAME ns1.example.test.", "- old DNAME 300 www.example.test., + old DNAME 60 ns1.example.test."},
		{"3.4.2.2: WKS by address and protocol", `wks.example.test. 300 IN TYPE11 \# 6 c000020106f0`, `- wks TYPE11 300 \# 6 c000020106ff, + wks TYPE11 300 \# 6 c000020106f0`},
		{"3.4.2.2: a later SOA", newer, "- @ SOA 300 ns1.example.test. admin.example.test. 10 1 1 1 1, + @ SOA 60 ns9.example.test. admin.example.test. 11 1 1 1 1"},
		{"3.4.2.2: an earlier SOA", older, ""},
		{"3.4.2.2: a SOA elsewhere", "www.example.test. 60 IN SOA ns1.example.test. admin.example.test. 11 1 1 1 1", ""},

		{"3.4.2.3: a set", "www.example.test. 0 ANY A", "- www A 300 192.0.2.80, - www A 300 192.0.2.81"},
		{"3.4.2.3: a set that is not there", "www.example.test. 0 ANY AAAA", ""},
		{"3.4.2.3: all of a name", "www.example.test. 0 ANY ANY", `- www A 300 192.0.2.80, - www A 300 192.0.2.81, - www TXT 300 "hello"`},
		{"3.4.2.3: all of the apex but SOA and NS", "example.test. 0 ANY ANY", "- @ MX 300 5 mail.example.test."},
		{"3.4.2.3: the NS of the apex", "example.test. 0 ANY NS", ""},
		{"3.4.2.3: the SOA of the apex", "example.test. 0 ANY SOA", ""},
		{"3.4.2.3: the NS elsewhere", "child.example.test. 0 ANY NS", "- child NS 300 ns1.child.example.test."},

		{"3.4.2.4: one record", "www.example.test. 0 NONE A 192.0.2.81", "- www A 300 192.0.2.80, - www A 300 192.0.2.81, + www A 300 192.0.2.80"},
		{"3.4.2.4: the last of a set", "www.example.test. 0 NONE TXT \"hello\"", `- www TXT 300 "hello"`},
		{"3.4.2.4: one that is not there", "www.example.test. 0 NONE A 192.0.2.99", ""},
		{"3.4.2.4: the SOA", "example.test. 0 NONE SOA ns1.example.test. admin.example.test. 10 1 1 1 1", ""},
		{"3.4.2.4: one NS of the apex", "example.test. 0 NONE NS ns1.example.test.", "- @ NS 300 ns1.example.test., - @ NS 300 ns2.example.test., + @ NS 300 ns2.example.test."},
		{"3.4.2.4: the last NS of the apex", "example.test. 0 NONE NS ns1.example.test.\nexample.test. 0 NONE NS ns2.example.test.", "- @ NS 300 ns1.example.test., - @ NS 300 ns2.example.test., + @ NS 300 ns2.example.test."},
		{"3.4.2.4: the only NS elsewhere", "one.example.test. 0 NONE NS ns1.example.test.", "- one NS 300 ns1.example.test."},

		{"in the order of the message", "alias.example.test. 0 ANY CNAME\nalias.example.test. 60 IN A 192.0.2.9", "+ alias A 60 192.0.2.9, - alias CNAME 300 www.example.test."},
		{"in the order of the message, the other one", "alias.example.test. 60 IN A 192.0.2.9\nalias.example.test. 0 ANY CNAME", "- alias CNAME 300 www.example.test."},
		{"there and back", "new.example.test. 60 IN A 192.0.2.9\nnew.example.test. 0 NONE A 192.0.2.9", ""},
	} {
		s := NewState(testZone(t, base))
		changes, rcode := carry(t, s, message(t, nil, strings.Split(c.changes, "\n")), anything(t))
		if got := told(changes); rcode != NoError || got != c.want {
			t.Errorf("%s\n got: %s %s\nwant: %s", c.why, dns.RcodeToString[rcode], got, c.want)
		}
		// Once taken, the same again changes nothing more, unless it began with a removal.
		s.Take(changes)
		if again, _ := carry(t, s, message(t, nil, strings.Split(c.changes, "\n")), anything(t)); len(again) > 0 && !strings.Contains(c.changes, "\n") {
			t.Errorf("%s: again %s", c.why, told(again))
		}
	}
}

func told(changes []Change) string {
	var all []string
	for _, c := range changes {
		for _, list := range []struct {
			sign string
			rrs  []dns.RR
		}{{"-", sorted(c.Old)}, {"+", c.New}} {
			for _, rr := range list.rrs {
				owner := strings.TrimSuffix(strings.TrimSuffix(rr.Header().Name, "example.test."), ".")
				if owner == "" {
					owner = "@"
				}
				fields := strings.SplitN(rr.String(), "\t", 5)
				data := fields[4]
				all = append(all, fmt.Sprintf("%s %s %s %d %s", list.sign, owner, dns.Type(rr.Header().Rrtype), rr.Header().Ttl, data))
			}
		}
	}
	return strings.Join(all, ", ")
}

func TestRules(t *testing.T) {
	t.Parallel()
	rule := func(key, types string, names ...string) Rule {
		r := Rule{Key: mustName(t, key)}
		for _, n := range names {
			p, err := ParsePattern(n)
			if err != nil {
				t.Fatal(err)
			}
			r.Names = append(r.Names, p)
		}
		for _, w := range strings.Fields(types) {
			typ, err := ParseType(w)
			if err != nil {
				t.Fatal(err)
			}
			r.Types = append(r.Types, typ)
		}
		return r
	}
	hosts := rule("key.", "A TXT", "*.example.test")
	for _, c := range []struct {
		why    string
		rules  []Rule
		change string
		want   int
	}{
		{"no rules", nil, "x.example.test. 60 IN A 192.0.2.1", Refused},
		{"another's rule", []Rule{rule("other.", "A", "*.example.test")}, "x.example.test. 60 IN A 192.0.2.1", Refused},
		{"another type", []Rule{hosts}, "x.example.test. 60 IN AAAA 2001:db8::1", Refused},
		{"another name", []Rule{rule("key.", "A", "y.example.test")}, "x.example.test. 60 IN A 192.0.2.1", Refused},
		{"a name of one rule and a type of the other", []Rule{rule("key.", "A", "y.example.test"), rule("key.", "TXT", "x.example.test")}, "x.example.test. 60 IN A 192.0.2.1", Refused},
		{"the apex is not below itself", []Rule{hosts}, "example.test. 60 IN A 192.0.2.1", Refused},
		{"a service is no host", []Rule{hosts}, "_acme-challenge.example.test. 60 IN TXT x", Refused},
		{"nor is what is below it", []Rule{hosts}, "a._tcp.example.test. 60 IN TXT x", Refused},
		{"a wildcard is no host", []Rule{hosts}, "*.example.test. 60 IN A 192.0.2.1", Refused},
		{"NS that is not named", []Rule{hosts}, "x.example.test. 60 IN NS ns1.example.test.", Refused},
		{"all of a name of which one type is not allowed", []Rule{rule("key.", "A", "*.example.test")}, "www.example.test. 0 ANY ANY", Refused},
		{"all of a name that is not allowed, and not there", []Rule{rule("key.", "A", "y.example.test")}, "x.example.test. 0 ANY ANY", Refused},

		{"below", []Rule{hosts}, "x.example.test. 60 IN A 192.0.2.1", NoError},
		{"far below", []Rule{hosts}, "x.y.z.example.test. 60 IN A 192.0.2.1", NoError},
		{"exact", []Rule{rule("key.", "A", "x.example.test")}, "X.example.test. 60 IN A 192.0.2.1", NoError},
		{"the apex, named", []Rule{rule("key.", "A", "example.test")}, "example.test. 60 IN A 192.0.2.1", NoError},
		{"a service, named", []Rule{rule("key.", "TXT", "_acme-challenge.example.test")}, "_acme-challenge.example.test. 60 IN TXT x", NoError},
		{"below a service, named", []Rule{rule("key.", "TLSA", "*._tcp.example.test")}, "www._tcp.example.test. 60 IN TLSA 3 1 1 00", NoError},
		{"but none below that", []Rule{rule("key.", "TLSA", "*._tcp.example.test")}, "_25._tcp.example.test. 60 IN TLSA 3 1 1 00", Refused},
		{"NS, named", []Rule{rule("key.", "NS", "*.example.test")}, "x.example.test. 60 IN NS ns1.example.test.", NoError},
		{"removing", []Rule{hosts}, "www.example.test. 0 ANY A", NoError},
		{"all of a name", []Rule{hosts}, "www.example.test. 0 ANY ANY", NoError},
		{"all of a name by two rules", []Rule{rule("key.", "A", "*.example.test"), rule("key.", "TXT", "www.example.test")}, "www.example.test. 0 ANY ANY", NoError},
		{"all of a name that is not there", []Rule{hosts}, "x.example.test. 0 ANY ANY", NoError},
		{"all of the apex, where SOA and NS stay", []Rule{rule("key.", "MX", "example.test")}, "example.test. 0 ANY ANY", NoError},
	} {
		if _, got := carry(t, NewState(testZone(t, base)), message(t, nil, []string{c.change}), c.rules); got != c.want {
			t.Errorf("%s: %s: %s, want %s", c.why, c.change, dns.RcodeToString[got], dns.RcodeToString[c.want])
		}
	}
}

func TestParseRule(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "ANY", "AXFR", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY", "ZONEMD", "TSIG", "OPT", "TYPE46", "TYPE255", "TYPE65536", "TYPE", "HOST", "A B", "A\n$INCLUDE /etc/passwd"} {
		if typ, err := ParseType(word); err == nil {
			t.Errorf("type %q: %d", word, typ)
		}
	}
	for word, want := range map[string]uint16{"A": 1, "aaaa": 28, "TYPE65280": 65280, "DS": 43, "SOA": 6, "type1": 1} {
		if typ, err := ParseType(word); err != nil || typ != want {
			t.Errorf("type %q: %d, %v", word, typ, err)
		}
	}
	for text, want := range map[string]string{"Dyn.example.test": "dyn.example.test.", "*.dyn.example.test.": "*.dyn.example.test.", "*": "*.", "_x.example.test": "_x.example.test."} {
		if p, err := ParsePattern(text); err != nil || p.String() != want {
			t.Errorf("pattern %q: %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "*.", "a..b", "*.*.", strings.Repeat("a", 64)} {
		if p, err := ParsePattern(text); err == nil && text != "*." && text != "*.*." {
			t.Errorf("pattern %q: %v", text, p)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	good := message(t, []string{"www.example.test. 0 ANY A"}, []string{"x.example.test. 60 IN A 192.0.2.1"})
	change := func(f func([]byte) []byte) []byte { return f(slices.Clone(good)) }
	for why, msg := range map[string][]byte{
		"a header alone":               good[:12],
		"3.1.1: no zone":               change(func(b []byte) []byte { b[5] = 0; return b }),
		"3.1.1: two zones":             change(func(b []byte) []byte { b[5] = 2; return b }),
		"3.1.1: the zone's type":       change(func(b []byte) []byte { b[12+14+1] = 1; return b }),
		"cut off":                      good[:len(good)-1],
		"more than it says":            append(slices.Clone(good), 0),
		"a record more than there are": change(func(b []byte) []byte { b[9]++; return b }),
		"a TSIG that is not the last": change(func(b []byte) []byte {
			b[11] = 2
			b = append(b, 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0)
			return append(b, 0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0)
		}),
		"two OPT": change(func(b []byte) []byte {
			b[11] = 2
			b = append(b, 0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0)
			return append(b, 0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0)
		}),
	} {
		if _, ok := Read(msg); ok {
			t.Error(why)
		}
	}
	o, ok := Read(change(func(b []byte) []byte {
		b[11] = 2
		b = append(b, 0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0)
		return append(b, 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0)
	}))
	if !ok || o.Zone.String() != "example.test." || o.Class != dns.ClassINET || !o.EDNS || o.Size != 1232 || o.TSIG != len(good)+11 || o.ZoneEnd != 12+14+4 {
		t.Errorf("%+v, %v", o, ok)
	}
}

func TestTooManyRecords(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range MaxRecords + 1 {
		lines = append(lines, fmt.Sprintf("h%d.example.test. 60 IN A 192.0.2.1", i))
	}
	if _, got := carry(t, NewState(testZone(t, base)), message(t, nil, lines), anything(t)); got != Refused {
		t.Error(dns.RcodeToString[got])
	}
	if changes, got := carry(t, NewState(testZone(t, base)), message(t, nil, lines[1:]), anything(t)); got != NoError || len(changes) != MaxRecords {
		t.Error(dns.RcodeToString[got], len(changes))
	}
}

// FuzzRead: nothing that is read, judged and carried out brings anything down,
// leaves the zone, or makes a record that no zone takes.
func FuzzRead(f *testing.F) {
	f.Add(message(f, []string{"www.example.test. 0 ANY A", "www.example.test. 0 IN TXT hello"}, []string{"x.example.test. 60 IN A 192.0.2.1", "www.example.test. 0 ANY ANY", "www.example.test. 0 NONE A 192.0.2.80"}))
	f.Add(message(f, nil, []string{"example.test. 60 IN SOA a. b. 11 1 1 1 1", "x.example.test. 60 IN SVCB 1 . alpn=h2", "x.example.test. 60 IN NAPTR 1 1 \"a\" \"b\" \"c\" x."}))
	z := testZone(f, base)
	f.Fuzz(func(t *testing.T, msg []byte) {
		o, ok := Read(msg)
		if !ok {
			return
		}
		r, refused := o.Request()
		if refused != nil {
			return
		}
		r.Zone = z.Origin()
		s := NewState(z)
		changes, refused := s.Apply(r, mustName(t, "key."), anything(t))
		if refused != nil && len(changes) > 0 {
			t.Fatal("refused, and carried out")
		}
		s.Take(changes)
		edits := map[name.Name][]dns.RR{}
		for _, c := range changes {
			if !c.Owner.IsBelow(z.Origin()) || Never(c.Type) || Equal(c.Old, c.New) {
				t.Fatalf("%v", c)
			}
			edits[c.Owner] = nil
		}
		for n := range edits {
			for _, rrs := range s.at(n) {
				edits[n] = append(edits[n], rrs...)
			}
		}
		if _, err := z.Edit(edits); err != nil {
			t.Fatal(err)
		}
	})
}
