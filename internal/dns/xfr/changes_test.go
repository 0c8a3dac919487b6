package xfr

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	one, two, three := zoneOf(t, 1, "a A 192.0.2.1\nb A 192.0.2.1\nc A 192.0.2.1\nd A 192.0.2.1\ne A 192.0.2.1\n"),
		zoneOf(t, 2, "a A 192.0.2.2\nb A 192.0.2.1\nc A 192.0.2.1\nd A 192.0.2.1\ne A 192.0.2.1\n"),
		zoneOf(t, 3, "a A 192.0.2.1\nb A 192.0.2.1\nc A 192.0.2.1\nd A 192.0.2.1\ne A 192.0.2.1\n")
	both := history(one, two, three)
	edited := func(f func([]zone.Delta)) []zone.Delta { h := slices.Clone(both); f(h); return h }
	before, after := zoneOf(t, 1<<32-1, "a A 192.0.2.1\n"), zoneOf(t, 1, "b A 192.0.2.1\n")
	many := []*zone.Zone{one}
	for i := range 8 {
		many = append(many, zoneOf(t, uint32(i+2), fmt.Sprintf("a A 192.0.2.%d\nb A 192.0.2.1\nc A 192.0.2.1\nd A 192.0.2.1\ne A 192.0.2.1\n", i+2)))
	}
	for _, c := range []struct {
		name    string
		z       *zone.Zone
		serial  uint32
		history []zone.Delta
		want    Form
		steps   int
	}{
		{"RFC 1995, 2: the same serial", three, 3, both, Current, 0},
		{"RFC 1995, 2: a newer one", three, 4, both, Current, 0},
		{"RFC 1982: newer, across the end", three, 1 << 31, both, Current, 0},
		{"RFC 1982, 3.2: in no order", three, 1<<31 + 3, both, Whole, 0},
		{"RFC 1982: older, across the end", after, 1<<32 - 1, history(before, after), Steps, 1},
		{"a serial of long ago", three, 1<<32 - 9, both, Whole, 0},
		{"no history", three, 1, nil, Whole, 0},
		{"two steps", three, 1, both, Steps, 2},
		{"the last step", three, 2, both, Steps, 1},
		{"history does not end here", two, 1, both, Whole, 0},
		{"a gap", three, 1, edited(func(h []zone.Delta) { h[0].To = zoneOf(t, 9, "").SOA() }), Whole, 0},
		{"no SOA", three, 1, edited(func(h []zone.Delta) { h[0].From = nil }), Whole, 0},
		{"another SOA than that served", three, 2, edited(func(h []zone.Delta) {
			soa := *three.SOA()
			soa.Refresh++
			h[1].To = &soa
		}), Whole, 0},
		{"longer than the zone: condensed", many[4], 1, history(many[:5]...), Steps, 1},
		{"much longer than the zone", many[8], 1, history(many...), Whole, 0},
		{"all is new", zoneOf(t, 2, strings.ReplaceAll(odd, "192.0.2", "192.0.3")), 1, history(zoneOf(t, 1, "x TXT a\n"), zoneOf(t, 2, strings.ReplaceAll(odd, "192.0.2", "192.0.3"))), Steps, 1},
	} {
		form, steps := Choose(c.z, c.serial, c.history)
		if form != c.want || len(steps) != c.steps {
			t.Errorf("%s: %s of %d steps, want %s of %d", c.name, form, len(steps), c.want, c.steps)
		}
	}
}

// TestCondensed: what came and went, or went and came, is not sent at all.
func TestCondensed(t *testing.T) {
	t.Parallel()
	one, two, three := zoneOf(t, 1, "a A 192.0.2.1\nb A 192.0.2.1\n"), zoneOf(t, 2, "c A 192.0.2.1\nb A 192.0.2.1\n"), zoneOf(t, 3, "a A 192.0.2.1\nd A 192.0.2.1\n")
	d, err := condense(history(one, two, three))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(text(d.Removed), text(d.Added)); d.From.Serial != 1 || d.To.Serial != 3 ||
		got != "[b.example.\t3600\tIN\tA\t192.0.2.1] [d.example.\t3600\tIN\tA\t192.0.2.1]" {
		t.Errorf("%d to %d: %s", d.From.Serial, d.To.Serial, got)
	}
}

