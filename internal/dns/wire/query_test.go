package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// query packs a question by the library, changed by each edit.
func query(t testing.TB, qname string, qtype uint16, edits ...func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(qname, qtype)
	m.Id = 0x1234
	for _, edit := range edits {
		edit(m)
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func edns(size uint16, options ...dns.EDNS0) func(*dns.Msg) {
	return func(m *dns.Msg) {
		o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT, Class: size}, Option: options}
		m.Extra = append(m.Extra, o)
	}
}

func raw(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseVerdicts(t *testing.T) {
	t.Parallel()
	const question = "01 61 00 0001 0001" // a. A IN
	const opt = "00 0029 04d0 00000000 0000"
	good := query(t, "a.example.", dns.TypeA)
	for _, c := range []struct {
		name string
		msg  []byte
		want Verdict
	}{
		{"empty", nil, Drop},
		{"shorter than a header", good[:11], Drop},
		{"a response (RFC 1035, Section 4.1.1)", raw(t, "1234 8000 0001 0000 0000 0000"+question), Drop},
		{"no question (RFC 9619)", raw(t, "1234 0000 0000 0000 0000 0000"), FormErr},
		{"two questions (RFC 9619)", raw(t, "1234 0000 0002 0000 0000 0000"+question+question), FormErr},
		{"question cut off", good[:len(good)-1], FormErr},
		{"name cut off", good[:16], FormErr},
		{"label over 63", raw(t, "1234 0000 0001 0000 0000 0000 40"+strings.Repeat("61", 64)+"00 0001 0001"), FormErr},
		{"pointer in the question", raw(t, "1234 0000 0001 0000 0000 0000 c00c 0001 0001"), FormErr},
		{"extended label type", raw(t, "1234 0000 0001 0000 0000 0000 4161 00 0001 0001"), FormErr},
		{"name of 256 octets", raw(t, "1234 0000 0001 0000 0000 0000"+strings.Repeat("3f"+strings.Repeat("61", 63), 4)+"00 0001 0001"), FormErr},
		{"answer in a query", raw(t, "1234 0000 0001 0001 0000 0000"+question+"00 0001 0001 00000000 0000"), FormErr},
		{"authority in a query", raw(t, "1234 0000 0001 0000 0001 0000"+question+"00 0006 0001 00000000 0000"), FormErr},
		{"trailing octets", append(bytes.Clone(good), 0), FormErr},
		{"additional cut off", raw(t, "1234 0000 0001 0000 0000 0001"+question+opt[:21]), FormErr},
		{"OPT twice (RFC 6891, Section 6.1.1)", raw(t, "1234 0000 0001 0000 0000 0002"+question+opt+opt), FormErr},
		{"OPT not of the root", raw(t, "1234 0000 0001 0000 0000 0001"+question+"0161"+opt), FormErr},
		{"option longer than OPT", raw(t, "1234 0000 0001 0000 0000 0001"+question+"00 0029 04d0 00000000 0004 0003 0001"), FormErr},
		{"option head cut off", raw(t, "1234 0000 0001 0000 0000 0001"+question+"00 0029 04d0 00000000 0003 0003 00"), FormErr},
		{"TSIG not last (RFC 8945, Section 5.1)", raw(t, "1234 0000 0001 0000 0000 0002"+question+"00 00fa 00ff 00000000 0000"+opt), FormErr},
		{"NOTIFY", raw(t, "1234 2000 0001 0000 0000 0000"+question), Other},
		{"opcode 15", raw(t, "1234 7800 0000 0000 0000 0000"), Other},
		{"plain", good, OK},
		{"root", query(t, ".", dns.TypeNS), OK},
		{"IXFR with its SOA (RFC 1995, Section 3)", raw(t, "1234 0000 0001 0000 0001 0000 0161 00 00fb 0001 00 0006 0001 00000000 0000"), OK},
		{"unknown flag bit", raw(t, "1234 0040 0001 0000 0000 0000"+question), OK},
		{"record of no meaning beside OPT", raw(t, "1234 0000 0001 0000 0000 0002"+question+"c00c 0001 0001 00000000 0004 7f000001"+opt), OK},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var q Query
			if got := q.Parse(c.msg); got != c.want {
				t.Errorf("verdict %d, want %d", got, c.want)
			}
		})
	}
}

