package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/listen"
	"postern/internal/dns/xfr"
	"postern/internal/manage"
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

// withinHouse is what both appliances of TestSecondaryZonesWithinTLS have.
func withinHouse(host, own, view string) string {
	return `[server]
hostname = "` + host + `"
state    = "state"
control  = "c.sock"
[dns]
rrl = "off"
[[view]]
name    = "outside"
clients = ["any"]
` + view + `
[[listen]]
serve   = "dns"
address = ["` + own + `"]
`
}

// TestSecondaryZonesWithinTLS: one appliance gives a zone to another, which it
// knows by its certificate alone, and is known by its own; nothing goes where
// one of the two is somebody else.
func TestSecondaryZonesWithinTLS(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	one, two, inner := f.address(), f.address(), f.address()
	p := f.house("", map[string]string{"zones/city.example.zone": houseZone})
	s := f.house(withinHouse("s.test", two, ""), nil)
	f.start(s)
	primary := func(client string) string {
		return withinHouse("p.test", one, "zones = \"zones\"") + "[[listen]]\nserve = \"dns\"\naddress = [\"" + inner + "\"]\ntransport = [\"tls\"]\n" +
			"[peer.s]\nnotify = [\"" + two + "\"]\ntransport = \"tls\"\nclient_cert = \"file:s-ca.pem\"\nclient_name = \"" + client + "\"\n" +
			"[zone.\"city.example\"]\nsecondaries = [\"s\"]\n"
	}
	secondary := func(proof string) string {
		return withinHouse("s.test", two, "") + "[peer.p]\naddress = [\"" + inner + "\"]\ntransport = \"tls\"\n" + proof + "[zone.\"city.example\"]\nprimaries = [\"p\"]\n"
	}
	give := func(from, to *house, file string) {
		t.Helper()
		text, err := os.ReadFile(from.app.certs.AuthorityFile())
		if err != nil {
			t.Fatal(err)
		}
		to.write(file, string(text))
	}
	give(s, p, "s-ca.pem")
	p.write("postern.toml", primary("s.test"))
	f.start(p)
	give(p, s, "p-ca.pem")
	reload := func(h *house, config string) {
		t.Helper()
		h.write("postern.toml", config)
		if _, err := h.app.reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	serial := 2 // and the address of www
	edit := func() {
		t.Helper()
		serial++
		p.write("zones/city.example.zone", strings.Replace(houseZone, "192.0.2.2", "192.0.2."+strconv.Itoa(serial), 1))
		if _, err := p.app.reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	const www = "www.city.example."
	pin := xfr.PinOf(p.app.certs.Leaf()).String()
	good := "server_name = \"p.test\"\nserver_ca = \"file:p-ca.pem\"\n"
	reload(s, secondary(good))
	until(t, two, "127.0.0.1", www, "NOERROR 192.0.2.2")
	for _, c := range []struct{ name, primary, secondary, want string }{
		{"the name, and the pin", "s.test", good + "server_pin = [\"" + pin + "\"]\n", ""},
		{"the pin alone", "s.test", "server_pin = [\"sha256/" + pin + "\"]\n", ""},
		{"another name", "s.test", "server_name = \"q.test\"\nserver_ca = \"file:p-ca.pem\"\n", "tls-failed"},
		{"the system's authorities", "s.test", "server_name = \"p.test\"\n", "tls-failed"},
		{"another pin", "s.test", "server_pin = [\"" + xfr.PinOf(s.app.certs.Leaf()).String() + "\"]\n", "tls-failed"},
		{"again", "s.test", good, ""},
		{"a client of another name", "t.test", good, "refused"},
		{"again itself", "s.test", good, ""},
		{"believing all, who then is shown nothing", "s.test", "verify = \"none\"\ninsecure_by_address = true\n", "refused"},
	} {
		reload(p, primary(c.primary))
		reload(s, secondary(c.secondary))
		edit()
		if c.want == "" {
			s.upstream("outside", func(z manage.Zone) bool {
				f.tell(time.Second) // it asks a moment after it was told
				return z.Upstream.Serial == uint32(serial-1)
			})
			until(t, two, "127.0.0.1", www, "NOERROR 192.0.2."+strconv.Itoa(serial))
			continue
		}
		z := s.upstream("outside", func(z manage.Zone) bool {
			f.tell(time.Minute)
			return z.Upstream.State == manage.UpstreamStale
		})
		if !strings.Contains(z.Upstream.Reason, c.want) || z.State != "ok" {
			t.Errorf("%s: %+v %+v", c.name, z, z.Upstream)
		}
	}
	if full, steps := p.app.out.Counters.Full.Value(), p.app.out.Counters.Incremental.Value(); full == 0 || steps == 0 {
		t.Errorf("%d times whole, %d differences", full, steps)
	}
	if n := p.app.out.Counters.Insecure.Value(); n == 0 {
		t.Error("no client without its certificate was counted")
	}
}
