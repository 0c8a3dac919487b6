package app

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"

	"postern/internal/dns/listen"
)

const secureListeners = `[[listen]]
serve     = "dns"
address   = ["127.0.0.1:0"]
transport = ["tls"]
[[listen]]
serve     = "dns"
address   = ["127.0.0.1:0"]
transport = ["https"]
[[listen]]
serve     = "dns"
address   = ["127.0.0.1:0"]
transport = ["quic"]
[[view]]`

// at returns where names are served over a transport.
func (h *house) at(transport listen.Transport) netip.AddrPort {
	h.t.Helper()
	for _, o := range h.app.names.Open() {
		if o.Transport == transport {
			return o.Addr
		}
	}
	h.t.Fatalf("no listener for %s", transport)
	return netip.AddrPort{}
}

// trust is what a client needs to believe the local authority.
func (h *house) trust(protocol string) *tls.Config {
	h.t.Helper()
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(h.app.certs.AuthorityFile())
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		h.t.Fatal("no authority", err)
	}
	return &tls.Config{RootCAs: roots, ServerName: "edge.city.example", NextProtos: []string{protocol}}
}

func (h *house) isAddress(m *dns.Msg, err error) {
	h.t.Helper()
	if err != nil || len(m.Answer) != 1 || !m.Answer[0].(*dns.A).A.Equal(net.IPv4(192, 0, 2, 2)) {
		h.t.Fatal(m, err)
	}
}

// TestNamesOverTLS: listeners of every transport come with a reload, show the
// certificate of the other doors, and go with another.
func TestNamesOverTLS(t *testing.T) {
	t.Parallel()
	h := build(t)
	h.write("postern.toml", strings.Replace(houseConfig, "[[view]]", secureListeners, 1))
	h.reload("listener dns tls 127.0.0.1:", "listener dns https 127.0.0.1:", "listener dns quic 127.0.0.1:")
	q := new(dns.Msg).SetQuestion("www.city.example.", dns.TypeA)
	q.Id = 0

	m, _, err := (&dns.Client{Net: "tcp-tls", TLSConfig: h.trust("dot")}).Exchange(q, h.at(listen.TLS).String())
	h.isAddress(m, err)
	m, err = overHTTPS(q, h.at(listen.HTTPS), h.trust("h2"))
	h.isAddress(m, err)
	m, err = overQUIC(t, q, h.at(listen.QUIC), h.trust("doq"))
	h.isAddress(m, err)
	w := httptest.NewRecorder()
	h.app.registry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for transport, want := range map[string]int{"udp": 0, "tcp": 0, "tls": 1, "https": 1, "quic": 1} {
		if line := fmt.Sprintf("\npostern_dns_serve_%s_total %d\n", transport, want); !strings.Contains(w.Body.String(), line) {
			t.Errorf("no %q in the metrics", line)
		}
	}

	h.write("postern.toml", houseConfig)
	h.reload("listener dns tls 127.0.0.1:", "listener dns https 127.0.0.1:", "listener dns quic 127.0.0.1:", ": gone")
	if n := len(h.app.names.Open()); n != 2 {
		t.Errorf("%d listeners", n)
	}
}

func overHTTPS(q *dns.Msg, at netip.AddrPort, trust *tls.Config) (*dns.Msg, error) {
	b, err := q.Pack()
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Post("https://"+at.String()+"/dns-query", "application/dns-message", bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if b, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	return m, m.Unpack(b)
}

func overQUIC(t *testing.T, q *dns.Msg, at netip.AddrPort, trust *tls.Config) (*dns.Msg, error) {
	t.Helper()
	c, err := quic.DialAddr(t.Context(), at.String(), trust, nil)
	if err != nil {
		return nil, err
	}
	defer c.CloseWithError(0, "")
	st, err := c.OpenStreamSync(t.Context())
	if err != nil {
		return nil, err
	}
	b, err := q.Pack()
	if err != nil {
		return nil, err
	}
	if _, err := st.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
		return nil, err
	}
	st.Close()
	if b, err = io.ReadAll(st); err != nil || len(b) < 2 {
		return nil, err
	}
	m := new(dns.Msg)
	return m, m.Unpack(b[2:])
}
