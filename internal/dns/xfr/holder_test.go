package xfr

import (
	"crypto/x509"
	"testing"
	"time"

	"postern/internal/dns/name"
)

func certs(papers ...paper) []*x509.Certificate {
	var all []*x509.Certificate
	for _, p := range papers {
		all = append(all, p.cert)
	}
	return all
}

func TestHolder(t *testing.T) {
	t.Parallel()
	if h, err := NewHolder(nil, "ns.test"); err == nil || h != nil {
		t.Error("a holder of nothing")
	}
	ca, other := office(t, "ca"), office(t, "other")
	below := issue(t, &ca, x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	named := x509.Certificate{DNSNames: []string{"ns.test"}}
	member, deep, own := issue(t, &ca, named), issue(t, &below, named), issue(t, nil, named)
	past := named
	past.NotBefore, past.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	server := named
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, c := range []struct {
		name  string
		known []*x509.Certificate
		as    string
		chain []*x509.Certificate
		good  bool
	}{
		{"nothing shown", certs(ca), "", nil, false},
		{"another authority", certs(other), "", certs(member), false},
		{"another authority, which is shown too", certs(other), "", certs(member, ca), false},
		{"another name", certs(ca), "ns2.test", certs(member), false},
		{"another name of the very certificate", certs(own), "ns2.test", certs(own), false},
		{"expired", certs(ca), "", certs(issue(t, &ca, past)), false},
		{"expired, the very certificate", certs(ca), "", certs(issue(t, nil, past)), false},
		{"for servers alone", certs(ca), "", certs(issue(t, &ca, server)), false},
		{"a chain with a hole", certs(ca), "ns.test", certs(deep), false},
		{"issued by a certificate that issues none", certs(own), "", certs(issue(t, &own, named), own), false},
		{"the second of the chain is the known one", certs(own), "", certs(member, own), false},

		{"of the authority", certs(ca), "", certs(member), true},
		{"of one of two", certs(other, ca), "ns.test", certs(member), true},
		{"with what is between", certs(ca), "ns.test", certs(deep, below), true},
		{"of what is between", certs(below), "ns.test", certs(deep), true},
		{"the very certificate", certs(own), "ns.test", certs(own), true},
		{"renewed, of the same key", certs(own), "", certs(reissue(t, own.key, nil, named)), true},
		{"renewed by another, of the same key", certs(own), "", certs(reissue(t, own.key, &other, named)), true},
	} {
		h, err := NewHolder(c.known, c.as)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.judge(c.chain, time.Now()); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestFindingsAge: a certificate that ends during a connection ends there, one
// that begins begins.
func TestFindingsAge(t *testing.T) {
	t.Parallel()
	own := issue(t, nil, x509.Certificate{NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)})
	h, err := NewHolder(certs(own), "")
	if err != nil {
		t.Fatal(err)
	}
	var at time.Time
	s := &Shown{Chain: certs(own), Now: func() time.Time { return at }}
	for _, c := range []struct {
		at   time.Time
		good bool
	}{
		{own.cert.NotBefore.Add(-findingAge), false},
		{own.cert.NotBefore, true},
		{own.cert.NotAfter.Add(-time.Second), true},
		{own.cert.NotAfter.Add(time.Second), false},
	} {
		at = c.at
		for range 2 {
			if err := s.by(h); (err == nil) != c.good {
				t.Errorf("%s: %v", c.at, err)
			}
		}
	}
	if len(s.found) != 1 {
		t.Errorf("%d findings of one holder", len(s.found))
	}
	if (*Shown)(nil).by(h) == nil || (&Shown{}).by(h) == nil {
		t.Error("nothing shown is good")
	}
}

// TestCheckOfCertificates: two peers without keys must not be one.
func TestCheckOfCertificates(t *testing.T) {
	t.Parallel()
	a, b := office(t, "a"), office(t, "b")
	known := func(as string, by ...paper) *Peer {
		h, err := NewHolder(certs(by...), as)
		if err != nil {
			t.Fatal(err)
		}
		return &Peer{Name: "p", TLS: true, Holder: h}
	}
	placed := &Peer{Name: "q", ByAddress: true, From: prefixes(t, "192.0.2.0/24")}
	signed := known("", a)
	signed.Keys = []name.Name{mustName(t, "k.")}
	for _, c := range []struct {
		name string
		p, q *Peer
		want int
	}{
		{"the same authority", known("", a), known("", a), 1},
		{"the same authority, one name", known("", a), known("ns.test", b, a), 1},
		{"the same authority, the same name", known("ns.test", a), known("ns.test", a), 1},
		{"a certificate and an address", known("", a), placed, 1},
		{"an address and a certificate", placed, known("", a), 1},
		{"two names", known("ns1.test", a), known("ns2.test", a), 0},
		{"two authorities", known("", a), known("", b), 0},
		{"a certificate and a key", known("", a), signed, 0},
	} {
		zone := mustName(t, "example.")
		if got := Check([]Rule{{zone, "external", []*Peer{c.p}}, {zone, "internal", []*Peer{c.q}}}, nil); len(got) != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
