package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/resolver"
	"postern/internal/dns/view"
	"postern/internal/dns/zone"
)

const patience = 10 * time.Second

// TestMain fails where a goroutine of the server outlives the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	var stacks string
	for range 1000 {
		buf := make([]byte, 1<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(stacks, "dns/listen.(*") && !strings.Contains(stacks, "dns/serve.(*") {
			os.Exit(code)
		}
		runtime.Gosched()
	}
	fmt.Fprintf(os.Stderr, "goroutines left:\n%s\n", stacks)
	os.Exit(1)
}

const external = `
example. 3600 IN SOA ns1.example. h.example. 1 2 3 4 300
example. 3600 IN NS ns1.example.
ns1.example. 3600 IN A 192.0.2.1
www.example. 60 IN A 192.0.2.80
alias.example. 60 IN CNAME www.example.
out.example. 60 IN CNAME www.other.
cross.example. 60 IN CNAME www.second.
broken.example. 60 IN CNAME www.failed.
*.wild.example. 60 IN TXT "w"
sub.example. 60 IN NS ns.sub.example.
ns.sub.example. 60 IN A 192.0.2.53
big.example. 60 IN TXT "` + long + `" "` + long + `" "` + long + `"
`

const long = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" +
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

const second = `
second. 3600 IN SOA ns1.example. h.example. 1 2 3 4 300
second. 3600 IN NS ns1.example.
www.second. 60 IN A 192.0.2.81
`

const internal = external + `
secret.example. 60 IN A 10.0.0.9
`

func compile(t testing.TB, text string) *answer.Zone {
	t.Helper()
	return answer.Compile(built(t, text))
}

func built(t testing.TB, text string) *zone.Zone {
	t.Helper()
	var b *zone.Builder
	zp := dns.NewZoneParser(strings.NewReader(text), "", "")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if b == nil {
			b = zone.NewBuilder(mustName(t, rr.Header().Name))
		}
		if err := b.Add(rr); err != nil {
			t.Fatal(err)
		}
	}
	if zp.Err() != nil {
		t.Fatal(zp.Err())
	}
	z, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func mustName(t testing.TB, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// table has an internal view for 127.0.0.2 and an external one for the rest.
func table(t testing.TB) *view.Table {
	t.Helper()
	in, ex := compile(t, internal), compile(t, external)
	sec := compile(t, second)
	return view.NewTable([]view.View{
		{
			Name: "internal", Recursion: true, Keys: []name.Name{mustName(t, insideKey)}, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")},
			Zones: map[name.Name]*answer.Zone{in.Origin(): in, sec.Origin(): sec, mustName(t, "failed"): nil},
		},
		{
			Name: "external", Keys: []name.Name{mustName(t, outsideKey)}, Clients: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
			Zones:   map[name.Name]*answer.Zone{ex.Origin(): ex, sec.Origin(): sec, mustName(t, "failed"): nil, mustName(t, "old.failed"): nil},
			Expired: map[name.Name]bool{mustName(t, "old.failed"): true},
		},
	})
}

// world is the outside as the resolver sees it, and what it was asked.
type world struct {
	answers map[string]*dns.Msg
	block   chan struct{} // where not nil, every question waits for it

	mu    sync.Mutex // guards asked
	asked []resolver.Question
}

func (w *world) Resolve(ctx context.Context, q resolver.Question) (*dns.Msg, error) {
	w.mu.Lock()
	w.asked = append(w.asked, q)
	w.mu.Unlock()
	if w.block != nil {
		select {
		case <-w.block:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if m, ok := w.answers[q.Name.String()]; ok {
		return m, nil
	}
	return nil, &resolver.Failure{Rcode: dns.RcodeServerFailure, Cause: errors.New("nothing there")}
}

func (w *world) questions() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

func reply(t testing.TB, rcode int, records ...string) *dns.Msg {
	t.Helper()
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: rcode}}
	for _, s := range records {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

func outside(t testing.TB) *world {
	t.Helper()
	chain := "out.example. 60 IN CNAME www.other."
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("many.other. 60 IN A 198.51.100.%d", i))
	}
	return &world{answers: map[string]*dns.Msg{
		"www.other.":       reply(t, 0, "www.other. 60 IN A 198.51.100.1"),
		"none.other.":      reply(t, dns.RcodeNameError, "other. 60 IN SOA a. b. 1 2 3 4 5"),
		"many.other.":      reply(t, 0, many...),
		"out.example.":     reply(t, 0, chain, "www.other. 60 IN A 198.51.100.1"),
		"www.sub.example.": reply(t, 0, "www.sub.example. 60 IN A 10.0.0.53"),
	}}
}

// start serves the table on loopback and returns the address.
func start(t *testing.T, c Config, l Listener) (*Server, netip.AddrPort) {
	t.Helper()
	tab := table(t)
	c.Table = func() *view.Table { return tab }
	s := New(c)
	var set *listen.Set
	for range 20 {
		// The same free port for both transports.
		probe, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := probe.Addr().(*net.TCPAddr).AddrPort()
		probe.Close()
		addr = netip.AddrPortFrom(netip.MustParseAddr("0.0.0.0"), addr.Port())
		set = listen.NewSet(listen.Config{Sockets: 2, Listen: []listen.Spec{
			{Addr: addr, Transport: listen.UDP, Handler: s.Handler(l)},
			{Addr: addr, Transport: listen.TCP, Handler: s.Handler(l)},
		}})
		if err = set.Start(t.Context()); err == nil {
			break
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(set.Stop(ctx), s.Stop(ctx)); err != nil {
			t.Error(err)
		}
	})
	return s, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), set.Open()[0].Addr.Port())
}