func TestParseFields(t *testing.T) {
	t.Parallel()
	nsid := &dns.EDNS0_NSID{Code: dns.EDNS0NSID}
	cookie := &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"}
	msg := query(t, "wWw.ExAmple.TEST.", dns.TypeAAAA, edns(4096, cookie, nsid), func(m *dns.Msg) {
		m.Extra[0].(*dns.OPT).SetDo()
		m.Extra[0].(*dns.OPT).SetVersion(1)
	})
	var q Query
	if v := q.Parse(msg); v != OK {
		t.Fatal(v)
	}
	want, _ := name.Parse("www.example.test")
	switch {
	case q.ID != 0x1234, q.Type != dns.TypeAAAA, q.Class != dns.ClassINET, q.Flags != RD:
		t.Errorf("header or question: %+v", q)
	case !q.EDNS, !q.DO, !q.NSID, q.Version != 1, q.Size != 4096, q.TSIG != 0:
		t.Errorf("EDNS: %+v", q)
	case q.Name() != want, q.Labels() != 3, q.Label(1) != 4, q.Label(3) != len(want)-1:
		t.Errorf("name %q", q.Name())
	case q.End != HeaderLen+len(want)+4:
		t.Errorf("end %d", q.End)
	}
	if v := q.Parse(query(t, ".", dns.TypeA)); v != OK || q.EDNS || q.DO || q.NSID || q.Size != 0 || q.Labels() != 0 || q.Name() != name.Root {
		t.Errorf("the second parse keeps something of the first: %+v", q)
	}
}

func TestLongestName(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		strings.Repeat(strings.Repeat("A", 63)+".", 3) + strings.Repeat("b", 61) + ".",
		strings.Repeat("a.", 127),
	} {
		var q Query
		if v := q.Parse(query(t, s, dns.TypeA)); v != OK {
			t.Fatalf("verdict %d for a name of 255 octets", v)
		}
		if want, _ := name.Parse(s); q.Name() != want || q.Labels() != want.Labels() {
			t.Errorf("%q read as %q", s, q.Name())
		}
	}
}

func TestLower(t *testing.T) {
	t.Parallel()
	for n := range 255 { // every length, so every way to end
		src, want := make([]byte, n+1, n+9), make([]byte, n+1+8)
		for i := range src {
			b := byte(i*3 + n)
			src[i], want[i] = b, b
			if b >= 'A' && b <= 'Z' {
				want[i] = b + 'a' - 'A'
			}
		}
		copy(src[n+1:n+9], "REMAINS!")
		var q, words Query
		q.lower(src)
		words.lowerWords(src[:(n+8)&^7], n+1)
		if got, words := q.name[:n+9], words.name[:n+9]; !bytes.Equal(got, want) || !bytes.Equal(words, want) {
			t.Errorf("%d octets: %x and %x, want %x", n+1, got, words, want)
		}
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		msg  []byte
		udp  bool
		want int
	}{
		{"no EDNS", query(t, "a.", dns.TypeA), true, 512},
		{"below 512 (RFC 6891, Section 6.2.5)", query(t, "a.", dns.TypeA, edns(100)), true, 512},
		{"1000", query(t, "a.", dns.TypeA, edns(1000)), true, 1000},
		{"above ours (RFC 9715)", query(t, "a.", dns.TypeA, edns(4096)), true, 1232},
		{"TCP", query(t, "a.", dns.TypeA), false, 65535},
	} {
		var q Query
		if q.Parse(c.msg); q.Limit(c.udp) != c.want {
			t.Errorf("%s: %d, want %d", c.name, q.Limit(c.udp), c.want)
		}
	}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	msg := query(t, "wWw.ExAmple.TEST.", dns.TypeA, edns(1232, &dns.EDNS0_NSID{Code: dns.EDNS0NSID}), func(m *dns.Msg) {
		m.CheckingDisabled, m.AuthenticatedData = true, true
		m.Extra[0].(*dns.OPT).SetDo()
	})
	var q Query
	if v := q.Parse(msg); v != OK {
		t.Fatal(v)
	}
	opts := &Options{NSID: "edge.example"}
	reply := q.Error(nil, AA, BadVers, opts)
	if got, want := len(reply), q.End+q.Reserve(opts); got != want {
		t.Errorf("reply of %d octets, Reserve says %d", got, want)
	}
	if !bytes.Equal(reply[HeaderLen:q.End], msg[HeaderLen:q.End]) {
		t.Error("question not echoed octet for octet")
	}
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		t.Fatal(err)
	}
	o := m.IsEdns0()
	switch {
	case !m.Response, !m.Authoritative, !m.RecursionDesired, !m.CheckingDisabled, m.AuthenticatedData, m.RecursionAvailable, m.Rcode != dns.RcodeBadVers:
		t.Errorf("header %+v", m.MsgHdr)
	case o == nil, !o.Do(), o.UDPSize() != MaxUDP, o.Version() != 0, len(o.Option) != 1:
		t.Errorf("OPT %v", o)
	}
	if got := q.Malformed(nil); len(got) != HeaderLen || got[3] != FormErrCode || got[2]&0x80 == 0 {
		t.Errorf("FORMERR %x", got)
	}
}

func TestNoAllocations(t *testing.T) {
	msg := query(t, "host.example.test.", dns.TypeA, edns(1232))
	var q Query
	buf, opts := make([]byte, 0, 512), &Options{NSID: "id", HasCookie: true, Alive: 100, EDE: Prohibited, Block: 468}
	if n := testing.AllocsPerRun(100, func() {
		q.Parse(msg)
		_ = q.Error(buf, 0, Refused, opts)
		_ = q.Name()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
