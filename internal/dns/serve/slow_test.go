package serve

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/resolver"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
)

func TestRefusedIsTheSameWhateverIsCached(t *testing.T) {
	t.Parallel()
	w := outside(t)
	_, addr := start(t, Config{Resolver: w}, Listener{})
	ask := func(qname string) []byte {
		m := question(qname, dns.TypeA)
		m.Id = 7
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return rawBytes(t, "udp", outsider, addr, b)[wire.HeaderLen-8 : wire.HeaderLen]
	}
	before := ask("www.other.")
	exchange(t, "udp", insider, addr, question("www.other.", dns.TypeA))
	if after := ask("www.other."); !bytes.Equal(before, after) || !bytes.Equal(after, ask("xyz.other.")) {
		t.Error("the reply tells what was asked inside")
	}
	if w.questions() != 1 {
		t.Errorf("the resolver was asked %d times", w.questions())
	}
}

func TestSlowAnswersDoNotBlockOthers(t *testing.T) {
	t.Parallel()
	w := outside(t)
	w.block = make(chan struct{})
	s, addr := start(t, Config{Resolver: w, MaxSlow: 1}, Listener{})
	slow := make(chan string)
	go func() {
		c := &dns.Client{Net: "udp", Timeout: patience, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(insider)}}}
		got, _, err := c.Exchange(question("www.other.", dns.TypeA), addr.String())
		if err != nil {
			slow <- err.Error()
			return
		}
		slow <- summary(got)
	}()
	for s.Counters.Slow.Value() == 0 {
		exchange(t, "udp", insider, addr, question("www.example.", dns.TypeA))
	}
	got := exchange(t, "tcp", insider, addr, question("www.other.", dns.TypeA))
	if summary(got) != "SERVFAIL ra" || s.Counters.Refused.Value() != 1 {
		t.Errorf("over the bound: %s, counted %d", summary(got), s.Counters.Refused.Value())
	}
	close(w.block)
	if got := <-slow; got != "NOERROR ra A=198.51.100.1" {
		t.Error(got)
	}
}

func TestResolvedRepliesAreCutToSize(t *testing.T) {
	t.Parallel()
	s, addr := start(t, Config{Resolver: outside(t)}, Listener{})
	m := question("mANY.oTher.", dns.TypeA)
	got := exchange(t, "udp", insider, addr, m)
	if !got.Truncated || len(got.Answer) != 0 || got.Question[0].Name != "mANY.oTher." || s.Counters.Truncated.Value() != 1 {
		t.Errorf("UDP: %v", got)
	}
	if got := exchange(t, "tcp", insider, addr, m); got.Truncated || len(got.Answer) != 100 || got.Question[0].Name != "mANY.oTher." {
		t.Errorf("TCP: %v", got)
	}
}

func TestListenersRestrict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		listener Listener
		from     string
		want     string // "" for no reply
		count    func(*Server) uint64
	}{
		{"internal source outside is forged", Listener{Views: []string{"external"}}, insider, "", func(s *Server) uint64 { return s.Counters.Forged.Value() }},
		{"outsider on an internal listener", Listener{Views: []string{"internal"}}, outsider, "REFUSED", func(s *Server) uint64 { return s.Counters.Rcodes[wire.Refused].Value() }},
		{"not admitted", Listener{Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}}, outsider, "", func(s *Server) uint64 { return s.Counters.Denied.Value() }},
		{"external alone", Listener{Views: []string{"external"}}, outsider, "NOERROR aa A=192.0.2.80", func(s *Server) uint64 { return s.View("external").Queries.Value() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tab := table(t)
			s := New(Config{Table: func() *view.Table { return tab }, Resolver: outside(t)})
			b, err := question("www.example.", dns.TypeA).Pack()
			if err != nil {
				t.Fatal(err)
			}
			r := &listen.Request{Msg: b, Client: netip.AddrPortFrom(netip.MustParseAddr(c.from), 1), Transport: listen.UDP}
			got := ""
			if reply := s.Handler(c.listener)().Serve(r, nil); len(reply) > 0 {
				got = summary(unpack(t, reply))
			}
			if got != c.want || c.count(s) != 1 {
				t.Errorf("%q, want %q; counted %d", got, c.want, c.count(s))
			}
		})
	}
}

