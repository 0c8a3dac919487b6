package wire

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// FuzzParse compares Parse with a second reading, octet by octet, and with
// that of the library.
func FuzzParse(f *testing.F) {
	f.Add(query(f, "a.example.", dns.TypeA))
	f.Add(query(f, "A.eXample.", dns.TypeTXT, edns(1232, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})))
	f.Add(query(f, ".", dns.TypeIXFR, func(m *dns.Msg) {
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: 1}, Ns: "a.", Mbox: "b."}}
	}))
	f.Add(query(f, "x.", dns.TypeA, edns(512, local(10, 24), local(12, 3), local(11, 0), local(9, 0)), tsigRecord))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var q Query
		verdict := q.Parse(bytes.Clone(msg))
		second := readAgain(msg)
		if verdict != second.verdict {
			t.Fatalf("verdict %d, read again %d", verdict, second.verdict)
		}
		switch verdict {
		case Drop:
			if len(msg) >= HeaderLen && msg[2]&0x80 == 0 {
				t.Fatal("dropped a query")
			}
			return
		case FormErr, Other:
			if got := q.Malformed(nil); len(got) != HeaderLen {
				t.Fatalf("FORMERR of %d octets", len(got))
			}
		case OK, CookieOnly:
			if !bytes.Equal(q.Cookie(), second.cookie) || q.TSIG != second.tsig || q.Alive != second.alive || q.Expire != second.expire || q.Padded != second.padded || q.NSID != second.nsid {
				t.Fatalf("%+v, read again %+v", q, second)
			}
		}
		checkBuffers(t, msg, &q, verdict)
		checkAgainstLibrary(t, msg, &q, verdict)
	})
}

// checkBuffers: the reading depends neither on what stands after the message
// in its buffer nor on the query read before.
func checkBuffers(t *testing.T, msg []byte, want *Query, verdict Verdict) {
	t.Helper()
	for _, more := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 300} {
		buf := bytes.Repeat([]byte{'Z'}, len(msg)+more)
		copy(buf, msg)
		var q Query
		for i := range q.name {
			q.name[i] = 0xAA
		}
		got := q.Parse(buf[:len(msg):len(buf)])
		if !bytes.Equal(buf[:len(msg)], msg) || !bytes.Equal(buf[len(msg):], bytes.Repeat([]byte{'Z'}, more)) {
			t.Fatalf("%d octets after the message: the buffer was written to", more)
		}
		if got != verdict || q.End != want.End {
			t.Fatalf("%d octets after the message: verdict %d and end %d, want %d and %d", more, got, q.End, verdict, want.End)
		}
		if verdict != OK {
			continue
		}
		if q.Name() != want.Name() || q.Type != want.Type || q.Class != want.Class || q.Labels() != want.Labels() || q.TSIG != want.TSIG {
			t.Fatalf("%d octets after the message: %q, want %q", more, q.Name(), want.Name())
		}
		if tail := q.name[q.nameLen : int(q.nameLen)+8]; !bytes.Equal(tail, make([]byte, 8)) {
			t.Fatalf("%d octets after the message: %x after the name", more, tail)
		}
		for i := range q.Labels() + 1 {
			if q.Label(i) != want.Label(i) {
				t.Fatalf("label %d at %d, want %d", i, q.Label(i), want.Label(i))
			}
		}
	}
}

// second is what readAgain found.
type second struct {
	verdict                     Verdict
	cookie                      []byte
	tsig                        int
	edns                        bool
	version                     byte
	nsid, alive, expire, padded bool
}

