package listen

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
)

// pair returns what a server shows and what a client trusts.
func pair(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "ns.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"ns.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	shown := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	server = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown, nil }}
	client = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "ns.example"}
	client.RootCAs.AddCert(cert)
	return server, client
}

// openSecure starts a set with one listener and returns a client's TLS.
func openSecure(t *testing.T, transport Transport, h func() Handler, limits Limits) (*Set, netip.AddrPort, *tls.Config) {
	t.Helper()
	server, client := pair(t)
	client.NextProtos = []string{alpn[transport]}
	s, addr := open(t, Config{Limits: limits, Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: transport, Handler: h, TLS: server}}})
	return s, addr, client
}

// zoneHandler is a handler that answers every question with one address, whose TTL
// is 300, and the transport as text.
type zoneHandler struct{}

func (zoneHandler) Serve(r *Request, dst []byte) []byte {
	q := new(dns.Msg)
	if err := q.Unpack(r.Msg); err != nil || len(q.Question) != 1 || q.Response {
		return nil
	}
	m := new(dns.Msg).SetReply(q)
	name := q.Question[0].Name
	m.Answer = append(
		m.Answer,
		&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: net.IPv4(192, 0, 2, 1)},
		&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 3600}, Txt: []string{r.Transport.String()}},
	)
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return append(dst, b...)
}

func zoneHandlers() Handler { return zoneHandler{} }

func question(t *testing.T, id uint16) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
	m.Id = id
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// transportIn returns the text of the answer.
func transportIn(t *testing.T, reply []byte) string {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil || len(m.Answer) != 2 {
		t.Fatalf("%v, %v", m, err)
	}
	return m.Answer[1].(*dns.TXT).Txt[0]
}

func TestTLSAnswersAnIndependentClient(t *testing.T) {
	t.Parallel()
	s, addr, trust := openSecure(t, TLS, zoneHandlers, Limits{})
	for _, protos := range [][]string{{"dot"}, nil} {
		trust := trust.Clone()
		trust.NextProtos = protos
		c := &dns.Client{Net: "tcp-tls", TLSConfig: trust, Timeout: patience}
		m, _, err := c.Exchange(new(dns.Msg).SetQuestion("www.example.", dns.TypeA), addr.String())
		if err != nil || m.Answer[1].(*dns.TXT).Txt[0] != "tls" {
			t.Fatal(m, err)
		}
	}
	if n := s.Counters.TLSMessages.Value(); n != 2 || s.Counters.TCPMessages.Value() != 0 {
		t.Errorf("counted %d messages", n)
	}
	if o := s.Open(); len(o) != 1 || o[0] != (Open{TLS, addr}) {
		t.Errorf("open: %v", o)
	}
}

func TestTLSPipelinesAndAnswersOutOfOrder(t *testing.T) {
	t.Parallel()
	kept := make(later, 3)
	_, addr, trust := openSecure(t, TLS, func() Handler { return kept }, Limits{})
	conn, err := tls.Dial("tcp", addr.String(), trust)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	send(t, conn, append(append(frame("1"), frame("2")...), frame("3")...))
	one, two, three := <-kept, <-kept, <-kept
	if one.Transport != TLS {
		t.Errorf("transport %v", one.Transport)
	}
	// The client has said all it will: its answers are still owed.
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	three.Reply([]byte("three"))
	if got := readFrame(t, conn); got != "three" {
		t.Errorf("first reply %q", got)
	}
	one.Reply([]byte("one"))
	if got := readFrame(t, conn); got != "one" {
		t.Errorf("second reply %q", got)
	}
	two.Reply(nil)
	closed(t, conn)
}