// What comes from a forged source is dropped whatever it says, odd queries too:
// each reply would go to the host whose address was forged.
func TestForgedSourcesGetNoErrorsEither(t *testing.T) {
	t.Parallel()
	tab := table(t)
	s := New(Config{Table: func() *view.Table { return tab }, Resolver: outside(t)})
	h := s.Handler(Listener{Views: []string{"external"}})()
	odd := []*dns.Msg{
		question("example.", dns.TypeAXFR), question("version.bind.", dns.TypeTXT, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
		question("example.", dns.TypeA, func(m *dns.Msg) { m.Question = nil }), question("example.", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }),
		question("example.", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }),
	}
	for _, m := range odd {
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		r := &listen.Request{Msg: b, Client: netip.AddrPortFrom(netip.MustParseAddr(insider), 1), Transport: listen.UDP}
		if reply := h.Serve(r, nil); len(reply) > 0 {
			t.Errorf("%v: %x", m, reply)
		}
	}
	if got := s.Counters.Forged.Value(); got != uint64(len(odd)) {
		t.Errorf("%d counted", got)
	}
}

func TestInsidersAreClientsOfARecursiveView(t *testing.T) {
	t.Parallel()
	tab := table(t)
	s := New(Config{Table: func() *view.Table { return tab }})
	for _, c := range []struct {
		listener Listener
		client   string
		want     bool
	}{
		{Listener{}, insider, true},
		{Listener{}, outsider, false},
		{Listener{Views: []string{"external"}}, insider, false},
		{Listener{Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}}, insider, false},
	} {
		var knows listen.Insiders = s.Handler(c.listener)().(*handler)
		if got := knows.Insider(netip.MustParseAddr(c.client)); got != c.want {
			t.Errorf("%v %s: %v", c.listener, c.client, got)
		}
	}
}

// TestNothingInternalLeaks asks from outside for the internal name by every
// type and compares with a name that does not exist.
func TestNothingInternalLeaks(t *testing.T) {
	t.Parallel()
	tab := table(t)
	s := New(Config{Table: func() *view.Table { return tab }, Resolver: outside(t), NSID: "edge"})
	h := s.Handler(Listener{})()
	for qtype := range uint16(300) {
		ask := func(qname string) []byte {
			m := question(qname, qtype, withEDNS)
			m.Id = 1
			b, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			r := &listen.Request{Msg: b, Client: netip.MustParseAddrPort("192.0.2.200:53"), Transport: listen.TCP}
			return bytes.Replace(h.Serve(r, nil), []byte("\x06secret"), []byte("\x06absent"), 1)
		}
		if a, b := ask("secret.example."), ask("absent.example."); !bytes.Equal(a, b) {
			t.Errorf("type %d: %x and %x", qtype, a, b)
		}
	}
}

func TestHandlerDoesNotAllocate(t *testing.T) {
	tab := table(t)
	s := New(Config{Table: func() *view.Table { return tab }, Resolver: outside(t)})
	h := s.Handler(Listener{})()
	buf := make([]byte, 0, 2048)
	for _, qname := range []string{"www.example.", "alias.example.", "cross.example.", "none.example.", "x.wild.example.", "www.sub.example.", "www.other."} {
		b, err := question(qname, dns.TypeA, withEDNS).Pack()
		if err != nil {
			t.Fatal(err)
		}
		r := &listen.Request{Msg: b, Client: netip.MustParseAddrPort("192.0.2.200:53"), Transport: listen.UDP}
		if n := testing.AllocsPerRun(100, func() { h.Serve(r, buf) }); n != 0 {
			t.Errorf("%s: %v allocations", qname, n)
		}
	}
}

type panicking struct{}

func (panicking) Resolve(context.Context, resolver.Question) (*dns.Msg, error) { panic("resolver") }

