package serve

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/view"
	"postern/internal/dns/xfr"
)

// issue makes a certificate; by nil: it vouches for itself.
func issue(t *testing.T, by *tls.Certificate, template x509.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := &template, any(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// papers are the certificates of the tests.
type papers struct{ server, ca, otherCA, member, misnamed, foreign, own, past *tls.Certificate }

func newPapers(t *testing.T) papers {
	t.Helper()
	office := x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	p := papers{server: issue(t, nil, x509.Certificate{DNSNames: []string{"us.test"}}), ca: issue(t, nil, office), otherCA: issue(t, nil, office)}
	named := x509.Certificate{DNSNames: []string{"ns.isp.test"}}
	p.member, p.foreign = issue(t, p.ca, named), issue(t, p.otherCA, named)
	p.misnamed = issue(t, p.ca, x509.Certificate{DNSNames: []string{"ns.other.test"}})
	p.own = issue(t, nil, named)
	named.NotAfter = time.Now().Add(-time.Minute)
	p.past = issue(t, p.ca, named)
	return p
}

func holder(t *testing.T, name string, certs ...*tls.Certificate) *xfr.Holder {
	t.Helper()
	var leaves []*x509.Certificate
	for _, c := range certs {
		leaves = append(leaves, c.Leaf)
	}
	h, err := xfr.NewHolder(leaves, name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// vault is an outlet whose peers want TLS, each another way of it. The zones are
// example., one view for each way.
type vault struct {
	*outlet
	at  map[string]netip.AddrPort // by network
	log *said
}

// said is a log that is read while others write.
type said struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// take returns what was said since it was called last.
func (s *said) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return s.text.String()
}

func newVault(t *testing.T, p papers) *vault {
	t.Helper()
	peer := func(n string, key string, h *xfr.Holder) *xfr.Peer {
		made := &xfr.Peer{Name: n, TLS: true, Holder: h}
		if key != "" {
			made.Keys = []name.Name{mustName(t, key)}
		}
		return made
	}
	placed := peer("placed", "", holder(t, "", p.own))
	placed.ByAddress, placed.From = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
	rules := xfr.NewRules([]xfr.Rule{
		{Zone: mustName(t, "example."), View: "external", Peers: []*xfr.Peer{
			peer("strict", tlsKey, nil), peer("mutual", outsideKey, holder(t, "ns.isp.test", p.ca)), peer("pinned", freeKey, holder(t, "", p.own)),
		}},
		{Zone: mustName(t, "second."), View: "external", Peers: []*xfr.Peer{
			peer("bare", "", holder(t, "ns.isp.test", p.ca)), placed, {Name: "open", Keys: []name.Name{mustName(t, insideKey)}},
		}},
	}, nil)
	tab := versions(t)
	v := &vault{outlet: &outlet{t: t}, at: map[string]netip.AddrPort{}, log: new(said)}
	v.out = xfr.New(xfr.Config{Source: published(t), Rules: func() *xfr.Rules { return rules }})
	v.s = New(Config{
		Table: func() *view.Table { return tab }, Keys: transferKeys(t), Transfers: v.out, NSID: "edge",
		Log: slog.New(slog.NewTextHandler(v.log, nil)),
	})
	shown := &tls.Config{Certificates: []tls.Certificate{*p.server}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	h, any4 := v.s.Handler(Listener{}), netip.MustParseAddrPort("127.0.0.1:0")
	v.set = listen.NewSet(listen.Config{Sockets: 1, Listen: []listen.Spec{
		{Addr: any4, Transport: listen.UDP, Handler: h}, {Addr: any4, Transport: listen.TCP, Handler: h},
		{Addr: any4, Transport: listen.TLS, Handler: h, TLS: shown},
	}})
	if err := v.set.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(v.s.Stop(ctx), v.set.Stop(ctx)); err != nil {
			t.Error(err)
		}
	})
	for _, o := range v.set.Open() {
		v.at[o.Transport.String()] = o.Addr
	}
	return v
}

// reach connects; c is for "tls".
func (v *vault) reach(network, from string, c *tls.Config) net.Conn {
	v.t.Helper()
	var local net.Addr = &net.TCPAddr{IP: net.ParseIP(from)}
	below := "tcp"
	if network == "udp" {
		local, below = &net.UDPAddr{IP: net.ParseIP(from)}, "udp"
	}
	d := net.Dialer{LocalAddr: local}
	conn, err := d.DialContext(v.t.Context(), below, v.at[network].String())
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if network != "tls" {
		return conn
	}
	return tls.Client(conn, c)
}

// demand asks and returns the first reply, summed up.
func (v *vault) demand(c net.Conn, network string, s signature, m *dns.Msg) string {
	v.t.Helper()
	framed := network
	if framed == "tls" {
		framed = "tcp"
	}
	_, mac := v.send(c, framed, s, m)
	raw := v.read(c, framed)
	reply, proof := unpack(v.t, raw), ""
	if s.key != "" {
		reply, proof = s.check(v.t, raw, mac)
	}
	return fmt.Sprintf("%s %d records, %d octets less question, %s", dns.RcodeToString[reply.Rcode], len(reply.Answer),
		len(raw)-len(m.Question[0].Name), proof)
}

// within is the settings of a client: what else than TLS 1.3 with "dot" it does,
// and what it shows.
func within(shows *tls.Certificate, odd ...func(*tls.Config)) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"dot"}, MinVersion: tls.VersionTLS12}
	if shows != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shows, nil }
	}
	for _, f := range odd {
		f(c)
	}
	return c
}

