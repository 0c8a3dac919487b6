package wire

import (
	"bytes"
	"testing"

	"github.com/miekg/dns"
)

func tsigRecord(m *dns.Msg) { m.SetTsig("key.example.", dns.HmacSHA256, 300, 1) }

// TestTSIGIsFound where it begins, and forgotten with the next query.
func TestTSIGIsFound(t *testing.T) {
	t.Parallel()
	var q Query
	for _, c := range []struct {
		name  string
		edits []func(*dns.Msg)
	}{
		{"alone", []func(*dns.Msg){tsigRecord}},
		{"behind OPT", []func(*dns.Msg){edns(1232), tsigRecord}},
		{"behind another record", []func(*dns.Msg){func(m *dns.Msg) {
			m.Extra = append(m.Extra, &dns.A{Hdr: dns.RR_Header{Name: "a.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: []byte{1, 2, 3, 4}})
		}, tsigRecord}},
	} {
		msg := query(t, "a.example.", dns.TypeA, c.edits...)
		if v := q.Parse(msg); v != OK || q.TSIG == 0 || !bytes.HasPrefix(msg[q.TSIG:], []byte("\x03key\x07example\x00\x00\xfa\x00\xff")) {
			t.Errorf("%s: %d, TSIG at %d", c.name, v, q.TSIG)
		}
		q.Tail = 10
		for _, plain := range [][]byte{query(t, "a.example.", dns.TypeA), query(t, "a.example.", dns.TypeA, edns(1232))} {
			if v := q.Parse(plain); v != OK || q.TSIG != 0 || q.Tail != 0 {
				t.Errorf("after %s: %d, TSIG at %d, tail %d", c.name, v, q.TSIG, q.Tail)
			}
		}
	}
}

// TestTailIsKept out of every reply: of its limit, and of its padding.
func TestTailIsKept(t *testing.T) {
	t.Parallel()
	var q Query
	for _, c := range []struct {
		name  string
		udp   bool
		edits []func(*dns.Msg)
		want  int
	}{
		{"UDP", true, nil, MinUDP - 100},
		{"UDP, EDNS", true, []func(*dns.Msg){edns(4096)}, MaxUDP - 100},
		{"UDP, a small EDNS size", true, []func(*dns.Msg){edns(100)}, MinUDP - 100},
		{"TCP", false, nil, MaxTCP - 100},
	} {
		if q.Parse(query(t, "a.example.", dns.TypeA, c.edits...)) != OK {
			t.Fatal("no query")
		}
		q.Tail = 100
		if got := q.Limit(c.udp); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if q.Parse(query(t, "a.example.", dns.TypeA, edns(4096, &dns.EDNS0_PADDING{Padding: make([]byte, 1)}))) != OK {
		t.Fatal("no query")
	}
	for q.Tail = 0; q.Tail < 600; q.Tail += 7 {
		if reply := q.Error(nil, 0, NoError, &Options{Limit: q.Limit(false), Block: 468}); (len(reply)+q.Tail)%468 != 0 {
			t.Errorf("%d octets and a tail of %d", len(reply), q.Tail)
		}
	}
}
