package lab

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
)

// Signer is another organisation's DKIM key.
type Signer struct {
	Domain   string
	Selector string
	// Record is the line for the domain's zone that publishes the key.
	Record string

	l    *Lab
	file string
}

// Signer makes a key for a domain, for dkimpy to sign with.
func (l *Lab) Signer(domain, selector string) *Signer {
	l.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		l.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		l.t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(public)
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return &Signer{
		Domain: domain, Selector: selector, l: l,
		Record: fmt.Sprintf(`%s._domainkey TXT "v=DKIM1; k=rsa; p=%s" "%s"`, selector, text[:200], text[200:]),
		file:   l.Write(domain+".key", string(private)),
	}
}

// Sign returns the message with a DKIM-Signature on top.
func (s *Signer) Sign(message string) string {
	s.l.t.Helper()
	message = dedent(message)
	out := s.l.Python(`
		import sys, dkim
		domain, selector, key = sys.argv[1:4]
		message = sys.stdin.buffer.read()
		sys.stdout.buffer.write(dkim.sign(message, selector.encode(), domain.encode(), open(key, 'rb').read(),
		    canonicalize=(b'relaxed', b'relaxed')))
	`, crlf(message), s.Domain, s.Selector, s.file).Want(0)
	return strings.ReplaceAll(out.Stdout, "\r\n", "\n") + message
}
