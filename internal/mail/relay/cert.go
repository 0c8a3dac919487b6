package relay

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// holder is how a host without an address of its own is known: by a certificate
// that was given to us, or by any that a given authority has issued.
type holder struct {
	name  string                     // that must stand in it; "": any
	keys  map[[sha256.Size]byte]bool // public keys: the certificate may be renewed
	roots *x509.CertPool             // nil: none of those given issues others
}

var errStranger = errors.New("the certificate is neither the one we know nor of an authority we know")

// newHolder returns nil for no certificates: the host is known by address alone.
func newHolder(certs []*x509.Certificate, name string) *holder {
	if len(certs) == 0 {
		return nil
	}
	h := &holder{name: name, keys: map[[sha256.Size]byte]bool{}}
	for _, c := range certs {
		h.keys[sha256.Sum256(c.RawSubjectPublicKeyInfo)] = true
		if c.IsCA {
			if h.roots == nil {
				h.roots = x509.NewCertPool()
			}
			h.roots.AddCert(c)
		}
	}
	return h
}

// judge returns nil where the client has shown the holder's certificate; that it
// has the key is what the handshake was for.
func (h *holder) judge(state *tls.ConnectionState, now time.Time) error {
	if state == nil || len(state.PeerCertificates) == 0 {
		return errors.New("no certificate was shown")
	}
	leaf := state.PeerCertificates[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("the certificate is from %s to %s", leaf.NotBefore.Format(time.DateOnly), leaf.NotAfter.Format(time.DateOnly))
	}
	if h.name != "" {
		if err := leaf.VerifyHostname(h.name); err != nil {
			return err
		}
	}
	if h.keys[sha256.Sum256(leaf.RawSubjectPublicKeyInfo)] {
		return nil
	}
	if h.roots == nil {
		return errStranger
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: h.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}