func oldTLS(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }
func noALPN(c *tls.Config) { c.NextProtos = nil }

// TestNothingLeavesOtherwise: a peer that must come within TLS, or must show a
// certificate, gets by every other way what a stranger gets, and of a zone that
// does not exist.
func TestNothingLeavesOtherwise(t *testing.T) {
	t.Parallel()
	p := newPapers(t)
	v := newVault(t, p)
	for _, c := range []struct {
		name, zone, network, from, key string
		tls                            *tls.Config
		want                           string // of the log; "": there is nothing to say
	}{
		{"strict by TCP", "example.", "tcp", "127.0.0.1", tlsKey, nil, "not-tls"},
		{"strict by UDP", "example.", "udp", "127.0.0.1", tlsKey, nil, "not-tls"},
		{"strict by TLS 1.2", "example.", "tls", "127.0.0.1", tlsKey, within(nil, oldTLS), "tls-version-or-alpn"},
		{"strict without ALPN", "example.", "tls", "127.0.0.1", tlsKey, within(nil, noALPN), "tls-version-or-alpn"},
		{"mutual by TCP", "example.", "tcp", "127.0.0.1", outsideKey, nil, "not-tls"},
		{"mutual by UDP", "example.", "udp", "127.0.0.1", outsideKey, nil, "not-tls"},
		{"mutual without a certificate", "example.", "tls", "127.0.0.1", outsideKey, within(nil), "client-cert"},
		{"mutual, of another authority", "example.", "tls", "127.0.0.1", outsideKey, within(p.foreign), "client-cert"},
		{"mutual, for another name", "example.", "tls", "127.0.0.1", outsideKey, within(p.misnamed), "client-cert"},
		{"mutual, expired", "example.", "tls", "127.0.0.1", outsideKey, within(p.past), "client-cert"},
		{"mutual, vouched for by itself", "example.", "tls", "127.0.0.1", outsideKey, within(p.own), "client-cert"},
		{"mutual without ALPN", "example.", "tls", "127.0.0.1", outsideKey, within(p.member, noALPN), "tls-version-or-alpn"},
		{"mutual by TLS 1.2", "example.", "tls", "127.0.0.1", outsideKey, within(p.member, oldTLS), "tls-version-or-alpn"},
		{"mutual without the key", "example.", "tls", "127.0.0.1", "", within(p.member), ""},
		{"another peer's certificate", "example.", "tls", "127.0.0.1", freeKey, within(p.member), "client-cert"},
		{"the authority's member, pinned", "example.", "tls", "127.0.0.1", freeKey, within(p.ca), "client-cert"},
		{"bare by TCP", "second.", "tcp", "127.0.0.1", "", nil, ""},
		{"bare by UDP", "second.", "udp", "127.0.0.1", "", nil, ""},
		{"bare without a certificate", "second.", "tls", "127.0.0.1", "", within(nil), ""},
		{"bare, of another authority", "second.", "tls", "127.0.0.1", "", within(p.foreign), "client-cert"},
		{"bare, expired", "second.", "tls", "127.0.0.1", "", within(p.past), "client-cert"},
		{"bare, with the key of none", "second.", "tls", "127.0.0.1", freeKey, within(p.member), ""},
		{"placed by TCP", "second.", "tcp", "127.0.0.9", "", nil, "not-tls"},
		{"placed without a certificate", "second.", "tls", "127.0.0.9", "", within(nil), "client-cert"},
		{"placed, elsewhere", "second.", "tls", "127.0.0.1", "", within(p.own), "client-cert"},
		{"a peer of any transport without ALPN", "second.", "tls", "127.0.0.1", insideKey, within(nil, noALPN), "tls-version-or-alpn"},
	} {
		for _, kind := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
			if kind == dns.TypeAXFR && c.network == "udp" {
				continue
			}
			ask := func(qname string) string {
				m := question(qname, kind)
				if kind == dns.TypeIXFR {
					m = ixfr(qname, 4)
				}
				conn := v.reach(c.network, c.from, c.tls)
				defer conn.Close() // one client has so many at one time
				return v.demand(conn, c.network, signature{key: c.key}, m)
			}
			v.log.take()
			for i := range v.s.wary {
				v.s.wary[i].Store(0)
			}
			before := v.out.Counters.Insecure.Value()
			got := ask(c.zone)
			logged, counted := v.log.take(), v.out.Counters.Insecure.Value()-before
			if nobody := ask("nonesuch."); got != nobody || !strings.HasPrefix(got, "REFUSED 0 records") {
				t.Errorf("%s: %s, of nothing %s", c.name, got, nobody)
			}
			if c.want == "" && (logged != "" || counted != 0) || c.want != "" && (!strings.Contains(logged, "reason="+c.want+" ") || counted != 1) {
				t.Errorf("%s: counted %d, want %q: %s", c.name, counted, c.want, logged)
			}
		}
	}
	if full, steps := v.out.Counters.Full.Value(), v.out.Counters.Incremental.Value(); full+steps > 0 {
		t.Errorf("%d zones and %d differences left", full, steps)
	}
}

