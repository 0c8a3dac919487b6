package signer

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/zone"
)

const vectors = "../../../../shared/vectors"

// built reads a zone file; what no zone may hold is left out, as a loader does.
func built(t *testing.T, file, origin string) (*zone.Zone, error) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := zone.NewBuilder(parsed(t, origin))
	p := dns.NewZoneParser(f, dns.Fqdn(origin), file)
	p.SetDefaultTTL(3600)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		_ = b.Add(rr)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return b.Build()
}

// The zones of the ZONEMD test cases whose records a zone holds at all: where
// one is said to verify, the digest here is among those it states; where not,
// it is not, unless the fault is another (a bad signature, a doubled record).
func TestDigestVectors(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob(filepath.Join(vectors, "zonemd", "*", "config"))
	if err != nil || len(cases) == 0 {
		t.Skip("../shared/vectors is not there")
	}
	judged := 0
	for _, config := range cases {
		octets, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		set := map[string]string{}
		for line := range strings.Lines(string(octets)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			set[key] = value
		}
		what := filepath.Base(filepath.Dir(config))
		file := filepath.Join(filepath.Dir(config), set["zonefile"])
		if _, err := os.Stat(file); err != nil {
			t.Logf("%s: %v", what, err)
			continue
		}
		z, err := built(t, file, set["origin"])
		if err != nil {
			t.Logf("%s: %v", what, err)
			continue
		}
		if z.SOA() == nil || z.Node(z.Origin()).Set(dns.TypeZONEMD) == nil {
			continue
		}
		sum, err := Digest(z, 3)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		good, seen := false, map[[2]uint8]int{}
		for _, rr := range z.Node(z.Origin()).Set(dns.TypeZONEMD).RRs {
			r := rr.(*dns.ZONEMD)
			stated, _ := hex.DecodeString(r.Digest)
			seen[[2]uint8{r.Scheme, r.Hash}]++
			good = good || r.Scheme == 1 && r.Hash == 1 && r.Serial == z.Serial() && bytes.Equal(stated, sum)
		}
		if seen[[2]uint8{1, 1}] != 1 {
			continue // no SHA-384 digest, or two (RFC 8976, Section 2.2.2): for a verifier to judge
		}
		if what == "81-mixed-ttls" {
			continue // a zone evens out the TTLs of a set (RFC 2181, Section 5.2)
		}
		judged++
		if want := set["expected_result"] == "success"; good != want && what != "53-bad-zonemd-rrsig" {
			t.Errorf("%s: digest matches %v, stated %v", what, good, want)
		}
	}
	if judged < 15 {
		t.Errorf("judged %d of %d", judged, len(cases))
	}
}

// The example zones of RFC 4035 and RFC 5155, without their signatures: the
// chain and the bitmaps are the RFC's. Its NSEC3 has salt and iterations, which
// nobody makes any more (RFC 9276); the bitmaps are the same.
func TestRFCZones(t *testing.T) {
	t.Parallel()
	zones := map[Denial]*zone.Zone{}
	for d, file := range map[Denial]string{NSEC: "rfc4035-appendix-A.zone", NSEC3: "rfc5155-appendix-A.zone"} {
		path := filepath.Join(vectors, "dnssec-rfc", file)
		if _, err := os.Stat(path); err != nil {
			t.Skip("../shared/vectors is not there")
		}
		z, err := built(t, path, "example.")
		if err != nil {
			t.Fatal(err)
		}
		p := policy(d)
		p.ZONEMD, p.OptOut = false, d == NSEC3
		s := sign(t, z, []dnssec.Key{newKey(t, z.Origin(), 257, dnssec.ECDSAP256SHA256)}, p, now)
		reference(t, s.Zone(), z, p)
		zones[d] = s.Zone()
	}
	// RFC 4035, Appendix A.
	for owner, want := range map[string]string{
		"example.":     "a.example. NS SOA MX RRSIG NSEC DNSKEY",
		"a.example.":   "ai.example. NS DS RRSIG NSEC",
		"ai.example.":  "b.example. A HINFO AAAA RRSIG NSEC",
		"b.example.":   "ns1.example. NS RRSIG NSEC",
		"ns1.example.": "ns2.example. A RRSIG NSEC",
		"ns2.example.": "*.w.example. A RRSIG NSEC",
		"*.w.example.": "x.w.example. MX RRSIG NSEC", "x.w.example.": "x.y.w.example. MX RRSIG NSEC",
		"x.y.w.example.": "xx.example. MX RRSIG NSEC", "xx.example.": "example. A HINFO AAAA RRSIG NSEC",
		"w.example.": "", "y.w.example.": "", "ns1.a.example.": "", "ns1.b.example.": "",
	} {
		got := ""
		if set := zones[NSEC].Node(parsed(t, owner)).Set(dns.TypeNSEC); set != nil {
			_, got, _ = strings.Cut(set.RRs[0].String(), "NSEC\t")
		}
		if got != want {
			t.Errorf("%s NSEC %s, want %s", owner, got, want)
		}
	}
	// RFC 5155, Appendix A.
	for owner, want := range map[string]string{
		"example.": "NS SOA MX RRSIG DNSKEY NSEC3PARAM", "a.example.": "NS DS RRSIG", "ai.example.": "A HINFO AAAA RRSIG",
		"ns1.example.": "A RRSIG", "w.example.": "", "*.w.example.": "MX RRSIG", "y.w.example.": "", "xx.example.": "A HINFO AAAA RRSIG",
		"c.example.": "none", "ns1.a.example.": "none",
	} {
		got := "none"
		at, _ := dnssec.HashOwner(dnssec.Hash(parsed(t, owner)), parsed(t, "example."))
		if set := zones[NSEC3].Node(at).Set(dns.TypeNSEC3); set != nil {
			got = strings.Join(strings.Fields(set.RRs[0].String())[9:], " ")
		}
		if got != want {
			t.Errorf("%s NSEC3 %q, want %q", owner, got, want)
		}
	}
}
