package outbound

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
)

var server1 = netip.MustParseAddr("192.0.2.53")

func mustName(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// peer is an authoritative server of raw packets on loopback.
type peer struct {
	mu   sync.Mutex // guards seen
	seen [][]byte
	udp  func(query []byte) [][]byte // replies to send, in order
	tcp  func(query []byte) []byte
}

func (p *peer) note(query []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, bytes.Clone(query))
}

func (p *peer) queries() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([][]byte(nil), p.seen...)
}

// start listens on one port for both transports and returns it.
func (p *peer) start(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	pc, err := net.ListenPacket("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); _ = pc.Close(); wg.Wait() })
	wg.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			p.note(buf[:n])
			if p.udp == nil {
				continue
			}
			for _, reply := range p.udp(bytes.Clone(buf[:n])) {
				_, _ = pc.WriteTo(reply, from)
			}
		}
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.serveTCP(conn)
		}
	})
	return addr
}

func (p *peer) serveTCP(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // a test's peer
	query, err := readFramed(conn)
	if err != nil || p.tcp == nil {
		return
	}
	p.note(query)
	reply := p.tcp(query)
	_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
}

// reply answers a query with one address, keeping its question as it is.
func reply(t testing.TB, query []byte, change func(*dns.Msg)) []byte {
	t.Helper()
	var q dns.Msg
	if err := q.Unpack(query); err != nil {
		t.Error(err)
		return nil
	}
	m := new(dns.Msg)
	m.SetReply(&q)
	m.Authoritative, m.Compress = true, true
	m.Answer = []dns.RR{&dns.A{
		Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
		A:   net.IPv4(192, 0, 2, 80),
	}}
	if change != nil {
		change(m)
	}
	packed, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return packed
}

func newClient(t testing.TB, p *peer, change func(*Config)) *Client {
	t.Helper()
	cfg := Config{Timeout: 150 * time.Millisecond, UpstreamMap: map[netip.Addr]netip.AddrPort{server1: p.start(t)}}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Background: the test's own context has ended.
		if err := c.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func ask(t testing.TB, c *Client) (*dns.Msg, int, error) {
	t.Helper()
	return c.Exchange(t.Context(), server1, iterate.Question{Name: mustName(t, "www.a-rather-long-name.example.net"), Type: dns.TypeA}, false)
}

// foldQuestion writes the name of the question in lower case.
func foldQuestion(packet []byte) []byte {
	end := headerLen + bytes.IndexByte(packet[headerLen:], 0)
	copy(packet[headerLen:end], lower(packet[headerLen:end]))
	return packet
}

func TestQueryShape(t *testing.T) {
	t.Parallel()
	p := &peer{udp: func(q []byte) [][]byte { return [][]byte{reply(t, q, nil)} }}
	c := newClient(t, p, nil)
	ids, cases := map[uint16]bool{}, map[string]bool{}
	for range 8 {
		msg, sent, err := ask(t, c)
		if err != nil || sent != 1 {
			t.Fatal(sent, err)
		}
		if owner := msg.Answer[0].Header().Name; owner != "www.a-rather-long-name.example.net." {
			t.Errorf("our letter case came back: %s", owner)
		}
	}
	for _, packet := range p.queries() {
		var m dns.Msg
		if err := m.Unpack(packet); err != nil {
			t.Fatal(err)
		}
		opt := m.IsEdns0()
		if m.RecursionDesired || opt == nil || opt.UDPSize() != 1232 || opt.Do() || len(opt.Option) > 0 {
			t.Errorf("query %s", m.String())
		}
		ids[m.Id], cases[m.Question[0].Name] = true, true
	}
	if len(ids) < 6 || len(cases) < 6 {
		t.Errorf("%d ids and %d letter cases in 8 queries", len(ids), len(cases))
	}
}

// TestForgeries: whatever comes before the reply does not end the wait.
func TestForgeries(t *testing.T) {
	t.Parallel()
	for rule, forge := range map[string]func(t *testing.T, q []byte) []byte{
		"another id": func(t *testing.T, q []byte) []byte {
			f := reply(t, q, nil)
			f[0] ^= 0xff
			return f
		},
		"another name": func(t *testing.T, q []byte) []byte {
			f := reply(t, q, nil)
			f[headerLen+1] = '0'
			return f
		},
		"another type": func(t *testing.T, q []byte) []byte {
			return reply(t, q, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT })
		},
		"another class": func(t *testing.T, q []byte) []byte {
			return reply(t, q, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })
		},
		"another letter case": func(t *testing.T, q []byte) []byte { return foldQuestion(reply(t, q, nil)) },
		"a query":             func(_ *testing.T, q []byte) []byte { return q },
		"another opcode": func(t *testing.T, q []byte) []byte {
			return reply(t, q, func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate })
		},
		"no question": func(t *testing.T, q []byte) []byte { return reply(t, q, func(m *dns.Msg) { m.Question = nil }) },
		"bare FORMERR": func(_ *testing.T, q []byte) []byte {
			return []byte{q[0], q[1], 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0}
		},
		"broken records": func(t *testing.T, q []byte) []byte {
			f := reply(t, q, nil)
			return f[:len(f)-2]
		},
		"a fragment":   func(_ *testing.T, q []byte) []byte { return q[:5] },
		"empty packet": func(*testing.T, []byte) []byte { return nil },
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			p := &peer{udp: func(q []byte) [][]byte { return [][]byte{forge(t, q), forge(t, q), reply(t, q, nil)} }}
			c := newClient(t, p, func(c *Config) { c.Timeout = 5 * time.Second })
			msg, sent, err := ask(t, c)
			if err != nil || sent != 1 || len(msg.Answer) != 1 {
				t.Errorf("%v, %d packets, %v", msg, sent, err)
			}
		})
	}
}

