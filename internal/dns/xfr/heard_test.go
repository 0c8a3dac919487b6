package xfr

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

func notice(t testing.TB, edits ...func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg).SetNotify("Example.")
	m.Answer = []dns.RR{timed(9, 1, 2, 3)}
	for _, edit := range edits {
		edit(m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReadNotice: a NOTIFY of one zone's SOA, and what it hints at.
func TestReadNotice(t *testing.T) {
	t.Parallel()
	tsig := &dns.TSIG{Hdr: dns.RR_Header{Name: "k.", Rrtype: dns.TypeTSIG, Class: dns.ClassANY}, Algorithm: dns.HmacSHA256}
	for _, c := range []struct {
		name string
		msg  []byte
		want Notice
		ok   bool
	}{
		{"nothing", nil, Notice{}, false},
		{"a header", make([]byte, 12), Notice{}, false},
		{"a query", notice(t, func(m *dns.Msg) { m.Opcode = dns.OpcodeQuery }), Notice{}, false},
		{"no question", notice(t, func(m *dns.Msg) { m.Question = nil }), Notice{}, false},
		{"two questions", notice(t, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), Notice{}, false},
		{"another type", notice(t, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeNS }), Notice{}, false},
		{"another class", notice(t, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), Notice{}, false},
		{"octets after it", append(notice(t), 0), Notice{}, false},
		{"cut off", notice(t)[:40], Notice{}, false},
		{"a TSIG record that is not the last", notice(t, func(m *dns.Msg) { m.Extra = []dns.RR{tsig, timed(1, 1, 1, 1)} }), Notice{}, false},
		{"a serial", notice(t), Notice{Serial: 9, HasSerial: true}, true},
		{"none", notice(t, func(m *dns.Msg) { m.Answer = nil }), Notice{}, true},
		{"that of another zone", notice(t, func(m *dns.Msg) { m.Answer[0].Header().Name = "other." }), Notice{}, true},
		{"another record", notice(t, func(m *dns.Msg) { m.Answer = parse(t, "@ TXT \"012345678901234567890123456789\"\n") }), Notice{}, true},
		{"EDNS", notice(t, func(m *dns.Msg) { m.SetEdns0(1232, false) }), Notice{Serial: 9, HasSerial: true, EDNS: true}, true},
		{"signed", notice(t, func(m *dns.Msg) { m.Extra = []dns.RR{tsig} }), Notice{Serial: 9, HasSerial: true, TSIG: len(notice(t))}, true},
	} {
		got, ok := ReadNotice(c.msg)
		if ok {
			c.want.Zone, c.want.End = mustName(t, "example."), 12+9+4
		}
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v %v, want %+v", c.name, got, ok, c.want)
		}
	}
}

// FuzzNotice throws anything at who hears NOTIFY, and reads it a second time by
// the library.
func FuzzNotice(f *testing.F) {
	f.Add(notice(f))
	f.Add(notice(f, func(m *dns.Msg) { m.SetEdns0(1232, true) }))
	f.Fuzz(func(t *testing.T, msg []byte) {
		before := bytes.Clone(msg)
		n, ok := ReadNotice(msg)
		if !bytes.Equal(before, msg) {
			t.Fatal("the message was changed")
		}
		m := new(dns.Msg)
		if !ok || m.Unpack(msg) != nil {
			return
		}
		if len(m.Question) != 1 || !sameName(m.Question[0].Name, n.Zone) || m.Opcode != dns.OpcodeNotify {
			t.Fatalf("%+v: %s", n, m)
		}
		if n.End > len(msg) || n.TSIG >= len(msg) || n.TSIG != 0 && n.TSIG < n.End {
			t.Fatalf("%+v of %d octets", n, len(msg))
		}
		if soa, is := first(m.Answer).(*dns.SOA); is && len(m.Answer) == 1 && sameName(soa.Hdr.Name, n.Zone) && soa.Hdr.Rdlength >= timersLen && (!n.HasSerial || n.Serial != soa.Serial) {
			t.Fatalf("%+v: %s", n, soa)
		}
		if _, _, err := name.FromWire(msg, 12); err != nil || binary.BigEndian.Uint16(msg[4:]) != 1 {
			t.Fatal("no question")
		}
	})
}

func first(all []dns.RR) dns.RR {
	if len(all) == 0 {
		return nil
	}
	return all[0]
}
