package wire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func local(code uint16, size int) dns.EDNS0 {
	return &dns.EDNS0_LOCAL{Code: code, Data: make([]byte, size)}
}

func TestParseCookie(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		msg  []byte
		want Verdict
		size int
	}{
		// RFC 7873, Section 5.2.2.
		{"empty", query(t, "a.", dns.TypeA, edns(1232, local(10, 0))), FormErr, 0},
		{"7 octets", query(t, "a.", dns.TypeA, edns(1232, local(10, 7))), FormErr, 0},
		{"9 octets", query(t, "a.", dns.TypeA, edns(1232, local(10, 9))), FormErr, 0},
		{"15 octets", query(t, "a.", dns.TypeA, edns(1232, local(10, 15))), FormErr, 0},
		{"41 octets", query(t, "a.", dns.TypeA, edns(1232, local(10, 41))), FormErr, 0},
		{"the second is malformed", query(t, "a.", dns.TypeA, edns(1232, local(10, 8), local(10, 1))), FormErr, 0},
		{"malformed, but of another version: BADVERS (RFC 6891, Section 6.1.3)", query(t, "a.", dns.TypeA, edns(1232, local(10, 7)), func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }), OK, 0},
		{"client cookie", query(t, "a.", dns.TypeA, edns(1232, local(10, 8))), OK, 8},
		{"shortest server cookie", query(t, "a.", dns.TypeA, edns(1232, local(10, 16))), OK, 16},
		{"longest server cookie", query(t, "a.", dns.TypeA, edns(1232, local(10, 40))), OK, 40},
		{"two: the first counts (Section 5.2)", query(t, "a.", dns.TypeA, edns(1232, local(10, 24), local(10, 8))), OK, 24},
		{"none", query(t, "a.", dns.TypeA, edns(1232)), OK, 0},
		// RFC 7873, Section 5.4.
		{"no question, no cookie", raw(t, "1234 0000 0000 0000 0000 0001 00 0029 04d0 00000000 0000"), FormErr, 0},
		{"no question, no OPT", raw(t, "1234 0000 0000 0000 0000 0000"), FormErr, 0},
		{"no question, bad cookie", raw(t, "1234 0000 0000 0000 0000 0001 00 0029 04d0 00000000 0005 000a 0001 00"), FormErr, 0},
		{"no question, an authority record", raw(t, "1234 0000 0000 0000 0001 0001 00 0006 0001 00000000 0000 00 0029 04d0 00000000 000c 000a 0008 0102030405060708"), FormErr, 0},
		{"no question, octets after the cookie", raw(t, "1234 0000 0000 0000 0000 0001 00 0029 04d0 00000000 000c 000a 0008 0102030405060708 00"), FormErr, 0},
		{"no question, a cookie", raw(t, "1234 0000 0000 0000 0000 0001 00 0029 04d0 00000000 000c 000a 0008 0102030405060708"), CookieOnly, 8},
	} {
		var q Query
		got := q.Parse(c.msg)
		if got != c.want || got != FormErr && len(q.Cookie()) != c.size {
			t.Errorf("%s: verdict %d, cookie %x", c.name, got, q.Cookie())
		}
		q.Parse(query(t, "a.", dns.TypeA))
		if q.Cookie() != nil || q.Alive || q.Expire || q.Padded {
			t.Errorf("%s: something of it was kept", c.name)
		}
	}
}

// codes lists the options of a reply in order.
func codes(t *testing.T, reply []byte) []uint16 {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		t.Fatalf("%v in %x", err, reply)
	}
	var got []uint16
	if o := m.IsEdns0(); o != nil {
		for _, option := range o.Option {
			got = append(got, option.Option())
		}
	}
	return got
}

