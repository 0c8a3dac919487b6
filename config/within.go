package config

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Bounds of a file of certificates.
const (
	maxCertFile = 1 << 20
	maxCerts    = 64
)

// within reads what a peer within TLS shows us.
func (b *builder) within(t table, p *Peer) {
	b.asServer(t, p)
	cert, name := t.n.field("client_cert"), t.n.field("client_name")
	switch {
	case p.Transport != "tls" && cert != nil:
		b.file.errorAt(t.where("client_cert"), fmt.Sprintf("client_cert of the peer %q is of no use without TLS", p.Name), `add transport = "tls"`)
		return
	case p.Transport != "tls" && name != nil:
		b.file.errorAt(t.where("client_name"), fmt.Sprintf("client_name of the peer %q is of no use without TLS", p.Name), `add transport = "tls" and client_cert`)
		return
	case name != nil && cert == nil:
		b.file.errorAt(t.where("client_name"), fmt.Sprintf("client_name of the peer %q without client_cert", p.Name), "name the authority that vouches for it")
	}
	p.Cert, p.CertName = b.certificates(t, "client_cert"), canonical(t.text("client_name"))
	if name == nil && slices.ContainsFunc(p.Cert, func(c *x509.Certificate) bool { return c.IsCA && !selfMade(c) }) {
		b.file.warnAt(t.where("client_cert"), fmt.Sprintf("whoever has a certificate of this authority can be the peer %q", p.Name), "name it with client_name, unless the authority issues to nobody else")
	}
}

// asServer reads by what a peer within TLS proves itself to us.
func (b *builder) asServer(t table, p *Peer) {
	p.ServerName, p.Unverified = canonical(t.text("server_name")), t.text("verify") == "none"
	for _, n := range t.list("server_pin") {
		if pin, ok := parsePin(n.text); ok {
			p.ServerPins = append(p.ServerPins, pin)
		}
	}
	for _, key := range []string{"server_name", "server_ca", "server_pin", "verify"} {
		n := t.written(key)
		switch {
		case n == nil, key == "verify" && !p.Unverified:
		case p.Transport != "tls":
			b.file.errorAt(t.where(key), fmt.Sprintf("%s of the peer %q is of no use without TLS", key, p.Name), `add transport = "tls"`)
			return
		case p.Unverified && key != "verify":
			b.file.errorAt(t.where(key), fmt.Sprintf(`%s of the peer %q is of no use with verify = "none"`, key, p.Name), "leave one of them out")
		case key == "server_ca" && t.n.field("server_name") == nil:
			b.file.errorAt(t.where(key), fmt.Sprintf("server_ca of the peer %q without server_name", p.Name), "an authority vouches for a name")
		case key == "server_pin" && len(n.items) == 0:
			b.file.errorAt(t.where(key), fmt.Sprintf("server_pin of the peer %q is empty", p.Name), "leave it out, or no key is the right one")
		}
	}
	p.ServerCA = b.certificates(t, "server_ca")
}

// provesItself reports whether a peer within TLS proves to us, its client, who
// it is, be it that there are problems with how.
func provesItself(t table, p Peer) bool {
	return p.Transport == "tls" && (t.n.field("server_name") != nil || t.n.field("server_pin") != nil)
}

// primaryWithin looks at how a peer proves itself that zones are fetched from
// within TLS, or that is asked for a proof for nothing.
func (b *builder) primaryWithin(t table, p Peer) {
	if !b.primary[p.Name] {
		for _, key := range []string{"server_name", "server_ca", "server_pin"} {
			if t.n.field(key) != nil {
				b.file.warnAt(t.where(key), fmt.Sprintf("%s is of no use: the peer %q is a primary of no zone", key, p.Name), "name it in primaries")
				return
			}
		}
		return
	}
	if p.Transport == "tls" && !provesItself(t, p) && !p.Unverified {
		b.file.errorAt(t.where("transport"), fmt.Sprintf("nothing says how the primary %q proves itself", p.Name), `add server_name or server_pin; verify = "none" believes whoever answers`)
	}
	for _, a := range p.Address {
		if p.Transport == "tls" && a.Port() == 53 {
			b.file.errorAt(t.where("address"), fmt.Sprintf("TLS on port 53 of the primary %q", p.Name), "name servers speak it on 853")
			return
		}
	}
}

