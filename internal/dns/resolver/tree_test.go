package resolver

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/resolver/iterate"
	"postern/internal/lookup"
)

// tree serves the plain world from real sockets, one loopback port for each
// server, and returns the map that leads there.
func tree(t testing.TB, w *world) map[netip.Addr]netip.AddrPort {
	t.Helper()
	out := make(map[netip.Addr]netip.AddrPort)
	for addr, server := range w.servers {
		out[netip.MustParseAddr(addr)] = listen(t, func(rw dns.ResponseWriter, q *dns.Msg) {
			opt := q.IsEdns0()
			m := server(iterate.Question{
				Name: mustName(t, q.Question[0].Name), Type: q.Question[0].Qtype, DO: opt != nil && opt.Do(),
			})
			if m == nil {
				return
			}
			m = m.Copy()
			m.Id, m.Question, m.Compress = q.Id, q.Question, true
			if opt != nil {
				m.SetEdns0(1232, false)
				if _, udp := rw.RemoteAddr().(*net.UDPAddr); udp {
					m.Truncate(int(opt.UDPSize()))
				}
			}
			_ = rw.WriteMsg(m) // who left does not matter
		})
	}
	return out
}

func listen(t testing.TB, handle dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{Listener: l, Handler: handle}, {PacketConn: pc, Handler: handle}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.ActivateAndServe() })
		<-up
		t.Cleanup(func() { _ = s.Shutdown(); wg.Wait() })
	}
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// TestTree resolves through real sockets, TCP included.
func TestTree(t *testing.T) {
	t.Parallel()
	w := plainWorld(t)
	var big strings.Builder
	for i := range 60 {
		fmt.Fprintf(&big, "big.glueless.net. 300 IN TXT \"%d%s\"\n", i, strings.Repeat("x", 100))
	}
	w.servers["192.0.2.54"] = authority(t, "glueless.net.\n"+big.String())
	w.servers[netAddr] = authority(t, `net.
		example.net. 3600 IN NS ns.example.net.
		ns.example.net. 3600 IN A 192.0.2.53
		glueless.net. 3600 IN NS other.example.net.`)
	honest := w.servers[exAddr]
	w.servers[exAddr] = func(q iterate.Question) *dns.Msg {
		if q.Name.String() == "other.example.net." && q.Type == dns.TypeA {
			return &dns.Msg{
				MsgHdr: dns.MsgHdr{Response: true, Authoritative: true},
				Answer: records(t, "other.example.net. 60 IN A 192.0.2.54"),
			}
		}
		return honest(q)
	}
	r := newTestResolver(t, nil, func(c *Config) { c.UpstreamMap, c.Timeout = tree(t, w), 2*time.Second })
	if r.Outbound().Counters.UDP.Value() != 0 {
		t.Error("a packet before the first question")
	}
	for _, c := range []struct{ q, want string }{
		{"www.example.net. A", "NOERROR, A 192.0.2.80"},
		{"far.example.net. A", "NOERROR, CNAME www.example.com., A 203.0.113.80"},
		{"gone.example.net. A", "NXDOMAIN, (SOA example.net.)"},
		{"www.example.net. TXT", "NOERROR, (SOA example.net.)"},
	} {
		if got := resolve(t, r, "", c.q); got != c.want {
			t.Errorf("%s: %s, want %s", c.q, got, c.want)
		}
	}
	a, err := r.Lookup("").Query(t.Context(), "big.glueless.net", lookup.TXT)
	if err != nil || len(a.Records) != 60 {
		t.Errorf("%d records, %v", len(a.Records), err)
	}
	if tcp := r.Outbound().Counters.TCP.Value(); tcp != 1 {
		t.Errorf("%d queries over TCP", tcp)
	}
}

// TestDeadServersAreLeft: of three servers two are silent.
func TestDeadServersAreLeft(t *testing.T) {
	t.Parallel()
	w := plainWorld(t)
	w.servers[netAddr] = authority(t, `net.
		example.net. 3600 IN NS a.example.net.
		example.net. 3600 IN NS b.example.net.
		example.net. 3600 IN NS c.example.net.
		a.example.net. 3600 IN A 192.0.2.51
		b.example.net. 3600 IN A 192.0.2.52
		c.example.net. 3600 IN A 192.0.2.53`)
	silent := func(iterate.Question) *dns.Msg { return nil }
	w.servers["192.0.2.51"], w.servers["192.0.2.52"] = silent, silent
	r := newTestResolver(t, nil, func(c *Config) { c.UpstreamMap, c.Timeout = tree(t, w), 200*time.Millisecond })
	for i := range 10 {
		if got := resolve(t, r, "", fmt.Sprintf("n%d.example.net. A", i)); got != "NXDOMAIN, (SOA example.net.)" {
			t.Fatal(got)
		}
	}
	if n := r.Outbound().Counters.Timeouts.Value(); n > 8 {
		t.Errorf("%d time-outs in ten questions", n)
	}
}

