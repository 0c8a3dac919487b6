package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"

	"postern/internal/dns/listen"
	"postern/internal/dns/rollover"
	"postern/internal/lookup"
	"postern/internal/manage"
)

// The two worlds of the leak matrix: 127.0.0.2 is inside, all else outside.
const (
	leakConfig = `[server]
hostname = "edge.city.example"
state    = "state"
control  = "c.sock"
[[listen]]
serve   = "dns"
address = ["127.0.0.1:0"]
` + secureListeners + `
name      = "inside"
clients   = ["127.0.0.2/32"]
zones     = "inner"
overlay   = "external"
hide      = ["public.city.example"]
recursion = true
[[view]]
name    = "external"
clients = ["any"]
zones   = "zones"
[dns]
rrl = "off"
[resolver]
root_hints = "root.hints"
[resolver.test]
upstream_map = "map"
allow_private_upstream = true
`
	leakOutside = `$TTL 300
@ SOA ns hostmaster 1 2h 1h 14d 5m
@ NS ns
@ MX 10 www
@ DNSKEY 257 3 13 a2V5
@ RRSIG SOA 13 2 300 20400101000000 20200101000000 1 city.example. c2ln
@ RRSIG NSEC 13 2 300 20400101000000 20200101000000 1 city.example. c2ln
@ NSEC alias NS SOA MX RRSIG NSEC DNSKEY
alias CNAME ledger.corp.test.
alias NSEC ns CNAME RRSIG NSEC
ns A 192.0.2.1
ns NSEC public A RRSIG NSEC
public A 192.0.2.3
public NSEC www A RRSIG NSEC
www A 192.0.2.2
www RRSIG NSEC 13 3 300 20400101000000 20200101000000 1 city.example. c2ln
www NSEC @ A RRSIG NSEC
`
	leakReverse = "$TTL 300\n@ SOA ns.city.example. hostmaster.city.example. 1 2h 1h 14d 5m\n@ NS ns.city.example.\n2 PTR www.city.example.\n"
	leakInside  = `$TTL 300
www A 10.66.6.80
vault A 10.66.6.6
vault TXT inside-only
a.dept AAAA fd66::6
_ldap._tcp SRV 0 0 389 vault
*.apps A 10.66.6.9
lab NS ns.lab
ns.lab A 10.66.6.53
`
	leakCorp = "$TTL 300\n@ SOA ns hostmaster 1 2h 1h 14d 5m\n@ NS ns\nns A 10.66.6.53\nledger A 10.66.6.8\n"
)

// secrets is what no outsider may read, in records and in texts. What stands
// in the external zone (the target of alias) is no secret.
var secrets = []string{"vault", "dept", "_ldap", "apps", "10.66.", "fd66", "inside-only", "\x0a\x42\x06", "lab.city", "corp.city"}

// leakHouse is an appliance with an inside, and a root of the world that has
// an answer for every name below other.
func leakHouse(t *testing.T) *house {
	t.Helper()
	world, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	root := &dns.Server{PacketConn: world, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Authoritative = true
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: 1, Ttl: 300}, A: net.IPv4(203, 0, 113, 9)}}
		}
		_ = w.WriteMsg(m) // a lost reply fails the question
	})}
	ended := make(chan error, 1)
	go func() { ended <- root.ActivateAndServe() }()
	t.Cleanup(func() {
		world.Close()
		<-ended
	})
	return buildWith(t, leakConfig, map[string]string{
		"root.hints":                         ". 3600 NS ns.root.\nns.root. 3600 A 192.0.2.1\n",
		"map":                                "192.0.2.1 " + world.LocalAddr().String() + "\n",
		"zones/city.example.zone":            leakOutside,
		"zones/2.0.192.in-addr.arpa.zone":    leakReverse,
		"inner/city.example.zone":            leakInside,
		"inner/2.0.192.in-addr.arpa.zone":    "66 300 PTR vault.city.example.\n",
		"inner/66.10.in-addr.arpa.zone":      "$TTL 300\n@ SOA ns.city.example. h.city.example. 1 2h 1h 14d 5m\n@ NS ns.city.example.\n6.6 PTR vault.city.example.\n",
		"inner/corp.test.zone":               leakCorp,
		"inner/corp.city.example.zone":       leakCorp,
		"zones/failed.example.zone":          "@ SOA\n",
		"inner/inner-failed.example.zone":    "@ SOA\n",
		"zones/overlaid-failed.example.zone": strings.Replace(leakOutside, "city.example", "overlaid-failed.example", -1),
		"inner/overlaid-failed.example.zone": "vault A 10.66.6\n",
		"zones/unsigned.city.example.zone":   strings.Replace(houseZone, "www", "web", 1),
		"inner/unsigned.city.example.zone":   "vault 300 A 10.66.6.6\n",
	})
}