func TestPanicsAreContained(t *testing.T) {
	t.Parallel()
	s, addr := start(t, Config{Resolver: panicking{}}, Listener{})
	m := question("www.other.", dns.TypeA)
	m2 := question("www.example.", dns.TypeA)
	b, _ := m.Pack()
	b2, _ := m2.Pack()
	c := dialTCP(t, insider, addr)
	conn := &dns.Conn{Conn: c}
	for _, b := range [][]byte{b, b2} {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	got, err := conn.ReadMsg()
	if err != nil || got.Id != m2.Id {
		t.Fatalf("%v, %v", got, err)
	}
	c.Close()
	for s.Counters.Panics.Value() == 0 {
		exchange(t, "udp", outsider, addr, m2.Copy())
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	tab := table(t)
	local := Local(func() *view.Table { return tab })
	for _, c := range []struct {
		view, qname string
		qtype       uint16
		own         bool
		want        string
	}{
		{"internal", "secret.example.", dns.TypeA, true, "NOERROR aa A=10.0.0.9"},
		{"external", "secret.example.", dns.TypeA, true, "NXDOMAIN aa auth:SOA"},
		{"internal", "out.example.", dns.TypeA, true, "NOERROR aa CNAME=www.other."},
		{"internal", "www.sub.example.", dns.TypeA, true, "NOERROR auth:NS"},
		{"internal", "www.failed.", dns.TypeA, true, "SERVFAIL"},
		{"internal", "broken.example.", dns.TypeA, true, "SERVFAIL aa CNAME=www.failed."},
		{"internal", "www.other.", dns.TypeA, false, ""},
		{"internal", "example.", dns.TypeDS, false, ""},
		{"external", "example.", dns.TypeDS, false, ""},
		{"external", "failed.", dns.TypeDS, false, ""},
		{"none", "www.example.", dns.TypeA, false, ""},
	} {
		msg, own := local(c.view, mustName(t, c.qname), c.qtype)
		if own != c.own || own && summary(msg) != c.want {
			t.Errorf("%s %s: %v %v, want %v %s", c.view, c.qname, own, msg, c.own, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	tab := table(t)
	s := New(Config{Table: func() *view.Table { return tab }, Resolver: outside(t)})
	for _, c := range []struct {
		qname  string
		qtype  uint16
		client string
		views  []string
		want   string
	}{
		{"www.example.", dns.TypeA, "192.0.2.9", nil, "external example. answer NOERROR"},
		{"alias.example.", dns.TypeA, "192.0.2.9", nil, "external example. answer, after 1 aliases NOERROR"},
		{"x.wild.example.", dns.TypeTXT, "192.0.2.9", nil, "external example. answer, from a wildcard NOERROR"},
		{"www.other.", dns.TypeA, "192.0.2.9", nil, "external  not ours, and the view does not recurse REFUSED"},
		{"www.other.", dns.TypeA, insider, nil, "internal  not ours: the resolver looks it up (without RD: REFUSED) "},
		{"www.sub.example.", dns.TypeA, insider, nil, "internal example. referral; the resolver follows (without RD it does not) NOERROR"},
		{"www.failed.", dns.TypeA, insider, nil, "internal  our zone, but it has no good state SERVFAIL"},
		{"www.example.", dns.TypeAXFR, insider, nil, "internal  zone transfers are for the zone's secondaries alone REFUSED"},
		{"www.example.", dns.TypeA, insider, []string{"external"}, "  dropped "},
		{"www.example.", dns.TypeA, outsider, []string{"internal"}, "  refused REFUSED"},
	} {
		e := s.Explain(name.Name(mustName(t, c.qname)), c.qtype, netip.MustParseAddr(c.client), c.views)
		if got := strings.Join([]string{e.View, e.Zone, e.Kind, e.Rcode}, " "); got != c.want || e.Why == "" {
			t.Errorf("%s from %s: %q, want %q (%s)", c.qname, c.client, got, c.want, e.Why)
		}
	}
}

// TestTools asks with the programs operators ask with.
func TestTools(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Config{Resolver: outside(t)}, Listener{})
	port := strings.TrimPrefix(addr.String(), "127.0.0.1:")
	ran := false
	for _, args := range [][]string{
		{"dig", "+short", "+cookie", "@127.0.0.1", "-p", port, "www.example", "A"},
		{"dig", "+short", "+tcp", "+keepopen", "@127.0.0.1", "-p", port, "www.example", "A"},
		{"kdig", "+short", "+edns", "@127.0.0.1", "-p", port, "www.example", "A"},
		{"drill", "-Q", "-p", port, "@127.0.0.1", "www.example", "A"},
	} {
		if _, err := exec.LookPath(args[0]); err != nil {
			continue
		}
		ran = true
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "192.0.2.80" {
			t.Errorf("%v: %s, %v", args, out, err)
		}
	}
	if !ran {
		if os.Getenv("CI") == "true" {
			t.Fatal("neither dig nor kdig nor drill is installed")
		}
		t.Skip("neither dig nor kdig nor drill is installed")
	}
}
