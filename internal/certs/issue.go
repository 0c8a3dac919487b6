package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"time"
)

// Lifetimes of what the local authority makes.
const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	leafLifetime      = 90 * 24 * time.Hour
	// backdate forgives peers whose clock runs behind ours.
	backdate = time.Hour
)

// pair is a certificate with its private key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// names is what a leaf certificate vouches for.
type names struct {
	hosts []string
	addrs []netip.Addr
}

func newAuthority(hostname string, now time.Time) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("make the authority's key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Postern local CA of " + hostname},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(template, key, pair{cert: template, key: key})
}

func newLeaf(authority pair, n names, now time.Time) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(leafLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    n.hosts,
	}
	for _, a := range n.addrs {
		template.IPAddresses = append(template.IPAddresses, a.AsSlice())
	}
	// Nobody matches the common name any more, but GnuTLS's tools (kdig) close
	// the connection where the subject is empty. X.520: at most 64 characters.
	if len(n.hosts) > 0 && len(n.hosts[0]) <= 64 {
		template.Subject.CommonName = n.hosts[0]
	}
	if template.NotAfter.After(authority.cert.NotAfter) {
		template.NotAfter = authority.cert.NotAfter
	}
	return sign(template, key, authority)
}

func sign(template *x509.Certificate, key *ecdsa.PrivateKey, by pair) (pair, error) {
	// RFC 5280, Section 4.1.2.2: positive, at most 20 octets.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 158))
	if err != nil {
		return pair{}, fmt.Errorf("draw a serial number: %w", err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		return pair{}, fmt.Errorf("sign a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return pair{}, fmt.Errorf("read back a certificate: %w", err)
	}
	return pair{cert: cert, key: key}, nil
}

// covers reports whether p is good for every name until at least deadline.
func (p pair) covers(n names, deadline time.Time) bool {
	if p.cert.NotAfter.Before(deadline) {
		return false
	}
	for _, h := range n.hosts {
		if p.cert.VerifyHostname(h) != nil {
			return false
		}
	}
	for _, a := range n.addrs {
		if p.cert.VerifyHostname(a.String()) != nil {
			return false
		}
	}
	return true
}

func (p pair) encode() (certPEM, keyPEM []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func decode(certPEM, keyPEM []byte) (pair, error) {
	c, _ := pem.Decode(certPEM)
	k, _ := pem.Decode(keyPEM)
	if c == nil || k == nil {
		return pair{}, errors.New("not PEM")
	}
	cert, err := x509.ParseCertificate(c.Bytes)
	if err != nil {
		return pair{}, err
	}
	key, err := x509.ParsePKCS8PrivateKey(k.Bytes)
	if err != nil {
		return pair{}, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return pair{}, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return pair{cert: cert, key: signer}, nil
}
