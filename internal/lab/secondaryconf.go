package lab

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// names are the configured zones in order, without the last dot.
func (cfg SecondaryConfig) names() []string {
	return slices.Sorted(maps.Keys(cfg.Keys))
}

// keys are the configured keys by name.
func (cfg SecondaryConfig) keys() []TSIG {
	byName := map[string]TSIG{}
	for _, key := range cfg.Keys {
		byName[key.Name] = key
	}
	var keys []TSIG
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		keys = append(keys, byName[name])
	}
	return keys
}

func (s *Secondary) asBIND(cfg SecondaryConfig) {
	// "IXFR" is said at level 3 of its debug messages only.
	s.spoken = dialect{
		whole:      `transfer of '%s/IN' from [^ ]+ got nonincremental response`,
		difference: `transfer of '%s/IN' from [^ ]+ got incremental response`,
		notified:   `received notify for zone '%s': TSIG `,
	}
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
	allow-transfer { any; };
	notify no;
	transfer-source %[2]s;
	serial-query-rate 1000;
	transfers-per-ns 100;
	transfers-in 100;
};
controls { };
logging {
	channel all { stderr; severity info; print-category yes; };
	channel more { stderr; severity debug 3; };
	category default { all; };
	category xfer-in { more; };
};
`, s.dir, cfg.Address)
	for _, k := range cfg.keys() {
		fmt.Fprintf(&b, "key %q { algorithm %s; secret %q; };\n", k.Name, k.Algorithm, k.Secret)
	}
	for _, zone := range cfg.names() {
		primary := fmt.Sprintf("%s key %q", cfg.Primary, cfg.Keys[zone].Name)
		if w, ok := cfg.Within[zone]; ok {
			primary = fmt.Sprintf("%s port 853 key %q tls \"to-%s\"", cfg.Primary, cfg.Keys[zone].Name, zone)
			fmt.Fprintf(&b, "tls \"to-%s\" { ca-file %q; remote-hostname %q; protocols { TLSv1.3; };", zone, w.CA, w.Name)
			if w.Cert != "" {
				fmt.Fprintf(&b, " cert-file %q; key-file %q;", w.Cert, w.Key)
			}
			b.WriteString(" };\n")
		}
		fmt.Fprintf(&b, "zone %[1]q { type secondary; file \"%[1]s.zone\"; primaries { %[2]s; }; allow-notify { key %[3]q; }; };\n",
			zone, primary, cfg.Keys[zone].Name)
	}
	file := s.l.Write(s.dir+"/named.conf", b.String())
	s.start = func() {
		s.process = s.l.startApart(s.Log, []string{cfg.Address}, s.l.program("named", "bind9"), "-4", "-f", "-n", "1", "-c", file)
	}
}

func (s *Secondary) asNSD(cfg SecondaryConfig) {
	s.spoken = dialect{
		whole:      `zone %s\. received update to .* of [0-9]{5,} bytes`,
		difference: `zone %s\. received update to .* of [0-9]{1,4} bytes`,
		notified:   `notify for %s\. from [^ ]+ serial`,
	}
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
`, s.dir, cfg.Address)
	for _, zone := range cfg.names() {
		if w, ok := cfg.Within[zone]; ok { // all trust the same
			fmt.Fprintf(&b, "server:\n\ttls-cert-bundle: %q\n", w.CA)
			break
		}
	}
	for _, zone := range cfg.names() {
		if w, ok := cfg.Within[zone]; ok {
			fmt.Fprintf(&b, "tls-auth:\n\tname: \"to-%s\"\n\tauth-domain-name: %q\n", zone, w.Name)
			if w.Cert != "" {
				fmt.Fprintf(&b, "\tclient-cert: %q\n\tclient-key: %q\n", w.Cert, w.Key)
			}
		}
	}
	for _, k := range cfg.keys() {
		fmt.Fprintf(&b, "key:\n\tname: %q\n\talgorithm: %s\n\tsecret: %q\n", k.Name, k.Algorithm, k.Secret)
	}
	for _, zone := range cfg.names() {
		request := cfg.Primary + " " + cfg.Keys[zone].Name
		if _, ok := cfg.Within[zone]; ok {
			request = cfg.Primary + "@853 " + cfg.Keys[zone].Name + " to-" + zone
		}
		fmt.Fprintf(&b, `zone:
	name: %[1]q
	zonefile: "%[1]s.zone"
	request-xfr: %[5]s
	allow-notify: %[2]s %[3]s
	provide-xfr: 0.0.0.0/0 NOKEY
	outgoing-interface: %[4]s
`, zone, cfg.Primary, cfg.Keys[zone].Name, cfg.Address, request)
	}
	file := s.l.Write(s.dir+"/nsd.conf", b.String())
	s.start = func() {
		s.process = s.l.again(s.Log, s.l.program("nsd", "nsd"), "-d", "-c", file)
	}
}

