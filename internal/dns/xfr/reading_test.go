package xfr

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// told packs records into messages of so many records each, as a primary sends
// them; 0: all in one. edit changes a message before it is packed.
func told(t testing.TB, kind uint16, each int, rrs []dns.RR, edit ...func(i int, m *dns.Msg)) [][]byte {
	t.Helper()
	if each == 0 {
		each = max(1, len(rrs))
	}
	var all [][]byte
	for i := 0; i == 0 || len(rrs) > 0; i++ {
		m := new(dns.Msg)
		m.Id, m.Response, m.Authoritative, m.Compress = 7, true, true, true
		if i == 0 {
			m.Question = []dns.Question{{Name: "example.", Qtype: kind, Qclass: dns.ClassINET}}
		}
		n := min(each, len(rrs))
		m.Answer, rrs = rrs[:n:n], rrs[n:]
		for _, f := range edit {
			f(i, m)
		}
		msg, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, msg)
	}
	return all
}

// read reads messages; the rest of them is what was left after the end.
func read(in Inbound, kind uint16, f form, msgs [][]byte) (r *reading, left int, err error) {
	r = newReading(&in, 7, kind, nil, f)
	for i, msg := range msgs {
		before := bytes.Clone(msg)
		done, err := r.take(msg, time.Time{})
		if !bytes.Equal(msg, before) {
			panic("the message was changed")
		}
		if done || err != nil {
			return r, len(msgs) - i - 1, err
		}
	}
	return r, 0, &Fault{Reason: CutShort}
}

func exampleZone(t testing.TB) Inbound { return Inbound{Zone: mustName(t, "example.")} }

// wholeOf is a zone in the form of AXFR.
func wholeOf(z *zone.Zone) []dns.RR {
	all := []dns.RR{z.SOA()}
	for n := range z.Nodes() {
		for i := range n.Sets {
			if n.Sets[i].Type != dns.TypeSOA {
				all = append(all, n.Sets[i].RRs...)
			}
		}
	}
	return append(all, z.SOA())
}

// stepsOf is differences in the form of IXFR.
func stepsOf(steps ...zone.Delta) []dns.RR {
	last := steps[len(steps)-1].To
	all := []dns.RR{last}
	for _, d := range steps {
		all = append(append(append(append(all, d.From), d.Removed...), d.To), d.Added...)
	}
	return append(all, last)
}

// TestReadWhole: AXFR in messages of any split brings the zone, every type of
// it, octet by octet.
func TestReadWhole(t *testing.T) {
	t.Parallel()
	z := zoneOf(t, 5, odd+strings.Join(dataOfAllTypes, "\n")+"\n")
	for _, each := range []int{0, 1, 2, 3, 7} {
		knot := func(_ int, m *dns.Msg) { m.Authoritative = each%2 == 0 } // which sets AA in no message
		r, left, err := read(exampleZone(t), dns.TypeAXFR, form{}, told(t, dns.TypeAXFR, each, wholeOf(z), knot))
		if err != nil || left != 0 || r.form.first.Serial != 5 {
			t.Fatalf("%d a message: %v", each, err)
		}
		b := zone.NewBuilder(mustName(t, "example."))
		for _, rr := range r.form.full {
			if err := b.AddNormal(rr); err != nil {
				t.Fatal(err)
			}
		}
		got, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if removed, added := zone.Diff(z, got); len(removed)+len(added) > 0 {
			t.Errorf("%d a message: %v %v", each, removed, added)
		}
	}
}

