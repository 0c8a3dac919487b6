package answer

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
)

// told is one record as the appendices tell it: RRSIGs by what they cover and
// their labels, all others by their data.
func told(rr dns.RR) string {
	h := rr.Header()
	if sig, ok := rr.(*dns.RRSIG); ok {
		return fmt.Sprintf("%s RRSIG %s %d", h.Name, dns.Type(sig.TypeCovered), sig.Labels)
	}
	return strings.ToLower(strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", h.Name, dns.Type(h.Rrtype), strings.TrimPrefix(rr.String(), h.String()))), " "))
}

// section tells a section. The appendices give the zone's own NS set and its
// addresses beside an answer; that is left to the server (RFC 1034, Section
// 3.7) and not our way.
func section(rrs []dns.RR) string {
	var out []string
	for _, rr := range rrs {
		if rr.Header().Rrtype == dns.TypeOPT {
			continue
		}
		line := told(rr)
		if _, ok := rr.(*dns.RRSIG); !ok {
			f := strings.SplitN(line, " ", 3)
			line = f[0] + " " + strings.ToUpper(f[1]) + " " + f[2]
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

type appendixCase struct {
	section, qname string
	qtype          uint16
	rcode          int
	want           [3]string // answer, authority, additional
}

func tellAll(t *testing.T, file string, chain chained, cases []appendixCase) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, chain.text(t, string(text)))
	for _, c := range cases {
		t.Run(c.section, func(t *testing.T) {
			t.Parallel()
			w.check(t, c.qname, c.qtype)
			m, res, _ := w.ask(t, c.qname, c.qtype, wire.MaxTCP-wire.OptLen, setDO)
			if m.Rcode != c.rcode || m.Authoritative == (res.Kind == Referral) || m.AuthenticatedData {
				t.Errorf("%v", m.MsgHdr)
			}
			for i, got := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
				lines := strings.Split(strings.TrimSpace(c.want[i]), "\n")
				for j := range lines {
					lines[j] = strings.TrimSpace(lines[j])
				}
				slices.Sort(lines)
				lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" })
				if want := strings.Join(lines, "\n"); section(got) != want {
					t.Errorf("section %d:\n%s\nwant\n%s", i+1, section(got), want)
				}
			}
		})
	}
}

// TestRFC4035AppendixB asks the questions of that appendix.
func TestRFC4035AppendixB(t *testing.T) {
	t.Parallel()
	const soa = "example. SOA ns1.example. bugs.x.w.example. 1081539377 3600 300 3600000 3600\nexample. RRSIG SOA 1\n"
	const xx = "xx.example. A 192.0.2.10\nxx.example. RRSIG A 2\nxx.example. AAAA 2001:db8::f00:baaa\nxx.example. RRSIG AAAA 2"
	const ai = "ai.example. A 192.0.2.9\nai.example. RRSIG A 2\nai.example. AAAA 2001:db8::f00:baa9\nai.example. RRSIG AAAA 2"
	tellAll(t, "testdata/rfc4035.zone", chained{}, []appendixCase{
		{"B.1 answer", "x.w.example.", dns.TypeMX, 0, [3]string{"x.w.example. MX 1 xx.example.\nx.w.example. RRSIG MX 3", "", xx}},
		{"B.2 name error", "ml.example.", dns.TypeA, dns.RcodeNameError, [3]string{"", soa + `
			b.example. NSEC ns1.example. ns rrsig nsec
			b.example. RRSIG NSEC 2
			example. NSEC a.example. ns soa mx rrsig nsec dnskey
			example. RRSIG NSEC 1`, ""}},
		{"B.3 no data", "ns1.example.", dns.TypeMX, 0, [3]string{"", soa + `
			ns1.example. NSEC ns2.example. a rrsig nsec
			ns1.example. RRSIG NSEC 2`, ""}},
		{"B.4 referral to a signed zone", "mc.a.example.", dns.TypeMX, 0, [3]string{"", `
			a.example. NS ns1.a.example.
			a.example. NS ns2.a.example.
			a.example. DS 57855 5 1 b6dcd485719adca18e5f3d48a2331627fdd3636b
			a.example. RRSIG DS 2`, "ns1.a.example. A 192.0.2.5\nns2.a.example. A 192.0.2.6"}},
		{"B.5 referral to an unsigned zone", "mc.b.example.", dns.TypeMX, 0, [3]string{"", `
			b.example. NS ns1.b.example.
			b.example. NS ns2.b.example.
			b.example. NSEC ns1.example. ns rrsig nsec
			b.example. RRSIG NSEC 2`, "ns1.b.example. A 192.0.2.7\nns2.b.example. A 192.0.2.8"}},
		{"B.6 wildcard", "a.z.w.example.", dns.TypeMX, 0, [3]string{"a.z.w.example. MX 1 ai.example.\na.z.w.example. RRSIG MX 2", `
			x.y.w.example. NSEC xx.example. mx rrsig nsec
			x.y.w.example. RRSIG NSEC 4`, ai}},
		{"B.7 wildcard without the type", "a.z.w.example.", dns.TypeAAAA, 0, [3]string{"", soa + `
			x.y.w.example. NSEC xx.example. mx rrsig nsec
			x.y.w.example. RRSIG NSEC 4
			*.w.example. NSEC x.w.example. mx rrsig nsec
			*.w.example. RRSIG NSEC 2`, ""}},
		{"B.8 DS at the apex", "example.", dns.TypeDS, 0, [3]string{"", soa + `
			example. NSEC a.example. ns soa mx rrsig nsec dnskey
			example. RRSIG NSEC 1`, ""}},
	})
}

// TestRFC5155AppendixB asks the questions of that appendix, and for the name
// that an NSEC3 record has too.
func TestRFC5155AppendixB(t *testing.T) {
	t.Parallel()
	const soa = "example. SOA ns1.example. bugs.x.w.example. 1 3600 300 3600000 3600\nexample. RRSIG SOA 1\n"
	proof := func(owner, next, types string) string {
		return fmt.Sprintf("%s.example. NSEC3 1 1 12 aabbccdd %s%s\n%[1]s.example. RRSIG NSEC3 2\n", owner, next, types)
	}
	apex := proof("0p9mhaveqvm6t7vbl5lop2u3t2rp3tom", "2t7b4g4vsa5smi47k61mv5bv1a22bojr", " ns soa mx rrsig dnskey nsec3param")
	ns1 := proof("2t7b4g4vsa5smi47k61mv5bv1a22bojr", "2vptu5timamqttgl4luu9kg21e0aor3s", " a rrsig")
	a := proof("35mthgpgcu1qg68fab165klnsnk3dpvl", "b4um86eghhds6nea196smvmlo4ors995", " ns ds rrsig")
	xw := proof("b4um86eghhds6nea196smvmlo4ors995", "gjeqe526plbf1g8mklp59enfd789njgi", " mx rrsig")
	yw := proof("ji6neoaepv8b5o6k4ev33abha8ht9fgc", "k8udemvp1j2f7eg6jebps17vp3n8i58h", "")
	w := proof("k8udemvp1j2f7eg6jebps17vp3n8i58h", "kohar7mbb8dc2ce8a9qvl8hon4k53uhi", "")
	twin := proof("kohar7mbb8dc2ce8a9qvl8hon4k53uhi", "q04jkcevqvmu85r014c7dkba38o0ji5r", " a rrsig")
	ns2 := proof("q04jkcevqvmu85r014c7dkba38o0ji5r", "r53bq7cc2uvmubfu5ocmm6pers9tk9en", " a rrsig")
	star := proof("r53bq7cc2uvmubfu5ocmm6pers9tk9en", "t644ebqk9bibcna874givr6joj62mlhv", " mx rrsig")
	const ai = "ai.example. A 192.0.2.9\nai.example. RRSIG A 2\nai.example. AAAA 2001:db8::f00:baa9\nai.example. RRSIG AAAA 2"
	const both = "2t7b4g4vsa5smi47k61mv5bv1a22bojr.example."
	tellAll(t, "testdata/rfc5155.zone", chained{nsec3: true, optOut: true, iterations: 12, salt: "aabbccdd"}, []appendixCase{
		{"B.1 name error", "a.c.x.w.example.", dns.TypeA, dns.RcodeNameError, [3]string{"", soa + apex + xw + a, ""}},
		{"B.2 no data", "ns1.example.", dns.TypeMX, 0, [3]string{"", soa + ns1, ""}},
		{"B.2.1 empty non-terminal", "y.w.example.", dns.TypeA, 0, [3]string{"", soa + yw, ""}},
		{"B.3 referral to an opt-out unsigned zone", "mc.c.example.", dns.TypeMX, 0, [3]string{
			"", "c.example. NS ns1.c.example.\nc.example. NS ns2.c.example.\n" + a + apex, "ns1.c.example. A 192.0.2.7\nns2.c.example. A 192.0.2.8",
		}},
		{"B.4 wildcard", "a.z.w.example.", dns.TypeMX, 0, [3]string{"a.z.w.example. MX 1 ai.example.\na.z.w.example. RRSIG MX 2", ns2, ai}},
		{"B.5 wildcard without the type", "a.z.w.example.", dns.TypeAAAA, 0, [3]string{"", soa + w + ns2 + star, ""}},
		{"B.6 DS at the apex", "example.", dns.TypeDS, 0, [3]string{"", soa + apex, ""}},
		{"DS of an opt-out unsigned zone", "c.example.", dns.TypeDS, 0, [3]string{"", soa + a + apex, ""}},
		{"a name like an NSEC3 record's", both, dns.TypeA, 0, [3]string{both + " A 192.0.2.127\n" + both + " RRSIG A 2", "", ""}},
		{"which is not asked for", both, dns.TypeNSEC3, 0, [3]string{"", soa + twin, ""}},
		{"nor its signature", both, dns.TypeRRSIG, 0, [3]string{both + " RRSIG A 2", "", ""}},
	})
}