// TestWithinTLS: who comes as it must gets the zone, again with a session that
// goes on, and several on one connection.
func TestWithinTLS(t *testing.T) {
	t.Parallel()
	p := newPapers(t)
	v := newVault(t, p)
	for _, c := range []struct {
		name, zone, from, key string
		shows                 *tls.Certificate
	}{
		{"strict", "example.", "127.0.0.1", tlsKey, nil},
		{"strict, who shows one all the same", "example.", "127.0.0.1", tlsKey, p.foreign},
		{"mutual", "example.", "127.0.0.1", outsideKey, p.member},
		{"pinned", "example.", "127.0.0.1", freeKey, p.own},
		{"bare", "second.", "127.0.0.1", "", p.member},
		{"placed", "second.", "127.0.0.9", "", p.own},
		{"of any transport", "second.", "127.0.0.1", insideKey, nil},
	} {
		client := within(c.shows)
		client.ClientSessionCache, client.ServerName = tls.NewLRUClientSessionCache(1), "us.test"
		for turn := range 2 {
			conn := v.reach("tls", c.from, client)
			for _, kind := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
				m := question(c.zone, kind, withEDNS)
				if kind == dns.TypeIXFR {
					m = ixfr(c.zone, 1)
				}
				if got := v.demand(conn, "tls", signature{key: c.key}, m); !strings.HasPrefix(got, "NOERROR ") || strings.HasPrefix(got, "NOERROR 0") {
					t.Errorf("%s: %s", c.name, got)
				}
			}
			if s := conn.(*tls.Conn).ConnectionState(); s.DidResume != (turn == 1) || s.Version != tls.VersionTLS13 {
				t.Errorf("%s, connection %d: resumed %t, version %x", c.name, turn, s.DidResume, s.Version)
			}
		}
	}
	if n := v.out.Counters.Insecure.Value() + v.out.Counters.Refused.Value(); n != 0 {
		t.Errorf("%d refused", n)
	}
}