// parsePin reads the SHA-256 of a key in base64, as kdig and getdns write it.
func parsePin(s string) (pin [sha256.Size]byte, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "sha256/"))
	if err != nil || len(raw) != len(pin) {
		return pin, false
	}
	return [sha256.Size]byte(raw), true
}

// selfMade reports whether c looks like one that somebody has made for himself
// alone: tools make such authorities too.
func selfMade(c *x509.Certificate) bool {
	return c.CheckSignatureFrom(c) == nil && (len(c.DNSNames) > 0 || len(c.IPAddresses) > 0)
}

// certificates reads the PEM file that a key names; nil where there is a problem.
func (b *builder) certificates(t table, key string) []*x509.Certificate {
	if t.written(key) == nil {
		return nil
	}
	text, err := readBounded(b.filePath(t, key), maxCertFile)
	if err != nil {
		return nil // filePath has said so
	}
	certs, err := parseCertificates(text)
	if err != nil {
		b.file.errorAt(t.where(key), fmt.Sprintf("%s: %v", key, err), "certificates in PEM")
	}
	return certs
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		switch {
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("it holds a %s", block.Type)
		case len(all) == maxCerts:
			return nil, fmt.Errorf("more than %d certificates", maxCerts)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no certificate in it")
	}
	return all, nil
}

// certified reports whether the peer is known by its certificate alone.
func (p *Peer) certified() bool { return len(p.Cert) > 0 && len(p.Keys) == 0 && !p.ByAddress }

// sameCert reports whether one certificate could be shown for both.
func sameCert(p, o *Peer) bool {
	if p.CertName != "" && o.CertName != "" && p.CertName != o.CertName {
		return false
	}
	return slices.ContainsFunc(p.Cert, func(c *x509.Certificate) bool {
		return slices.ContainsFunc(o.Cert, func(d *x509.Certificate) bool {
			return string(c.RawSubjectPublicKeyInfo) == string(d.RawSubjectPublicKeyInfo)
		})
	})
}

// listensWithin reports whether there is a listener that peers of TLS can come
// to.
func (b *builder) listensWithin() bool {
	return slices.ContainsFunc(b.checked.Listen, func(l Listen) bool {
		return l.Serve == ServeDNS && slices.Contains(l.Transports, "tls")
	})
}

// stricter refuses a peer that opens what another one keeps shut: who may be
// either of them has the choice, and TLS or a certificate is asked of nobody.
func (b *builder) stricter(zone string, p, o placed) {
	if p.Transport == o.Transport && (len(p.Cert) == 0) == (len(o.Cert) == 0) || !overlap(p.Peer, o.Peer) {
		return
	}
	strict, lax := p.Peer, o.Peer
	if o.Transport == "tls" && (p.Transport != "tls" || len(o.Cert) > 0) {
		strict, lax = o.Peer, p.Peer
	}
	by := ""
	for _, k := range p.Keys {
		if slices.Contains(o.Keys, k) {
			by = fmt.Sprintf("the key %q is the same", k)
		}
	}
	if by == "" && p.ByAddress && o.ByAddress {
		by = "the addresses are the same"
	}
	if by == "" {
		return
	}
	of := "of all zones"
	if zone != "" {
		of = "of the zone " + zone
	}
	b.file.errorAt(p.at, fmt.Sprintf("whoever is the peer %q can come as the peer %q, which is asked for less: both are secondaries %s in the view %q, and %s", strict.Name, lax.Name, of, p.view, by), "a key of its own for each")
}
