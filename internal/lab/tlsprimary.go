package lab

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// TLSPrimaryConfig describes a name server that gives zones within TLS, on port
// 853, to whoever signs, and to nobody by plain TCP. BIND speaks plain DNS on
// port 8530 too.
type TLSPrimaryConfig struct {
	Program   Program // BIND or NSD
	Name      string  // of the peer and its folder
	Address   string
	Secondary string // told of changes, on port 53
	Key       TSIG
	Shows     *Paper            // its certificate
	CA        string            // of certificates that clients must show, with BIND; "": none is asked for
	Zones     map[string]string // zone files by name, with the last dot
}

// TLSPrimary is such a name server.
type TLSPrimary struct {
	Address string
	Log     *Log

	l       *Lab
	dir     string
	program Program
	start   func()
	process *Process
}

// TLSPrimary configures and starts it.
func (l *Lab) TLSPrimary(cfg TLSPrimaryConfig) *TLSPrimary {
	l.t.Helper()
	p := &TLSPrimary{Address: cfg.Address, Log: l.newLog(cfg.Name), l: l, dir: l.place(cfg.Name), program: cfg.Program}
	for zone, text := range cfg.Zones {
		p.write(zone, text)
	}
	if cfg.Program == NSD {
		p.asNSD(cfg)
	} else {
		p.asBIND(cfg)
	}
	p.start()
	return p
}

func (p *TLSPrimary) file(zone string) string { return strings.TrimSuffix(zone, ".") + ".zone" }

func (p *TLSPrimary) write(zone, text string) {
	p.l.t.Helper()
	path := p.l.Write(p.dir+"/"+p.file(zone)+".new", text)
	if err := os.Rename(path, p.dir+"/"+p.file(zone)); err != nil {
		p.l.t.Fatal(err)
	}
}

// Change puts another file in the place of a zone's, and has it read.
func (p *TLSPrimary) Change(zone, text string) {
	p.l.t.Helper()
	p.write(zone, text)
	if !p.process.Running() {
		return
	}
	if p.program == NSD {
		p.l.Exec(p.l.program("nsd-control", "nsd"), "-c", p.dir+"/nsd.conf", "reload", strings.TrimSuffix(zone, ".")).Want(0)
		return
	}
	p.process.Signal(syscall.SIGHUP)
}

// Down ends it as a power cut would.
func (p *TLSPrimary) Down() { p.process.Kill9() }

// Up starts it again, with nothing but its files.
func (p *TLSPrimary) Up() {
	p.l.t.Helper()
	p.l.Shell(p.dir, "rm -f *.jnl") // of BIND, which takes no file that was edited meanwhile
	p.start()
}

func (p *TLSPrimary) asBIND(cfg TLSPrimaryConfig) {
	var b strings.Builder
	ca := ""
	if cfg.CA != "" {
		ca = fmt.Sprintf("ca-file %q;", cfg.CA)
	}
	fmt.Fprintf(&b, `
key %[3]q { algorithm %[4]s; secret %[5]q; };
tls shown { cert-file %[6]q; key-file %[7]q; %[8]s protocols { TLSv1.3; }; };
options {
	directory %[1]q;
	pid-file none;
	session-keyfile "%[1]s/session.key";
	listen-on { %[2]s; };
	listen-on port 8530 { %[2]s; };
	listen-on port 853 tls shown { %[2]s; };
	listen-on-v6 { none; };
	recursion no;
	dnssec-validation no;
	ixfr-from-differences yes;
	allow-transfer port 853 transport tls { key %[3]q; };
	notify explicit;
	also-notify { %[9]s key %[3]q; };
	notify-source %[2]s;
	notify-delay 0;
	check-names primary ignore;
	check-integrity no;
	max-records-per-type 0;
	notify-rate 1000;
	startup-notify-rate 1000;
};
controls { };
logging { channel all { stderr; severity info; print-category yes; }; category default { all; }; };
`, p.dir, cfg.Address, cfg.Key.Name, cfg.Key.Algorithm, cfg.Key.Secret, cfg.Shows.Cert, cfg.Shows.Key, ca, cfg.Secondary)
	for zone := range cfg.Zones {
		fmt.Fprintf(&b, "zone %q { type primary; file %q; };\n", zone, p.file(zone))
	}
	file := p.l.Write(p.dir+"/named.conf", b.String())
	p.start = func() {
		p.process = p.l.startApart(p.Log, []string{cfg.Address}, p.l.program("named", "bind9"), "-4", "-f", "-n", "1", "-c", file)
	}
}

func (p *TLSPrimary) asNSD(cfg TLSPrimaryConfig) {
	var b strings.Builder
	fmt.Fprintf(&b, `server:
	server-count: 1
	username: ""
	database: ""
	verbosity: 2
	rrl-ratelimit: 0
	zonesdir: %[1]q
	pidfile: "%[1]s/nsd.pid"
	xfrdfile: "%[1]s/xfrd.state"
	zonelistfile: "%[1]s/zone.list"
	xfrdir: %[1]q
	ip-address: %[2]s
	ip-address: %[2]s@853
	tls-port: 853
	tls-service-key: %[7]q
	tls-service-pem: %[6]q
remote-control:
	control-enable: yes
	control-interface: "%[1]s/control"
key:
	name: %[3]q
	algorithm: %[4]s
	secret: %[5]q
`, p.dir, cfg.Address, cfg.Key.Name, cfg.Key.Algorithm, cfg.Key.Secret, cfg.Shows.Cert, cfg.Shows.Key)
	for zone := range cfg.Zones {
		fmt.Fprintf(&b, `zone:
	name: %[1]q
	zonefile: %[2]q
	provide-xfr: 0.0.0.0/0 %[3]s
	notify: %[4]s %[3]s
	outgoing-interface: %[5]s
`, zone, p.file(zone), cfg.Key.Name, cfg.Secondary, cfg.Address)
	}
	file := p.l.Write(p.dir+"/nsd.conf", b.String())
	p.start = func() { p.process = p.l.again(p.Log, p.l.program("nsd", "nsd"), "-d", "-c", file) }
}
