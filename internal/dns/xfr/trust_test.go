package xfr

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"
)

// paper is a certificate with its key.
type paper struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (p paper) tls() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key, Leaf: p.cert}
}

// issue makes a certificate for a name; by none: it vouches for itself.
func issue(t *testing.T, by *paper, template x509.Certificate) paper {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return reissue(t, key, by, template)
}

func reissue(t *testing.T, key *ecdsa.PrivateKey, by *paper, template x509.Certificate) paper {
	t.Helper()
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	parent, signer := &template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return paper{cert, key}
}

// office is an authority.
func office(t *testing.T, called string) paper {
	t.Helper()
	return issue(t, nil, x509.Certificate{
		Subject: pkix.Name{CommonName: called}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
}

// line is both ends of a connection that holds more than one of them reads: who
// refuses in the middle of a flight says so and goes.
func line(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server} {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	}
	return client, server
}

// meet shakes hands, and returns what the client says of it and what the server
// saw. The client has read an octet, so that it knows the server's verdict too.
func meet(t *testing.T, client, server *tls.Config) (tls.ConnectionState, tls.ConnectionState, error) {
	t.Helper()
	a, b := line(t)
	defer a.Close()
	ended, saw := make(chan struct{}), tls.ConnectionState{}
	go func() {
		defer close(ended)
		defer b.Close()
		s := tls.Server(b, server)
		if s.Handshake() == nil {
			saw = s.ConnectionState()
			_, _ = s.Write([]byte{1})
		}
	}()
	c := tls.Client(a, client)
	_, err := c.Read(make([]byte, 1))
	state := c.ConnectionState()
	a.Close()
	<-ended
	return state, saw, err
}

func TestWhoIsNotTheServerWeMean(t *testing.T) {
	t.Parallel()
	ca, other := office(t, "ca"), office(t, "other")
	named := x509.Certificate{DNSNames: []string{"ns.hidden.test"}}
	good := issue(t, &ca, named)
	self := issue(t, nil, named)
	past := x509.Certificate{DNSNames: named.DNSNames, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)}
	expired, selfExpired := issue(t, &ca, past), issue(t, nil, past)
	byName := Trust{Name: "ns.hidden.test", CA: []*x509.Certificate{ca.cert}}
	pinned := func(papers ...paper) Trust {
		var all []Pin
		for _, p := range papers {
			all = append(all, PinOf(p.cert))
		}
		return Trust{Pins: all}
	}
	both := pinned(good)
	both.Name, both.CA = byName.Name, byName.CA
	later := byName
	later.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	laterPin := pinned(good)
	laterPin.Now = later.Now
	for _, c := range []struct {
		name   string
		trust  Trust
		shows  paper
		change func(*tls.Config)
		good   bool
		want   error // nil: any
	}{
		{"another name", byName, issue(t, &ca, x509.Certificate{DNSNames: []string{"ns.other.test"}}), nil, false, nil},
		{"a name as common name only", byName, issue(t, &ca, x509.Certificate{Subject: pkix.Name{CommonName: "ns.hidden.test"}}), nil, false, nil},
		{"another authority", byName, issue(t, &other, named), nil, false, nil},
		{"vouches for itself", byName, self, nil, false, nil},
		{"expired", byName, expired, nil, false, nil},
		{"expired by the clock we were given", later, good, nil, false, nil},
		{"no ALPN", byName, good, func(c *tls.Config) { c.NextProtos = nil }, false, ErrALPN},
		{"ALPN of others", byName, good, func(c *tls.Config) { c.NextProtos = []string{"h2"} }, false, nil},
		{"TLS 1.2", byName, good, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, false, nil},
		{"the system's authorities", Trust{Name: "ns.hidden.test"}, good, nil, false, nil},
		{"another key", pinned(self), good, nil, false, ErrPin},
		{"another key of the right name", Trust{Name: byName.Name, CA: byName.CA, Pins: pinned(self).Pins}, good, nil, false, ErrPin},
		{"the right key with another name", Trust{Name: "ns.other.test", CA: byName.CA, Pins: both.Pins}, good, nil, false, nil},
		{"a pinned key, expired", pinned(selfExpired), selfExpired, nil, false, ErrDates},
		{"a pinned key, expired by the clock we were given", laterPin, good, nil, false, ErrDates},
		{"a pinned key, no ALPN", pinned(good), good, func(c *tls.Config) { c.NextProtos = nil }, false, ErrALPN},
		{"believing all, no ALPN", Trust{Loose: true}, self, func(c *tls.Config) { c.NextProtos = nil }, false, ErrALPN},

		{"name", byName, good, nil, true, nil},
		{"pin", pinned(self, good), good, nil, true, nil},
		{"pin of a certificate that vouches for itself", pinned(self), self, nil, true, nil},
		{"name and pin", both, good, nil, true, nil},
		{"believing all", Trust{Loose: true}, expired, nil, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client, err := c.trust.Client()
			if err != nil {
				t.Fatal(err)
			}
			server := &tls.Config{Certificates: []tls.Certificate{c.shows.tls()}, NextProtos: []string{"dot"}}
			if c.change != nil {
				c.change(server)
			}
			_, _, err = meet(t, client, server)
			if (err == nil) != c.good || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v, want %t (%v)", err, c.good, c.want)
			}
		})
	}
}