func TestCurrentIsOneSOA(t *testing.T) {
	t.Parallel()
	z := zoneOf(t, 5, odd)
	got := &gathered{t: t}
	form, err := Changes(request(t, "example.", dns.TypeIXFR, 5), nil, z, 5, nil, got.take)
	if err != nil || form != Current || len(got.records()) != 1 || got.records()[0].String() != z.SOA().String() {
		t.Errorf("%s %v: %v", form, err, got.records())
	}
}

// edit changes a random zone a little.
func edit(r *rand.Rand, have map[string]bool) {
	for range 1 + r.IntN(6) {
		owner := []string{"@", "a", "b", "*.w", "deep.er.still", `esc\.aped`, "_dmarc", "sub"}[r.IntN(8)]
		data := []string{"A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1", "MX 10 a", "MX 20 Mail.Other.", `TXT "x"`, `TXT "y" "z"`, "SRV 1 2 3 a", "TYPE65280 \\# 1 00", "300 A 192.0.2.3"}[r.IntN(10)]
		if owner == "sub" {
			data = []string{"NS ns.sub", "NS b", "DS 1 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}[r.IntN(3)]
		}
		line := owner + " " + data
		if strings.HasPrefix(data, "300") {
			line = owner + "x " + data // one TTL a set
		}
		if have[line] = !have[line]; !have[line] {
			delete(have, line)
		}
	}
}

// TestRandomEdits: replay of IXFR from any version equals AXFR equals the zone,
// in chains, condensed, and where history is cut off.
func TestRandomEdits(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		have := map[string]bool{}
		serial := r.Uint32()
		var versions []*zone.Zone
		for range 25 {
			edit(r, have)
			lines := make([]string, 0, len(have))
			for line := range have {
				lines = append(lines, line)
			}
			versions = append(versions, zoneOf(t, serial, strings.Join(lines, "\n")))
			serial = zone.NextSerial(serial + r.Uint32N(1000))
		}
		last := versions[len(versions)-1]
		steps := history(versions...)
		steps = steps[r.IntN(5):]
		forms := map[Form]int{}
		for _, v := range versions {
			got := &gathered{t: t}
			q := request(t, "example.", dns.TypeIXFR, v.Serial(), func(m *dns.Msg) { m.SetEdns0(1232, true) })
			form, err := Changes(q, nil, last, v.Serial(), steps, got.take)
			if err != nil {
				t.Fatal(err)
			}
			forms[form]++
			if now := replay(t, content(v), v.Serial(), got.records()); !slices.Equal(now, content(last)) {
				t.Fatalf("seed %d, from %d, %s: got\n%s\nwant\n%s", seed, v.Serial(), form, strings.Join(now, "\n"), strings.Join(content(last), "\n"))
			}
			checkDatagram(t, q, v, last, steps)
		}
		if forms[Steps] == 0 || forms[Whole] == 0 || forms[Current] != 1 {
			t.Errorf("seed %d: %v", seed, forms)
		}
	}
}

// checkDatagram: what fits a datagram brings the client to the zone; what does
// not is the new SOA alone.
func checkDatagram(t *testing.T, q *wire.Query, from, to *zone.Zone, steps []zone.Delta) {
	t.Helper()
	q.Tail = 100
	defer func() { q.Tail = 0 }()
	msg, _, err := Datagram(q, nil, to, from.Serial(), steps)
	if err != nil || len(msg) > wire.MaxUDP-100 {
		t.Fatalf("%d octets, %v", len(msg), err)
	}
	got := &gathered{t: t}
	_ = got.take(msg)
	if m := got.msgs[0]; m.Truncated || m.IsEdns0() == nil || len(m.Question) != 1 {
		t.Fatalf("%v", m)
	}
	if all := got.records(); len(all) == 1 {
		if all[0].String() != to.SOA().String() {
			t.Fatalf("%v", all)
		}
	} else if now := replay(t, content(from), from.Serial(), all); !slices.Equal(now, content(to)) {
		t.Fatalf("by UDP: %v", now)
	}
}

