package serve

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/gate"
	"postern/internal/dns/listen"
	"postern/internal/dns/resolver"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
)

// desk is a handler without a socket, with a clock that stands still until it
// is moved.
type desk struct {
	t   *testing.T
	s   *Server
	h   listen.Handler
	now time.Time
}

func newDesk(t *testing.T, c Config) *desk {
	t.Helper()
	d := &desk{t: t, now: time.Unix(1_800_000_000, 0)}
	tab := table(t)
	c.Table, c.Resolver, c.Now = func() *view.Table { return tab }, outside(t), func() time.Time { return d.now }
	d.s = New(c)
	d.h = d.s.Handler(Listener{})()
	return d
}

// ask returns the reply, or nil.
func (d *desk) ask(from string, t listen.Transport, m *dns.Msg) *dns.Msg {
	d.t.Helper()
	b, err := m.Pack()
	if err != nil {
		d.t.Fatal(err)
	}
	r := &listen.Request{Msg: b, Client: netip.AddrPortFrom(netip.MustParseAddr(from), 53), Transport: t}
	reply := d.h.Serve(r, nil)
	if len(reply) == 0 {
		return nil
	}
	return unpack(d.t, reply)
}

var testSecrets = &gate.Secrets{Current: gate.Secret{1, 2, 3}}

func secrets(int64) *gate.Secrets { return testSecrets }

func options(list ...dns.EDNS0) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = list
	}
}

func cookie(hex string) *dns.EDNS0_COOKIE {
	return &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex}
}

const clientCookie = "0102030405060708"

// cookieOf returns the cookie of a reply, "" without.
func cookieOf(m *dns.Msg) string {
	if m == nil || m.IsEdns0() == nil {
		return ""
	}
	for _, o := range m.IsEdns0().Option {
		if c, ok := o.(*dns.EDNS0_COOKIE); ok {
			return c.Cookie
		}
	}
	return ""
}

func TestCookies(t *testing.T) {
	t.Parallel()
	const from = "192.0.2.9"
	d := newDesk(t, Config{Cookies: secrets})
	first := cookieOf(d.ask(from, listen.UDP, question("www.example.", dns.TypeA, options(cookie(clientCookie)))))
	if len(first) != 48 || !strings.HasPrefix(first, clientCookie) {
		t.Fatalf("cookie %q", first)
	}
	noQuestion := func(m *dns.Msg) { m.Question = nil }
	for _, c := range []struct {
		name  string
		d     *desk
		from  string
		after time.Duration
		m     *dns.Msg
		want  string
		same  bool // the cookie comes back
		fresh bool // another one comes
	}{
		// RFC 7873, Section 5.2.2.
		{"malformed", d, from, 0, question("www.example.", dns.TypeA, options(cookie("0102"))), "FORMERR", false, false},
		// RFC 7873, Section 5.2.3, without a flood: an answer and a cookie.
		{"client cookie alone", d, from, 0, question("www.example.", dns.TypeA, options(cookie(clientCookie))), "NOERROR aa A=192.0.2.80", true, false},
		{"somebody else's", d, "192.0.2.10", 0, question("www.example.", dns.TypeA, options(cookie(first))), "NOERROR aa A=192.0.2.80", false, true},
		{"valid", d, from, time.Minute, question("www.example.", dns.TypeA, options(cookie(first))), "NOERROR aa A=192.0.2.80", true, false},
		{"due for renewal", d, from, 31 * time.Minute, question("www.example.", dns.TypeA, options(cookie(first))), "NOERROR aa A=192.0.2.80", false, true},
		{"expired", d, from, 2 * time.Hour, question("www.example.", dns.TypeA, options(cookie(first))), "NOERROR aa A=192.0.2.80", false, true},
		{"none", d, from, 0, question("www.example.", dns.TypeA, withEDNS), "NOERROR aa A=192.0.2.80", false, false},
		{"with an error", d, from, 0, question("www.other.", dns.TypeA, options(cookie(first))), "REFUSED", true, false},
		// RFC 7873, Section 5.4.
		{"no question", d, from, 0, question("a.", dns.TypeA, noQuestion, options(cookie(clientCookie))), "NOERROR", true, false},
		{"no question, EDNS version 1", d, from, 0, question("a.", dns.TypeA, noQuestion, options(cookie(clientCookie)), func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }), "BADVERS", true, false},
		{"no question, no cookie", d, from, 0, question("a.", dns.TypeA, noQuestion, withEDNS), "FORMERR", false, false},
		{"off", newDesk(t, Config{}), from, 0, question("www.example.", dns.TypeA, options(cookie(clientCookie))), "NOERROR aa A=192.0.2.80", false, false},
		{"off, no question", newDesk(t, Config{}), from, 0, question("a.", dns.TypeA, noQuestion, options(cookie(clientCookie))), "FORMERR", false, false},
		{"off by the provider", newDesk(t, Config{Cookies: func(int64) *gate.Secrets { return nil }}), from, 0, question("a.", dns.TypeA, noQuestion, options(cookie(clientCookie))), "FORMERR", false, false},
	} {
		start := c.d.now
		c.d.now = start.Add(c.after)
		for _, transport := range []listen.Transport{listen.UDP, listen.TCP} {
			got := c.d.ask(c.from, transport, c.m)
			back := cookieOf(got)
			if summary(got) != c.want || (back == first) != c.same || (back != "" && back != first) != c.fresh {
				t.Errorf("%s by %v: %s, cookie %q, was %q", c.name, transport, summary(got), back, first)
			}
		}
		c.d.now = start
	}
}