// TestNearMissGoesToTCP: when only packets that do not match came, TCP is
// asked, which can not be forged from afar.
func TestNearMissGoesToTCP(t *testing.T) {
	t.Parallel()
	p := &peer{
		udp: func(q []byte) [][]byte { f := reply(t, q, nil); f[0] ^= 0xff; return [][]byte{f} },
		tcp: func(q []byte) []byte { return reply(t, q, nil) },
	}
	c := newClient(t, p, nil)
	msg, sent, err := ask(t, c)
	if err != nil || sent != 2 || len(msg.Answer) != 1 || c.Counters.Mismatch.Value() != 1 {
		t.Errorf("%v, %d packets, %v", msg, sent, err)
	}
}

// TestServerThatFoldsCase: shown over TCP, remembered, and asked in lower case
// over UDP from then on.
func TestServerThatFoldsCase(t *testing.T) {
	t.Parallel()
	p := &peer{
		udp: func(q []byte) [][]byte { return [][]byte{foldQuestion(reply(t, q, nil))} },
		tcp: func(q []byte) []byte { return foldQuestion(reply(t, q, nil)) },
	}
	c := newClient(t, p, nil)
	for _, want := range []int{2, 1, 1} {
		msg, sent, err := ask(t, c)
		if err != nil || sent != want || msg.Answer[0].Header().Name != "www.a-rather-long-name.example.net." {
			t.Errorf("%v, %d packets, %v", msg, sent, err)
		}
	}
	if c.Counters.TCP.Value() != 1 || c.Counters.CaseBroken.Value() != 1 {
		t.Error("not counted")
	}
}

func TestTruncatedGoesToTCP(t *testing.T) {
	t.Parallel()
	p := &peer{
		udp: func(q []byte) [][]byte {
			return [][]byte{reply(t, q, func(m *dns.Msg) { m.Truncated, m.Answer = true, nil })}
		},
		tcp: func(q []byte) []byte { return reply(t, q, nil) },
	}
	c := newClient(t, p, nil)
	msg, sent, err := ask(t, c)
	if err != nil || sent != 2 || msg.Truncated || len(msg.Answer) != 1 || c.Counters.Truncated.Value() != 1 {
		t.Errorf("%v, %d packets, %v", msg, sent, err)
	}
}