// TestHandshakesThatAreNone: silence, plain DNS, plain HTTP and noise are
// closed within the handshake's time, without an octet of text.
func TestHandshakesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, transport := range []Transport{TLS, HTTPS} {
		for name, octets := range map[string][]byte{
			"silence":   nil,
			"half":      {22, 3, 1},
			"plain DNS": frame("a question without TLS"),
			"HTTP":      []byte("GET /dns-query HTTP/1.1\r\nHost: x\r\n\r\n"),
			"noise":     bytes.Repeat([]byte{0xA5}, 5000),
		} {
			t.Run(transport.String()+" "+name, func(t *testing.T) {
				t.Parallel()
				s, addr, _ := openSecure(t, transport, zoneHandlers, Limits{Handshake: 50 * time.Millisecond})
				conn := dial(t, "tcp", addr)
				_, _ = conn.Write(octets)
				said, err := io.ReadAll(conn)
				var timeout net.Error
				if errors.As(err, &timeout) && timeout.Timeout() {
					t.Fatal("still open")
				}
				if bytes.Contains(said, []byte("HTTP")) || len(said) > 7 { // an alert
					t.Errorf("said %q", said)
				}
				if n := s.Counters.TLSHandshakesFailed.Value(); n != 1 {
					t.Errorf("counted %d failed handshakes", n)
				}
			})
		}
	}
}

func TestSecureConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	s, addr, trust := openSecure(t, TLS, zoneHandlers, Limits{PerClient: 1})
	first, err := tls.Dial("tcp", addr.String(), trust)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := tls.Dial("tcp", addr.String(), trust); err == nil {
		t.Error("a second connection of one client")
	}
	if s.Counters.SecureRefusedClient.Value() != 1 || s.Counters.TCPRefusedClient.Value() != 0 {
		t.Error("not counted")
	}
}

// TestSettingsOfListenersThatStay: handshakes after a change follow the new
// settings, on the socket there was.
func TestSettingsOfListenersThatStay(t *testing.T) {
	t.Parallel()
	for _, transport := range []Transport{TLS, HTTPS, QUIC} {
		s, addr, trust := openSecure(t, transport, zoneHandlers, Limits{})
		server, other := pair(t)
		other.NextProtos = trust.NextProtos
		change, err := s.Prepare(t.Context(), []Spec{{Addr: addr, Transport: transport, Handler: zoneHandlers, TLS: server}})
		if err != nil {
			t.Fatal(err)
		}
		if err := change.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			trust *tls.Config
			ok    bool
		}{{trust, false}, {other, true}} {
			err := shakes(t, transport, addr, c.trust)
			if (err == nil) != c.ok {
				t.Errorf("%s: %v", transport, err)
			}
		}
	}
}

func shakes(t *testing.T, transport Transport, addr netip.AddrPort, trust *tls.Config) error {
	t.Helper()
	if transport != QUIC {
		c, err := tls.Dial("tcp", addr.String(), trust)
		if err == nil {
			c.Close()
		}
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := quic.DialAddr(ctx, addr.String(), trust, nil)
	if err == nil {
		_ = c.CloseWithError(0, "")
	}
	return err
}

// TestHTTPSCancelledStreamsStillCount: a client that resets each stream as
// soon as it has asked gets no more work done at once than one that waits.
func TestHTTPSCancelledStreamsStillCount(t *testing.T) {
	t.Parallel()
	const streams, asked = 4, 64
	kept, stopped := make(later, asked), make(chan struct{})
	t.Cleanup(func() { close(stopped) }) // after the set has
	s, addr, trust := openSecure(t, HTTPS, func() Handler { return kept }, Limits{InFlight: streams, PerClient: 1})
	c := h2client(t, trust)
	post := func(ctx context.Context) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr.String()+"/dns-query", bytes.NewReader(question(t, 0)))
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("Content-Type", "application/dns-message")
		if resp, err := c.Do(r); err == nil {
			resp.Body.Close()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { post(ctx) }) // from now on there is one connection
	(<-kept).Reply(question(t, 0))
	wg.Wait()
	for range streams {
		wg.Go(func() { post(ctx) })
	}
	var all []*Pending
	for range streams {
		all = append(all, <-kept)
	}
	cancel() // the answers are still owed to nobody
	wg.Wait()
	for range asked - streams {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		post(ctx)
		cancel()
	}
	if n := s.Counters.HTTPSMessages.Value(); n > 1+streams {
		t.Errorf("%d messages in hand of one client, not %d", n, 1+streams)
	}
	for _, p := range all {
		p.Reply(nil)
	}
	go func() { // what was queued behind them
		for {
			select {
			case p := <-kept:
				p.Reply(nil)
			case <-stopped:
				return
			}
		}
	}()
}