// Clients of the two views.
const (
	insider  = "127.0.0.2"
	outsider = "127.0.0.1"
)

func exchange(t *testing.T, network, from string, to netip.AddrPort, m *dns.Msg) *dns.Msg {
	t.Helper()
	var local net.Addr = &net.UDPAddr{IP: net.ParseIP(from)}
	if network == "tcp" {
		local = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c := &dns.Client{Net: network, Timeout: patience, UDPSize: 4096, Dialer: &net.Dialer{LocalAddr: local, Timeout: patience}}
	got, _, err := c.Exchange(m, to.String())
	if err != nil {
		t.Fatalf("%s from %s: %v: %v", network, from, m.Question, err)
	}
	return got
}

func question(qname string, qtype uint16, edits ...func(*dns.Msg)) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(qname, qtype)
	for _, edit := range edits {
		edit(m)
	}
	return m
}

func noRD(m *dns.Msg) { m.RecursionDesired = false }

func withEDNS(m *dns.Msg) { m.SetEdns0(1232, false) }

// summary is what matters of a reply in one line.
func summary(m *dns.Msg) string {
	s := dns.RcodeToString[m.Rcode]
	if m.Rcode == dns.RcodeBadVers { // BADSIG has the same number
		s = "BADVERS"
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"aa", m.Authoritative}, {"tc", m.Truncated}, {"ra", m.RecursionAvailable}, {"ad", m.AuthenticatedData}} {
		if f.set {
			s += " " + f.name
		}
	}
	for _, rr := range m.Answer {
		f := strings.Fields(rr.String())
		s += " " + f[3] + "=" + f[4]
	}
	for _, rr := range m.Ns {
		s += " auth:" + dns.TypeToString[rr.Header().Rrtype]
	}
	return s
}

func TestTwoRoles(t *testing.T) {
	t.Parallel()
	w := outside(t)
	_, addr := start(t, Config{Resolver: w}, Listener{})
	for _, c := range []struct {
		name, from string
		m          *dns.Msg
		want       string
	}{
		{"outside: own name", outsider, question("www.example.", dns.TypeA), "NOERROR aa A=192.0.2.80"},
		{"outside: no recursion (VIEWS, rule 1)", outsider, question("www.other.", dns.TypeA), "REFUSED"},
		{"outside: no such name of ours", outsider, question("none.example.", dns.TypeA), "NXDOMAIN aa auth:SOA"},
		{"outside: internal name", outsider, question("secret.example.", dns.TypeA), "NXDOMAIN aa auth:SOA"},
		{"outside: alias to the edge", outsider, question("out.example.", dns.TypeA), "NOERROR aa CNAME=www.other."},
		{"outside: alias across our zones", outsider, question("cross.example.", dns.TypeA), "NOERROR aa CNAME=www.second. A=192.0.2.81"},
		{"outside: alias to a failed zone", outsider, question("broken.example.", dns.TypeA), "SERVFAIL"},
		{"outside: delegation", outsider, question("www.sub.example.", dns.TypeA), "NOERROR auth:NS"},
		{"outside: failed zone", outsider, question("www.failed.", dns.TypeA), "SERVFAIL"},
		{"outside: DS of our apex", outsider, question("example.", dns.TypeDS), "NOERROR aa auth:SOA"},
		{"inside: own name (VIEWS, rule 2)", insider, question("secret.example.", dns.TypeA), "NOERROR aa ra A=10.0.0.9"},
		{"inside: recursion", insider, question("www.other.", dns.TypeA), "NOERROR ra A=198.51.100.1"},
		{"inside: no such name elsewhere", insider, question("none.other.", dns.TypeA), "NXDOMAIN ra auth:SOA"},
		{"inside: resolver fails", insider, question("fail.other.", dns.TypeA), "SERVFAIL ra"},
		{"inside: no snooping (VIEWS, rule 2)", insider, question("www.other.", dns.TypeA, noRD), "REFUSED ra"},
		{"inside: alias followed", insider, question("out.example.", dns.TypeA), "NOERROR aa ra CNAME=www.other. A=198.51.100.1"},
		{"inside: alias without RD", insider, question("out.example.", dns.TypeA, noRD), "NOERROR aa ra CNAME=www.other."},
		{"inside: alias to a failed zone", insider, question("broken.example.", dns.TypeA, noRD), "SERVFAIL ra"},
		{"inside: delegation followed", insider, question("www.sub.example.", dns.TypeA), "NOERROR ra A=10.0.0.53"},
		{"inside: delegation without RD", insider, question("www.sub.example.", dns.TypeA, noRD), "NOERROR ra auth:NS"},
		{"inside: failed zone is not looked up elsewhere", insider, question("www.failed.", dns.TypeA), "SERVFAIL ra"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, network := range []string{"udp", "tcp"} {
				got := exchange(t, network, c.from, addr, c.m.Copy())
				if summary(got) != c.want || len(got.Extra) > 0 && got.Extra[0].Header().Rrtype == dns.TypeOPT {
					t.Errorf("%s: %s, want %s", network, summary(got), c.want)
				}
			}
		})
	}
}

