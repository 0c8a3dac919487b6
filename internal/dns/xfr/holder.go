package xfr

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Holder says by which certificate we know a client within TLS (RFC 9103,
// Section 9.3.3): one that was given to us, or any that an authority has issued,
// for a name where one is given.
type Holder struct {
	name  string
	keys  map[Pin]bool   // of all that were given
	roots *x509.CertPool // those of them that issue others; nil: none does
}

// Why a certificate is not the client's.
var (
	errNoCert   = errors.New("no certificate was shown")
	errStranger = errors.New("the certificate is neither the one we know nor of an authority we know")
	errNone     = errors.New("no certificate to know the peer by")
)

// NewHolder returns the Holder of these certificates: authorities, or the
// client's own, whose key is what counts, so that it can be renewed. name is to
// stand in what is shown; "": any.
func NewHolder(certs []*x509.Certificate, name string) (*Holder, error) {
	if len(certs) == 0 {
		return nil, errNone
	}
	h := &Holder{name: name, keys: map[Pin]bool{}}
	for _, c := range certs {
		h.keys[PinOf(c)] = true
		if c.IsCA {
			if h.roots == nil {
				h.roots = x509.NewCertPool()
			}
			h.roots.AddCert(c)
		}
	}
	return h, nil
}

// judge returns nil where the chain, whose first certificate the client has
// proven to hold, is the Holder's.
func (h *Holder) judge(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return errNoCert
	}
	leaf := chain[0]
	if err := inForce(leaf, now); err != nil {
		return err
	}
	if h.name != "" {
		if err := leaf.VerifyHostname(h.name); err != nil {
			return fmt.Errorf("certificate of the client: %w", err)
		}
	}
	switch {
	case h.keys[PinOf(leaf)]:
		return nil
	case h.roots == nil:
		return errStranger
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: h.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("certificate of the client: %w", err)
	}
	return nil
}

// alike reports whether one certificate could be of both.
func (h *Holder) alike(o *Holder) bool {
	if h.name != "" && o.name != "" && h.name != o.name {
		return false
	}
	for key := range h.keys {
		if o.keys[key] {
			return true
		}
	}
	return false
}

// Shown is the certificates that one connection's client has shown, and what was
// found of them, so that a client who asks often does not make us compute each
// time. It is for one goroutine at a time; a nil one is a client without.
type Shown struct {
	Chain []*x509.Certificate
	Now   func() time.Time // nil: time.Now

	found map[*Holder]finding // as many as there are peers that are asked for one
}

type finding struct {
	err   error
	until time.Time
}

// findingAge is how long a finding stands, if the certificate does.
const findingAge = time.Minute

func (s *Shown) by(h *Holder) error {
	if s == nil || len(s.Chain) == 0 {
		return errNoCert
	}
	now := time.Now()
	if s.Now != nil {
		now = s.Now()
	}
	if f, ok := s.found[h]; ok && now.Before(f.until) {
		return f.err
	}
	f := finding{h.judge(s.Chain, now), now.Add(findingAge)}
	if end := s.Chain[0].NotAfter; f.err == nil && end.Before(f.until) {
		f.until = end
	}
	if s.found == nil {
		s.found = map[*Holder]finding{}
	}
	s.found[h] = f
	return f.err
}