func TestHTTPSHeadersAreBounded(t *testing.T) {
	t.Parallel()
	_, addr, trust := openSecure(t, HTTPS, zoneHandlers, Limits{})
	c := h2client(t, trust)
	resp, err := c.Get("https://" + addr.String() + "/dns-query?dns=" + strings.Repeat("A", 80000))
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
}

func TestStopCutsHandshakes(t *testing.T) {
	t.Parallel()
	server, _ := pair(t)
	for _, transport := range []Transport{TLS, HTTPS} {
		s := NewSet(Config{Limits: Limits{Handshake: time.Hour}, Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: transport, Handler: zoneHandlers, TLS: server}}})
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		conn := dial(t, "tcp", s.Open()[0].Addr)
		send(t, conn, []byte{22, 3, 1})
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(transport, err)
		}
		closed(t, conn)
	}
}

// TestStopWaitsForNoHalfRequest: a client that says nothing, or only a part,
// does not hold the server up.
func TestStopWaitsForNoHalfRequest(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T, netip.AddrPort, *tls.Config){
		"tls silent": func(t *testing.T, addr netip.AddrPort, trust *tls.Config) {
			dialTLS(t, addr, trust, "dot")
		},
		"tls half a message": func(t *testing.T, addr netip.AddrPort, trust *tls.Config) {
			send(t, dialTLS(t, addr, trust, "dot"), frame("half")[:3])
		},
		"https silent": func(t *testing.T, addr netip.AddrPort, trust *tls.Config) {
			dialTLS(t, addr, trust, "h2")
		},
		"https half a body": func(t *testing.T, addr netip.AddrPort, trust *tls.Config) {
			r, w := io.Pipe()
			c := h2client(t, trust)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if resp, err := c.Post("https://"+addr.String()+"/dns-query", "application/dns-message", r); err == nil {
					resp.Body.Close()
				}
			}()
			_, _ = w.Write([]byte("half"))
			t.Cleanup(func() { w.Close(); <-done })
		},
		"quic silent": func(t *testing.T, addr netip.AddrPort, trust *tls.Config) {
			trust.NextProtos = []string{"doq"}
			dialQUIC(t, addr, trust)
		},
		"quic half a query": func(t *testing.T, addr netip.AddrPort, trust *tls.Config) {
			trust.NextProtos = []string{"doq"}
			st, err := dialQUIC(t, addr, trust).OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = st.Write(frame("half")[:3])
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, trust := pair(t)
			word, _, _ := strings.Cut(name, " ")
			transport := map[string]Transport{"tls": TLS, "https": HTTPS, "quic": QUIC}[word]
			// An hour: only stopping ends it.
			limits := Limits{Idle: time.Hour, Handshake: time.Hour, Write: time.Hour}
			s := NewSet(Config{Limits: limits, Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: transport, Handler: zoneHandlers, TLS: server}}})
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			begin(t, s.Open()[0].Addr, trust)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := s.Stop(ctx); err != nil {
				t.Error(err)
			}
			if n := s.Connections(); n != 0 && transport != QUIC {
				t.Errorf("%d connections left", n)
			}
		})
	}
}

func dialTLS(t *testing.T, addr netip.AddrPort, trust *tls.Config, proto string) net.Conn {
	t.Helper()
	trust = trust.Clone()
	trust.NextProtos = []string{proto}
	c, err := tls.Dial("tcp", addr.String(), trust)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestSecurePortInUseIsNamed(t *testing.T) {
	t.Parallel()
	server, _ := pair(t)
	for _, transport := range []Transport{TLS, HTTPS, QUIC} {
		plain := TCP
		if transport == QUIC {
			plain = UDP
		}
		s, addr := open(t, Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: plain, Handler: zoneHandlers}}})
		spec := Spec{Addr: addr, Transport: transport, Handler: zoneHandlers, TLS: server}
		_, err := NewSet(Config{}).Prepare(t.Context(), []Spec{spec})
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), fmt.Sprintf("listen on %s %s", transport, addr)) {
			t.Errorf("%s: %v", transport, err)
		}
		// The same port of the same process changes its transport at once.
		change, err := s.Prepare(t.Context(), []Spec{spec})
		if err != nil {
			t.Fatal(err)
		}
		if err := change.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		if o := s.Open(); len(o) != 1 || o[0] != (Open{transport, addr}) {
			t.Errorf("open: %v", o)
		}
		if _, err := s.Prepare(t.Context(), []Spec{{Addr: local(t, "127.0.0.1"), Transport: transport, Handler: zoneHandlers}}); err == nil {
			t.Errorf("%s without a certificate", transport)
		}
		if change, err := s.Prepare(t.Context(), []Spec{{Addr: local(t, "127.0.0.1"), Transport: transport, Handler: zoneHandlers, TLS: server}}); err != nil {
			t.Error(err)
		} else {
			change.Abort()
		}
	}
}

