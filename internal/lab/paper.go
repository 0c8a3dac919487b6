package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"time"
)

// Paper is a certificate and its key, in PEM files that everybody can read.
type Paper struct {
	Cert, Key string // paths

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pin is the SHA-256 of its public key in base64.
func (p *Paper) Pin() string {
	sum := sha256.Sum256(p.cert.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Issue makes a certificate for a name, good for an hour, or one that ended an
// hour ago. An authority is made by nobody.
func (l *Lab) Issue(by *Paper, name string, past bool) *Paper {
	l.t.Helper()
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-3 * time.Hour), NotAfter: now.Add(time.Hour),
	}
	if past {
		template.NotAfter = now.Add(-time.Hour)
	}
	p := &Paper{Cert: l.place("paper-"+name) + "/cert.pem", cert: template}
	p.Key = l.Path("paper-"+name, "key.pem")
	var err error
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		l.t.Fatal(err)
	}
	signer := by
	if by == nil {
		template.DNSNames = nil
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		signer = p
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, p.key.Public(), signer.key)
	if err != nil {
		l.t.Fatal(err)
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		l.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		l.t.Fatal(err)
	}
	l.Write(p.Cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	l.Write(p.Key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
	if err := os.Chmod(p.Key, 0o644); err != nil { // whatever user its server has
		l.t.Fatal(err)
	}
	return p
}
