package relay

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postern/internal/mail/smtpd"
)

// identity is a certificate with its key, of its own or of an authority.
type identity struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (i identity) shown() []tls.Certificate {
	return []tls.Certificate{{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key, Leaf: i.cert}}
}

func issue(t *testing.T, by *identity, name string, edit func(*x509.Certificate)) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return identity{cert, key}
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.ExtKeyUsage, c.DNSNames = true, x509.KeyUsageCertSign, nil, nil
}

// The relay matrix of certificates: which host, what it shows, and what is said
// to MAIL.
func TestClientCert(t *testing.T) {
	t.Parallel()
	own, ca, other := issue(t, nil, "printer.test", nil), issue(t, nil, "CA", authority), issue(t, nil, "CA", authority)
	here, there := prefixes("127.0.0.1/32"), prefixes("10.0.0.9/32")
	renewed := own
	renewed.cert = resign(t, own)
	for name, c := range map[string]struct {
		host  Host
		shows *identity
		want  int // to MAIL; 554: at the greeting
	}{
		"nothing shown":                    {Host{Cert: certs(own)}, nil, 530},
		"the certificate":                  {Host{Cert: certs(own)}, &own, 250},
		"renewed with the same key":        {Host{Cert: certs(own)}, &renewed, 250},
		"a stranger's of the same name":    {Host{Cert: certs(own)}, at(issue(t, nil, "printer.test", nil)), 550},
		"of the authority":                 {Host{Cert: certs(ca)}, at(issue(t, &ca, "any.test", nil)), 250},
		"of the authority, named":          {Host{Cert: certs(ca), CertName: "printer.test"}, at(issue(t, &ca, "printer.test", nil)), 250},
		"of the authority, another name":   {Host{Cert: certs(ca), CertName: "printer.test"}, at(issue(t, &ca, "any.test", nil)), 550},
		"of another authority":             {Host{Cert: certs(ca)}, at(issue(t, &other, "printer.test", nil)), 550},
		"over":                             {Host{Cert: certs(ca)}, at(issue(t, &ca, "any.test", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), 550},
		"of a server":                      {Host{Cert: certs(ca)}, at(issue(t, &ca, "any.test", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), 550},
		"address and certificate":          {Host{Clients: here, Cert: certs(own)}, &own, 250},
		"the address alone":                {Host{Clients: here, Cert: certs(own)}, nil, 530},
		"the certificate from elsewhere":   {Host{Clients: there, Cert: certs(own)}, &own, 554},
		"an address needs no certificate":  {Host{Clients: here}, nil, 250},
		"and one that is shown is no harm": {Host{Clients: here}, at(issue(t, nil, "x.test", nil)), 250},
	} {
		conf := config(t)
		conf.Hosts = []Host{c.host}
		conf.Hosts[0].Senders = []string{"@example.test"}
		if got := mailCode(t, serveTLS(t, conf, own), c.shows); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func at(i identity) *identity { return &i }

func certs(i identity) []*x509.Certificate { return []*x509.Certificate{i.cert} }

// resign makes another certificate for the same key.
func resign(t *testing.T, i identity) *x509.Certificate {
	t.Helper()
	template := *i.cert
	template.SerialNumber = big.NewInt(2)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &i.key.PublicKey, i.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// mailCode goes over to TLS where something is shown, and says MAIL.
func mailCode(t *testing.T, s *smtpd.Server, shows *identity) int {
	t.Helper()
	var client *smtp.Client
	var err error
	if shows == nil {
		client, err = smtp.Dial(s.Addr().String())
	} else {
		client, err = smtp.DialStartTLS(s.Addr().String(), &tls.Config{InsecureSkipVerify: true, Certificates: shows.shown()})
	}
	if err == nil {
		defer client.Close()
		err = client.Mail("a@example.test", nil)
	}
	var refused *smtp.SMTPError
	switch {
	case err == nil:
		return 250
	case errors.As(err, &refused):
		return refused.Code
	}
	t.Fatal(err)
	return 0
}

func serveTLS(t *testing.T, c Config, own identity) *smtpd.Server {
	t.Helper()
	door, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s, err := smtpd.New(smtpd.Config{
		Name: "relay", Hostname: c.Postmaster, Addr: netip.MustParseAddrPort("127.0.0.1:0"), Mode: smtpd.STARTTLS, Log: c.Log, NewSession: door.Session,
		TLS: &tls.Config{Certificates: own.shown(), ClientAuth: tls.RequestClientCert},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the test's own context has ended
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}