func (s *Secondary) asKnot(cfg SecondaryConfig) {
	s.spoken = dialect{
		whole:      `\[%s\.\] AXFR, incoming, .*finished`,
		difference: `\[%s\.\] IXFR, incoming, .*finished`,
		notified:   `\[%s\.\] notify, incoming, .*serial`,
	}
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
`, s.dir, cfg.Address)
	for _, k := range cfg.keys() {
		fmt.Fprintf(&b, "  - id: %q\n    algorithm: %s\n    secret: %q\n", k.Name, k.Algorithm, k.Secret)
	}
	b.WriteString("remote:\n")
	for _, k := range cfg.keys() {
		fmt.Fprintf(&b, "  - id: \"by-%[1]s\"\n    address: %[2]s@53\n    via: %[3]s\n    key: %[1]q\n", k.Name, cfg.Primary, cfg.Address)
	}
	b.WriteString("acl:\n  - id: all\n    address: 0.0.0.0/0\n    action: transfer\n")
	for _, k := range cfg.keys() {
		fmt.Fprintf(&b, "  - id: \"notify-%[1]s\"\n    address: %[2]s\n    key: %[1]q\n    action: notify\n", k.Name, cfg.Primary)
	}
	fmt.Fprintf(&b, "template:\n  - id: default\n    storage: %q\nzone:\n", s.dir)
	for _, zone := range cfg.names() {
		fmt.Fprintf(&b, "  - domain: %q\n    master: \"by-%[2]s\"\n    acl: [\"notify-%[2]s\", all]\n", zone, cfg.Keys[zone].Name)
	}
	file := s.l.Write(s.dir+"/knot.conf", b.String())
	s.start = func() {
		s.process = s.l.again(s.Log, s.l.program("knotd", "knot"), "-c", file)
	}
}

// powerDNSSchema is where its Debian package keeps the tables to start from.
const powerDNSSchema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"

func (s *Secondary) asPowerDNS(cfg SecondaryConfig) {
	s.l.t.Helper()
	s.spoken = dialect{
		whole:      `AXFR-in zone: '%s', .* zone committed`,
		difference: `IXFR-in zone: '%s', .* zone committed`,
		notified:   `Received secure NOTIFY for %s from `,
	}
	if _, err := os.Stat(powerDNSSchema); err != nil {
		s.l.lacks("the tables of PowerDNS", "pdns-backend-sqlite3")
	}
	var rows strings.Builder
	for _, k := range cfg.keys() {
		fmt.Fprintf(&rows, "INSERT INTO tsigkeys (name, algorithm, secret) VALUES ('%s', '%s', '%s');\n", strings.TrimSuffix(k.Name, "."), k.Algorithm, k.Secret)
	}
	for i, zone := range cfg.names() {
		fmt.Fprintf(&rows, "INSERT INTO domains (id, name, type, master) VALUES (%d, '%s', 'SLAVE', '%s');\n", i+1, zone, cfg.Primary)
		for kind, value := range map[string]string{"IXFR": "1", "AXFR-MASTER-TSIG": strings.TrimSuffix(cfg.Keys[zone].Name, "."), "AXFR-SOURCE": cfg.Address} {
			fmt.Fprintf(&rows, "INSERT INTO domainmetadata (domain_id, kind, content) VALUES (%d, '%s', '%s');\n", i+1, kind, value)
		}
	}
	s.l.Python(`
		import sqlite3, sys
		db = sqlite3.connect(sys.argv[1])
		db.executescript(open(sys.argv[2]).read() + sys.stdin.read())
		db.commit()
	`, rows.String(), s.dir+"/zones.sqlite", powerDNSSchema).Want(0)
	s.l.Write(s.dir+"/pdns.conf", fmt.Sprintf(`
launch=gsqlite3
gsqlite3-database=%[1]s/zones.sqlite
gsqlite3-dnssec=yes
gsqlite3-pragma-synchronous=0
gsqlite3-pragma-journal-mode=memory
retrieval-threads=1
secondary=yes
local-address=%[2]s
query-local-address=%[2]s
socket-dir=%[1]s
allow-axfr-ips=0.0.0.0/0
allow-unsigned-notify=no
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
`, s.dir, cfg.Address))
	s.start = func() {
		s.process = s.l.again(s.Log, s.l.program("pdns_server", "pdns-server"),
			"--config-dir="+s.dir, "--daemon=no", "--guardian=no", "--disable-syslog=yes")
	}
}
