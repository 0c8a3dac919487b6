package lab_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

const xotConfig = `
	[server]
	hostname = "edge.alpha.lab"
	state    = "state"
	control  = "run/control.sock"

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:853"]
	transport = ["tls"]

	[dns]
	source = ["198.51.100.53"]

	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones/external"

	[limits]
	exempt = ["203.0.113.0/24", "198.51.100.53"]

	[zone."hard.lab"]
	secondaries = ["bind-mutual", "nsd-mutual", "outcast"]
	[zone."strict.lab"]
	secondaries = ["bind-strict", "nsd-strict"]
	[zone."csk-nsec.lab"]
	dnssec      = "csk-nsec"
	secondaries = ["bind-mutual", "nsd-mutual"]
	[zone."pair-nsec3.lab"]
	dnssec      = "pair-nsec3"
	secondaries = ["bind-strict", "nsd-strict"]
	[dnssec.csk-nsec]
	check_ds = false
	[dnssec.pair-nsec3]
	keys     = "ksk+zsk"
	denial   = "nsec3"
	check_ds = false
	[zone."bare.lab"]
	secondaries = ["bare"]
	[peer.bare]
	notify      = []
	transport   = "tls"
	client_cert = "file:ca.pem"
	client_name = "bare.isp.lab"
`

// The zones of the strict peers, and those that are hard and signed; the others
// are of the peers that show a certificate.
const (
	strictName = "strict.lab."
	cskName    = "csk-nsec.lab."
	pairName   = "pair-nsec3.lab."
)

// vault is a Postern that gives zones within TLS alone.
type vault struct {
	*fleet
	ca, other, expired, misnamed, foreign *lab.Paper
	shown                                 map[string]*lab.Paper // by program
	trusted                               string                // the authority of Postern's certificate
	signed                                map[string]*hardZone
}

func newVault(l *lab.Lab, seed uint64) *vault {
	l.T().Helper()
	v := &vault{
		fleet: &fleet{l: l, hard: newHardZone(l.T(), hardName, seed), keys: map[string]lab.TSIG{}, small: map[string]int{}},
		shown: map[string]*lab.Paper{}, signed: map[string]*hardZone{cskName: carried(l.T(), cskName, seed), pairName: carried(l.T(), pairName, seed)},
	}
	v.ca, v.other = l.Issue(nil, "authority.lab", false), l.Issue(nil, "others.lab", false)
	for _, name := range []string{"bind", "nsd", "bare"} {
		v.shown[name] = l.Issue(v.ca, name+".isp.lab", false)
	}
	v.expired, v.misnamed, v.foreign = l.Issue(v.ca, "old.isp.lab", true), l.Issue(v.ca, "x.isp.lab", false), l.Issue(v.other, "y.isp.lab", false)
	config := xotConfig
	at := map[string]string{"bind": addressOf(0), "nsd": addressOf(1), "outcast": addressOf(2)}
	for _, name := range []string{"bind-mutual", "nsd-mutual", "bind-strict", "nsd-strict", "outcast"} {
		v.key(name, "hmac-sha256")
		program, mode, _ := strings.Cut(name, "-")
		config += fmt.Sprintf("\n[key.\"%[1]s.\"]\nsecret = \"file:secrets/%[1]s\"\n[peer.%[1]s]\nnotify = [\"%[2]s:53\"]\nkeys = [\"%[1]s.\"]\ntransport = \"tls\"\n", name, at[program])
		switch mode {
		case "mutual":
			config += fmt.Sprintf("client_cert = \"file:ca.pem\"\nclient_name = \"%s.isp.lab\"\n", program)
		case "":
			config += "client_cert = \"file:ca.pem\"\nclient_name = \"old.isp.lab\"\n"
		}
	}
	given, err := os.ReadFile(v.ca.Cert)
	if err != nil {
		l.T().Fatal(err)
	}
	v.edge = l.Prepare(lab.PosternConfig{Config: config, Files: map[string]string{
		"zones/external/hard.lab.zone": v.hard.file(), "zones/external/strict.lab.zone": v.smallZone(strictName),
		"zones/external/bare.lab.zone": v.smallZone("bare.lab."), "ca.pem": string(given),
		"zones/external/csk-nsec.lab.zone": v.signed[cskName].file(), "zones/external/pair-nsec3.lab.zone": v.signed[pairName].file(),
	}})
	v.secrets()
	v.edge.Start()
	own, err := os.ReadFile(v.edge.Path("state", "certs", "local-ca.pem"))
	if err != nil {
		l.T().Fatal(err)
	}
	v.trusted = l.Write("trusted.pem", string(own))
	for i, program := range []lab.Program{lab.BIND, lab.NSD} {
		v.servers = append(v.servers, v.take(program, string(program), addressOf(i), map[string]*lab.Paper{
			hardName: v.shown[string(program)], strictName: nil, cskName: v.shown[string(program)], pairName: nil,
		}))
	}
	return v
}