// TestPoisonThroughTheWholeStack: a server that may speak of evil.net alone
// tries to plant records for others; none of them is ever answered.
func TestPoisonThroughTheWholeStack(t *testing.T) {
	t.Parallel()
	w := plainWorld(t)
	const victim = "www.example.net."
	w.servers[netAddr] = authority(t, `net.
		evil.net. 3600 IN NS ns.evil.net.
		ns.evil.net. 3600 IN A 192.0.2.66
		example.net. 3600 IN NS ns.example.net.
		ns.example.net. 3600 IN A 192.0.2.53`)
	w.servers["192.0.2.66"] = func(q iterate.Question) *dns.Msg {
		m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
		switch q.Name.First() {
		case "answer":
			m.Answer = records(t, q.Name.String()+" 60 IN A 192.0.2.66\n"+victim+" 86400 IN A 192.0.2.66")
		case "alias":
			m.Answer = records(t, q.Name.String()+" 60 IN CNAME "+victim+"\n"+victim+" 86400 IN A 192.0.2.66")
		case "cut":
			m.Authoritative = false
			m.Ns = records(t, "example.net. 86400 IN NS ns.evil.net.\nnet. 86400 IN NS ns.evil.net.")
		case "glue":
			m.Authoritative = false
			m.Ns = records(t, q.Name.String()+" 86400 IN NS ns.example.net.")
			m.Extra = records(t, "ns.example.net. 86400 IN A 192.0.2.66\n"+victim+" 86400 IN A 192.0.2.66")
		default:
			m.Answer = records(t, q.Name.String()+" 60 IN A 192.0.2.66")
			m.Ns = records(t, "net. 86400 IN NS ns.evil.net.\nexample.net. 86400 IN NS ns.evil.net.")
			m.Extra = records(t, "ns.example.net. 86400 IN A 192.0.2.66\n"+victim+" 86400 IN A 192.0.2.66")
		}
		return m
	}
	r := newTestResolver(t, w, nil)
	for _, label := range []string{"answer", "alias", "cut", "glue", "extra"} {
		resolve(t, r, "", label+".evil.net. A")
		resolve(t, r, "", "x."+label+".evil.net. A")
		if got := resolve(t, r, "", victim+" A"); got != "NOERROR, A 192.0.2.80" {
			t.Errorf("%s: %s", label, got)
		}
		if got := resolve(t, r, "", "ns.example.net. A"); got != "NOERROR, A 192.0.2.53" {
			t.Errorf("%s: %s", label, got)
		}
	}
}

// TestCacheAsServer: a forwarder in a delegation is asked last.
func TestCacheAsServer(t *testing.T) {
	t.Parallel()
	w := plainWorld(t)
	w.servers[netAddr] = authority(t, `net.
		example.net. 3600 IN NS a.example.net.
		a.example.net. 3600 IN A 192.0.2.52
		example.net. 3600 IN NS b.example.net.
		b.example.net. 3600 IN A 192.0.2.53`)
	w.servers["192.0.2.52"] = func(q iterate.Question) *dns.Msg {
		return &dns.Msg{
			MsgHdr: dns.MsgHdr{Response: true, RecursionAvailable: true},
			Answer: records(t, q.Name.String()+" 60 IN A 192.0.2.99"),
		}
	}
	r := newTestResolver(t, w, nil)
	if got := resolve(t, r, "", "www.example.net. A"); got != "NOERROR, A 192.0.2.80" {
		t.Error(got)
	}
	w.servers[exAddr] = func(iterate.Question) *dns.Msg {
		return &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Rcode: dns.RcodeServerFailure}}
	}
	if got := resolve(t, r, "", "mail.example.net. A"); got != "NOERROR, A 192.0.2.99" {
		t.Error(got)
	}
}
