package smtpd

import (
	"context"
	"crypto"
	_ "crypto/sha512" // SHA-384 and SHA-512 of certificates
	"crypto/tls"
	"crypto/x509"

	"postern/internal/handshake"
	"postern/internal/mail/sasl"
)

// shownKey is where a handshake's context holds the certificate that the server
// has shown: crypto/tls tells it to nobody afterwards.
type shownKey struct{}

// shown is that certificate; nil before the handshake.
type shown struct{ cert *tls.Certificate }

func withShown(ctx context.Context, s *shown) context.Context {
	return context.WithValue(ctx, shownKey{}, s)
}

// noting makes a configuration write down which certificate a handshake showed.
func noting(c *tls.Config) {
	choose, certs := c.GetCertificate, c.Certificates
	c.Certificates = nil // or GetCertificate is not asked where a client names no host
	c.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if err := handshake.Take(h); err != nil {
			return nil, err // says what it waited for
		}
		cert, err := chosen(h, choose, certs)
		if s, ok := h.Context().Value(shownKey{}).(*shown); ok {
			s.cert = cert
		}
		return cert, err
	}
}

// chosen does what crypto/tls does without a GetCertificate of ours.
func chosen(h *tls.ClientHelloInfo, choose func(*tls.ClientHelloInfo) (*tls.Certificate, error), certs []tls.Certificate) (*tls.Certificate, error) {
	if choose != nil {
		if cert, err := choose(h); cert != nil || err != nil {
			return cert, err
		}
	}
	for i := range certs {
		if h.SupportsCertificate(&certs[i]) == nil {
			return &certs[i], nil
		}
	}
	if len(certs) == 0 {
		return nil, nil
	}
	return &certs[0], nil
}

// bindings are what a login can be bound to on this connection.
func (c *conn) bindings() sasl.Bindings {
	var b sasl.Bindings
	if c.info.TLS == nil {
		return b
	}
	// RFC 9266, Section 2: the context is there and empty, which is another thing
	// than none in TLS 1.2. Without the extended master secret (RFC 7627) there
	// is no binding: crypto/tls gives an error then.
	if key, err := c.info.TLS.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32); err == nil {
		b.Exporter = key
	}
	b.EndPoint = endPoint(c.shown.cert)
	return b
}

// endPoint is the hash of the certificate that was shown (RFC 5929, Section 4.1):
// by the hash of its signature, SHA-256 in place of the two that are broken, and
// none where the signature has no hash of its own.
func endPoint(cert *tls.Certificate) []byte {
	if cert == nil || len(cert.Certificate) == 0 {
		return nil
	}
	leaf := cert.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil
		}
	}
	var hash crypto.Hash
	switch leaf.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		hash = crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		hash = crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		hash = crypto.SHA512
	default:
		return nil
	}
	h := hash.New()
	h.Write(leaf.Raw)
	return h.Sum(nil)
}