// take starts a secondary of these zones, which shows a certificate for some.
func (v *vault) take(program lab.Program, name, address string, zones map[string]*lab.Paper) *lab.Secondary {
	v.l.T().Helper()
	cfg := lab.SecondaryConfig{Program: program, Name: name, Address: address, Primary: alphaDNS, Keys: map[string]lab.TSIG{}, Within: map[string]lab.Within{}}
	for zone, shown := range zones {
		w := lab.Within{Name: "edge.alpha.lab", CA: v.trusted}
		cfg.Keys[zone] = v.keys[name]
		if mode := map[string]string{hardName: "-mutual", cskName: "-mutual", strictName: "-strict", pairName: "-strict"}[zone]; name != "outcast" {
			cfg.Keys[zone] = v.keys[name+mode]
		}
		if shown != nil {
			w.Cert, w.Key = shown.Cert, shown.Key
		}
		cfg.Within[zone] = w
	}
	return v.l.Secondary(cfg)
}

// TestXoT: BIND and NSD take zones within TLS, strict and mutual, hard ones that
// are signed among them, and nobody takes one otherwise.
func TestXoT(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		edits, seed := 10, uint64(time.Now().UnixNano())
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			edits = 100
		}
		t.Logf("seed %d", seed)
		v := newVault(l, seed)
		l.Step("whole", func() {
			v.settle(hardName, v.servers...)
			v.settle(strictName, v.servers...)
		})
		l.Step("as differences", func() { v.editByHand(edits) })
		l.Step("signed zones", func() { v.editSigned(1 + edits/5) })
		l.Step("otherwise", v.refuseOtherwise)
		l.Step("through a box that ends TLS", v.endTLS)
		l.Step("a secondary whose certificate is expired", v.castOut)
		l.Step("a Postern that was away", v.away)
	})
}

// editSigned edits hard zones that are signed: what the secondaries have of them
// is what Postern has, to the octet, and whole to verifiers.
func (v *vault) editSigned(edits int) {
	v.l.T().Helper()
	s := &signedFleet{fleet: v.fleet}
	for n := range edits {
		done := "nothing"
		for zone, hard := range v.signed {
			if n > 0 {
				done = hard.edit()
				v.write(zone, hard.file())
			}
		}
		v.edge.Reload()
		for zone := range v.signed {
			s.same(zone, "external", done, v.servers...)
		}
	}
	for zone := range v.signed {
		wellMade(v.l, zone, zone, v.edge.Run("zone", "export", zone, "--signed").Want(0).Stdout)
		for _, s := range v.servers {
			// Some edits sign nearly all anew, and then the whole is shorter.
			if whole, differences := s.Transfers(zone); edits > 10 && differences < edits/4 {
				v.l.T().Errorf("%s took %s %d times whole, and %d differences of %d edits", s.Program, zone, whole, differences, edits-1)
			}
		}
	}
}