func TestTCPReplyMustMatch(t *testing.T) {
	t.Parallel()
	p := &peer{
		udp: func(q []byte) [][]byte { return [][]byte{reply(t, q, func(m *dns.Msg) { m.Truncated = true })} },
		tcp: func(q []byte) []byte { f := reply(t, q, nil); f[0] ^= 0xff; return f },
	}
	if msg, _, err := ask(t, newClient(t, p, nil)); !errors.Is(err, ErrTimeout) {
		t.Errorf("%v %v", msg, err)
	}
}

// TestServerWithoutEDNS is RFC 6891, Section 7, with and without the question
// in the FORMERR; only the one that matches is remembered.
func TestServerWithoutEDNS(t *testing.T) {
	t.Parallel()
	for rule, c := range map[string]struct {
		formErr  func(q []byte) []byte
		sentNext int
	}{
		"with its question": {func(q []byte) []byte {
			return reply(t, q, func(m *dns.Msg) { m.Rcode, m.Answer = dns.RcodeFormatError, nil })
		}, 1},
		"header alone": {func(q []byte) []byte { return []byte{q[0], q[1], 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0} }, 2},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			p := &peer{udp: func(q []byte) [][]byte {
				if q[11] == 1 {
					return [][]byte{c.formErr(q)}
				}
				return [][]byte{reply(t, q, nil)}
			}}
			client := newClient(t, p, nil)
			for _, want := range []int{2, c.sentNext} {
				msg, sent, err := ask(t, client)
				if err != nil || sent != want || len(msg.Answer) != 1 {
					t.Errorf("%v, %d packets, %v", msg, sent, err)
				}
			}
		})
	}
}

func TestSilenceAndBackOff(t *testing.T) {
	t.Parallel()
	c := newClient(t, &peer{}, nil)
	if _, _, err := ask(t, c); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if got := c.servers.rank(server1, time.Now()); got != 300*time.Millisecond {
		t.Errorf("waits %s after one silence of 150 ms", got)
	}
	other := netip.MustParseAddr("192.0.2.99")
	for range 6 {
		c.servers.silent(server1, time.Now())
	}
	for range 20 {
		if got := c.Pick([]netip.Addr{server1, other}); got != other {
			t.Fatalf("picked the silent %s", got)
		}
	}
	if got := c.Pick([]netip.Addr{server1}); got != server1 {
		t.Error("a silent server is better than none")
	}
}

func TestEqualExchangesAreOne(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	p := &peer{udp: func(q []byte) [][]byte { <-gate; return [][]byte{reply(t, q, nil)} }}
	c := newClient(t, p, func(c *Config) { c.Timeout, c.MaxInFlight = 5*time.Second, 1 })
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if msg, _, err := ask(t, c); err != nil || len(msg.Answer) != 1 {
				t.Error(err)
			}
		})
	}
	for c.Counters.Joined.Value() < 4 {
		runtime.Gosched()
	}
	if _, _, err := c.Exchange(t.Context(), server1, iterate.Question{Name: name.Root, Type: dns.TypeNS}, false); !errors.Is(err, ErrBusy) {
		t.Errorf("over MaxInFlight: %v", err)
	}
	c.cfg.MaxInFlight, c.cfg.MaxPerServer = 2, 1
	if _, _, err := c.Exchange(t.Context(), server1, iterate.Question{Name: name.Root, Type: dns.TypeNS}, false); !errors.Is(err, ErrServerBusy) {
		t.Errorf("over MaxPerServer: %v", err)
	}
	close(gate)
	wg.Wait()
	if n := len(p.queries()); n != 1 {
		t.Errorf("%d queries on the wire", n)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	own := netip.MustParseAddr("203.0.113.1")
	cfg := Config{Own: func(a netip.Addr) bool { return a == own }}
	for _, c := range []struct {
		addr                string
		plain, inside, test bool
	}{
		{"192.0.2.1", true, true, true},
		{"2001:db8::1", true, true, true},
		{"203.0.113.1", false, false, false},
		{"::ffff:203.0.113.1", false, false, false},
		{"64:ff9b::203.0.113.1", false, false, true},
		{"0.0.0.0", false, false, false},
		{"::", false, false, false},
		{"224.0.0.1", false, false, false},
		{"ff02::1", false, false, false},
		{"0.1.2.3", false, false, true},
		{"255.255.255.255", false, false, true},
		{"127.0.0.1", false, false, true},
		{"127.9.9.9", false, false, true},
		{"::1", false, false, true},
		{"::ffff:127.0.0.1", false, false, true},
		{"::127.0.0.1", false, false, true},
		{"64:ff9b::127.0.0.1", false, false, true},
		{"2002:7f00:1::", false, false, true},
		{"10.0.0.1", false, true, true},
		{"::ffff:10.0.0.1", false, true, true},
		{"64:ff9b::10.0.0.1", false, true, true},
		{"172.31.0.1", false, true, true},
		{"172.32.0.1", true, true, true},
		{"192.168.1.1", false, true, true},
		{"100.64.0.1", false, true, true},
		{"169.254.169.254", false, true, true},
		{"fd00::1", false, true, true},
		{"fe80::1", false, true, true},
		{"fe80::1%eth0", false, false, false},
	} {
		plain, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		allowing := cfg
		allowing.AllowPrivate = true
		test, err := New(allowing)
		if err != nil {
			t.Fatal(err)
		}
		a := netip.MustParseAddr(c.addr)
		if got := [3]bool{plain.Usable(a, false), plain.Usable(a, true), test.Usable(a, false)}; got != [3]bool{c.plain, c.inside, c.test} {
			t.Errorf("%s: plain, inside, test = %v", c.addr, got)
		}
		if !c.plain {
			if _, sent, err := plain.Exchange(t.Context(), a, iterate.Question{Name: name.Root, Type: dns.TypeNS}, false); !errors.Is(err, ErrRefused) || sent != 0 {
				t.Errorf("%s was asked: %v", c.addr, err)
			}
		}
	}
	v4only, err := New(Config{IPv4: true})
	if err != nil || v4only.Usable(netip.MustParseAddr("2001:db8::1"), false) {
		t.Errorf("IPv6 is off: %v", err)
	}
}

