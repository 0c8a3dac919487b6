package answer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

// TestHardNames asks for names at every bound there is, in zones of one name
// and of many: the oracle says the same.
func TestHardNames(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("x", 63)
	longest := label + "." + label + "." + label + "." + strings.Repeat("y", 57) + ".z." // 255 octets
	deepest := strings.Repeat("a.", 126) + "z."                                          // 127 labels
	zeros := []string{`\000.z.`, `\000\000.z.`, `a\000.z.`, `a\000\000\000\000\000.z.`, `\001a.z.`, `\000\001z.z.`}
	text := "z. 60 IN SOA ns.z. h.z. 1 2 3 4 5\nz. 60 IN NS ns.z.\n"
	names := append([]string{longest, deepest}, zeros...)
	for i := 1; i <= 16; i++ { // every way to fill up a word
		names = append(names, strings.Repeat("w", i)+".z.")
	}
	for i, n := range names {
		text += fmt.Sprintf("%s 60 IN A 192.0.2.%d\n", n, i)
	}
	for _, text := range []string{
		text,
		"z. 60 IN SOA ns.z. h.z. 1 2 3 4 5\nz. 60 IN NS ns.elsewhere.\n",
		"z. 2147483647 IN SOA . . 0 0 0 0 0\nz. 0 IN NS .\n*.z. 0 IN CNAME " + longest + "\n",
		"z. 60 IN SOA . . 0 0 0 0 0\nz. 60 IN NS .\nz. 60 IN DNAME " + longest + "\n",
	} {
		w := newWorld(t, text)
		for _, n := range names {
			for _, n := range []string{n, strings.ToUpper(n), "b." + n, strings.Replace(n, "x", "*", 1), n[strings.Index(n, ".")+1:]} {
				if _, err := name.Parse(n); err != nil {
					continue
				}
				for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeANY, dns.TypeDS} {
					w.check(t, n, qtype)
				}
			}
		}
	}
}

// TestLargestSet: what no message holds is cut, and does no harm to its
// neighbours.
func TestLargestSet(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("z. 60 IN SOA ns.z. h.z. 1 2 3 4 5\nz. 60 IN NS ns.z.\na.z. 60 IN A 192.0.2.1\nc.z. 60 IN A 192.0.2.3\n")
	for i := range 66000 {
		fmt.Fprintf(&b, "b.z. 60 IN A 10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	z := Compile(build(t, parse(t, b.String())))
	for _, c := range []struct {
		qname string
		tc    bool
		count uint16
	}{{"a.z.", false, 1}, {"b.z.", true, 0}, {"c.z.", false, 1}} {
		msg, err := new(dns.Msg).SetQuestion(c.qname, dns.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		var q wire.Query
		q.Parse(msg)
		reply, res := z.Append(q.Start(nil), &q, wire.MaxTCP, nil)
		if res.TC != c.tc || res.Counts.Answer != c.count || c.tc && len(reply) != q.End {
			t.Errorf("%s: %+v, %d octets", c.qname, res, len(reply))
		}
	}
}

// TestRecompileFromNothingAndBack takes a zone through states that have little
// in common, each compiled with the one before, and holds each against one
// compiled afresh: names that go and come back, a name that becomes empty, a
// cut, a wildcard and a DNAME in turn.
func TestRecompileFromNothingAndBack(t *testing.T) {
	t.Parallel()
	const head = "z. 60 IN SOA ns.z. h.z. 1 2 3 4 5\nz. 60 IN NS ns.z.\n"
	lines := []string{
		"ns.z. 60 IN A 192.0.2.1\n", "a.z. 60 IN A 192.0.2.2\n", "b.a.z. 60 IN A 192.0.2.3\n", "c.b.a.z. 60 IN MX 1 b.a.z.\n", "a.z. 60 IN NS ns.a.z.\n",
		"ns.a.z. 60 IN A 192.0.2.4\n", "*.a.z. 60 IN TXT \"w\"\n", "*.z. 60 IN MX 1 ns.z.\n", "d.z. 60 IN DNAME a.z.\n", "x.d.z. 60 IN A 192.0.2.5\n", "b.a.z. 60 IN NS ns.a.z.\n",
		"e.z. 60 IN CNAME b.a.z.\n",
	}
	r := rand.New(rand.NewPCG(3, 1))
	var old *Zone
	for step := range 150 {
		text := head
		for _, line := range lines {
			if step%50 != 0 && r.IntN(2) == 0 {
				text += line
			}
		}
		w := newWorld(t, text)
		old = Recompile(build(t, parse(t, text)), old)
		w.zones = slices.Clone(w.zones)
		w.zones[0] = old
		for _, n := range []string{"z.", "ns.z.", "a.z.", "b.a.z.", "c.b.a.z.", "x.c.b.a.z.", "y.a.z.", "d.z.", "x.d.z.", "b.d.z.", "e.z.", "q.z.", "*.z.", "*.a.z.", "ns.a.z."} {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeMX, dns.TypeDS, dns.TypeNS} {
				w.check(t, n, qtype)
			}
		}
		if t.Failed() {
			t.Fatalf("step %d\n%s", step, text)
		}
	}
}