func h2client(t *testing.T, trust *tls.Config) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirected") }}
}

func TestHTTPSAnswersAnIndependentClient(t *testing.T) {
	t.Parallel()
	s, addr, trust := openSecure(t, HTTPS, zoneHandlers, Limits{})
	c := h2client(t, trust)
	url := "https://" + addr.String() + "/dns-query"
	check := func(r *http.Response, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK || r.ProtoMajor != 2 || transportIn(t, b) != "https" {
			t.Fatalf("%+v %q, %v", r, b, err)
		}
		for k, want := range map[string]string{"Content-Type": "application/dns-message", "Content-Length": fmt.Sprint(len(b)), "Cache-Control": "private, max-age=300"} {
			if got := r.Header.Get(k); got != want {
				t.Errorf("%s: %q", k, got)
			}
			r.Header.Del(k)
		}
		if len(r.Header) > 0 {
			t.Errorf("headers about us: %v", r.Header)
		}
	}
	check(c.Get(url + "?dns=" + base64.RawURLEncoding.EncodeToString(question(t, 0))))
	check(c.Post(url, "application/dns-message", bytes.NewReader(question(t, 7))))
	if n := s.Counters.HTTPSMessages.Value(); n != 2 {
		t.Errorf("counted %d messages", n)
	}
}

func TestHTTPSRefuses(t *testing.T) {
	t.Parallel()
	s, addr, trust := openSecure(t, HTTPS, zoneHandlers, Limits{})
	c := h2client(t, trust)
	good := base64.RawURLEncoding.EncodeToString(question(t, 0))
	long := strings.Repeat("x", 0x10000)
	answered := append([]byte{0, 0, 0x80}, question(t, 0)[3:]...)
	var refused uint64
	for _, x := range []struct {
		name, method, target, media string
		body                        io.Reader
		want                        int
	}{
		{"root", "GET", "/", "", nil, 404},
		{"below the path", "GET", "/dns-query/?dns=" + good, "", nil, 404},
		{"another path", "POST", "/dns-query2", "application/dns-message", bytes.NewReader(question(t, 0)), 404},
		{"dots", "GET", "/x/../dns-query?dns=" + good, "", nil, 404},
		{"PUT", "PUT", "/dns-query", "application/dns-message", bytes.NewReader(question(t, 0)), 405},
		{"HEAD", "HEAD", "/dns-query?dns=" + good, "", nil, 405},
		{"no parameter", "GET", "/dns-query", "", nil, 400},
		{"two parameters", "GET", "/dns-query?dns=" + good + "&dns=" + good, "", nil, 400},
		{"padded", "GET", "/dns-query?dns=AAAA=", "", nil, 400},
		{"not base64url", "GET", "/dns-query?dns=%2B%2F%2B%2F", "", nil, 400},
		{"short", "GET", "/dns-query?dns=AAAA", "", nil, 400},
		{"empty body", "POST", "/dns-query", "application/dns-message", nil, 400},
		{"JSON", "POST", "/dns-query", "application/dns-json", strings.NewReader("{}"), 415},
		{"no media type", "POST", "/dns-query", "", bytes.NewReader(question(t, 0)), 415},
		{"too long and says so", "POST", "/dns-query", "application/dns-message", strings.NewReader(long), 413},
		{"too long and does not say", "POST", "/dns-query", "application/dns-message", io.MultiReader(strings.NewReader(long)), 413},
		{"a reply", "POST", "/dns-query", "application/dns-message", bytes.NewReader(answered), 503},
	} {
		r, err := http.NewRequestWithContext(t.Context(), x.method, "https://"+addr.String()+x.target, x.body)
		if err != nil {
			t.Fatal(err)
		}
		if x.media != "" {
			r.Header.Set("Content-Type", x.media)
		}
		resp, err := c.Do(r)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != x.want || len(b) > 0 {
			t.Errorf("%s: %d %q, want %d", x.name, resp.StatusCode, b, x.want)
		}
		resp.Header.Del("Content-Length")
		if x.want == 405 && resp.Header.Get("Allow") != "GET, POST" || x.want != 405 && len(resp.Header) > 0 {
			t.Errorf("%s: %v", x.name, resp.Header)
		}
		if x.want != 503 {
			refused++
		}
	}
	if n := s.Counters.HTTPSRefused.Value(); n != refused {
		t.Errorf("counted %d refused, want %d", n, refused)
	}
}