var dataOfAllTypes = []string{
	"all DNAME Target.Other.", "rp RP Mail.a Text.a", "afs AFSDB 1 Host.a", "kx KX 1 K.a", "px PX 1 Map.a X400.a", "rt RT 1 Via.a",
	`na NAPTR 1 2 "u" "sip" "!^.*$!sip:x@Y!" .`, `nb NAPTR 1 2 "" "" "" Repl.a`, "mi MINFO R.a E.a", "srv SRV 1 2 3 Host.A",
	`hi HINFO "PC" "Linux"`, "loc LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m", "u1 TYPE65280 \\# 3 abcdef",
	"caa CAA 0 issue \"ca.example.net\"", "svc SVCB 1 Svc.a alpn=h2 ipv4hint=192.0.2.1", "https HTTPS 0 Other.Net.",
	"tlsa TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "ssh SSHFP 4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	"c DS 1 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "c NS Ns.c", "c A 192.0.2.3",
	"n NSEC Next.a A RRSIG NSEC", "k DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==",
	"s RRSIG A 13 2 3600 20300101000000 20200101000000 12345 Example. mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==",
	"t9vg3dq6t0nkm4d0aklnuvbcr4n5rkrp NSEC3 1 0 0 - 2vptu5timamqttgl4luu9kg21e0aor3s A RRSIG", "@ NSEC3PARAM 1 0 0 -", "apl APL 1:192.0.2.0/24",
	`uri URI 1 2 "https://a/"`, `txt TXT "a\"b\\c\000\255" ""`, "cds CDS 1 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
}

// TestReadSteps: IXFR, in messages of any split and in the form of AXFR, brings
// what changed.
func TestReadSteps(t *testing.T) {
	t.Parallel()
	one, two, three := zoneOf(t, 1, odd), zoneOf(t, 2, odd+"new A 192.0.2.1\n"), zoneOf(t, 3, "x A 192.0.2.1\nNew A 192.0.2.1\n")
	steps := history(one, two, three)
	condensed, err := condense(steps)
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range []int{0, 1, 2, 5} {
		for _, c := range []struct {
			name  string
			rrs   []dns.RR
			steps int // 0: whole
		}{
			{"steps", stepsOf(steps...), 2}, {"condensed", stepsOf(condensed), 1}, {"as AXFR", wholeOf(three), 0},
		} {
			r, _, err := read(exampleZone(t), dns.TypeIXFR, form{have: one.SOA(), steps: true}, told(t, dns.TypeIXFR, each, c.rrs))
			if err != nil || len(r.form.deltas) != c.steps {
				t.Fatalf("%s, %d a message: %v, %d steps", c.name, each, err, len(r.form.deltas))
			}
			got := one
			for _, d := range r.form.deltas {
				if got, _, err = got.Apply(d); err != nil {
					t.Fatal(err)
				}
			}
			if c.steps == 0 {
				got = build(t, r.form.full...)
			}
			if !slices.Equal(content(got), content(three)) {
				t.Errorf("%s, %d a message: %v", c.name, each, content(got))
			}
		}
	}
}

// TestReadCurrent: who has what we have says so with its SOA alone, or at
// length.
func TestReadCurrent(t *testing.T) {
	t.Parallel()
	z := zoneOf(t, 5, odd)
	for _, rrs := range [][]dns.RR{{z.SOA()}, {z.SOA(), z.SOA()}, wholeOf(z)} {
		for _, kind := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
			r, _, err := read(exampleZone(t), kind, form{have: z.SOA(), steps: kind == dns.TypeIXFR}, told(t, kind, 0, rrs))
			if err != nil || !r.form.current || r.form.full != nil || r.form.deltas != nil {
				t.Errorf("%d records: %v", len(rrs), err)
			}
		}
	}
	// A zone that is nothing but its SOA.
	r, _, err := read(exampleZone(t), dns.TypeIXFR, form{have: zoneOf(t, 4, "").SOA(), steps: true}, told(t, dns.TypeIXFR, 1, []dns.RR{z.SOA(), z.SOA()}))
	if err != nil || len(r.form.full) != 1 {
		t.Errorf("%v: %v", err, r.form.full)
	}
}