// What the resolver says carries a cookie and the idle time too.
func TestSlowRepliesCarryOptions(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Config{Resolver: outside(t), Cookies: secrets}, Listener{})
	alive := &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}
	for network, keepalive := range map[string]bool{"udp": false, "tcp": true} {
		for qname, want := range map[string]string{"www.other.": "NOERROR ra A=198.51.100.1", "fail.other.": "SERVFAIL ra"} {
			got := exchange(t, network, insider, addr, question(qname, dns.TypeA, options(cookie(clientCookie), alive)))
			if summary(got) != want || len(cookieOf(got)) != 48 || strings.Contains(optSummary(got), "timeout") != keepalive {
				t.Errorf("%s by %s: %s, %s", qname, network, summary(got), optSummary(got))
			}
		}
	}
}

// TestMessagesAreCountedByTransport: TCP is not what TLS and HTTPS run over.
func TestMessagesAreCountedByTransport(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Config{})
	for i, transport := range []listen.Transport{listen.UDP, listen.TCP, listen.TLS, listen.HTTPS, listen.QUIC} {
		for range i + 1 {
			d.ask("198.51.100.1", transport, question("www.example.", dns.TypeA))
		}
	}
	c := &d.h.(*handler).Counters
	for i, got := range []uint64{c.UDP.Value(), c.TCP.Value(), c.TLS.Value(), c.HTTPS.Value(), c.QUIC.Value()} {
		if got != uint64(i+1) {
			t.Errorf("transport %d: %d messages, want %d", i, got, i+1)
		}
	}
}

// TestKeepaliveIsWhatTheListenersAllow, also where neither is configured.
func TestKeepaliveIsWhatTheListenersAllow(t *testing.T) {
	t.Parallel()
	alive := &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}
	for idle, want := range map[time.Duration]time.Duration{0: listen.DefaultIdle, 3 * time.Second: 3 * time.Second} {
		for _, transport := range []listen.Transport{listen.TCP, listen.TLS} {
			got := newDesk(t, Config{Idle: idle}).ask("198.51.100.1", transport, question("www.example.", dns.TypeA, options(alive)))
			o, ok := got.IsEdns0().Option[0].(*dns.EDNS0_TCP_KEEPALIVE)
			if !ok || time.Duration(o.Timeout)*100*time.Millisecond != want {
				t.Errorf("idle %v by %v: %v, want %v", idle, transport, got.IsEdns0(), want)
			}
		}
	}
}

