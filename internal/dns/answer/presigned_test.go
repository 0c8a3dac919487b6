package answer

import (
	"crypto"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// rfc4035 is the zone of RFC 4035, Appendix A, without what signing adds.
const rfc4035 = `
example. 3600 IN SOA ns1.example. bugs.x.w.example. 1081539377 3600 300 3600000 1800
example. 3600 IN NS ns1.example.
example. 3600 IN NS ns2.example.
example. 3600 IN MX 1 xx.example.
a.example. 3600 IN NS ns1.a.example.
a.example. 3600 IN DS 57855 5 1 b6dcd485719adca18e5f3d48a2331627fdd3636b
ns1.a.example. 3600 IN A 192.0.2.5
ai.example. 3600 IN A 192.0.2.9
b.example. 3600 IN NS ns1.b.example.
ns1.b.example. 3600 IN A 192.0.2.7
ns1.example. 3600 IN A 192.0.2.1
ns2.example. 3600 IN A 192.0.2.2
*.w.example. 3600 IN MX 1 ai.example.
x.w.example. 3600 IN MX 1 xx.example.
x.y.w.example. 3600 IN MX 1 xx.example.
xx.example. 3600 IN A 192.0.2.10
c.example. 3600 IN CNAME q.w.example.
`

// sign adds an NSEC chain and RRSIGs, as a signer elsewhere would have.
func sign(t *testing.T, z *zone.Zone) (*zone.Zone, *dns.DNSKEY) {
	t.Helper()
	key := &dns.DNSKEY{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeDNSKEY, Class: 1, Ttl: 3600}, Flags: 257, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
	private, err := key.Generate(256)
	if err != nil {
		t.Fatal(err)
	}
	var owners []*zone.Node
	for n := range z.Nodes() {
		if cut := z.Cut(n.Name); len(n.Sets) > 0 && (cut == nil || cut == n) {
			owners = append(owners, n)
		}
	}
	b := zone.NewBuilder(z.Origin())
	add := func(rrs ...dns.RR) {
		for _, rr := range rrs {
			if err := b.Add(rr); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := range z.Nodes() {
		for _, s := range n.Sets {
			add(s.RRs...)
		}
	}
	for i, n := range owners {
		next := owners[(i+1)%len(owners)].Name.String()
		nsec := &dns.NSEC{Hdr: dns.RR_Header{Name: n.Name.String(), Rrtype: dns.TypeNSEC, Class: 1, Ttl: 1800}, NextDomain: next}
		cut := z.Cut(n.Name) != nil
		for _, s := range n.Sets {
			nsec.TypeBitMap = append(nsec.TypeBitMap, s.Type)
			if !cut || s.Type == dns.TypeDS {
				add(signature(t, s.RRs, key, private))
			}
		}
		nsec.TypeBitMap = append(nsec.TypeBitMap, dns.TypeRRSIG, dns.TypeNSEC)
		slices.Sort(nsec.TypeBitMap)
		add(nsec, signature(t, []dns.RR{nsec}, key, private))
	}
	add(key, signature(t, []dns.RR{key}, key, private))
	signed, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return signed, key
}

func signature(t *testing.T, rrs []dns.RR, key *dns.DNSKEY, private crypto.PrivateKey) dns.RR {
	t.Helper()
	h := rrs[0].Header()
	sig := &dns.RRSIG{
		Hdr: dns.RR_Header{Name: h.Name, Rrtype: dns.TypeRRSIG, Class: 1, Ttl: h.Ttl}, Algorithm: key.Algorithm,
		KeyTag: key.KeyTag(), SignerName: "example.", Inception: 1, Expiration: 4000000000, OrigTtl: h.Ttl,
	}
	if err := sig.Sign(private.(crypto.Signer), rrs); err != nil {
		t.Fatal(err)
	}
	return sig
}

// TestPresigned asks the questions of RFC 4035, Appendix B.
func TestPresigned(t *testing.T) {
	t.Parallel()
	signed, key := sign(t, build(t, parse(t, rfc4035)))
	w := &world{zones: []*Zone{Compile(signed)}}
	do := func(m *dns.Msg) { m.SetEdns0(1232, true) }
	for _, c := range []struct {
		section, qname string
		qtype          uint16
		authority      string
	}{
		{"B.1 answer", "x.w.example.", dns.TypeMX, ""},
		{"B.2 name error", "ml.example.", dns.TypeA, "example. SOA, c.example. NSEC, example. NSEC"},
		{"B.3 no data", "ns1.example.", dns.TypeMX, "example. SOA, ns1.example. NSEC"},
		{"empty non-terminal", "y.w.example.", dns.TypeA, "example. SOA, x.w.example. NSEC"},
		{"B.4 signed referral", "mc.a.example.", dns.TypeMX, "a.example. NS, a.example. DS"},
		{"B.5 unsigned referral", "mc.b.example.", dns.TypeMX, "b.example. NS, b.example. NSEC"},
		{"B.6 wildcard", "a.z.w.example.", dns.TypeMX, "x.y.w.example. NSEC"},
		{"B.7 wildcard no data", "a.z.w.example.", dns.TypeAAAA, "example. SOA, x.y.w.example. NSEC, *.w.example. NSEC"},
		{"B.8 DS at the apex", "example.", dns.TypeDS, "example. SOA, example. NSEC"},
		{"chain into a wildcard", "c.example.", dns.TypeMX, "*.w.example. NSEC"},
		{"RRSIG asked for", "ai.example.", dns.TypeRRSIG, ""},
	} {
		t.Run(c.section, func(t *testing.T) {
			t.Parallel()
			m, _, _ := w.ask(t, c.qname, c.qtype, wire.MaxTCP, do)
			var got []string
			for _, rr := range m.Ns {
				if rr.Header().Rrtype != dns.TypeRRSIG {
					got = append(got, fmt.Sprintf("%s %s", rr.Header().Name, dns.Type(rr.Header().Rrtype)))
				}
			}
			if strings.Join(got, ", ") != c.authority {
				t.Errorf("authority %v, want %s", got, c.authority)
			}
			verify(t, key, m.Answer, c.qtype == dns.TypeRRSIG)
			verify(t, key, m.Ns, false)
			m, _, _ = w.ask(t, c.qname, c.qtype, wire.MaxTCP)
			for _, rr := range slices.Concat(m.Answer, m.Ns) {
				if h := rr.Header(); (h.Rrtype == dns.TypeRRSIG || h.Rrtype == dns.TypeNSEC || h.Rrtype == dns.TypeDS) && c.qtype != h.Rrtype {
					t.Errorf("without DO: %v", rr)
				}
			}
		})
	}
}

// verify checks that every set but a delegation's NS is signed, and rightly.
func verify(t *testing.T, key *dns.DNSKEY, section []dns.RR, only bool) {
	t.Helper()
	sets, sigs := map[string][]dns.RR{}, map[string]*dns.RRSIG{}
	for _, rr := range section {
		h := rr.Header()
		if sig, ok := rr.(*dns.RRSIG); ok {
			sigs[fmt.Sprint(h.Name, sig.TypeCovered)] = sig
			continue
		}
		sets[fmt.Sprint(h.Name, h.Rrtype)] = append(sets[fmt.Sprint(h.Name, h.Rrtype)], rr)
	}
	if only {
		return
	}
	for k, rrs := range sets {
		if rrs[0].Header().Rrtype == dns.TypeNS {
			continue
		}
		if sigs[k] == nil {
			t.Errorf("not signed: %v", rrs)
			continue
		}
		if err := sigs[k].Verify(key, rrs); err != nil {
			t.Errorf("%v: %v", rrs, err)
		}
	}
}