// refuseOtherwise: what dig and kdig get, with the peers' own keys.
func (v *vault) refuseOtherwise() {
	v.l.T().Helper()
	zones := map[string]string{"bind-mutual": "csk-nsec.lab", "bind-strict": "pair-nsec3.lab", "": "bare.lab"}
	tls := func(more ...string) []string {
		return append([]string{"+tls", "+tls-ca=" + v.trusted, "+tls-hostname=edge.alpha.lab"}, more...)
	}
	shows := func(p *lab.Paper) []string { return tls("+tls-certfile="+p.Cert, "+tls-keyfile="+p.Key) }
	for _, c := range []struct {
		name, program, key string
		args               []string
		good               bool
	}{
		{"mutual, by TCP", "dig", "bind-mutual", []string{"+tcp"}, false},
		{"mutual, without a certificate", "dig", "bind-mutual", tls(), false},
		{"mutual, with another peer's", "dig", "bind-mutual", shows(v.shown["nsd"]), false},
		{"mutual, expired", "dig", "bind-mutual", shows(v.expired), false},
		{"mutual, for another name", "dig", "bind-mutual", shows(v.misnamed), false},
		{"mutual, of another authority", "dig", "bind-mutual", shows(v.foreign), false},
		{"mutual", "dig", "bind-mutual", shows(v.shown["bind"]), true},
		{"strict, by TCP", "dig", "bind-strict", []string{"+tcp"}, false},
		{"strict, by another client", "kdig", "bind-strict", []string{"+tls"}, true},
		{"strict", "dig", "bind-strict", tls(), true},
		{"a certificate alone, by TCP", "dig", "", []string{"+tcp"}, false},
		{"a certificate alone, of another", "dig", "", shows(v.shown["bind"]), false},
		{"a certificate alone", "dig", "", shows(v.shown["bare"]), true},
	} {
		args := append([]string{"@" + alphaDNS, zones[c.key], "AXFR"}, c.args...)
		if c.key != "" {
			key := v.keys[c.key]
			args = append(args, "-y", key.Algorithm+":"+key.Name+":"+key.Secret)
		}
		if c.program == "dig" {
			args = append(args, "+tries=1")
		}
		out := v.l.Exec(c.program, args...)
		if got := out.Has("\tSOA\t"); got != c.good || out.Has("WARNING") {
			v.l.T().Errorf("%s: transferred %t\n%.1500s", c.name, got, out)
		}
		if !c.good && (out.Has("203.0.113.") || out.Has("hostmaster")) {
			v.l.T().Errorf("%s: something leaks\n%.1500s", c.name, out)
		}
	}
}

// castOut: a BIND whose certificate is expired never gets the zone, and
// Postern's log says why.
func (v *vault) castOut() {
	v.l.T().Helper()
	s := v.take(lab.BIND, "outcast", addressOf(2), map[string]*lab.Paper{hardName: v.expired})
	v.l.Eventually("BIND is refused", func() error {
		if !strings.Contains(s.Log.String(), "REFUSED") {
			return fmt.Errorf("nothing refused yet")
		}
		return nil
	})
	if serial, err := s.Serial(hardName); err == nil {
		v.l.T().Errorf("it has serial %d", serial)
	}
	if out := v.edge.Run("status"); !out.Has("outcast") {
		v.l.T().Errorf("status does not know it:\n%s", out)
	}
	if said := v.edge.Log.String(); !strings.Contains(said, "transfer refused") || !strings.Contains(said, "reason=client-cert") || !strings.Contains(said, "reason=not-tls") {
		v.l.T().Errorf("the log does not say why")
	}
	s.Stop()
}

// endTLS is what comes of a proxy that ends TLS for a peer and begins it anew,
// without ALPN or with an old version: the peer's own key, and no zone.
func (v *vault) endTLS() {
	v.l.T().Helper()
	trusted, err := os.ReadFile(v.trusted)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(trusted) {
		v.l.T().Fatal("no authority", err)
	}
	key := v.keys["bind-strict"]
	for _, c := range []struct {
		protocols []string
		version   uint16
		want      int
	}{
		{nil, tls.VersionTLS13, dns.RcodeRefused}, {[]string{"dot"}, tls.VersionTLS12, dns.RcodeRefused}, {[]string{"dot"}, tls.VersionTLS13, dns.RcodeSuccess},
	} {
		conn, err := tls.Dial("tcp", alphaDNS+":853", &tls.Config{RootCAs: roots, ServerName: "edge.alpha.lab", NextProtos: c.protocols, MaxVersion: c.version})
		if err != nil {
			v.l.T().Fatal(err)
		}
		m := new(dns.Msg).SetAxfr(strictName)
		m.SetTsig(key.Name, dns.Fqdn(key.Algorithm), 300, time.Now().Unix())
		d := &dns.Conn{Conn: conn, TsigSecret: map[string]string{key.Name: key.Secret}}
		if err := d.WriteMsg(m); err != nil {
			v.l.T().Fatal(err)
		}
		reply, err := d.ReadMsg()
		conn.Close()
		if err != nil || reply.Rcode != c.want || len(reply.Answer) > 0 != (c.want == dns.RcodeSuccess) {
			v.l.T().Errorf("%q %x: %v (%v)", c.protocols, c.version, reply, err)
		}
	}
}

// away ends Postern as a power cut would, and edits meanwhile: the secondaries
// come back, within TLS, for the difference.
func (v *vault) away() {
	v.l.T().Helper()
	v.edge.Kill9()
	v.hard.addHost()
	v.write(hardName, v.hard.file())
	v.edge.Start()
	v.settle(hardName, v.servers...)
	v.editSigned(1)
	v.edge.Run("status").Want(0)
}