func TestDatagramTooShort(t *testing.T) {
	t.Parallel()
	old := zoneOf(t, 1, "")
	var lines strings.Builder
	for i := range 100 {
		fmt.Fprintf(&lines, "h%d A 192.0.2.1\n", i)
	}
	z := zoneOf(t, 2, lines.String())
	q := request(t, "example.", dns.TypeIXFR, 1)
	msg, form, err := Datagram(q, nil, z, 1, history(old, z))
	got := &gathered{t: t}
	if err != nil || got.take(msg) != nil || form != Current || len(msg) > wire.MinUDP || len(got.records()) != 1 {
		t.Errorf("%d octets, %s, %v: %v", len(msg), form, err, got.records())
	}
}

func TestSerial(t *testing.T) {
	t.Parallel()
	soa := func(m *dns.Msg) *dns.SOA { return m.Ns[0].(*dns.SOA) }
	for _, c := range []struct {
		name string
		edit func(*dns.Msg)
		ok   bool
	}{
		{"no SOA", func(m *dns.Msg) { m.Ns = nil }, false},
		{"of another name", func(m *dns.Msg) { soa(m).Hdr.Name = "other." }, false},
		{"of another class", func(m *dns.Msg) { soa(m).Hdr.Class = dns.ClassCHAOS }, false},
		{"another type", func(m *dns.Msg) {
			m.Ns[0] = &dns.NS{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeNS, Class: dns.ClassINET}, Ns: "a."}
		}, false},
		{"empty", func(m *dns.Msg) {
			m.Ns[0] = &dns.RFC3597{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET}}
		}, false},
		{"too long", func(m *dns.Msg) {
			m.Ns[0] = &dns.RFC3597{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Rdata: strings.Repeat("00", 23)}
		}, false},
		{"no IXFR", func(m *dns.Msg) { m.Question[0].Qtype, m.Ns = dns.TypeAXFR, nil }, false},
		{"as RFC 1995, Section 3 has it", func(*dns.Msg) {}, true},
		{"in mixed case, compressed", func(m *dns.Msg) {
			m.Question[0].Name, soa(m).Hdr.Name, soa(m).Ns, soa(m).Mbox, m.Compress = "ExAmple.", "ExAmple.", "ns.ExAmple.", "a.ns.ExAmple.", true
		}, true},
	} {
		if got, ok := Serial(request(t, "example.", dns.TypeIXFR, 77, c.edit)); ok != c.ok || ok && got != 77 {
			t.Errorf("%s: %d %v", c.name, got, ok)
		}
	}
}

// FuzzSerial compares the reading with the library's.
func FuzzSerial(f *testing.F) {
	f.Add(request(f, "example.", dns.TypeIXFR, 77).Msg)
	f.Add(request(f, "eXample.", dns.TypeIXFR, 1, func(m *dns.Msg) { m.Compress = true; m.SetEdns0(1232, true) }).Msg)
	f.Add(request(f, ".", dns.TypeIXFR, 1<<32-1).Msg)
	z := zoneOf(f, 5, odd)
	f.Fuzz(func(t *testing.T, msg []byte) {
		var q wire.Query
		if q.Parse(msg) != wire.OK {
			return
		}
		serial, ok := Serial(&q)
		m := new(dns.Msg)
		if err := m.Unpack(msg); err == nil && len(m.Ns) == 1 && q.Type == dns.TypeIXFR {
			soa, isSOA := m.Ns[0].(*dns.SOA)
			isSOA = isSOA && soa.Hdr.Class == dns.ClassINET && strings.EqualFold(soa.Hdr.Name, m.Question[0].Name) && soa.Hdr.Rdlength > 0
			if isSOA != ok || ok && soa.Serial != serial {
				t.Fatalf("%d %v, the library says %v", serial, ok, m.Ns[0])
			}
		}
		if !ok {
			return
		}
		// Whatever the client sent, the answer can be read.
		got := &gathered{t: t}
		if _, err := Changes(&q, nil, z, serial, nil, got.take); err != nil || len(got.msgs) == 0 {
			t.Fatal(err)
		}
	})
}
