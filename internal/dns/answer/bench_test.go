package answer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
)

// benchText is the zone of the side-by-side measurement, smaller.
func benchText(hosts int) string {
	var b strings.Builder
	b.WriteString("example.test. 3600 IN SOA ns1.example.test. h.example.test. 1 7200 3600 1209600 300\n" +
		"example.test. 3600 IN NS ns1.example.test.\nns1.example.test. 3600 IN A 192.0.2.1\n" +
		"mail.example.test. 3600 IN A 192.0.2.3\n*.w.example.test. 3600 IN A 192.0.2.9\n")
	for i := range hosts {
		fmt.Fprintf(&b, "h%d.example.test. 3600 IN A 10.0.%d.%d\n", i, i>>8&255, i&255)
		if i%10 == 0 {
			fmt.Fprintf(&b, "h%d.example.test. 3600 IN MX 10 mail.example.test.\n", i)
			fmt.Fprintf(&b, "d%d.example.test. 3600 IN NS ns1.d%d.example.test.\nns1.d%d.example.test. 3600 IN A 10.200.0.1\n", i, i, i)
			fmt.Fprintf(&b, "c%d.example.test. 3600 IN CNAME h%d.example.test.\n", i, i)
		}
	}
	return b.String()
}

func benchWorld(t testing.TB, hosts int) *world {
	t.Helper()
	return newWorld(t, benchText(hosts))
}

// signedWorld is the same zone with a chain, and signatures as long as those of
// ECDSA P-256.
func signedWorld(t testing.TB, chain chained, hosts int) *world {
	t.Helper()
	return &world{zones: []*Zone{Compile(build(t, parse(t, chain.text(t, benchText(hosts)))))}}
}

func benchQueries(t testing.TB, kind string, hosts int, edits ...func(*dns.Msg)) [][]byte {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	out := make([][]byte, 4096)
	for i := range out {
		n := r.IntN(hosts)
		qname, qtype := fmt.Sprintf("h%d.example.test.", n), dns.TypeA
		switch kind {
		case "mx":
			qname, qtype = fmt.Sprintf("h%d.example.test.", n-n%10), dns.TypeMX
		case "cname":
			qname = fmt.Sprintf("c%d.example.test.", n-n%10)
		case "referral":
			qname = fmt.Sprintf("www.d%d.example.test.", n-n%10)
		case "nxdomain":
			qname = fmt.Sprintf("nx%d.example.test.", n)
		case "nodata":
			qtype = dns.TypeTXT
		case "wildcard":
			qname = fmt.Sprintf("x%d.w.example.test.", n)
		}
		m := new(dns.Msg)
		m.SetQuestion(qname, qtype)
		for _, edit := range edits {
			edit(m)
		}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = b
	}
	return out
}

var benchKinds = []string{"positive", "mx", "cname", "referral", "nodata", "nxdomain", "wildcard"}

var noOptions wire.Options

// reply is the hot path but for the socket and the view.
func (w *world) reply(a *Answer, q *wire.Query, msg, buf []byte) []byte {
	q.Parse(msg)
	z := w.Find(q.Name(), q.Type)
	out := a.Append(z, q.Start(buf[:0]), q, q.Limit(true)-q.Reserve(&noOptions), w)
	return q.Finish(out, wire.AA, a.Rcode, a.Counts, &noOptions)
}

func TestAppendDoesNotAllocate(t *testing.T) {
	w := benchWorld(t, 100)
	buf, q, a := make([]byte, 0, 2048), new(wire.Query), new(Answer)
	for _, kind := range benchKinds {
		queries := benchQueries(t, kind, 100)
		i := 0
		if n := testing.AllocsPerRun(len(queries), func() { w.reply(a, q, queries[i%len(queries)], buf); i++ }); n != 0 {
			t.Errorf("%s: %v allocations", kind, n)
		}
	}
}

// TestProofsDoNotAllocate: neither do answers of signed zones.
func TestProofsDoNotAllocate(t *testing.T) {
	for _, chain := range signedChains {
		w := signedWorld(t, chain, 100)
		buf, q, a := make([]byte, 0, 2048), new(wire.Query), new(Answer)
		for _, kind := range benchKinds {
			queries := benchQueries(t, kind, 100, setDO)
			i := 0
			if n := testing.AllocsPerRun(len(queries), func() { w.reply(a, q, queries[i%len(queries)], buf); i++ }); n != 0 {
				t.Errorf("%s, %s: %v allocations", chain, kind, n)
			}
		}
	}
}

var signedChains = []chained{{}, {nsec3: true}, {nsec3: true, optOut: true, iterations: 10, salt: "aabbccdd"}, {nsec3: true, iterations: maxIterations + 1}}

func BenchmarkSigned(b *testing.B) {
	const hosts = 20000
	for _, chain := range signedChains[:2] {
		w := signedWorld(b, chain, hosts)
		for _, kind := range benchKinds {
			b.Run(strings.Fields(chain.String())[0]+"/"+kind, func(b *testing.B) {
				queries := benchQueries(b, kind, hosts, setDO)
				buf, q, a := make([]byte, 0, 2048), new(wire.Query), new(Answer)
				b.ReportAllocs()
				i, octets := 0, 0
				for b.Loop() {
					octets += len(w.reply(a, q, queries[i&4095], buf))
					i++
				}
				b.ReportMetric(float64(octets)/float64(i), "octets/answer")
			})
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	const hosts = 50000
	w := benchWorld(b, hosts)
	for _, kind := range benchKinds {
		b.Run(kind, func(b *testing.B) {
			queries := benchQueries(b, kind, hosts)
			buf, q, a := make([]byte, 0, 2048), new(wire.Query), new(Answer)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				w.reply(a, q, queries[i&4095], buf)
				i++
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	src := build(b, parse(b, benchText(50000)))
	b.ReportAllocs()
	for b.Loop() {
		z := Compile(src)
		b.ReportMetric(float64(z.Size())/float64(z.Nodes()), "octets/name")
	}
}