func TestHTTPSOneIsRefused(t *testing.T) {
	t.Parallel()
	_, addr, trust := openSecure(t, HTTPS, zoneHandlers, Limits{})
	for _, protos := range [][]string{nil, {"http/1.1"}} {
		trust := trust.Clone()
		trust.NextProtos = protos
		conn, err := tls.Dial("tcp", addr.String(), trust)
		if err != nil {
			continue // refused even sooner
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		if b, _ := io.ReadAll(conn); len(b) > 0 {
			t.Errorf("said %q", b)
		}
		conn.Close()
	}
}

// TestHTTPSStopWaitsForNobodyWhoIsAnswered: net/http would keep a connection
// for a second though nothing is asked on it any more.
func TestHTTPSStopWaitsForNobodyWhoIsAnswered(t *testing.T) {
	t.Parallel()
	server, trust := pair(t)
	s := NewSet(Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: HTTPS, TLS: server, Handler: zoneHandlers}}})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	addr := s.Open()[0].Addr.String()
	for range 3 { // each with a connection of its own, which stays open
		c := h2client(t, trust)
		r, err := c.Post("https://"+addr+"/dns-query", "application/dns-message", bytes.NewReader(question(t, 0)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r.Body); err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
	}
	// One that reads nothing and never closes.
	deaf := dialTLS(t, netip.MustParseAddrPort(addr), trust, "h2")
	send(t, deaf, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	if _, err := deaf.Read(make([]byte, 1)); err != nil { // the server has begun
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 800*time.Millisecond)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// TestHTTPSStopCutsNoReply: a reply larger than all buffers, which ends while
// the server stops, arrives whole.
func TestHTTPSStopCutsNoReply(t *testing.T) {
	t.Parallel()
	server, trust := pair(t)
	kept := make(later, 1)
	s := NewSet(Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: HTTPS, TLS: server, Handler: func() Handler { return kept }}}})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	large := bytes.Repeat([]byte("reply "), 10_000)
	go func() {
		r, err := h2client(t, trust).Post("https://"+s.Open()[0].Addr.String()+"/dns-query", "application/dns-message", bytes.NewReader(question(t, 0)))
		if err != nil {
			got <- err
			return
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err == nil && !bytes.Equal(b, large) {
			err = fmt.Errorf("%d octets of %d", len(b), len(large))
		}
		got <- err
	}()
	p := <-kept
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- s.Stop(ctx)
	}()
	p.Reply(large)
	if err := <-got; err != nil {
		t.Error(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestHTTPSKeepsManyStreamsAndStopWaits(t *testing.T) {
	t.Parallel()
	const streams = 8
	server, trust := pair(t)
	kept := make(later, streams)
	s := NewSet(Config{Limits: Limits{InFlight: streams}, Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: HTTPS, TLS: server, Handler: func() Handler { return kept }}}})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := h2client(t, trust)
	url := "https://" + s.Open()[0].Addr.String() + "/dns-query"
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			r, err := c.Post(url, "application/dns-message", bytes.NewReader(question(t, uint16(i))))
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			if b, err := io.ReadAll(r.Body); err != nil || len(b) < 2 || b[1] != byte(i) || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d: %q, %v, %v", i, b, r.Header, err)
			}
		})
	}
	var all []*Pending
	for range streams {
		all = append(all, <-kept)
	}
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- s.Stop(ctx)
	}()
	for _, p := range all {
		select {
		case err := <-stopped:
			t.Fatal("stopped with requests in flight", err)
		default:
		}
		p.Reply(p.Msg)
	}
	wg.Wait()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func dialQUIC(t *testing.T, addr netip.AddrPort, trust *tls.Config) *quic.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := quic.DialAddr(ctx, addr.String(), trust, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseWithError(0, "") })
	return c
}