// TestReadRefuses is one fault a row.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	z, old := zoneOf(t, 5, "a A 192.0.2.1\n"), zoneOf(t, 4, "b A 192.0.2.1\n")
	rrs, steps := wholeOf(z), stepsOf(zone.NewDelta(old, z))
	soa := func(serial, refresh uint32) *dns.SOA {
		s := *z.SOA()
		s.Serial, s.Refresh = serial, refresh
		return &s
	}
	with := func(at int, more ...dns.RR) []dns.RR { return slices.Insert(slices.Clone(rrs), at, more...) }
	stepped := func(at int, rr dns.RR) []dns.RR { s := slices.Clone(steps); s[at] = rr; return s }
	of := func(text string) dns.RR { return parse(t, text)[0] }
	chaos := of("a A 192.0.2.1\n")
	chaos.Header().Class = dns.ClassCHAOS
	first := func(f func(m *dns.Msg)) func(int, *dns.Msg) {
		return func(i int, m *dns.Msg) {
			if i == 0 {
				f(m)
			}
		}
	}
	later := func(f func(m *dns.Msg)) func(int, *dns.Msg) {
		return func(i int, m *dns.Msg) {
			if i == 1 {
				f(m)
			}
		}
	}
	type edit = func(int, *dns.Msg)
	for _, c := range []struct {
		name  string
		want  Reason
		ixfr  bool
		rrs   []dns.RR
		edit  edit
		bytes func([]byte) []byte // of the first message
	}{
		{"RFC 5936, 2.2: no SOA first", NoSOA, false, rrs[1:], nil, nil},
		{"no record at all", NoSOA, false, nil, nil, nil},
		{"no SOA last", CutShort, false, rrs[:len(rrs)-1], nil, nil},
		{"a SOA of another serial last", SOADiffers, false, append(slices.Clone(rrs[:len(rrs)-1]), soa(6, 3600)), nil, nil},
		{"a SOA of other timers last", SOADiffers, false, append(slices.Clone(rrs[:len(rrs)-1]), soa(5, 1)), nil, nil},
		{"another SOA in the middle", SOADiffers, false, with(2, soa(6, 3600)), nil, nil},
		{"the SOA in the middle", AfterEnd, false, with(2, z.SOA()), nil, nil},
		{"a SOA below the apex", SOAInside, false, with(2, of("a SOA . . 1 2 3 4 5\n")), nil, nil},
		{"records after the end", AfterEnd, false, append(slices.Clone(rrs), of("z A 192.0.2.1\n")), nil, nil},
		{"a third SOA", AfterEnd, false, append(slices.Clone(rrs), z.SOA()), nil, nil},
		{"out of the zone", OutOfZone, false, with(2, of("$ORIGIN other.\na A 192.0.2.1\n")), nil, nil},
		{"out of the zone: above", OutOfZone, false, with(2, of("$ORIGIN .\n. A 192.0.2.1\n")), nil, nil},
		{"out of the zone: alike", OutOfZone, false, with(2, of("$ORIGIN .\nnotexample A 192.0.2.1\n")), nil, nil},
		{"the SOA of another zone", OutOfZone, false, parse(t, "$ORIGIN other.\n@ SOA . . 5 2 3 4 5\n"), nil, nil},
		{"class CH", WrongClass, false, with(2, chaos), nil, nil},
		{"a type of questions", UnfitRecord, false, with(2, &dns.ANY{Hdr: dns.RR_Header{Name: "a.example.", Rrtype: dns.TypeANY, Class: dns.ClassINET}}), nil, nil},
		{"a TTL over 2^31-1", UnfitRecord, false, with(2, of("z 4000000000 A 192.0.2.1\n")), nil, nil},
		{"a serial that is older", Older, true, wholeOf(zoneOf(t, 3, "")), nil, nil},
		{"RFC 1982, 3.2: a serial in no order", Older, true, wholeOf(zoneOf(t, 4+1<<31, "")), nil, nil},
		{"differences from another serial", Misfit, true, stepped(1, soa(3, 3600)), nil, nil},
		{"differences from another SOA of our serial", Misfit, true, stepped(1, soa(4, 1)), nil, nil},
		{"a step backwards", Misfit, true, stepped(3, soa(3, 3600)), nil, nil},
		{"differences that end elsewhere", Misfit, true, stepped(len(steps)-3, soa(9, 3600)), nil, nil},
		{"differences that end at other timers", SOADiffers, true, stepped(len(steps)-1, soa(5, 1)), nil, nil},
		{"differences cut short", CutShort, true, steps[:len(steps)-1], nil, nil},
		{"records after differences", AfterEnd, true, append(slices.Clone(steps), of("z A 192.0.2.1\n")), nil, nil},
		{"differences out of the zone", OutOfZone, true, stepped(2, of("$ORIGIN other.\na A 192.0.2.1\n")), nil, nil},
		{"REFUSED", Refused, false, nil, first(func(m *dns.Msg) { m.Rcode = dns.RcodeRefused }), nil},
		{"SERVFAIL in the middle", Refused, false, rrs, later(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }), nil},
		{"another id", NotAsked, false, rrs, first(func(m *dns.Msg) { m.Id = 8 }), nil},
		{"another id in the middle", NotAsked, false, rrs, later(func(m *dns.Msg) { m.Id = 8 }), nil},
		{"no response", NotAsked, false, rrs, first(func(m *dns.Msg) { m.Response = false }), nil},
		{"another opcode", NotAsked, false, rrs, first(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), nil},
		{"no question", NotAsked, false, rrs, first(func(m *dns.Msg) { m.Question = nil }), nil},
		{"two questions", NotAsked, false, rrs, first(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), nil},
		{"another zone's question", NotAsked, false, rrs, first(func(m *dns.Msg) { m.Question[0].Name = "other." }), nil},
		{"another type's question", NotAsked, true, steps, first(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }), nil},
		{"another question in the middle", NotAsked, false, rrs, later(func(m *dns.Msg) {
			m.Question = []dns.Question{{Name: "other.", Qtype: dns.TypeAXFR, Qclass: dns.ClassINET}}
		}), nil},
		{"cut off", Malformed, false, rrs, first(func(m *dns.Msg) { m.Truncated = true }), nil},
		{"a few octets", Malformed, false, rrs, nil, func([]byte) []byte { return []byte{0, 7, 0x84} }},
		{"octets after the last record", Malformed, false, rrs, nil, func(b []byte) []byte { return append(b, 0) }},
		{"fewer records than counted", Malformed, false, rrs, nil, func(b []byte) []byte { b[7]++; return b }},
		{"more records than counted", Malformed, false, rrs, nil, func(b []byte) []byte {
			return append(b, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)
		}},
		{"an owner that points to itself", Malformed, false, rrs, nil, func(b []byte) []byte { b[25], b[26] = 0xC0, 25; return b }},
		{"an owner that points ahead", Malformed, false, rrs, nil, func(b []byte) []byte { b[25], b[26] = 0xC0, 60; return b }},
		{"data longer than the message", Malformed, false, rrs, nil, func(b []byte) []byte { b[35] = 0xFF; return b }},
	} {
		kind, f := dns.TypeAXFR, form{}
		if c.ixfr {
			kind, f = dns.TypeIXFR, form{have: old.SOA(), steps: true}
		}
		for _, each := range []int{0, 1, 2} {
			if each == 0 && c.edit != nil && strings.Contains(c.name, "middle") {
				continue
			}
			var edits []func(int, *dns.Msg)
			if c.edit != nil {
				edits = append(edits, c.edit)
			}
			msgs := told(t, kind, each, c.rrs, edits...)
			if c.bytes != nil {
				msgs[0] = c.bytes(bytes.Clone(msgs[0]))
			}
			_, left, err := read(exampleZone(t), kind, f, msgs)
			// What follows a good end in a message of its own is the client's to see.
			if c.want == AfterEnd && err == nil && left > 0 {
				continue
			}
			if reasonOf(err) != c.want {
				t.Errorf("%s, %d a message: %v, want %s", c.name, each, err, c.want)
			}
		}
	}
}