// transport sends one message and returns the reply.
type transport func(b []byte) ([]byte, error)

// transports connects a client at from to every listener; by QUIC from
// 127.0.0.1 alone.
func (h *house) transports(from string) map[listen.Transport]transport {
	h.t.Helper()
	ip := net.ParseIP(from)
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}, Timeout: 10 * time.Second}
	// Dialled when first used: who says nothing for long is closed.
	stream := func(t listen.Transport, dial func() (net.Conn, error)) transport {
		ask := sync.OnceValue(func() transport {
			c, err := dial()
			if err != nil {
				h.t.Fatal(t, err)
			}
			h.t.Cleanup(func() { c.Close() })
			return overStream(c)
		})
		return func(b []byte) ([]byte, error) { return ask()(b) }
	}
	all := map[listen.Transport]transport{
		listen.UDP: func(b []byte) ([]byte, error) {
			c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: ip}}).Dial("udp", h.at(listen.UDP).String())
			if err != nil {
				return nil, err
			}
			defer c.Close()
			reply := make([]byte, 65535)
			if _, err := c.Write(b); err != nil {
				return nil, err
			}
			n, err := readBy(c, reply)
			return reply[:n], err
		},
		listen.TCP: stream(listen.TCP, func() (net.Conn, error) { return d.Dial("tcp", h.at(listen.TCP).String()) }),
		listen.TLS: stream(listen.TLS, func() (net.Conn, error) {
			return tls.DialWithDialer(d, "tcp", h.at(listen.TLS).String(), h.trust("dot"))
		}),
	}
	tr := &http.Transport{TLSClientConfig: h.trust("h2"), ForceAttemptHTTP2: true, DialContext: d.DialContext}
	h.t.Cleanup(tr.CloseIdleConnections)
	all[listen.HTTPS] = func(b []byte) ([]byte, error) {
		resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Post("https://"+h.at(listen.HTTPS).String()+"/dns-query", "application/dns-message", bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	}
	if from == "127.0.0.1" {
		var conn *quic.Conn
		dial := func() *quic.Conn {
			// A connection that was idle for too long is closed: on a busy
			// machine the other transports take that long.
			if conn != nil && conn.Context().Err() == nil {
				return conn
			}
			c, err := quic.DialAddr(h.t.Context(), h.at(listen.QUIC).String(), h.trust("doq"), &quic.Config{HandshakeIdleTimeout: 30 * time.Second, KeepAlivePeriod: time.Second})
			if err != nil {
				h.t.Fatal(err)
			}
			h.t.Cleanup(func() { _ = c.CloseWithError(0, "") })
			conn = c
			return c
		}
		all[listen.QUIC] = func(b []byte) ([]byte, error) {
			st, err := dial().OpenStreamSync(h.t.Context())
			if err != nil {
				return nil, err
			}
			if err := st.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				return nil, err
			}
			if _, err := st.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
				return nil, err
			}
			if err := st.Close(); err != nil {
				return nil, err
			}
			reply, err := io.ReadAll(st)
			if err != nil || len(reply) < 2 {
				return nil, errors.Join(err, errors.New("no reply"))
			}
			return reply[2:], nil
		}
	}
	return all
}

func readBy(c net.Conn, b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	return c.Read(b)
}

func overStream(c net.Conn) transport {
	return func(b []byte) ([]byte, error) {
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
			return nil, err
		}
		var size [2]byte
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return nil, err
		}
		reply := make([]byte, binary.BigEndian.Uint16(size[:]))
		_, err := io.ReadFull(c, reply)
		return reply, err
	}
}

