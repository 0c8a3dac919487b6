package load

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// answer is what a server with Zone says, for the tests: a naive one.
func answer(zone map[string][]dns.RR, cuts map[string]bool, m *dns.Msg) *dns.Msg {
	r := new(dns.Msg).SetReply(m)
	q := m.Question[0]
	name := strings.ToLower(q.Name)
	soa := zone["example.test."][0]
	for at := name; at != "example.test."; at = at[strings.IndexByte(at, '.')+1:] {
		if cuts[at] {
			r.Ns, r.Extra = zone[at], zone["ns1."+at]
			return r
		}
	}
	r.Authoritative = true
	rrs := zone[name]
	if rrs == nil && strings.HasSuffix(name, ".w.example.test.") {
		rrs = zone["*.w.example.test."]
	}
	if rrs == nil {
		r.Rcode = dns.RcodeNameError
	}
	for _, rr := range rrs {
		if t := rr.Header().Rrtype; t == q.Qtype || t == dns.TypeCNAME {
			rr := dns.Copy(rr)
			rr.Header().Name = q.Name
			r.Answer = append(r.Answer, rr)
		}
	}
	if r.Answer == nil {
		r.Ns = []dns.RR{soa}
	}
	return r
}

// server answers by way of twist, which may spoil a reply.
func server(t *testing.T, version uint32, twist func(*dns.Msg) *dns.Msg) netip.AddrPort {
	t.Helper()
	zone, cuts := map[string][]dns.RR{}, map[string]bool{}
	p := dns.NewZoneParser(bytes.NewReader(Zone("example.test", 400, version)), "", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := rr.Header().Name
		zone[name] = append(zone[name], rr)
		if _, ns := rr.(*dns.NS); ns && name != "example.test." {
			cuts[name] = true
		}
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			m := new(dns.Msg)
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			if r := twist(answer(zone, cuts, m)); r != nil {
				out, err := r.Pack()
				if err != nil {
					continue
				}
				if _, err := conn.WriteTo(out, from); err != nil {
					return
				}
			}
		}
	}()
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

func TestEveryReplyIsWeighed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		mix   Mix
		twist func(*dns.Msg) *dns.Msg
		says  string
	}{
		{"no reply", Positive, func(*dns.Msg) *dns.Msg { return nil }, "lost"},
		{"another id", Positive, func(m *dns.Msg) *dns.Msg { m.Id ^= 0x8000; return m }, "late"},
		{"another rcode", Positive, func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m }, "rcode"},
		{"no such name, told of one that is", Positive, func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeNameError; return m }, "rcode"},
		{"truncated", Positive, func(m *dns.Msg) *dns.Msg { m.Truncated = true; return m }, "flags"},
		{"a query", Positive, func(m *dns.Msg) *dns.Msg { m.Response = false; return m }, "flags"},
		{"without authority", Positive, func(m *dns.Msg) *dns.Msg { m.Authoritative = false; return m }, "authority"},
		{"in lower case", Positive, func(m *dns.Msg) *dns.Msg { m.Question[0].Name = strings.ToLower(m.Question[0].Name); return m }, "question"},
		{"no answer", Positive, func(m *dns.Msg) *dns.Msg { m.Answer = nil; return m }, "counts"},
		{"no SOA", NXDomain, func(m *dns.Msg) *dns.Msg { m.Ns = nil; return m }, "counts"},
		{"no glue", Referral, func(m *dns.Msg) *dns.Msg { m.Extra = nil; return m }, "counts"},
		{"another address", Wildcard, func(m *dns.Msg) *dns.Msg {
			m.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 8)
			return m
		}, "data"},
	} {
		client, err := New(Config{Server: server(t, 1, c.twist), Hosts: 400, Mix: c.mix, Case: true, EDNS: true, Cookies: ClientCookie, Window: 20, Timeout: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		r, err := client.Ask(40)
		client.Close()
		if err != nil {
			t.Fatal(err)
		}
		if c.says == "lost" && r.Lost != 40 || c.says == "late" && (r.Lost != 40 || r.Late == 0) {
			t.Errorf("%s: %v", c.name, r)
		}
		if c.says != "lost" && c.says != "late" && (r.Wrong == 0 || !strings.Contains(r.Sample, c.says)) {
			t.Errorf("%s: %v", c.name, r)
		}
	}
}

func TestGoodRepliesAreGood(t *testing.T) {
	t.Parallel()
	at := server(t, 7, func(m *dns.Msg) *dns.Msg { return m })
	for _, cfg := range []Config{
		{Mix: Positive}, {Mix: NXDomain}, {Mix: Referral}, {Mix: Wildcard}, {Mix: Mixed},
		{Mix: Mixed, EDNS: true, Case: true, Cookies: ServerCookie, Changing: 20, Rate: 20000},
		{Mix: Mixed, Sources: []netip.Addr{netip.MustParseAddr("127.9.1.1"), netip.MustParseAddr("127.9.2.1")}},
	} {
		cfg.Server, cfg.Hosts, cfg.Window, cfg.Seed = at, 400, 50, 3
		client, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		client.Version.Store(7)
		r, err := client.Ask(2000)
		client.Close()
		if err != nil || r.Sent != 2000 || r.Answered != 2000 || r.Wrong != 0 {
			t.Errorf("%v: %v (%v)", cfg.Mix, r, err)
		}
	}
}

// A version never goes back, and never runs ahead of what was written.
func TestVersionsOnlyRise(t *testing.T) {
	t.Parallel()
	for _, newest := range []uint32{2, 3, 4} {
		n := byte(0)
		client, err := New(Config{Server: server(t, 3, func(m *dns.Msg) *dns.Msg {
			if n++; newest == 4 && n > 20 {
				m.Answer[0].(*dns.A).A = net.IPv4(10, 0, 0, 2)
			}
			return m
		}), Hosts: 400, Changing: 100, Window: 1})
		if err != nil {
			t.Fatal(err)
		}
		client.Version.Store(newest)
		r, err := client.Ask(40)
		client.Close()
		if err != nil || (r.Wrong == 0) != (newest == 3) {
			t.Errorf("newest %d: %v (%v)", newest, r, err)
		}
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h, all Histogram
	if h.At(0.5) != 0 {
		t.Error("nothing counted")
	}
	for i := range 1000 {
		h.Add(time.Duration(i+1) * time.Microsecond)
	}
	h.Add(-1)
	all.Merge(&h)
	for part, want := range map[float64]time.Duration{0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond, 1: time.Millisecond} {
		if got := all.At(part); got < want*97/100 || got > want*104/100 {
			t.Errorf("%v: %v, want %v", part, got, want)
		}
	}
	for _, d := range []time.Duration{0, 1, 63, 64, 65, 127, 128, 1e6, 1e9, 60e9} {
		if i := step(d); top(i) < d-d/30-time.Microsecond || i > 0 && step(top(i)) > i+1 {
			t.Errorf("%d lies in step %d up to %d", d, i, top(i))
		}
	}
}
