package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certFile writes a certificate that vouches for itself.
func certFile(t *testing.T, path string, template x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotAfter = big.NewInt(1), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func papers(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	ca := x509.Certificate{IsCA: true, BasicConstraintsValid: true}
	certFile(t, at("ca.pem"), ca)
	certFile(t, at("own.pem"), x509.Certificate{DNSNames: []string{"ns.test"}})
	ca.DNSNames = []string{"ns.test"}
	certFile(t, at("selfmade.pem"), ca)
	one, err := os.ReadFile(at("own.pem"))
	if err != nil {
		t.Fatal(err)
	}
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})
	for name, text := range map[string][]byte{
		"empty.pem": nil, "text.pem": []byte("ns.test\n"), "broken.pem": broken, "key.pem": append(bytes.Clone(one), key...),
		"many.pem": bytes.Repeat(one, maxCerts+1), "two.pem": bytes.Repeat(one, 2),
	} {
		if err := os.WriteFile(at(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const tlsListener = "[[listen]]\nserve = \"dns\"\naddress = [\"10.0.0.1:853\"]\ntransport = [\"tls\"]\n[[view]]\nname = \"a\"\nclients = [\"10.0.0.0/8\"]\n" +
	"[[view]]\nname = \"b\"\nclients = [\"any\"]\n"

// TestCertificatesOfPeers: what is in the file, and whom it stands for.
func TestCertificatesOfPeers(t *testing.T) {
	t.Parallel()
	dir := papers(t)
	peer := func(name, lines string) string {
		return "[peer." + name + "]\nnotify = []\ntransport = \"tls\"\n" + lines + "\n"
	}
	given := func(file string) string { return `client_cert = "file:` + file + `"` }
	both := "[zone_default.view.a]\nsecondaries = [\"p\"]\n[zone_default.view.b]\nsecondaries = [\"q\"]\n"
	one := "[zone_default.view.b]\nsecondaries = [\"p\"]\n"
	placed := "insecure_by_address = true\ntransfer_from = [\"198.51.100.1\"]"
	for _, c := range []struct{ name, text, want string }{
		{"no file", peer("p", given("none.pem")) + one, "14:15: cannot read " + dir + "/none.pem: no such file or directory"},
		{"nothing in it", peer("p", given("empty.pem")) + one, "14:15: client_cert: no certificate in it (certificates in PEM)"},
		{"text", peer("p", given("text.pem")) + one, "14:15: client_cert: no certificate in it (certificates in PEM)"},
		{"no certificate", peer("p", given("broken.pem")) + one, "14:15: client_cert: certificate 1: x509: malformed certificate (certificates in PEM)"},
		{"a key", peer("p", given("key.pem")) + one, "14:15: client_cert: it holds a PRIVATE KEY (certificates in PEM)"},
		{"many", peer("p", given("many.pem")) + one, "14:15: client_cert: more than 64 certificates (certificates in PEM)"},
		{"keys and addresses none, and nobody may come", peer("p", given("own.pem")+"\ntransfer_from = []") + one,
			`15:17: transfer_from of the peer "p" is nobody (leave it out for any address)`},
		{"an authority without a name", peer("p", given("ca.pem")) + one,
			`14:15: warning: whoever has a certificate of this authority can be the peer "p" (name it with client_name, unless the authority issues to nobody else)`},
		{"two views, one certificate", peer("p", given("own.pem")) + peer("q", given("two.pem")+"\nclient_name = \"ns.test\"") + peer("r", given("own.pem")) + both,
			`20:7: warning: the peer "r" is a secondary of no zone (name it in secondaries)` + "\n" +
				`27:16: the peers "p" and "q" could mean all zones in the view "a" or "b": one certificate could be shown for both (a key for each view tells them apart)`},
		{"two views, a certificate and an address", peer("p", given("own.pem")) + peer("q", placed) + both,
			`23:16: the peers "p" and "q" could mean all zones in the view "a" or "b": one certificate could be shown for both (a key for each view tells them apart)`},
		{"one view, with and without", peer("p", given("own.pem")+"\n"+placed) + peer("q", placed) + "[zone_default.view.b]\nsecondaries = [\"p\", \"q\"]\n",
			`23:21: whoever is the peer "p" can come as the peer "q", which is asked for less: both are secondaries of all zones in the view "b", and the addresses are the same (a key of its own for each)`},

		{"an authority that vouches for nothing", peer("p", given("own.pem")+"\nserver_ca = \"file:ca.pem\"") + one,
			`15:13: server_ca of the peer "p" without server_name (an authority vouches for a name)` + "\n" +
				`15:13: warning: server_ca is of no use: the peer "p" is a primary of no zone (name it in primaries)`},

		{"its own", peer("p", given("own.pem")) + one, ""},
		{"its own, made as an authority", peer("p", given("selfmade.pem")) + one, ""},
		{"an authority", peer("p", given("ca.pem")+"\nclient_name = \"NS.test.\"") + one, ""},
		{"two views, two names", peer("p", given("ca.pem")+"\nclient_name = \"a.test\"") + peer("q", given("ca.pem")+"\nclient_name = \"b.test\"") + both, ""},
		{"two views, two certificates", peer("p", given("own.pem")) + peer("q", given("selfmade.pem")) + both, ""},
		{"two views, two places", peer("p", given("own.pem")+"\ntransfer_from = [\"198.51.100.2\"]") + peer("q", placed) + both, ""},
	} {
		checked, problems := Parse([]byte(tlsListener+c.text), "postern.toml", dir)
		var got []string
		for _, p := range problems {
			got = append(got, strings.TrimPrefix(p.String(), "postern.toml:"))
		}
		if said := strings.Join(got, "\n"); said != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, said, c.want)
		}
		if c.want != "" {
			continue
		}
		if len(checked.Peers[0].Cert) != 1 || strings.Contains(c.text, "NS.test.") && checked.Peers[0].CertName != "ns.test" {
			t.Errorf("%s: %+v", c.name, checked.Peers[0])
		}
		again, problems := Parse(Effective(checked), "effective.toml", t.TempDir())
		if again == nil || !bytes.Equal(Effective(checked), Effective(again)) {
			t.Errorf("%s: not the same again: %v", c.name, problems)
		}
	}
}

// TestPrimariesWithinTLS: what proves them, with and without a key beside.
func TestPrimariesWithinTLS(t *testing.T) {
	t.Parallel()
	dir := papers(t)
	const pin = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, c := range []struct {
		lines string
		want  func(Peer) bool
	}{
		{`server_name = "NS.test."`, func(p Peer) bool { return p.ServerName == "ns.test" && len(p.ServerCA) == 0 && !p.Unverified }},
		{"server_name = \"ns.test\"\nserver_ca = \"file:ca.pem\"", func(p Peer) bool { return len(p.ServerCA) == 1 && p.ServerCA[0].IsCA }},
		{`server_pin = ["sha256/` + pin + `", "` + strings.Replace(pin, "A", "B", 1) + `"]`, func(p Peer) bool { return len(p.ServerPins) == 2 && p.ServerPins[1][0] == 4 }},
		{"verify = \"none\"\ninsecure_by_address = true", func(p Peer) bool { return p.Unverified }},
		{"server_name = \"ns.test\"\ninsecure_by_address = true", func(p Peer) bool { return p.ByAddress }},
	} {
		text := "[peer.p]\naddress = [\"198.51.100.1:853\"]\ntransport = \"tls\"\n" + c.lines + "\n" + tlsListener + "[zone.\"one.test\".view.b]\nprimaries = [\"p\"]\n"
		checked, problems := Parse([]byte(text), "postern.toml", dir)
		if checked == nil || len(problems) > 0 || !c.want(checked.Peers[0]) {
			t.Errorf("%s: %v", c.lines, problems)
			continue
		}
		again, problems := Parse(Effective(checked), "effective.toml", t.TempDir())
		if again == nil || !bytes.Equal(Effective(checked), Effective(again)) {
			t.Errorf("%s: not the same again: %v", c.lines, problems)
		}
	}
}