// packed is a question, with DO and a wish for NSID if edns is set. The ID is
// always 0, as QUIC wants it (RFC 9250, Section 4.2.1).
func packed(t *testing.T, qname string, qtype uint16, edns bool, edits ...func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(qname, qtype)
	m.Id = 0
	if edns {
		m.SetEdns0(1232, true)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
	}
	for _, edit := range edits {
		edit(m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// leaking returns the secret that a reply to the question shows, what was
// asked left out: in its octets, or in names that compression cut in pieces.
func leaking(question, reply []byte) string {
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		return "a reply that cannot be read: " + err.Error()
	}
	asked := ""
	if len(m.Question) > 0 {
		asked = strings.ToLower(m.Question[0].Name)
	}
	m.Question = nil
	text := strings.ToLower(m.String())
	if asked != "" && asked != "." {
		text = strings.ReplaceAll(text, asked, "ASKED.")
	}
	rest := reply
	if end := questionEnd(question); end > 0 && len(reply) >= end {
		rest = reply[end:]
	}
	for _, s := range secrets {
		if strings.Contains(text, s) || bytes.Contains(rest, []byte(s)) {
			return s + " in " + m.String()
		}
	}
	return ""
}

func questionEnd(b []byte) int {
	_, off, err := dns.UnpackDomainName(b, 12)
	if err != nil {
		return 0
	}
	return off + 4
}

// everyType is every type with a name, and some without.
func everyType() []uint16 {
	types := []uint16{0, 1234, 65280, 65535}
	for kind := range dns.TypeToString {
		types = append(types, kind)
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// hiddenNames are names of the inside, each with a name beside it that exists
// nowhere, is as long, and stands at the same place of the denial chain.
var hiddenNames = []struct{ hidden, absent string }{
	{"vault.city.example.", "vaulu.city.example."},
	{"x.vault.city.example.", "x.vaulu.city.example."},
	{"a.dept.city.example.", "a.depu.city.example."},
	{"dept.city.example.", "depu.city.example."},
	{"_ldap._tcp.city.example.", "_ldaq._tcp.city.example."},
	{"_tcp.city.example.", "_tcq.city.example."},
	{"x.apps.city.example.", "x.appt.city.example."},
	{"lab.city.example.", "lac.city.example."},
	{"ns.lab.city.example.", "ns.lac.city.example."},
	{"host.lab.city.example.", "host.lac.city.example."},
	{"corp.city.example.", "corq.city.example."},
	{"ledger.corp.city.example.", "ledger.corq.city.example."},
	{"vault.unsigned.city.example.", "vaulu.unsigned.city.example."},
	{"corp.test.", "corq.test."},
	{"ledger.corp.test.", "ledger.corq.test."},
	{"inner-failed.example.", "inner-failee.example."},
	{"66.2.0.192.in-addr.arpa.", "67.2.0.192.in-addr.arpa."},
	{"6.6.66.10.in-addr.arpa.", "6.6.67.10.in-addr.arpa."},
	{"66.10.in-addr.arpa.", "67.10.in-addr.arpa."},
}

// TestLeakMatrix asks from outside, over every transport, by every type, for
// every name that exists inside alone: the reply is, octet by octet, that to a
// name which exists nowhere.
func TestLeakMatrix(t *testing.T) {
	t.Parallel()
	h := leakHouse(t)
	h.seesTheInside()
	out := h.transports("127.0.0.1")
	for over, ask := range out {
		for _, c := range hiddenNames {
			for _, kind := range everyType() {
				for _, edns := range []bool{false, true} {
					hidden, absent := packed(t, c.hidden, kind, edns), packed(t, c.absent, kind, edns)
					a, err := ask(hidden)
					if err != nil {
						t.Fatalf("%s: %s type %d: %v", over, c.hidden, kind, err)
					}
					b, err := ask(absent)
					if err != nil {
						t.Fatalf("%s: %s type %d: %v", over, c.absent, kind, err)
					}
					if leak := leaking(hidden, a); leak != "" {
						t.Errorf("%s: %s type %d shows %s", over, c.hidden, kind, leak)
					}
					if end := questionEnd(hidden); len(a) != len(b) || len(a) > end && !bytes.Equal(append(a[:12:12], a[end:]...), append(b[:12:12], b[end:]...)) {
						t.Errorf("%s: type %d of %s and of %s differ:\n%x\n%x", over, kind, c.hidden, c.absent, a, b)
					}
				}
			}
		}
		// Names of both worlds show the outer one.
		for _, qname := range []string{"city.example.", "www.city.example.", "alias.city.example.", "public.city.example.", "overlaid-failed.example.", "2.0.192.in-addr.arpa.", "2.2.0.192.in-addr.arpa.", "unsigned.city.example."} {
			for _, kind := range everyType() {
				q := packed(t, qname, kind, true)
				reply, err := ask(q)
				if err != nil {
					t.Fatalf("%s: %s type %d: %v", over, qname, kind, err)
				}
				if leak := leaking(q, reply); leak != "" {
					t.Errorf("%s: %s type %d shows %s", over, qname, kind, leak)
				}
			}
		}
	}
	if n := h.app.resolver.Counters.Questions.Value(); n != h.insideAsked {
		t.Errorf("the resolver heard %d questions, %d came from inside", n, h.insideAsked)
	}
	h.metricsTellNothing()
}

// seesTheInside makes sure that there is something to leak.
func (h *house) seesTheInside() {
	h.t.Helper()
	ask := h.transports("127.0.0.2")[listen.TCP]
	for question, want := range map[string]string{
		"vault.city.example. A": "10.66.6.6", "a.dept.city.example. AAAA": "fd66::6", "x.apps.city.example. A": "10.66.6.9", "www.city.example. A": "10.66.6.80",
		"ledger.corp.test. A": "10.66.6.8", "ledger.corp.city.example. A": "10.66.6.8", "6.6.66.10.in-addr.arpa. PTR": "vault.city.example.",
		"66.2.0.192.in-addr.arpa. PTR": "vault.city.example.", "1.0.0.10.in-addr.arpa. PTR": "NXDOMAIN", "public.city.example. A": "NXDOMAIN", "vault.unsigned.city.example. A": "10.66.6.6", "alias.city.example. A": "10.66.6.8",
	} {
		qname, qtype, _ := strings.Cut(question, " ")
		reply, err := ask(packed(h.t, qname, dns.StringToType[qtype], false))
		m := new(dns.Msg)
		if err := errors.Join(err, m.Unpack(reply)); err != nil || !strings.Contains(m.String(), want) {
			h.t.Fatalf("inside, %s: %v, %v", question, m, err)
		}
	}
	h.insideAsked = h.app.resolver.Counters.Questions.Value()
}

// metricsTellNothing reads the metrics page: no name, no address, and no label
// that could carry one.
func (h *house) metricsTellNothing() {
	h.t.Helper()
	w := httptest.NewRecorder()
	h.app.registry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	page := w.Body.String()
	for _, s := range append(secrets, "corp", "ledger", "city.example", "in-addr", "127.0.0.2") {
		if strings.Contains(page, s) {
			h.t.Errorf("the metrics tell %q", s)
		}
	}
	if !strings.Contains(page, "postern_dns_serve_udp_total") {
		h.t.Errorf("no metrics:\n%s", page)
	}
	// What a label may say: words of ours, that tell of nobody.
	words := map[string][]string{"door": nil, "reason": rollover.Reasons(), "state": manage.ParentStates(), "scanner": {"clamd", "rspamd"}}
	for _, m := range regexp.MustCompile(`(?m)^postern_[a-z_]+\{([^}]*)\}`).FindAllStringSubmatch(page, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			name, value, _ := strings.Cut(label, "=")
			if known, ok := words[name]; !ok || known != nil && !slices.Contains(known, strings.Trim(value, `"`)) {
				h.t.Errorf("label %s: is what it holds for everybody to read?", label)
			}
		}
	}
}

// TestRefusedTellsNothing: what is not ours is REFUSED outside with the same
// octets, whether the inside has asked for it or nobody ever has, over every
// transport, and the resolver never hears of it; inside too, without RD.
func TestRefusedTellsNothing(t *testing.T) {
	t.Parallel()
	h := leakHouse(t)
	inside := h.transports("127.0.0.2")
	reply, err := inside[listen.TCP](packed(t, "cached.other.", dns.TypeA, false))
	if m := new(dns.Msg); errors.Join(err, m.Unpack(reply)) != nil || len(m.Answer) != 1 {
		t.Fatalf("the inside resolves nothing: %v %v", m, err)
	}
	asked, hits := h.app.resolver.Counters.Questions.Value(), h.app.resolver.Cache().Counters.Hits.Value()
	noRD := func(m *dns.Msg) { m.RecursionDesired = false }
	check := func(who string, over listen.Transport, ask transport, edns bool, edits ...func(*dns.Msg)) {
		var first []byte
		for _, qname := range []string{"cached.other.", "nobody.other.", "corp.test.", "corq.test.", "."} {
			q := packed(t, qname, dns.TypeA, edns, edits...)
			reply, err := ask(q)
			if err != nil {
				t.Fatalf("%s %s: %s: %v", who, over, qname, err)
			}
			m := new(dns.Msg)
			if err := m.Unpack(reply); err != nil || m.Rcode != dns.RcodeRefused || m.AuthenticatedData || m.Authoritative || len(m.Answer)+len(m.Ns) > 0 || m.RecursionAvailable != (who == "inside") {
				t.Errorf("%s %s: %s: %v %v", who, over, qname, m, err)
			}
			rest := append(reply[:12:12], reply[questionEnd(q):]...)
			if who == "inside" && strings.HasPrefix(qname, "corp.") {
				continue // it is ours there
			}
			if first == nil {
				first = rest
			} else if !bytes.Equal(first, rest) {
				t.Errorf("%s %s: %s: %x, want %x", who, over, qname, rest, first)
			}
		}
	}
	for over, ask := range h.transports("127.0.0.1") {
		for _, edns := range []bool{false, true} {
			check("outside", over, ask, edns)
			check("outside", over, ask, edns, noRD)
		}
	}
	if n := h.app.resolver.Counters.Questions.Value(); n != asked {
		t.Errorf("the resolver heard %d questions from outside", n-asked)
	}
	if n := h.app.resolver.Cache().Counters.Hits.Value(); n != hits {
		t.Errorf("the cache was asked %d times from outside", n-hits)
	}
	for over, ask := range inside {
		for _, qname := range []string{"cached.other.", "nobody.other."} {
			reply, err := ask(packed(t, qname, dns.TypeA, false, noRD))
			if m := new(dns.Msg); errors.Join(err, m.Unpack(reply)) != nil || m.Rcode != dns.RcodeRefused || !m.RecursionAvailable {
				t.Errorf("inside %s: %s without RD: %v %v", over, qname, m, err)
			}
		}
	}
}

// TestOddMessagesTellNothing: CHAOS, other opcodes, transfers, other versions
// of EDNS, and messages that are none.
func TestOddMessagesTellNothing(t *testing.T) {
	t.Parallel()
	h := leakHouse(t)
	chaos := func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }
	opcode := func(n int) func(*dns.Msg) { return func(m *dns.Msg) { m.Opcode = n } }
	for over, ask := range h.transports("127.0.0.1") {
		for _, qname := range []string{"version.bind.", "version.server.", "hostname.bind.", "id.server.", "authors.bind.", "corp.test."} {
			for _, kind := range []uint16{dns.TypeTXT, dns.TypeANY, dns.TypeNS} {
				reply, err := ask(packed(t, qname, kind, true, chaos))
				m := new(dns.Msg)
				if errors.Join(err, m.Unpack(reply)) != nil || m.Rcode != dns.RcodeRefused || len(m.Answer)+len(m.Ns) > 0 {
					t.Errorf("%s: %s CH: %v %v", over, qname, m, err)
				}
			}
		}
		odd := []func(*dns.Msg){
			opcode(dns.OpcodeNotify), opcode(dns.OpcodeUpdate), opcode(dns.OpcodeStatus), opcode(dns.OpcodeIQuery), opcode(6), opcode(15),
			func(m *dns.Msg) { m.IsEdns0().SetVersion(1) },
			func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY },
			func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassNONE },
			func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR },
			func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeIXFR },
			func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
		}
		for i, edit := range odd {
			// QUIC carries no transfer by itself and may end such a stream; equal is equal.
			a, aerr := ask(packed(t, "corp.test.", dns.TypeSOA, true, edit))
			b, berr := ask(packed(t, "corq.test.", dns.TypeSOA, true, edit))
			if fmt.Sprint(aerr) != fmt.Sprint(berr) || !bytes.Equal(bytes.ReplaceAll(a, []byte("corp"), nil), bytes.ReplaceAll(b, []byte("corq"), nil)) {
				t.Errorf("%s: odd %d differs: %x %v, %x %v", over, i, a, aerr, b, berr)
			}
		}
	}
	for _, r := range []struct{ method, path, kind, body string }{
		{"POST", "/dns-query", "text/plain", "x"}, {"POST", "/dns-query", "application/dns-message", "x"}, {"GET", "/dns-query", "", ""},
		{"GET", "/dns-query?dns=!!", "", ""}, {"GET", "/vault.city.example", "", ""}, {"PUT", "/dns-query", "", ""},
	} {
		h.httpsTellsNothing(r.method, r.path, r.kind, r.body)
	}
	c, err := tls.Dial("tcp", h.at(listen.TLS).String(), h.trust("dot"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, cert := range c.ConnectionState().PeerCertificates {
		for _, s := range secrets {
			if text := fmt.Sprint(cert.DNSNames, cert.IPAddresses, cert.Subject, cert.Issuer); strings.Contains(text, s) || bytes.Contains(cert.Raw, []byte(s)) && len(s) > 3 {
				t.Errorf("the certificate shows %q: %s", s, text)
			}
		}
	}
}

func (h *house) httpsTellsNothing(method, path, kind, body string) {
	h.t.Helper()
	tr := &http.Transport{TLSClientConfig: h.trust("h2"), ForceAttemptHTTP2: true, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(h.t.Context(), method, "https://"+h.at(listen.HTTPS).String()+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		h.t.Fatal(method, path, err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	text := fmt.Sprint(resp.Header) + string(said)
	for _, s := range append(secrets, "inside", "external", "city.example") {
		if err != nil || strings.Contains(text, s) {
			h.t.Errorf("%s %s: %s %v", method, path, text, err)
		}
	}
}

// TestDenialChainFromOutside walks from name to name by NSEC, over each
// transport: it meets what the external file holds.
func TestDenialChainFromOutside(t *testing.T) {
	t.Parallel()
	h := leakHouse(t)
	for over, ask := range h.transports("127.0.0.1") {
		var walked []string
		for at := "city.example."; !slices.Contains(walked, at); {
			reply, err := ask(packed(t, at, dns.TypeNSEC, false))
			m := new(dns.Msg)
			if err := errors.Join(err, m.Unpack(reply)); err != nil || len(m.Answer) != 1 {
				t.Fatalf("%s: the chain ends at %s: %v %v", over, at, m, err)
			}
			walked = append(walked, at)
			at = m.Answer[0].(*dns.NSEC).NextDomain
		}
		if got := strings.Join(walked, " "); got != "city.example. alias.city.example. ns.city.example. public.city.example. www.city.example." {
			t.Errorf("%s: %s", over, got)
		}
		// As well by asking beside each name, which the proofs answer.
		for _, c := range hiddenNames {
			q := packed(t, c.absent, dns.TypeA, true)
			reply, err := ask(q)
			if err != nil {
				t.Fatal(err)
			}
			if leak := leaking(q, reply); leak != "" {
				t.Errorf("%s: beside %s: %s", over, c.hidden, leak)
			}
		}
	}
}

// TestForgedSourcesAreDropped: an address of the inside at a listener that
// serves outsiders alone gets nothing, over UDP and TCP.
func TestForgedSourcesAreDropped(t *testing.T) {
	t.Parallel()
	h := leakHouse(t)
	h.write("postern.toml", strings.Replace(leakConfig, "address = [\"127.0.0.1:0\"]\n", "address = [\"127.0.0.1:0\"]\nviews = [\"external\"]\n", 1))
	h.reload()
	for _, network := range []string{"udp", "tcp"} {
		before := h.app.serve.Counters.Forged.Value()
		var local net.Addr = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}
		over := listen.UDP
		if network == "tcp" {
			local, over = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, listen.TCP
		}
		c, err := (&net.Dialer{LocalAddr: local}).Dial(network, h.at(over).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		q := packed(t, "www.city.example.", dns.TypeA, false)
		if network == "tcp" {
			q = append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)
		}
		if _, err := c.Write(q); err != nil {
			t.Fatal(err)
		}
		counted, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		for h.app.serve.Counters.Forged.Value() == before && counted.Err() == nil {
			runtime.Gosched()
		}
		if cancel(); h.app.serve.Counters.Forged.Value() == before {
			t.Fatal("not counted")
		}
		// What comes next on the way is the answer to somebody who may ask.
		if reply, err := h.transports("127.0.0.1")[over](packed(t, "www.city.example.", dns.TypeA, false)); err != nil || len(reply) < 12 {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 512)); n > 0 {
			t.Errorf("%s: %d octets come back, %v", network, n, err)
		}
	}
}

// TestMailSeesTheWorldOutside: look-ups of mail see what outsiders see, and
// the names of next hops what is inside.
func TestMailSeesTheWorldOutside(t *testing.T) {
	t.Parallel()
	h := leakHouse(t)
	for _, c := range []struct{ name, outside, inside string }{
		{"www.city.example", "192.0.2.2", "10.66.6.80"},
		{"vault.city.example", "", "10.66.6.6"},
		{"ledger.corp.test", "", "10.66.6.8"},
		{"public.city.example", "192.0.2.3", ""},
		{"cached.other", "203.0.113.9", "203.0.113.9"},
	} {
		for who, want := range map[string]string{"outside": c.outside, "inside": c.inside} {
			r := h.app.outside(h.app.cfg)
			if who == "inside" {
				r = h.app.inside(h.app.cfg)
			}
			got := ""
			answer, err := r.Query(t.Context(), c.name, lookup.A)
			for _, rec := range answer.Records {
				got += rec.Addr.String()
			}
			if got != want || err != nil {
				t.Errorf("%s sees %s as %q, want %q (%v)", who, c.name, got, want, err)
			}
		}
	}
}

// TestOwnDataIsNotCached: what a zone of ours answers is no entry of the
// resolver's cache, whoever asked and by whichever way.
func TestOwnDataIsNotCached(t *testing.T) {
	t.Parallel()
	h := leakHouse(t)
	h.seesTheInside()
	cache := h.app.resolver.Cache()
	before := cache.Counters.Stored.Value()
	for _, r := range []lookup.Resolver{h.app.outside(h.app.cfg), h.app.inside(h.app.cfg)} {
		for _, n := range []string{"www.city.example", "vault.city.example", "none.city.example", "ns.lab.city.example"} {
			_, _ = r.Query(t.Context(), n, lookup.A) // what it says is shown elsewhere
		}
	}
	if n := cache.Counters.Stored.Value() - before; n > 0 {
		t.Errorf("%d entries of our own zones in the cache", n)
	}
}

// TestReadinessTellsNoName to whoever may ask a health check.
func TestReadinessTellsNoName(t *testing.T) {
	t.Parallel()
	h := leakHouse(t) // with zones that failed
	err := h.app.readyInBrief()
	if err == nil {
		t.Fatal("ready with zones that fail")
	}
	for _, s := range []string{"failed", "example", "inside", "external"} {
		if strings.Contains(err.Error(), s) {
			t.Errorf("%q tells %q", err, s)
		}
	}
	if s := h.app.facts().NotReady; !strings.Contains(s, "failed.example.") {
		t.Errorf("the operator is not told: %q", s)
	}
}

// TestAFaultOfAViewIsShown where the operator looks.
func TestAFaultOfAViewIsShown(t *testing.T) {
	t.Parallel()
	h := build(t)
	h.write("postern.toml", strings.Replace(houseConfig, `[[view]]`, "[[view]]\nname = \"inside\"\nclients = [\"10.0.0.0/8\"]\noverlay = \"external\"\nzones = \"inner\"\n[[view]]", 1))
	h.reload("view inside: directory-unreadable")
	if f := h.app.facts().Faults; len(f) != 1 || !strings.HasPrefix(f[0], h.dir) || !strings.Contains(f[0], ":1:1: ERR directory-unreadable view inside: ") {
		t.Errorf("%q", f)
	}
	if s := h.app.serve.Explain("\x03www\x04city\x07example\x00", dns.TypeA, netip.MustParseAddr("10.0.0.1"), nil); s.Rcode != "NOERROR" {
		t.Errorf("something fails for it: %+v", s)
	}
}