// askQUIC writes octets on a new stream, ends it and reads the reply.
func askQUIC(t *testing.T, c *quic.Conn, octets []byte) ([]byte, error) {
	t.Helper()
	st, err := c.OpenStreamSync(t.Context())
	if err != nil {
		return nil, err
	}
	_ = st.SetDeadline(time.Now().Add(patience))
	if _, err := st.Write(octets); err != nil {
		return nil, err
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	return io.ReadAll(st)
}

func TestQUICAnswersAnIndependentClient(t *testing.T) {
	t.Parallel()
	s, addr, trust := openSecure(t, QUIC, zoneHandlers, Limits{InFlight: 4})
	c := dialQUIC(t, addr, trust)
	for range 20 { // more than the streams in flight
		b, err := askQUIC(t, c, frame(string(question(t, 0))))
		if err != nil || len(b) < 2 || transportIn(t, b[2:]) != "quic" || string(frame(string(b[2:]))) != string(b) {
			t.Fatalf("%q, %v", b, err)
		}
	}
	if n := s.Counters.QUICMessages.Value(); n != 20 {
		t.Errorf("counted %d messages", n)
	}
	if s.Connections() != 1 || s.Counters.SecureAccepted.Value() != 1 {
		t.Errorf("%d connections", s.Connections())
	}
}

func TestQUICProtocolErrors(t *testing.T) {
	t.Parallel()
	_, addr, trust := openSecure(t, QUIC, zoneHandlers, Limits{})
	good := string(question(t, 0))
	m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA).SetEdns0(1232, false)
	m.Id = 0
	m.Extra[0].(*dns.OPT).Option = []dns.EDNS0{&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}}
	alive, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for name, octets := range map[string][]byte{
		"an ID":             frame(string(question(t, 7))),
		"two queries":       append(frame(good), frame(good)...),
		"cut short":         frame(good)[:20],
		"nothing":           {},
		"a length only":     {0, 0},
		"noise":             bytes.Repeat([]byte{0xA5}, 3000),
		"too long":          make([]byte, 0x10002),
		"keepalive of TCP":  frame(string(alive)),
		"octets after that": append(frame(good), 0),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dialQUIC(t, addr, trust)
			_, err := askQUIC(t, c, octets)
			var app *quic.ApplicationError
			if !errors.As(err, &app) || app.ErrorCode != 2 || !app.Remote {
				t.Fatalf("error %v", err)
			}
		})
	}
}

func TestQUICUnanswerableEndsItsStreamOnly(t *testing.T) {
	t.Parallel()
	_, addr, trust := openSecure(t, QUIC, zoneHandlers, Limits{})
	c := dialQUIC(t, addr, trust)
	_, err := askQUIC(t, c, frame("\x00\x00\x80\x00 not a question"))
	var reset *quic.StreamError
	if !errors.As(err, &reset) || reset.ErrorCode != 1 {
		t.Errorf("error %v", err)
	}
	if b, err := askQUIC(t, c, frame(string(question(t, 0)))); err != nil || len(b) < 2 {
		t.Errorf("%q, %v", b, err)
	}
}