func TestServersAreBounded(t *testing.T) {
	t.Parallel()
	c, err := New(Config{MaxServers: 4})
	if err != nil {
		t.Fatal(err)
	}
	for a, i := server1, 0; i < 10; a, i = a.Next(), i+1 {
		c.servers.replied(a, time.Millisecond, false, time.Now())
	}
	if len(c.servers.m) != 4 || c.Counters.Forgotten.Value() != 6 {
		t.Errorf("%d servers, %d forgotten", len(c.servers.m), c.Counters.Forgotten.Value())
	}
}

// TestFamilyWithoutRoute: a host without IPv6 leaves the family alone for a
// while; one lost route says nothing of a family that works.
func TestFamilyWithoutRoute(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	c, err := New(Config{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	v6 := netip.MustParseAddr("2001:db8::1")
	c.servers.replied(server1, time.Millisecond, false, now)
	for _, a := range []netip.Addr{server1, v6} {
		c.servers.unreachable(a, true, now)
	}
	if !c.Usable(server1, false) || c.Usable(v6, false) {
		t.Error("IPv4 works, IPv6 has no route")
	}
	if c.Pick([]netip.Addr{server1, server1.Next()}) == server1 {
		t.Error("picked the server without a route")
	}
	now = now.Add(familyOff)
	if !c.Usable(v6, false) {
		t.Error("IPv6 is never tried again")
	}
}

func TestNoRandomNoQuery(t *testing.T) {
	t.Parallel()
	p := &peer{}
	c := newClient(t, p, func(c *Config) { c.Rand = strings.NewReader("") })
	if _, sent, err := ask(t, c); !errors.Is(err, io.EOF) || sent != 0 {
		t.Errorf("%d packets, %v", sent, err)
	}
}

func FuzzReply(f *testing.F) {
	c, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	q, err := c.newQuery(iterate.Question{Name: mustName(f, "www.example.net"), Type: dns.TypeA}, knowledge{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reply(f, q.wire, nil))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) > 1 {
			packet[0], packet[1] = q.wire[0], q.wire[1]
		}
		if q.check(packet) != matching {
			return
		}
		if msg, err := q.parse(packet); err == nil && msg.Question[0].Name != "www.example.net." {
			t.Errorf("question %v", msg.Question)
		}
	})
}
