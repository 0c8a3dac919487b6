package lab

import (
	"fmt"
	"os"
	"strings"
)

// keys are the keys of all zones, each once.
func (cfg PrimaryConfig) keys() []TSIG {
	of := SecondaryConfig{Keys: map[string]TSIG{}}
	for _, z := range cfg.Zones {
		of.Keys[z.Name] = z.Key
	}
	return of.keys()
}

func (p *Primary) asBIND(cfg PrimaryConfig) {
	var b strings.Builder
	fmt.Fprintf(&b, `
options {
	directory %[1]q;
	pid-file none;
	session-keyfile "%[1]s/session.key";
	listen-on { %[2]s; };
	listen-on-v6 { none; };
	recursion no;
	dnssec-validation no;
	notify explicit;
	notify-source %[2]s;
	notify-delay 0;
	startup-notify-rate 1000;
	notify-rate 1000;
	ixfr-from-differences yes;
	check-names primary ignore;
	check-integrity no;
	key-directory %[1]q;
};
controls { };
logging { channel all { stderr; severity info; print-category yes; }; category default { all; }; };
`, p.dir, cfg.Address)
	for _, k := range cfg.keys() {
		fmt.Fprintf(&b, "key %q { algorithm %s; secret %q; };\n", k.Name, k.Algorithm, k.Secret)
	}
	b.WriteString("dnssec-policy optout { max-zone-ttl P30D; keys { csk lifetime unlimited algorithm 13; }; nsec3param iterations 0 optout yes salt-length 0; };\n")
	for _, z := range cfg.Zones {
		signing := ""
		if z.Signed {
			signing = "dnssec-policy default; inline-signing yes;"
		}
		if z.OptOut {
			signing = "dnssec-policy optout; inline-signing yes;"
		}
		fmt.Fprintf(&b, "zone %q { type primary; file %q; allow-transfer { %s; key %q; }; also-notify { %s key %q; }; %s };\n",
			z.Name, p.file(z.Name), elsewhere, z.Key.Name, cfg.Secondary, z.Key.Name, signing)
	}
	file := p.l.Write(p.dir+"/named.conf", b.String())
	p.forget = []string{"*.jnl", "*.signed", "*.jbk"}
	p.start = func() {
		p.process = p.l.startApart(p.Log, []string{cfg.Address}, p.l.program("named", "bind9"), "-4", "-f", "-n", "1", "-c", file)
	}
}

