package xfr

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"
)

// alpn is what both ends of a transfer within TLS agree on (RFC 9103, Section
// 7.1).
const alpn = "dot"

// Pin is the SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7858, Section
// 4.2).
type Pin [sha256.Size]byte

// String is the pin as it is written, in base64.
func (p Pin) String() string { return base64.StdEncoding.EncodeToString(p[:]) }

// PinOf returns the pin of a certificate.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// Trust is how a server proves to us, its client, that it is the one we mean
// (RFC 9103, Section 9.3): by a name in its certificate that an authority vouches
// for, by its key, or by both where both are given.
type Trust struct {
	Name  string              // in the certificate; "": only its key counts
	CA    []*x509.Certificate // who vouches for the name; none: whom the system trusts
	Pins  []Pin               // of its key: one of these; none: any key
	Loose bool                // whoever answers is believed (RFC 9103, Section 9.3.1); with neither Name nor Pins
	// Own returns what we show to who asks who we are; it is asked each time, so
	// that a renewed certificate is shown. nil: nothing is shown.
	Own func() *tls.Certificate
	Now func() time.Time // nil: time.Now
}

// What is wrong with a server within TLS. crypto/x509 says what is wrong with a
// chain.
var (
	ErrALPN      = errors.New(`the other end does not speak ALPN "dot"`)
	ErrPin       = errors.New("the key of the certificate is none that is pinned")
	ErrDates     = errors.New("the certificate is not in force")
	ErrTrustless = errors.New("nothing says how the server proves itself: neither a name nor a pin")
	errTwoMinds  = errors.New("whoever answers is believed, yet there is a name or a pin")
)

// sessions is how many sessions of one server are kept, so that the next
// connection begins with fewer steps (RFC 9103, Section 7.6, by way of RFC 7858,
// Section 3.4).
const sessions = 4

// Client returns the settings of connections to a server that proves itself so:
// TLS 1.3 (RFC 9103, Section 7.2) with ALPN "dot". They are for one server; keep
// them as long as the Trust is the same, for they remember sessions.
func (t Trust) Client() (*tls.Config, error) {
	switch {
	case t.Loose && (t.Name != "" || len(t.Pins) > 0):
		return nil, errTwoMinds
	case !t.Loose && t.Name == "" && len(t.Pins) == 0:
		return nil, ErrTrustless
	}
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{alpn}, ServerName: t.Name, Time: t.Now,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
		// Without a name crypto/tls has nothing to compare; verify is asked in any
		// case, also of a session that goes on.
		InsecureSkipVerify: t.Name == "", //nolint:gosec // see the line above
		VerifyConnection:   t.verify,
	}
	if len(t.CA) > 0 {
		c.RootCAs = x509.NewCertPool()
		for _, ca := range t.CA {
			c.RootCAs.AddCert(ca)
		}
	}
	if t.Own != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if own := t.Own(); own != nil {
				return own, nil
			}
			return new(tls.Certificate), nil // asked, and with nothing to show
		}
	}
	return c, nil
}

// verify is what crypto/tls does not look at.
func (t Trust) verify(s tls.ConnectionState) error {
	if s.NegotiatedProtocol != alpn {
		return ErrALPN
	}
	if t.Loose {
		return nil
	}
	if len(s.PeerCertificates) == 0 {
		return ErrPin
	}
	leaf := s.PeerCertificates[0]
	if len(t.Pins) > 0 && !slices.Contains(t.Pins, PinOf(leaf)) {
		return ErrPin
	}
	now := time.Now
	if t.Now != nil {
		now = t.Now
	}
	// Also of a pinned one: its end is the only thing that its owner has to say
	// about it from afar.
	return inForce(leaf, now())
}

func inForce(c *x509.Certificate, now time.Time) error {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return fmt.Errorf("%w: it is from %s to %s", ErrDates, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
	}
	return nil
}