// TestSerialsAreNoSecret: a peer of TLS asks for the SOA by any way, and is told
// that of its view; one that only its certificate tells from others is known by
// that alone.
func TestSerialsAreNoSecret(t *testing.T) {
	t.Parallel()
	p := newPapers(t)
	v := newVault(t, p)
	for _, c := range []struct {
		network string
		tls     *tls.Config
		zone    string
		key     string
	}{
		{"udp", nil, "example.", outsideKey}, {"tcp", nil, "example.", outsideKey},
		{"tls", within(nil, noALPN), "example.", outsideKey}, {"tls", within(p.member), "second.", ""},
	} {
		got := v.demand(v.reach(c.network, "127.0.0.1", c.tls), c.network, signature{key: c.key}, question(c.zone, dns.TypeSOA))
		if !strings.HasPrefix(got, "NOERROR 1 ") {
			t.Errorf("%s by %s: %s", c.zone, c.network, got)
		}
	}
	// Packed as a question, the SOA in the view of the transfers: 127.0.0.1 is
	// of another.
	h, ok := v.s.Handler(Listener{})().(*handler)
	if !ok {
		t.Fatal("no handler")
	}
	for _, c := range []struct {
		state *tls.ConnectionState
		want  bool
	}{
		{nil, false},
		{&tls.ConnectionState{Version: tls.VersionTLS13, NegotiatedProtocol: "dot"}, false},
		{&tls.ConnectionState{Version: tls.VersionTLS13, NegotiatedProtocol: "dot", PeerCertificates: []*x509.Certificate{p.foreign.Leaf}}, false},
		{&tls.ConnectionState{Version: tls.VersionTLS13, NegotiatedProtocol: "dot", PeerCertificates: []*x509.Certificate{p.member.Leaf}}, true},
	} {
		r := &listen.Request{Client: netip.MustParseAddrPort("127.0.0.1:1"), Transport: listen.TLS, TLS: c.state}
		who := h.asker(r, "")
		who.Polls = true
		if _, ok := v.out.Grant(mustName(t, "second."), who); ok != c.want {
			t.Errorf("%+v: %t", c.state, ok)
		}
	}
}

// TestExplainWithinTLS: what is asked for besides the key is said with it.
func TestExplainWithinTLS(t *testing.T) {
	t.Parallel()
	v := newVault(t, newPapers(t))
	from := netip.MustParseAddr("192.0.2.9")
	e := v.s.ExplainSigned(mustName(t, outsideKey), mustName(t, "example."), dns.TypeAXFR, from, nil)
	if e.Rcode != "NOERROR" || e.Kind != "zone transfer, within TLS alone, to who shows the peer's certificate" {
		t.Errorf("%+v", e)
	}
	if e := v.s.Explain(mustName(t, "second."), dns.TypeAXFR, from, nil); e.Rcode != "REFUSED" {
		t.Errorf("who shows nothing: %+v", e)
	}
}

// TestPaddingOfTransfers: the first message is padded where the client pads (RFC
// 9103, Section 7.9.1, leaves it to us), and says how long the connection may
// idle.
func TestPaddingOfTransfers(t *testing.T) {
	t.Parallel()
	p := newPapers(t)
	v := newVault(t, p)
	conn := v.reach("tls", "127.0.0.1", within(p.member))
	m := question("second.", dns.TypeAXFR, withEDNS)
	opt := m.IsEdns0()
	opt.Option = append(opt.Option, &dns.EDNS0_PADDING{}, &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE})
	v.send(conn, "tcp", signature{}, m)
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, raw); err != nil {
		t.Fatal(err)
	}
	alive := false
	for _, o := range unpack(t, raw).IsEdns0().Option {
		if k, ok := o.(*dns.EDNS0_TCP_KEEPALIVE); ok {
			alive = k.Timeout == uint16(listen.DefaultIdle/(100*time.Millisecond))
		}
	}
	if len(raw)%padBlock != 0 || !alive {
		t.Errorf("%d octets, keepalive %t", len(raw), alive)
	}
}
