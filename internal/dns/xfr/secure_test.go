package xfr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"postern/internal/dns/zone"
)

// TestWithinTLS: a primary of TLS is asked within TLS alone, for the SOA too, and
// who is not what it should be gets no question.
func TestWithinTLS(t *testing.T) {
	t.Parallel()
	ca, foreign := office(t, "ca"), office(t, "foreign")
	leaf := func(by paper, called string) tls.Certificate {
		return issue(t, &by, x509.Certificate{DNSNames: []string{called}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}).tls()
	}
	own := issue(t, &ca, x509.Certificate{DNSNames: []string{"us.test"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).tls()
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	good := func() *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{leaf(ca, "primary.test")}, NextProtos: []string{"dot"}}
	}
	mutual := func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, roots }
	for _, c := range []struct {
		name   string
		server func(*tls.Config) // nil: none, it speaks plain TCP
		own    *tls.Certificate
		want   Reason // 0: the zone comes
	}{
		{"as it should be", func(*tls.Config) {}, nil, 0},
		{"both have shown who they are", mutual, &own, 0},
		{"we have nothing to show", mutual, nil, TLSFailed},
		{"another name", func(c *tls.Config) { c.Certificates = []tls.Certificate{leaf(ca, "other.test")} }, nil, TLSFailed},
		{"another authority", func(c *tls.Config) { c.Certificates = []tls.Certificate{leaf(foreign, "primary.test")} }, nil, TLSFailed},
		{"no ALPN", func(c *tls.Config) { c.NextProtos = nil }, nil, TLSFailed},
		{"another ALPN", func(c *tls.Config) { c.NextProtos = []string{"h2"} }, nil, TLSFailed},
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, nil, TLSFailed},
		{"no TLS", nil, nil, TLSFailed},
	} {
		trust := Trust{Name: "primary.test", CA: []*x509.Certificate{ca.cert}}
		if c.own != nil {
			trust.Own = func() *tls.Certificate { return c.own }
		}
		config, err := trust.Client()
		if err != nil {
			t.Fatal(err)
		}
		var o *origin
		r, _, origins := feedOf(t, true, func(rc *RefresherConfig, in *Inbound) {
			in.Primaries = in.Primaries[:1]
			in.Primaries[0].TLS = config
			rc.Exchange = func(context.Context, netip.Addr, netip.AddrPort, []byte) ([]byte, error) {
				t.Errorf("%s: asked by UDP", c.name)
				return nil, errors.New("no")
			}
			rc.Dial = func(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
				client, server := line(t)
				o.runs.Go(func() {
					if c.server == nil {
						_, _ = server.Write(make([]byte, 14)) // a message without TLS
						server.Close()
						return
					}
					settings := good()
					c.server(settings)
					o.serve(tls.Server(server, settings))
				})
				return client, nil
			}
		})
		o = origins[0]
		o.publish(zoneOf(t, 2, odd))
		in, at := r.config.Zones()[0], target{r.config.Zones()[0].Primaries[0], one, false}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, polled := r.client.poll(ctx, &in, at)
		got, err := r.client.fetch(ctx, &in, at, wanted{have: zoneOf(t, 1, odd).SOA()})
		cancel()
		if c.want != 0 {
			if reasonOf(err) != c.want || reasonOf(polled) != c.want || len(o.asked()) != 0 {
				t.Errorf("%s: %v, %v, asked %v", c.name, polled, err, o.asked())
			}
			continue
		}
		if err != nil || polled != nil || !slices.Equal(text(got.Full), content(o.z)) || !zone.SameRecord(got.SOA, o.z.SOA()) {
			t.Errorf("%s: %v, %v", c.name, polled, err)
		}
	}
}