// TestQUICStreamsAreBounded: a client that cancels gets no more streams than
// one that waits.
func TestQUICStreamsAreBounded(t *testing.T) {
	t.Parallel()
	const streams = 3
	kept := make(later, 100)
	_, addr, trust := openSecure(t, QUIC, func() Handler { return kept }, Limits{InFlight: streams})
	c := dialQUIC(t, addr, trust)
	var pending []*Pending
	for range streams {
		st, err := c.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = st.Write(frame(string(question(t, 0))))
		st.Close()
		pending = append(pending, <-kept)
		st.CancelRead(3)
	}
	if _, err := c.OpenStream(); err == nil {
		t.Error("one more stream")
	}
	for _, p := range pending {
		p.Reply(nil)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.OpenStreamSync(ctx); err != nil {
		t.Error(err)
	}
	if _, err := c.OpenUniStream(); err == nil {
		t.Error("a stream of one direction")
	}
}

// TestQUICClosedConnectionsStillCount: who closes and comes again has no more
// queries in hand than who stays; noise and forged beginnings cost nothing.
func TestQUICClosedConnectionsStillCount(t *testing.T) {
	t.Parallel()
	kept := make(later, 10)
	s, addr, trust := openSecure(t, QUIC, func() Handler { return kept }, Limits{PerClient: 1})
	noise := dial(t, "udp", addr)
	for _, b := range [][]byte{{0}, bytes.Repeat([]byte{0xA5}, 1400), append([]byte{0xC3, 0, 0, 0, 1, 8}, make([]byte, 1300)...)} {
		_, _ = noise.Write(b)
	}
	c := dialQUIC(t, addr, trust)
	st, err := c.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = st.Write(frame(string(question(t, 0))))
	st.Close()
	p := <-kept
	_ = c.CloseWithError(0, "")
	refusedQUIC(t, addr, trust) // the first has a query in hand
	if n := s.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	p.Reply(nil)
	for s.Connections() > 0 {
		runtime.Gosched() // the place is free again
	}
}

// refusedQUIC fails unless a new connection is closed for want of room.
func refusedQUIC(t *testing.T, addr netip.AddrPort, trust *tls.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := quic.DialAddr(ctx, addr.String(), trust, nil)
	if err == nil {
		_, err = c.AcceptStream(ctx)
	}
	var app *quic.ApplicationError
	if !errors.As(err, &app) || app.ErrorCode != 4 {
		t.Errorf("not refused: %v", err)
	}
}

func TestQUICIdleAndRefusedConnections(t *testing.T) {
	t.Parallel()
	s, addr, trust := openSecure(t, QUIC, zoneHandlers, Limits{Idle: 300 * time.Millisecond, PerClient: 1})
	c := dialQUIC(t, addr, trust)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	refusedQUIC(t, addr, trust)
	if s.Counters.SecureRefusedClient.Value() == 0 {
		t.Error("not counted")
	}
	select {
	case <-c.Context().Done():
	case <-ctx.Done():
		t.Error("still open")
	}
	wrong := trust.Clone()
	wrong.NextProtos = []string{"h3"}
	if _, err := quic.DialAddr(ctx, addr.String(), wrong, nil); err == nil {
		t.Error("another protocol")
	}
}

func TestQUICStopWaitsForRequests(t *testing.T) {
	t.Parallel()
	server, trust := pair(t)
	trust.NextProtos = []string{"doq"}
	kept := make(later, 1)
	s := NewSet(Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: QUIC, TLS: server, Handler: func() Handler { return kept }}}})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := dialQUIC(t, s.Open()[0].Addr, trust)
	got := make(chan string, 1)
	go func() {
		b, err := askQUIC(t, c, frame(string(question(t, 0))))
		got <- fmt.Sprintf("%q %v", b, err)
	}()
	p := <-kept
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- s.Stop(ctx)
	}()
	p.Reply([]byte("late"))
	if g := <-got; g != `"\x00\x04late" <nil>` {
		t.Error(g)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestKdig asks with a client that shares no code with us.
func TestKdig(t *testing.T) {
	t.Parallel()
	kdig, err := exec.LookPath("kdig")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no kdig here")
		}
		t.Skip("no kdig here")
	}
	for transport, flags := range map[Transport][]string{TLS: {"+tls"}, HTTPS: {"+https"}, QUIC: {"+quic"}} {
		t.Run(transport.String(), func(t *testing.T) {
			t.Parallel()
			_, addr, _ := openSecure(t, transport, zoneHandlers, Limits{})
			for _, more := range [][]string{nil, {"+https-get"}} {
				if more != nil && transport != HTTPS {
					continue
				}
				args := append(append([]string{"@127.0.0.1", "-p", fmt.Sprint(addr.Port()), "www.example", "A", "+time=5", "+retry=0"}, flags...), more...)
				out, err := exec.CommandContext(t.Context(), kdig, args...).CombinedOutput()
				if err != nil || !strings.Contains(string(out), `"`+transport.String()+`"`) {
					t.Errorf("kdig %v: %v\n%s", args, err, out)
				}
			}
		})
	}
}