func TestOptionsOfAReply(t *testing.T) {
	t.Parallel()
	nsid, alive, expire, padding := local(3, 0), local(11, 0), local(9, 0), local(12, 5)
	all := Options{NSID: "edge", HasCookie: true, Alive: 100, HasExpire: true, Expire: 7, EDE: NotReady, Block: 468}
	with := func(edit func(*Options)) Options { o := all; edit(&o); return o }
	for _, c := range []struct {
		name string
		msg  []byte
		o    Options
		want []byte
	}{
		{"no EDNS: nothing", query(t, "a.", dns.TypeA), all, nil},
		{"nothing to say", query(t, "a.", dns.TypeA, edns(1232, nsid, alive, padding)), Options{}, nil},
		{"not asked for", query(t, "a.", dns.TypeA, edns(1232)), all, []byte{10, 15}},
		{"keepalive with a value (RFC 7828, Section 3.2.1)", query(t, "a.", dns.TypeA, edns(1232, local(11, 2))), all, []byte{10, 15}},
		{"all, in one order", query(t, "a.", dns.TypeA, edns(1232, padding, expire, alive, nsid)), all, []byte{10, 3, 11, 9, 15, 12}},
		{"EXPIRE with a value (RFC 7314, Section 3.1)", query(t, "a.", dns.TypeA, edns(1232, local(9, 4))), all, []byte{10, 15}},
		{"no room for EXPIRE", query(t, "a.", dns.TypeA, edns(1232, expire, alive)), with(func(o *Options) { o.HasCookie, o.Limit = false, 19+11+6+7 }), []byte{11, 15}},
		{"no room for any", query(t, "a.", dns.TypeA, edns(1232, nsid, alive, padding)), with(func(o *Options) { o.Limit = 19 + 11 }), nil},
		{"no room for the cookie, but for what is shorter", query(t, "a.", dns.TypeA, edns(1232, nsid, alive)), with(func(o *Options) { o.Limit = 19 + 11 + 8 }), []byte{3}},
		{"no room for the identifier", query(t, "a.", dns.TypeA, edns(1232, nsid, alive)), with(func(o *Options) { o.NSID, o.Limit = strings.Repeat("x", 255), 200 }), []byte{10, 11, 15}},
	} {
		var q Query
		if v := q.Parse(c.msg); v != OK {
			t.Fatal(c.name, v)
		}
		reply := q.Error(nil, 0, Refused, &c.o)
		var got []byte
		for _, code := range codes(t, reply) {
			got = append(got, byte(code))
		}
		if !bytes.Equal(got, c.want) || c.o.Limit > 0 && len(reply) > c.o.Limit {
			t.Errorf("%s: options %v, want %v (%d octets)", c.name, got, c.want, len(reply))
		}
	}
}

// RFC 8467, Section 4.1: a multiple of 468, but never above the limit.
func TestPadding(t *testing.T) {
	t.Parallel()
	var q Query
	if v := q.Parse(query(t, "a.", dns.TypeA, edns(1232, local(12, 0)))); v != OK {
		t.Fatal(v)
	}
	for _, c := range []struct{ reply, limit, want int }{
		{19, 0, 468},
		{468 - 11 - 4, 0, 468},
		{468 - 11 - 3, 0, 936},
		{468 - 11, 0, 936},
		{19, 400, 400},
		{19, 19 + 11 + 4, 19 + 11 + 4},
		{19, 19 + 11 + 3, 19 + 11},
		{65535 - 11 - 10, 0, 65535},
	} {
		reply := q.Finish(make([]byte, c.reply), 0, NoError, Counts{}, &Options{Block: 468, Limit: c.limit})
		if len(reply) != c.want {
			t.Errorf("%d octets under %d became %d, want %d", c.reply, c.limit, len(reply), c.want)
		}
	}
}

// Whatever is reserved is used, and nothing else where no reason is given.
func TestReserve(t *testing.T) {
	t.Parallel()
	for _, msg := range [][]byte{
		query(t, "a.", dns.TypeA), query(t, "a.", dns.TypeA, edns(1232)),
		query(t, "a.", dns.TypeA, edns(1232, local(3, 0))), query(t, "a.", dns.TypeA, edns(1232, local(11, 0), local(3, 0))), query(t, "a.", dns.TypeSOA, edns(1232, local(9, 0))),
	} {
		for _, o := range []Options{{}, {HasCookie: true}, {NSID: "x", Alive: 7}, {HasCookie: true, NSID: "x", Alive: 7}, {HasExpire: true, Expire: 1}} {
			var q Query
			q.Parse(msg)
			if got := q.Error(nil, 0, NoError, &o); len(got) != q.End+q.Reserve(&o) {
				t.Errorf("%d octets, reserved %d after %d", len(got), q.Reserve(&o), q.End)
			}
		}
	}
}
