package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/listen"
)

// paper is a certificate that vouches for itself, with its text.
func paper(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// xot transfers the zone of the house within TLS and shows a certificate, if any.
func (h *house) xot(shows ...tls.Certificate) string {
	h.t.Helper()
	trust := h.trust("dot")
	trust.Certificates = shows
	conn, err := tls.Dial("tcp", h.at(listen.TLS).String(), trust)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	return h.transferBy(&dns.Transfer{Conn: &dns.Conn{Conn: conn}}, listen.TLS, "city.example.", "out.", oldSecret)
}

// TestPeersWithinTLS: what the configuration asks of a peer is asked at once
// after a reload, also of a connection that began before; and its certificate
// can be replaced by another.
func TestPeersWithinTLS(t *testing.T) {
	t.Parallel()
	one, oneText := paper(t)
	two, twoText := paper(t)
	plain := strings.Replace(withPeers(houseConfig), "[[listen]]", "[[listen]]\nserve = \"dns\"\naddress = [\"127.0.0.1:0\"]\ntransport = [\"tls\"]\n[[listen]]", 1)
	h := buildWith(t, plain, map[string]string{
		"in.key": keyFile(newSecret), "out.key": keyFile(oldSecret), "inner/city.example.zone": "www 300 A 10.0.0.1\n",
		"one.pem": oneText, "two.pem": twoText,
	})
	const refused = "dns: bad xfr rcode: 5"
	want := h.transfer("city.example.", "out.", oldSecret)
	if !strings.Contains(want, "192.0.2.2") {
		t.Fatal(want)
	}
	for _, c := range []struct{ settings, tcp, bare, one, two string }{
		{"", want, want, want, want},
		{"transport = \"tls\"\n", refused, want, want, want},
		{"transport = \"tls\"\nclient_cert = \"file:one.pem\"\n", refused, refused, want, refused},
		{"transport = \"tls\"\nclient_cert = \"file:two.pem\"\n", refused, refused, refused, want},
		{"transport = \"tls\"\nclient_cert = \"file:one.pem\"\nclient_name = \"ns.test\"\n", refused, refused, refused, refused},
	} {
		if c.settings != "" {
			h.write("postern.toml", strings.Replace(plain, "[peer.isp]\n", "[peer.isp]\n"+c.settings, 1))
			h.reload("peer isp: notify [], keys [")
		}
		for _, got := range [][2]string{
			{h.transfer("city.example.", "out.", oldSecret), c.tcp}, {h.xot(), c.bare}, {h.xot(one), c.one}, {h.xot(two), c.two},
		} {
			if got[0] != got[1] {
				t.Errorf("%q: %s, want %s", c.settings, got[0], got[1])
			}
		}
	}
	if h.metric("postern_dns_transfer_insecure_total 0") || h.metric("postern_dns_transfer_refused_total 0") {
		t.Error("nothing counted")
	}
}