// flood asks until the limit is reached; the clock stands still.
func (d *desk) flood(from string, m *dns.Msg) {
	for range 200 {
		d.ask(from, listen.UDP, m)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	const from, neighbour = "198.51.100.1", "198.51.100.200"
	www := question("www.example.", dns.TypeA)
	for _, c := range []struct {
		name  string
		c     Config
		flood *dns.Msg
		from  string
		by    listen.Transport
		m     *dns.Msg
		want  []string // of two in a row
	}{
		{"off", Config{}, www, neighbour, listen.UDP, www, []string{"NOERROR aa A=192.0.2.80", "NOERROR aa A=192.0.2.80"}},
		{"exempt", Config{RRL: 50, Exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}, www, neighbour, listen.UDP, www, []string{"NOERROR aa A=192.0.2.80", "NOERROR aa A=192.0.2.80"}},
		{"TCP", Config{RRL: 50}, www, neighbour, listen.TCP, www, []string{"NOERROR aa A=192.0.2.80", "NOERROR aa A=192.0.2.80"}},
		{"another name", Config{RRL: 50}, www, neighbour, listen.UDP, question("ns1.example.", dns.TypeA), []string{"NOERROR aa A=192.0.2.1", "NOERROR aa A=192.0.2.1"}},
		{"another prefix", Config{RRL: 50}, www, "198.51.101.1", listen.UDP, www, []string{"NOERROR aa A=192.0.2.80", "NOERROR aa A=192.0.2.80"}},
		{"the same prefix", Config{RRL: 50}, www, neighbour, listen.UDP, www, []string{"NOERROR tc", ""}},
		{"with EDNS", Config{RRL: 50}, www, neighbour, listen.UDP, question("www.example.", dns.TypeA, withEDNS), []string{"NOERROR tc", ""}},
		{"another letter case", Config{RRL: 50}, www, neighbour, listen.UDP, question("wWw.eXample.", dns.TypeA), []string{"NOERROR tc", ""}},
		{"a client cookie alone (RFC 7873, Section 5.2.3)", Config{RRL: 50, Cookies: secrets}, www, neighbour, listen.UDP, question("www.example.", dns.TypeA, options(cookie(clientCookie))), []string{"BADCOOKIE", ""}},
		{"a client cookie, but cookies are off", Config{RRL: 50}, www, neighbour, listen.UDP, question("www.example.", dns.TypeA, options(cookie(clientCookie))), []string{"NOERROR tc", ""}},
		{"names that do not exist share a bucket", Config{RRL: 50}, question("a.example.", dns.TypeA), neighbour, listen.UDP, question("b.c.example.", dns.TypeTXT), []string{"NOERROR tc", ""}},
		{"names below a cut share a bucket", Config{RRL: 50}, question("a.sub.example.", dns.TypeA), neighbour, listen.UDP, question("b.sub.example.", dns.TypeA), []string{"NOERROR tc", ""}},
		{"names of a wildcard share a bucket", Config{RRL: 50}, question("a.wild.example.", dns.TypeTXT), neighbour, listen.UDP, question("b.wild.example.", dns.TypeTXT), []string{"NOERROR tc", ""}},
		{"no data under a wildcard shares it too", Config{RRL: 50}, question("a.wild.example.", dns.TypeTXT), neighbour, listen.UDP, question("b.wild.example.", dns.TypeA), []string{"NOERROR tc", ""}},
		{"denials of another zone", Config{RRL: 50}, question("a.example.", dns.TypeA), neighbour, listen.UDP, question("a.second.", dns.TypeA), []string{"NXDOMAIN aa auth:SOA", "NXDOMAIN aa auth:SOA"}},
		{"errors share a bucket", Config{RRL: 50}, question("a.other.", dns.TypeA), neighbour, listen.UDP, question("www.failed.", dns.TypeA), []string{"NOERROR tc", ""}},
		{"a view with recursion is bounded elsewhere", Config{RRL: 50}, www, insider, listen.UDP, www, []string{"NOERROR aa ra A=192.0.2.80", "NOERROR aa ra A=192.0.2.80"}},
	} {
		d := newDesk(t, c.c)
		d.flood(from, c.flood)
		if c.from == insider {
			d.flood(insider, c.flood)
		}
		for i, want := range c.want {
			got := ""
			if m := d.ask(c.from, c.by, c.m); m != nil {
				got = summary(m)
			}
			if got != want {
				t.Errorf("%s: %d: %q, want %q", c.name, i, got, want)
			}
		}
	}
}

// BADCOOKIE brings what the client needs to get its answer.
func TestBadCookieLeadsOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Config{RRL: 50, Cookies: secrets})
	d.flood("198.51.100.1", question("www.example.", dns.TypeA))
	const client = "198.51.100.77"
	bad := d.ask(client, listen.UDP, question("www.example.", dns.TypeA, options(cookie(clientCookie))))
	if summary(bad) != "BADCOOKIE" {
		t.Fatal(summary(bad))
	}
	for range 1000 {
		got := d.ask(client, listen.UDP, question("www.example.", dns.TypeA, options(cookie(cookieOf(bad)))))
		if got == nil || summary(got) != "NOERROR aa A=192.0.2.80" {
			t.Fatal("a client with a cookie has to keep its answers")
		}
	}
	if d.s.Counters.CookieValid.Value() != 1000 || d.s.Counters.CookieUnproven.Value() != 1 || d.s.Counters.BadCookie.Value() != 1 || d.s.RRL.Counters.Slipped.Value() == 0 {
		t.Error("not counted")
	}
}