// TestOddQueries asks what RFC 8906, Section 8 asks, and some more.
func TestOddQueries(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Config{Resolver: outside(t), NSID: "edge.example"}, Listener{})
	opt := func(m *dns.Msg) *dns.OPT {
		withEDNS(m)
		return m.IsEdns0()
	}
	for _, c := range []struct {
		name string
		m    *dns.Msg
		want string
		opt  string
	}{
		{"8.1.1 SOA without EDNS", question("example.", dns.TypeSOA, noRD), "NOERROR aa SOA=ns1.example.", ""},
		{"8.1.2 unknown type", question("example.", 1000, noRD), "NOERROR aa auth:SOA", ""},
		{"8.1.3.1 CD", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) { m.CheckingDisabled = true }), "NOERROR aa SOA=ns1.example.", ""},
		{"8.1.3.2 AD", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) { m.AuthenticatedData = true }), "NOERROR aa SOA=ns1.example.", ""},
		{"8.1.3.3 reserved bit", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) { m.Zero = true }), "NOERROR aa SOA=ns1.example.", ""},
		{"8.1.3.4 RD", question("example.", dns.TypeSOA), "NOERROR aa SOA=ns1.example.", ""},
		{"8.1.4 unknown opcode", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) { m.Opcode = 15 }), "NOTIMP", ""},
		{"8.2.1 EDNS", question("example.", dns.TypeSOA, noRD, withEDNS), "NOERROR aa SOA=ns1.example.", "0"},
		{"8.2.2 EDNS version 1", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) { opt(m).SetVersion(1) }), "BADVERS", "0"},
		{"8.2.3 unknown option", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) {
			o := opt(m)
			o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65100, Data: []byte("x")})
		}), "NOERROR aa SOA=ns1.example.", "0"},
		{"8.2.4 unknown EDNS flag", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) { opt(m).SetZ(0x40) }), "NOERROR aa SOA=ns1.example.", "0"},
		{"8.2.5 EDNS version 1 with a flag", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) { o := opt(m); o.SetVersion(1); o.SetZ(0x40) }), "BADVERS", "0"},
		{"8.2.6 EDNS version 1 with an option", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) {
			o := opt(m)
			o.SetVersion(1)
			o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65100, Data: []byte("x")})
		}), "BADVERS", "0"},
		{"8.2.7 truncated", question("big.example.", dns.TypeTXT, noRD, func(m *dns.Msg) { opt(m).SetUDPSize(512) }), "NOERROR aa tc", "0"},
		{"8.2.7 truncated, DO", question("big.example.", dns.TypeTXT, noRD, func(m *dns.Msg) { o := opt(m); o.SetUDPSize(512); o.SetDo() }), "NOERROR aa tc", "0 do"},
		{"8.2.7 truncated, a size below 512 is 512", question("big.example.", dns.TypeTXT, noRD, func(m *dns.Msg) { opt(m).SetUDPSize(0) }), "NOERROR aa tc", "0"},
		{"8.2.7 truncated, NSID", question("big.example.", dns.TypeTXT, noRD, func(m *dns.Msg) {
			o := opt(m)
			o.SetUDPSize(512)
			o.Option = append(o.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
		}), "NOERROR aa tc", "0 nsid=edge.example"},
		{"8.2.9 EDNS version 1 with DO", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) { o := opt(m); o.SetVersion(1); o.SetDo() }), "BADVERS", "0 do"},
		{"8.2.10 several options", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) {
			o := opt(m)
			o.Option = append(o.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID}, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0001020304050607"},
				&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 0, Address: net.IPv4zero}, &dns.EDNS0_EXPIRE{Code: dns.EDNS0EXPIRE, Empty: true})
		}), "NOERROR aa SOA=ns1.example.", "0 nsid=edge.example"},
		{"8.2.8 DO", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) { opt(m).SetDo() }), "NOERROR aa SOA=ns1.example.", "0 do"},
		{"NSID (RFC 5001)", question("example.", dns.TypeSOA, noRD, func(m *dns.Msg) {
			o := opt(m)
			o.Option = append(o.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
		}), "NOERROR aa SOA=ns1.example.", "0 nsid=edge.example"},
		{"ANY (RFC 8482)", question("ns1.example.", dns.TypeANY, noRD), "NOERROR aa A=192.0.2.1", ""},
		{"AXFR", question("example.", dns.TypeAXFR, noRD), "REFUSED", ""},
		{"IXFR", question("example.", dns.TypeIXFR, noRD), "REFUSED", ""},
		{"NOTIFY", question("example.", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), "REFUSED", ""},
		{"UPDATE", question("example.", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), "REFUSED", ""},
		{"version.bind", question("version.bind.", dns.TypeTXT, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "REFUSED", ""},
		{"class ANY", question("example.", dns.TypeA, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), "REFUSED", ""},
		{"TSIG by nobody's key", question("example.", dns.TypeA, func(m *dns.Msg) {
			m.Extra = append(m.Extra, &dns.TSIG{Hdr: dns.RR_Header{Name: "k.", Rrtype: dns.TypeTSIG, Class: dns.ClassANY}, Algorithm: "hmac-sha256."})
		}), "NOTAUTH", ""},
		{"type OPT", question("example.", dns.TypeOPT, noRD), "FORMERR", ""},
		{"two questions (RFC 9619)", question("example.", dns.TypeA, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), "FORMERR", ""},
		{"no question (RFC 9619)", question("example.", dns.TypeA, func(m *dns.Msg) { m.Question = nil }), "FORMERR", ""},
		{"longer than UDP takes", question("big.example.", dns.TypeTXT, noRD), "NOERROR aa tc", ""},
		{"longer than UDP takes, EDNS", question("big.example.", dns.TypeTXT, noRD, withEDNS), "NOERROR aa TXT=\"" + long + "\"", "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, network := range []string{"udp", "tcp"} {
				want := c.want
				if network == "tcp" && strings.HasSuffix(want, "tc") { // nothing is too long
					want = strings.TrimSuffix(want, "tc") + "TXT=\"" + long + "\""
				}
				got := rawExchange(t, network, outsider, addr, c.m)
				if summary(got) != want || optSummary(got) != c.opt {
					t.Errorf("%s: %s %q, want %s %q", network, summary(got), optSummary(got), want, c.opt)
				}
			}
		})
	}
}