func (p *Primary) asNSD(cfg PrimaryConfig) {
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
	xfrd-reload-timeout: 0
	ip-address: %[2]s
remote-control:
	control-enable: yes
	control-interface: "%[1]s/control"
`, p.dir, cfg.Address)
	for _, k := range cfg.keys() {
		fmt.Fprintf(&b, "key:\n\tname: %q\n\talgorithm: %s\n\tsecret: %q\n", k.Name, k.Algorithm, k.Secret)
	}
	for _, z := range cfg.Zones {
		fmt.Fprintf(&b, `zone:
	name: %[1]q
	zonefile: %[2]q
	store-ixfr: yes
	create-ixfr: yes
	provide-xfr: %[3]s NOKEY
	provide-xfr: %[4]s %[5]s
	notify: %[4]s %[5]s
	outgoing-interface: %[3]s
`, z.Name, p.file(z.Name), cfg.Address, cfg.Secondary, z.Key.Name)
	}
	file := p.l.Write(p.dir+"/nsd.conf", b.String())
	p.forget = []string{"*.ixfr*", "xfrd.state", "zone.list"}
	control := p.l.program("nsd-control", "nsd")
	p.load = func(zone string) { p.l.Exec(control, "-c", file, "reload", strings.TrimSuffix(zone, ".")).Want(0) }
	p.start = func() {
		p.process = p.l.again(p.Log, p.l.program("nsd", "nsd"), "-d", "-c", file)
	}
}

func (p *Primary) asKnot(cfg PrimaryConfig) {
	var b strings.Builder
	fmt.Fprintf(&b, `server:
    rundir: %[1]q
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    listen: %[2]s@53
database:
    storage: %[1]q
log:
  - target: stderr
    any: info
key:
`, p.dir, cfg.Address)
	for _, k := range cfg.keys() {
		fmt.Fprintf(&b, "  - id: %q\n    algorithm: %s\n    secret: %q\n", k.Name, k.Algorithm, k.Secret)
	}
	b.WriteString("remote:\n")
	for _, k := range cfg.keys() {
		fmt.Fprintf(&b, "  - id: \"to-%[1]s\"\n    address: %[2]s@53\n    via: %[3]s\n    key: %[1]q\n", k.Name, cfg.Secondary, cfg.Address)
	}
	fmt.Fprintf(&b, "acl:\n  - id: own\n    address: %s\n    action: transfer\n", cfg.Address)
	for _, k := range cfg.keys() {
		fmt.Fprintf(&b, "  - id: \"from-%[1]s\"\n    key: %[1]q\n    action: transfer\n", k.Name)
	}
	if cfg.Open {
		fmt.Fprintf(&b, "  - id: open\n    address: %s\n    action: transfer\n", cfg.Secondary)
	}
	b.WriteString("policy:\n  - id: optout\n    single-type-signing: on\n    nsec3: on\n    nsec3-iterations: 0\n    nsec3-salt-length: 0\n    nsec3-opt-out: on\n    rrsig-lifetime: 60d\nzone:\n")
	for _, z := range cfg.Zones {
		how := "    zonefile-load: difference\n    journal-content: changes\n"
		if z.Signed {
			how = "    zonefile-load: difference-no-serial\n    journal-content: all\n    dnssec-signing: on\n"
		}
		if z.OptOut {
			how += "    dnssec-policy: optout\n"
		}
		peers := fmt.Sprintf("    notify: \"to-%[1]s\"\n    acl: [own, \"from-%[1]s\"]\n", z.Key.Name)
		if cfg.Open {
			peers = "    acl: [own, open]\n"
		}
		fmt.Fprintf(&b, "  - domain: %q\n    file: %q\n    zonefile-sync: -1\n%s%s", z.Name, p.file(z.Name), peers, how)
	}
	file := p.l.Write(p.dir+"/knot.conf", b.String())
	p.forget = []string{"journal", "timers"}
	p.start = func() {
		p.process = p.l.again(p.Log, p.l.program("knotd", "knot"), "-c", file)
	}
}

func (p *Primary) asPowerDNS(cfg PrimaryConfig) {
	p.l.t.Helper()
	if _, err := os.Stat(powerDNSSchema); err != nil {
		p.l.lacks("the tables of PowerDNS", "pdns-backend-sqlite3")
	}
	var rows strings.Builder
	for _, k := range cfg.keys() {
		fmt.Fprintf(&rows, "INSERT INTO tsigkeys (name, algorithm, secret) VALUES ('%s', '%s', '%s');\n", strings.TrimSuffix(k.Name, "."), k.Algorithm, k.Secret)
	}
	for i, z := range cfg.Zones {
		zone, key := strings.TrimSuffix(z.Name, "."), strings.TrimSuffix(z.Key.Name, ".")
		fmt.Fprintf(&rows, "INSERT INTO domains (id, name, type) VALUES (%d, '%s', 'MASTER');\n", i+1, zone)
		fmt.Fprintf(&rows, "INSERT INTO domainmetadata (domain_id, kind, content) VALUES (%d, 'TSIG-ALLOW-AXFR', '%s');\n", i+1, key)
	}
	p.l.Python(`
		import sqlite3, sys
		db = sqlite3.connect(sys.argv[1])
		db.executescript(open(sys.argv[2]).read() + sys.stdin.read())
		db.commit()
	`, rows.String(), p.dir+"/zones.sqlite", powerDNSSchema).Want(0)
	p.l.Write(p.dir+"/pdns.conf", fmt.Sprintf(`
launch=gsqlite3
gsqlite3-database=%[1]s/zones.sqlite
gsqlite3-dnssec=yes
gsqlite3-pragma-synchronous=0
gsqlite3-pragma-journal-mode=memory
primary=yes
local-address=%[2]s
query-local-address=%[2]s
socket-dir=%[1]s
allow-axfr-ips=%[2]s
also-notify=%[3]s
only-notify=%[3]s/32
xfr-cycle-interval=1
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
zone-metadata-cache-ttl=0
dname-processing=yes
distributor-threads=1
receiver-threads=1
security-poll-suffix=
write-pid=no
log-timestamp=no
loglevel=6
`, p.dir, cfg.Address, cfg.Secondary))
	util := p.l.program("pdnsutil", "pdns-server")
	p.offline = true
	signed := map[string]bool{}
	p.load = func(zone string) {
		p.l.t.Helper()
		p.l.Exec(util, "--config-dir="+p.dir, "load-zone", strings.TrimSuffix(zone, "."), p.file(zone)).Want(0)
		if signed[zone] {
			p.l.Exec(util, "--config-dir="+p.dir, "rectify-zone", strings.TrimSuffix(zone, ".")).Want(0)
		}
	}
	for _, z := range cfg.Zones {
		p.load(z.Name)
		if z.Signed {
			p.l.Exec(util, "--config-dir="+p.dir, "secure-zone", strings.TrimSuffix(z.Name, ".")).Want(0)
		}
		if z.OptOut {
			p.l.Exec(util, "--config-dir="+p.dir, "set-nsec3", strings.TrimSuffix(z.Name, "."), "1 1 0 -").Want(0)
		}
		if signed[z.Name] = z.Signed; z.Signed {
			p.load(z.Name)
		}
	}
	p.start = func() {
		p.process = p.l.again(p.Log, p.l.program("pdns_server", "pdns-server"),
			"--config-dir="+p.dir, "--daemon=no", "--guardian=no", "--disable-syslog=yes")
	}
}