// ledger holds octets by the /24 of the forged source.
type ledger struct{ in, out map[netip.Prefix]int }

// A flood in the name of 100,000 hosts: over seconds 2 to 60 none of their
// networks gets more than was sent in its name, and a client with a cookie
// among them keeps its answers.
func TestFloodOfForgedSources(t *testing.T) {
	t.Parallel()
	// Ten times below the rates of the world, both of them: 13 questions a second
	// for each /24, of which 5 are within the limit.
	for mix, sources := range map[string]int{"one name": 100_000, "random names": 10_240, "referrals": 10_240, "wildcard": 10_240, "cookies": 10_240, "refused": 10_240} {
		t.Run(mix, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, Config{RRL: 5, Cookies: secrets, NSID: "edge.example"})
			flood(t, d, mix, sources, sources/20, 60)
		})
	}
}

func flood(t *testing.T, d *desk, mix string, sources, perSecond, seconds int) {
	t.Helper()
	const victim = "10.0.7.7"
	// Before the flood the victim asks by itself.
	good := cookieOf(d.ask(victim, listen.TCP, question("www.example.", dns.TypeA, options(cookie(clientCookie)))))
	books := ledger{map[netip.Prefix]int{}, map[netip.Prefix]int{}}
	buf := make([]byte, 0, 2048)
	n := 0
	for second := range seconds {
		for range perSecond {
			d.now = d.now.Add(time.Second / time.Duration(perSecond))
			// All sources in turn, in a stride that is coprime to their number.
			i := n * 7919 % sources
			source := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			msg := forged(mix, n)
			n++
			r := &listen.Request{Msg: msg, Client: netip.AddrPortFrom(source, 53), Transport: listen.UDP}
			reply := d.h.Serve(r, buf)
			if second >= 1 {
				net, _ := source.Prefix(24)
				books.in[net] += len(msg)
				books.out[net] += len(reply)
			}
		}
		got := d.ask(victim, listen.UDP, question("www.example.", dns.TypeA, options(cookie(good))))
		if got == nil || summary(got) != "NOERROR aa A=192.0.2.80" {
			t.Fatalf("second %d: the client with a cookie got %v", second, got)
		}
		if second%30 == 29 {
			good = cookieOf(got)
		}
	}
	for net, in := range books.in {
		if books.out[net] > in {
			t.Fatalf("%v: %d octets in, %d out", net, in, books.out[net])
		}
	}
	if len(books.in) != (sources+255)/256 {
		t.Errorf("%d networks", len(books.in))
	}
}

// forged is one query of the flood.
func forged(mix string, n int) []byte {
	qname, qtype, tail := "big.example.", dns.TypeTXT, []byte{0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 3, 0, 0}
	switch mix {
	case "random names":
		qname = fmt.Sprintf("x%d.example.", n)
	case "referrals":
		qname = fmt.Sprintf("x%d.sub.example.", n)
	case "wildcard":
		qname = fmt.Sprintf("x%d.wild.example.", n)
	case "refused":
		qname = fmt.Sprintf("x%d.other.", n)
	case "cookies":
		tail = []byte{0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8}
	}
	msg := []byte{0, byte(n), 0, 0, 0, 1, 0, 0, 0, 0, 0, 1}
	for label := range strings.SplitSeq(strings.TrimSuffix(qname, "."), ".") {
		msg = append(append(msg, byte(len(label))), label...)
	}
	msg = binary.BigEndian.AppendUint16(append(msg, 0), uint16(qtype))
	return append(append(msg, 0, 1), tail...)
}

