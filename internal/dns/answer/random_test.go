package answer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// randomZone writes a zone with few names, so that everything meets
// everything: cuts in cuts, wildcards below wildcards, chains and loops.
func randomZone(r *rand.Rand, origin string, others []string) string {
	var b strings.Builder
	at := func(s string) string { return strings.TrimSuffix(s+"."+origin, ".") + "." }
	if origin == "." {
		at = func(s string) string { return s + "." }
	}
	fmt.Fprintf(&b, "%s %d IN SOA %s %s 1 2 3 4 %d\n", origin, 100+r.IntN(100), at("ns"), at("h"), 100+r.IntN(100))
	fmt.Fprintf(&b, "%s 300 IN NS %s\n", origin, at("ns"))
	label := func() string { return []string{"a", "b", "c", "*", "ns", "A"}[r.IntN(6)] }
	owner := func() string {
		parts := make([]string, 1+r.IntN(3))
		for i := range parts {
			parts[i] = label()
		}
		return at(strings.Join(parts, "."))
	}
	anywhere := func() string {
		switch r.IntN(6) {
		case 0:
			return "x.elsewhere."
		case 1:
			return "a." + strings.TrimPrefix(others[r.IntN(len(others))], ".")
		case 2:
			return origin
		}
		return owner()
	}
	single, double := map[string]bool{}, map[string]bool{}
	for range 2 + r.IntN(14) {
		n := strings.ToLower(owner())
		if r.IntN(20) == 0 { // a name where an NSEC3 record may be, or below it
			n = []string{"", "x."}[r.IntN(2)] + under(hashName(n, 0, ""), origin)
		}
		switch k := r.IntN(12); {
		case k == 0 && !double[n] && !single[n]:
			single[n] = true
			fmt.Fprintf(&b, "%s %d IN CNAME %s\n", n, r.IntN(300), anywhere())
		case single[n]:
		case k == 1 && !double[n+"D"]:
			double[n], double[n+"D"] = true, true
			fmt.Fprintf(&b, "%s %d IN DNAME %s\n", n, r.IntN(300), anywhere())
		default:
			double[n] = true
			switch k {
			case 2, 3:
				fmt.Fprintf(&b, "%s 60 IN NS %s\n", n, anywhere())
			case 4:
				fmt.Fprintf(&b, "%s 60 IN DS 1 13 2 %s\n", n, strings.Repeat("ab", 32))
			case 5:
				fmt.Fprintf(&b, "%s 60 IN MX 10 %s\n", n, anywhere())
			case 6:
				fmt.Fprintf(&b, "%s 60 IN SRV 1 2 3 %s\n", n, anywhere())
			case 7:
				fmt.Fprintf(&b, "%s 60 IN TXT \"%s\"\n", n, strings.Repeat("t", r.IntN(200)))
			case 8:
				fmt.Fprintf(&b, "%s 60 IN AAAA 2001:db8::%d\n", n, r.IntN(9))
			default:
				fmt.Fprintf(&b, "%s %d IN A 192.0.2.%d\n", n, r.IntN(300), r.IntN(9))
			}
		}
	}
	return b.String()
}

func randomQuestion(r *rand.Rand, origins []string) (string, uint16) {
	parts := make([]string, r.IntN(5))
	for i := range parts {
		parts[i] = []string{"a", "b", "c", "*", "ns", "zz", "A"}[r.IntN(7)]
	}
	parts = append(parts, strings.TrimSuffix(origins[r.IntN(len(origins))], "."))
	qname := strings.TrimSuffix(strings.Join(parts, "."), ".") + "."
	if r.IntN(8) == 0 {
		parts[0] = hashName([]string{qname, under("a", qname), under("b", qname)}[r.IntN(3)], 0, "")
		qname = strings.TrimSuffix(strings.Join(parts, "."), ".") + "."
	}
	types := []uint16{dns.TypeNSEC, dns.TypeRRSIG, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeDNSKEY, dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeCNAME, dns.TypeDNAME, dns.TypeDS, dns.TypeMX, dns.TypeSRV, dns.TypeTXT, dns.TypeSOA, dns.TypeANY}
	return qname, types[r.IntN(len(types))]
}

func judge(t *testing.T, seed uint64, zones, questions int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	for range zones {
		origins := [][]string{{"z."}, {"z.", "a.z."}, {"z.", "y.", "b.a.z."}, {"."}, {".", "a.", "b.a."}}[r.IntN(5)]
		var texts []string
		for _, o := range origins {
			texts = append(texts, randomChain(r).text(t, randomZone(r, o, origins)))
		}
		w := newWorld(t, texts...)
		for range questions {
			qname, qtype := randomQuestion(r, origins)
			w.check(t, qname, qtype)
			if t.Failed() {
				t.Fatalf("seed %d\n%s", seed, strings.Join(texts, "\n"))
			}
		}
	}
}

// TestSecondOpinion compares the compiled answer with the oracle's over random
// zones and questions.
func TestSecondOpinion(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			judge(t, seed, 60, 60)
		})
	}
}

// FuzzSecondOpinion is the same without end.
func FuzzSecondOpinion(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { judge(t, seed, 3, 40) })
}
