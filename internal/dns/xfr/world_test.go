package xfr

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

func mustName(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// parse reads records, one a line, with owners relative to example.
func parse(t testing.TB, text string) []dns.RR {
	t.Helper()
	zp := dns.NewZoneParser(strings.NewReader("$ORIGIN example.\n$TTL 3600\n"+text), "example.", "")
	var all []dns.RR
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		all = append(all, rr)
	}
	if err := zp.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func build(t testing.TB, all ...dns.RR) *zone.Zone {
	t.Helper()
	b := zone.NewBuilder(mustName(t, "example."))
	for _, rr := range all {
		if err := b.Add(rr); err != nil {
			t.Fatal(err)
		}
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// head is what every test zone begins with.
func head(serial uint32) string {
	return fmt.Sprintf("@ SOA ns1 hostmaster %d 3600 600 86400 300\n@ NS ns1\n@ NS ns2.elsewhere.\nns1 A 192.0.2.1\n", serial)
}

func zoneOf(t testing.TB, serial uint32, text string) *zone.Zone {
	t.Helper()
	return build(t, parse(t, head(serial)+text)...)
}

// history is the steps between versions.
func history(versions ...*zone.Zone) []zone.Delta {
	var all []zone.Delta
	for i := 1; i < len(versions); i++ {
		all = append(all, zone.NewDelta(versions[i-1], versions[i]))
	}
	return all
}

// request packs and reads a request. serial is named by an IXFR.
func request(t testing.TB, qname string, qtype uint16, serial uint32, edit ...func(*dns.Msg)) *wire.Query {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(qname, qtype)
	m.Id, m.RecursionDesired = 0x1234, false
	if qtype == dns.TypeIXFR {
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: qname, Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: ".", Mbox: ".", Serial: serial}}
	}
	for _, f := range edit {
		f(m)
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	q := new(wire.Query)
	if v := q.Parse(msg); v != wire.OK {
		t.Fatalf("verdict %d", v)
	}
	return q
}

// gathered is what came of a transfer, as the library reads it.
type gathered struct {
	t    testing.TB
	msgs []*dns.Msg
	size []int
}

func (g *gathered) take(msg []byte) error {
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		g.t.Fatalf("message %d: %v", len(g.msgs), err)
	}
	g.msgs, g.size = append(g.msgs, m), append(g.size, len(msg))
	return nil
}

func (g *gathered) records() []dns.RR {
	var all []dns.RR
	for _, m := range g.msgs {
		all = append(all, m.Answer...)
	}
	return all
}

// text is records as sorted lines.
func text(all []dns.RR) []string {
	lines := make([]string, len(all))
	for i, rr := range all {
		lines[i] = rr.String()
	}
	slices.Sort(lines)
	return lines
}

// content is a zone's records as sorted lines.
func content(z *zone.Zone) []string {
	var all []dns.RR
	for n := range z.Nodes() {
		for i := range n.Sets {
			all = append(all, n.Sets[i].RRs...)
		}
	}
	return text(all)
}

// whole reads a transfer in the form of AXFR.
func whole(t testing.TB, all []dns.RR) []string {
	t.Helper()
	if len(all) < 2 || all[0].Header().Rrtype != dns.TypeSOA || all[0].String() != all[len(all)-1].String() {
		t.Fatalf("RFC 5936, Section 2.2: the SOA stands first and last: %v", all)
	}
	for _, rr := range all[1 : len(all)-1] {
		if rr.Header().Rrtype == dns.TypeSOA {
			t.Fatal("a SOA in the middle")
		}
	}
	return text(all[1:])
}

// replay applies an answer to IXFR to what the client has, strictly: nothing
// goes that is not there, and nothing comes that is.
func replay(t testing.TB, have []string, serial uint32, all []dns.RR) []string {
	t.Helper()
	final, ok := all[0].(*dns.SOA)
	if !ok {
		t.Fatal("no SOA first")
	}
	if len(all) == 1 {
		return have
	}
	if second, ok := all[1].(*dns.SOA); !ok || second.Serial == final.Serial {
		return whole(t, all)
	}
	now := map[string]bool{}
	for _, line := range have {
		now[line] = true
	}
	adding := true
	for i, rr := range all[1:] {
		line := rr.String()
		if soa, ok := rr.(*dns.SOA); ok {
			if adding = !adding; adding {
				now[line] = true
				serial = soa.Serial
				continue
			}
			if i == len(all)-2 {
				if line != final.String() || serial != final.Serial {
					t.Fatalf("ends with %s at %d", line, serial)
				}
				break
			}
			if soa.Serial != serial {
				t.Fatalf("a step from %d, at %d", soa.Serial, serial)
			}
		}
		if now[line] == adding {
			t.Fatalf("adding %v: %s", adding, line)
		}
		if now[line] = adding; !adding {
			delete(now, line)
		}
	}
	var got []string
	for line := range now {
		got = append(got, line)
	}
	slices.Sort(got)
	return got
}