func TestTrustOfNothingIsNone(t *testing.T) {
	t.Parallel()
	ca := office(t, "ca")
	for _, c := range []struct {
		name  string
		trust Trust
	}{
		{"neither name nor pin", Trust{}},
		{"an authority alone", Trust{CA: []*x509.Certificate{ca.cert}}},
		{"all, and a name", Trust{Loose: true, Name: "a.test"}},
		{"all, and a pin", Trust{Loose: true, Pins: []Pin{PinOf(ca.cert)}}},
	} {
		if config, err := c.trust.Client(); err == nil || config != nil {
			t.Errorf("%s: taken", c.name)
		}
	}
}

// TestSessionsGoOn: with fewer steps, and judged all the same.
func TestSessionsGoOn(t *testing.T) {
	t.Parallel()
	ca := office(t, "ca")
	good := issue(t, &ca, x509.Certificate{DNSNames: []string{"ns.hidden.test"}})
	ours := issue(t, nil, x509.Certificate{})
	clock := time.Now()
	shown := ours.tls()
	trust := Trust{
		Pins: []Pin{PinOf(good.cert)}, Own: func() *tls.Certificate { return &shown }, Now: func() time.Time { return clock },
	}
	client, err := trust.Client()
	if err != nil {
		t.Fatal(err)
	}
	client.ServerName = "ns.hidden.test" // else sessions go by the address, and each line here has another port
	server := &tls.Config{
		Certificates: []tls.Certificate{good.tls()}, NextProtos: []string{"dot"}, ClientAuth: tls.RequestClientCert,
	}
	for i := range 3 {
		state, saw, err := meet(t, client, server)
		if err != nil || state.DidResume != (i > 0) || state.Version != tls.VersionTLS13 {
			t.Fatalf("connection %d: %v, resumed %t", i, err, state.DidResume)
		}
		if len(saw.PeerCertificates) != 1 || !bytes.Equal(saw.PeerCertificates[0].Raw, ours.cert.Raw) {
			t.Errorf("connection %d: the server saw %d certificates", i, len(saw.PeerCertificates))
		}
	}
	clock = clock.Add(2 * time.Hour)
	if state, _, err := meet(t, client, server); err == nil {
		t.Errorf("an expired certificate is good with an old session (resumed %t)", state.DidResume)
	}
}

// TestARenewedCertificateIsShown from the next connection on; and who has none
// shows none.
func TestARenewedCertificateIsShown(t *testing.T) {
	t.Parallel()
	good := issue(t, nil, x509.Certificate{})
	var own *tls.Certificate
	client, err := Trust{Pins: []Pin{PinOf(good.cert)}, Own: func() *tls.Certificate { return own }}.Client()
	if err != nil {
		t.Fatal(err)
	}
	client.ClientSessionCache = nil
	server := &tls.Config{Certificates: []tls.Certificate{good.tls()}, NextProtos: []string{"dot"}, ClientAuth: tls.RequestClientCert}
	for _, p := range []*paper{nil, new(paper), new(paper)} {
		var want []byte
		if p != nil {
			*p = issue(t, nil, x509.Certificate{})
			made := p.tls()
			own, want = &made, p.cert.Raw
		}
		_, saw, err := meet(t, client, server)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		if len(saw.PeerCertificates) > 0 {
			got = saw.PeerCertificates[0].Raw
		}
		if !bytes.Equal(got, want) {
			t.Errorf("shown %d octets, want %d", len(got), len(want))
		}
	}
}