// TestReadBounds: each bound is named by its reason.
func TestReadBounds(t *testing.T) {
	t.Parallel()
	rrs := wholeOf(zoneOf(t, 5, "a A 192.0.2.1\nb A 192.0.2.1\n")) // 7 records
	msgs := told(t, dns.TypeAXFR, 1, rrs)
	total := 0
	for _, m := range msgs {
		total += len(m)
	}
	for _, c := range []struct {
		name string
		in   Inbound
		want Reason
	}{
		{"as many records", Inbound{MaxRecords: len(rrs)}, 0},
		{"one more", Inbound{MaxRecords: len(rrs) - 1}, TooManyRecords},
		{"as many octets", Inbound{MaxOctets: int64(total)}, 0},
		{"one more", Inbound{MaxOctets: int64(total) - 1}, TooManyOctets},
	} {
		c.in.Zone = mustName(t, "example.")
		_, _, err := read(c.in, dns.TypeAXFR, form{}, msgs)
		if c.want == 0 && err != nil || c.want != 0 && reasonOf(err) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	empty := told(t, dns.TypeAXFR, 1, nil, func(_ int, m *dns.Msg) { m.Question = nil })[0]
	for n, want := range map[int]Reason{mostEmpty: 0, mostEmpty + 1: NoProgress} {
		some := append([][]byte{msgs[0]}, slices.Repeat([][]byte{empty}, n)...)
		_, _, err := read(exampleZone(t), dns.TypeAXFR, form{}, append(some, msgs[1:]...))
		if want == 0 && err != nil || want != 0 && reasonOf(err) != want {
			t.Errorf("%d messages without records: %v", n, err)
		}
	}
}

// TestReadCompressed: names in data are whole afterwards where senders may
// shorten them, and where they may not (RFC 3597, Section 4) the record is
// refused: what it says depends on the message around it.
func TestReadCompressed(t *testing.T) {
	t.Parallel()
	pointer := func(kind uint16, skip int) [][]byte {
		msg := told(t, dns.TypeAXFR, 0, []dns.RR{zoneOf(t, 5, "").SOA()})[0]
		msg = append(msg, 0xC0, wire.HeaderLen, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 60, 0, byte(skip+2))
		msg = append(append(msg, make([]byte, skip)...), 0xC0, wire.HeaderLen)
		msg[7]++
		return append([][]byte{msg}, told(t, dns.TypeAXFR, 0, []dns.RR{zoneOf(t, 5, "").SOA()}, func(_ int, m *dns.Msg) { m.Question = nil })...)
	}
	for _, c := range []struct {
		kind uint16
		skip int
		ok   bool
	}{
		{dns.TypeNS, 0, true}, {dns.TypeDNAME, 0, true}, {dns.TypeSRV, 6, true}, {dns.TypeKX, 2, true},
		{dns.TypeSVCB, 2, false}, {dns.TypeNSEC, 0, false}, {dns.TypeLP, 2, false},
	} {
		r, _, err := read(exampleZone(t), dns.TypeAXFR, form{}, pointer(c.kind, c.skip))
		if c.ok != (err == nil) || !c.ok && reasonOf(err) != UnfitRecord && reasonOf(err) != Malformed {
			t.Errorf("%s: %v", dns.Type(c.kind), err)
			continue
		}
		if c.ok && !strings.Contains(fmt.Sprint(r.form.full[1]), " example.") && !strings.Contains(fmt.Sprint(r.form.full[1]), "\texample.") {
			t.Errorf("%s: %s", dns.Type(c.kind), r.form.full[1])
		}
	}
}

// FuzzRead throws anything at who reads a transfer. What it takes is a zone, or
// differences, of the zone asked for, and the same again when it is sent on.
func FuzzRead(f *testing.F) {
	one, two := zoneOf(f, 1, odd), zoneOf(f, 2, odd+"new A 192.0.2.1\n")
	for _, each := range []int{0, 2} {
		for _, all := range [][][]byte{told(f, dns.TypeAXFR, each, wholeOf(one)), told(f, dns.TypeIXFR, each, stepsOf(zone.NewDelta(one, two)))} {
			f.Add(all[0], all[len(all)-1])
		}
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, kind := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
			form := form{}
			if kind == dns.TypeIXFR {
				form.have, form.steps = one.SOA(), true
			}
			r, _, err := read(exampleZone(t), kind, form, [][]byte{first, second})
			var fault *Fault
			switch {
			case err != nil && !errors.As(err, &fault):
				t.Fatalf("no reason: %v", err)
			case err != nil || r.form.current:
				continue
			}
			all := append(slices.Clone(r.form.full), r.form.first)
			if r.form.deltas != nil {
				all = stepsOf(r.form.deltas...)
			}
			again, _, err := read(exampleZone(t), kind, form, told(t, kind, 0, all))
			if err != nil || fmt.Sprint(again.form.full, again.form.deltas) != fmt.Sprint(r.form.full, r.form.deltas) {
				t.Fatalf("sent on: %v\n%v\n%v", err, r.form, again.form)
			}
		}
	})
}