// rawExchange is exchange without the client's own opinion of the reply.
func rawExchange(t *testing.T, network, from string, to netip.AddrPort, m *dns.Msg) *dns.Msg {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return unpack(t, rawBytes(t, network, from, to, b))
}

func unpack(t *testing.T, b []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatalf("%v in %x", err, b)
	}
	return m
}

func rawBytes(t *testing.T, network, from string, to netip.AddrPort, b []byte) []byte {
	t.Helper()
	var local net.Addr = &net.UDPAddr{IP: net.ParseIP(from)}
	if network == "tcp" {
		local = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	d := net.Dialer{LocalAddr: local}
	c, err := d.Dial(network, to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	conn := &dns.Conn{Conn: c, UDPSize: 65535}
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	got, err := conn.ReadMsgHeader(nil)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func optSummary(m *dns.Msg) string {
	o := m.IsEdns0()
	if o == nil {
		return ""
	}
	s := fmt.Sprint(o.Version())
	if o.Do() {
		s += " do"
	}
	if o.Z() != 0 {
		s += " z"
	}
	for _, opt := range o.Option {
		if n, ok := opt.(*dns.EDNS0_NSID); ok {
			b := make([]byte, len(n.Nsid)/2)
			_, _ = fmt.Sscanf(n.Nsid, "%x", &b)
			s += " nsid=" + string(b)
		} else {
			s += " " + opt.String()
		}
	}
	return s
}

func dialTCP(t *testing.T, from string, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}