// readAgain reads a query as the RFCs tell it, without regard for time.
func readAgain(msg []byte) (s second) {
	if len(msg) < 12 || msg[2]>>7 == 1 {
		return second{verdict: Drop}
	}
	if msg[2]>>3&15 != 0 {
		return second{verdict: Other}
	}
	malformed := second{verdict: FormErr}
	var counts [4]int
	for i := range counts {
		counts[i] = int(msg[4+2*i])<<8 | int(msg[5+2*i])
	}
	rest, qtype := msg[12:], 0
	if counts[0] > 1 {
		return malformed
	}
	if counts[0] == 1 {
		size := 0
		for {
			if size >= len(rest) || size > 254 || rest[size] > 63 {
				return malformed
			}
			label := int(rest[size])
			size += 1 + label
			if label == 0 {
				break
			}
		}
		if size > 255 || len(rest) < size+4 {
			return malformed
		}
		qtype = int(binary.BigEndian.Uint16(rest[size:]))
		rest = rest[size+4:]
	}
	soas := 0
	if qtype == 251 {
		soas = 1
	}
	if counts[1] > 0 || counts[2] > soas {
		return malformed
	}
	all := counts[2] + counts[3]
	for i := range all {
		at := len(msg) - len(rest)
		owner, ok := nameSize(rest)
		if !ok || len(rest) < owner+10 {
			return malformed
		}
		size := int(binary.BigEndian.Uint16(rest[owner+8:]))
		if len(rest) < owner+10+size {
			return malformed
		}
		head, data := rest[owner:owner+10], rest[owner+10:owner+10+size]
		rest = rest[owner+10+size:]
		if i < counts[2] {
			continue
		}
		switch binary.BigEndian.Uint16(head) {
		case 250:
			if s.tsig = at; i != all-1 {
				return malformed
			}
		case 41:
			if s.edns || owner != 1 {
				return malformed
			}
			s.edns, s.version = true, head[5]
			if !s.options(data) {
				return malformed
			}
		}
	}
	if s.verdict = OK; counts[0] == 0 {
		s.verdict = CookieOnly
	}
	if len(rest) > 0 || counts[0] == 0 && s.cookie == nil {
		return malformed
	}
	return s
}

// nameSize returns how many octets a name takes where it stands.
func nameSize(b []byte) (int, bool) {
	for size := 0; size < len(b) && size < 255; size += 1 + int(b[size]) {
		switch {
		case b[size] == 0:
			return size + 1, true
		case b[size] >= 0xC0:
			return size + 2, size+2 <= len(b)
		case b[size] > 63:
			return 0, false
		}
	}
	return 0, false
}

func (s *second) options(data []byte) bool {
	for len(data) > 0 {
		if len(data) < 4 || len(data) < 4+int(binary.BigEndian.Uint16(data[2:])) {
			return false
		}
		value := data[4 : 4+int(binary.BigEndian.Uint16(data[2:]))]
		switch code := binary.BigEndian.Uint16(data); {
		case code == 3:
			s.nsid = true
		case code == 11:
			s.alive = s.alive || len(value) == 0
		case code == 9:
			s.expire = s.expire || len(value) == 0
		case code == 12:
			s.padded = true
		case code == 10 && (len(value) == 8 || len(value) >= 16 && len(value) <= 40):
			if s.cookie == nil {
				s.cookie = value
			}
		case code == 10 && s.version == 0:
			return false
		}
		data = data[4+len(value):]
	}
	return true
}

func checkAgainstLibrary(t *testing.T, msg []byte, q *Query, verdict Verdict) {
	t.Helper()
	m := new(dns.Msg)
	err := m.Unpack(msg)
	if verdict == OK || verdict == CookieOnly {
		for _, limit := range []int{MinUDP, MaxUDP, 0} {
			reply := q.Error(nil, 0, Refused, &Options{Limit: limit, NSID: "id", HasCookie: true, Alive: 100, EDE: NotReady, Block: 468})
			if err := new(dns.Msg).Unpack(reply); err != nil || limit > 0 && len(reply) > limit {
				t.Fatalf("own reply of %d octets %x: %v", len(reply), reply, err)
			}
		}
	}
	// The library reads RDATA of types that mean nothing here, and refuses some.
	if err != nil {
		return
	}
	if verdict != OK {
		// What the library can write back in as many octets was well-formed.
		m.Compress = false
		again, err := m.Pack()
		plain := m.Opcode == 0 && len(m.Question) == 1 && len(m.Answer)+len(m.Ns)+len(m.Extra) == 0
		if verdict == FormErr && plain && err == nil && bytes.Equal(again, msg) {
			t.Fatalf("FORMERR for %v", m)
		}
		return
	}
	want, err := name.Parse(m.Question[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	if q.Name() != want || q.Type != m.Question[0].Qtype || q.Class != m.Question[0].Qclass || q.Labels() != want.Labels() {
		t.Fatalf("question %q %d %d, the library says %v", q.Name(), q.Type, q.Class, m.Question[0])
	}
	opt := m.IsEdns0()
	if q.EDNS != (opt != nil) {
		t.Fatalf("EDNS %v, the library says %v", q.EDNS, opt)
	}
	if opt != nil && (opt.Do() != q.DO || opt.UDPSize() != q.Size || opt.Version() != q.Version) {
		t.Fatalf("OPT %+v, the library says %v", q, opt)
	}
	if signed := m.IsTsig() != nil; signed != (q.TSIG != 0) {
		t.Fatalf("TSIG at %d, the library says %v", q.TSIG, signed)
	}
}