func TestWhy(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Config{NSID: "edge"})
	for _, c := range []struct {
		name string
		m    *dns.Msg
		want string // rcode and info-code
	}{
		{"no EDNS: nothing", question("www.other.", dns.TypeA), "REFUSED"},
		{"answer", question("www.example.", dns.TypeA, withEDNS), "NOERROR aa A=192.0.2.80"},
		{"not ours", question("www.other.", dns.TypeA, withEDNS), "REFUSED 20"},
		{"no good state", question("www.failed.", dns.TypeA, withEDNS), "SERVFAIL 14"},
		{"expired", question("www.old.failed.", dns.TypeA, withEDNS), "SERVFAIL 24"},
		{"DS of what expired, of the parent", question("old.failed.", dns.TypeDS, withEDNS), "SERVFAIL 14"},
		{"alias to no good state", question("broken.example.", dns.TypeA, withEDNS), "SERVFAIL 14"},
		{"transfer", question("example.", dns.TypeAXFR, withEDNS), "REFUSED"},
		{"class CH", question("version.bind.", dns.TypeTXT, withEDNS, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "REFUSED 21"},
		{"mail agent", question("example.", dns.TypeMAILA, withEDNS), "NOTIMP 21"},
		{"after a reason nothing", question("www.example.", dns.TypeA, withEDNS), "NOERROR aa A=192.0.2.80"},
	} {
		got := d.ask("192.0.2.200", listen.UDP, c.m)
		if s := summary(got) + ede(got); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

func ede(m *dns.Msg) string {
	s := ""
	if o := m.IsEdns0(); o != nil {
		for _, option := range o.Option {
			if e, ok := option.(*dns.EDNS0_EDE); ok {
				s += fmt.Sprintf(" %d%s", e.InfoCode, e.ExtraText)
			}
		}
	}
	return s
}

func TestWhyTheResolverFailed(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	b, err := question("www.other.", dns.TypeA, withEDNS).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	q.Parse(b)
	for code, want := range map[uint16]string{0: "SERVFAIL ra", 22: "SERVFAIL ra 22", 23: "SERVFAIL ra 23"} {
		failure := &resolver.Failure{Rcode: dns.RcodeServerFailure, EDE: code, Cause: errors.New("10.0.0.9 is silent")}
		got := unpack(t, s.resolved(&q, nil, fmt.Errorf("resolve: %w", failure), 0, true, &wire.Options{Limit: 1232}))
		if text := summary(got) + ede(got); text != want {
			t.Errorf("%d: %s, want %s", code, text, want)
		}
	}
}

func TestKeepaliveAndPadding(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Config{NSID: "edge", Cookies: secrets, Idle: 7 * time.Second})
	alive := &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}
	padding := &dns.EDNS0_PADDING{Padding: make([]byte, 9)}
	for _, c := range []struct {
		name      string
		by        listen.Transport
		asks      []dns.EDNS0
		keepalive bool
		padded    bool
	}{
		{"UDP (RFC 7828, Section 3.2.1)", listen.UDP, []dns.EDNS0{alive, padding}, false, false},
		{"TCP: read by everybody (RFC 7830, Section 6)", listen.TCP, []dns.EDNS0{alive, padding}, true, false},
		{"TCP, not asked", listen.TCP, nil, false, false},
		{"TLS", listen.TLS, []dns.EDNS0{alive, padding}, true, true},
		{"TLS, not asked", listen.TLS, nil, false, false},
		{"HTTPS", listen.HTTPS, []dns.EDNS0{alive, padding}, false, true},
		{"QUIC (RFC 9250, Section 5.5.2)", listen.QUIC, []dns.EDNS0{alive, padding}, false, true},
	} {
		for _, m := range []*dns.Msg{question("www.example.", dns.TypeA, options(c.asks...)), question("www.other.", dns.TypeA, options(c.asks...)), question("big.example.", dns.TypeTXT, options(c.asks...))} {
			b, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			r := &listen.Request{Msg: b, Client: netip.MustParseAddrPort("192.0.2.200:53"), Transport: c.by}
			reply := d.h.Serve(r, nil)
			got := optSummary(unpack(t, reply))
			if strings.Contains(got, "timeout") != c.keepalive || (len(reply)%468 == 0) != c.padded {
				t.Errorf("%s: %d octets, %s", c.name, len(reply), got)
			}
		}
	}
}
