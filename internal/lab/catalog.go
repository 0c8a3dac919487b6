package lab

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
)

// FollowerConfig describes a secondary that takes whatever zones a catalog lists.
type FollowerConfig struct {
	Program Program // BIND, Knot or PowerDNS
	Address string
	Primary string
	Catalog string // absolute
	Key     TSIG   // of the catalog and its members; PowerDNS gives members none, and uses none
}

// Follower configures and starts a secondary that follows a catalog.
func (l *Lab) Follower(cfg FollowerConfig) *Secondary {
	l.t.Helper()
	name := string(cfg.Program) + "-follower"
	s := &Secondary{Address: cfg.Address, Program: cfg.Program, Log: l.newLog(name), l: l, dir: l.place(name)}
	cfg.Catalog = strings.TrimSuffix(cfg.Catalog, ".")
	switch cfg.Program {
	case BIND:
		s.followAsBIND(cfg)
	case Knot:
		s.followAsKnot(cfg)
	case PowerDNS:
		s.followAsPowerDNS(cfg)
	default:
		l.t.Fatalf("lab: %q follows no catalog", cfg.Program)
	}
	s.start()
	return s
}

func (s *Secondary) followAsBIND(cfg FollowerConfig) {
	file := s.l.Write(s.dir+"/named.conf", fmt.Sprintf(`
options {
	directory %[1]q;
	pid-file none;
	session-keyfile "%[1]s/session.key";
	listen-on { %[2]s; };
	listen-on-v6 { none; };
	recursion no;
	dnssec-validation no;
	notify no;
	transfer-source %[2]s;
	catalog-zones {
		zone %[3]q default-primaries { %[4]s key %[5]q; } in-memory yes min-update-interval 1;
	};
};
controls { };
logging { channel all { stderr; severity info; print-category yes; }; category default { all; }; };
key %[5]q { algorithm %[6]s; secret %[7]q; };
zone %[3]q { type secondary; file "catalog.zone"; primaries { %[4]s key %[5]q; }; };
`, s.dir, cfg.Address, cfg.Catalog, cfg.Primary, cfg.Key.Name, cfg.Key.Algorithm, cfg.Key.Secret))
	s.start = func() {
		s.process = s.l.startApart(s.Log, []string{cfg.Address}, s.l.program("named", "bind9"), "-4", "-f", "-n", "1", "-c", file)
	}
}

func (s *Secondary) followAsKnot(cfg FollowerConfig) {
	file := s.l.Write(s.dir+"/knot.conf", fmt.Sprintf(`server:
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
  - id: %[3]q
    algorithm: %[4]s
    secret: %[5]q
remote:
  - id: main
    address: %[6]s@53
    via: %[2]s
    key: %[3]q
acl:
  - id: notify
    address: %[6]s
    key: %[3]q
    action: notify
template:
  - id: default
    storage: %[1]q
  - id: members
    storage: %[1]q
    master: main
    acl: notify
zone:
  - domain: %[7]q
    master: main
    acl: notify
    catalog-role: interpret
    catalog-template: members
`, s.dir, cfg.Address, cfg.Key.Name, cfg.Key.Algorithm, cfg.Key.Secret, cfg.Primary, cfg.Catalog))
	s.start = func() {
		s.process = s.l.again(s.Log, s.l.program("knotd", "knot"), "-c", file)
	}
}

func (s *Secondary) followAsPowerDNS(cfg FollowerConfig) {
	s.l.t.Helper()
	if _, err := os.Stat(powerDNSSchema); err != nil {
		s.l.lacks("the tables of PowerDNS", "pdns-backend-sqlite3")
	}
	rows := fmt.Sprintf("INSERT INTO domains (id, name, type, master) VALUES (1, '%s', 'CONSUMER', '%s');\n", cfg.Catalog, cfg.Primary)
	s.l.Python(`
		import sqlite3, sys
		db = sqlite3.connect(sys.argv[1])
		db.executescript(open(sys.argv[2]).read() + sys.stdin.read())
		db.commit()
	`, rows, s.dir+"/zones.sqlite", powerDNSSchema).Want(0)
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
xfr-cycle-interval=1
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
zone-metadata-cache-ttl=0
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

// Maker is a Knot that makes a catalog of its zones.
type Maker struct {
	*Primary
	head  string
	zones map[string]string // name -> file
}

// Maker configures and starts one without a zone.
func (l *Lab) Maker(cfg FollowerConfig, secondary string) *Maker {
	l.t.Helper()
	const name = "knot-maker"
	m := &Maker{Primary: &Primary{Address: cfg.Address, Program: Knot, Log: l.newLog(name), l: l, dir: l.place(name)}, zones: map[string]string{}}
	m.head = fmt.Sprintf(`server:
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
  - id: %[3]q
    algorithm: %[4]s
    secret: %[5]q
remote:
  - id: secondary
    address: %[6]s@53
    via: %[2]s
    key: %[3]q
acl:
  - id: secondary
    key: %[3]q
    action: transfer
  - id: own
    address: %[2]s
    action: transfer
template:
  - id: default
    storage: %[1]q
    notify: secondary
    acl: [own, secondary]
  - id: members
    storage: %[1]q
    notify: secondary
    acl: [own, secondary]
    zonefile-sync: -1
    catalog-role: member
    catalog-zone: %[7]q
zone:
  - domain: %[7]q
    catalog-role: generate
`, m.dir, cfg.Address, cfg.Key.Name, cfg.Key.Algorithm, cfg.Key.Secret, secondary, strings.TrimSuffix(cfg.Catalog, "."))
	m.configure()
	m.start = func() {
		m.process = l.again(m.Log, l.program("knotd", "knot"), "-c", m.dir+"/knot.conf")
	}
	m.start()
	// It tells nobody of its catalog but those who may transfer it.
	l.Eventually(name+" has its catalog", func() error {
		if !strings.Contains(m.Log.String(), "] loaded, serial none") {
			return errors.New("nothing is loaded yet")
		}
		return nil
	})
	return m
}

func (m *Maker) configure() {
	m.l.t.Helper()
	text := m.head
	for _, zone := range slices.Sorted(maps.Keys(m.zones)) {
		m.write(zone, m.zones[zone])
		text += fmt.Sprintf("  - domain: %q\n    file: %q\n    template: members\n", zone, m.file(zone))
	}
	m.l.Write(m.dir+"/knot.conf", text)
}

// Add gives it a zone; without a text it takes one away.
func (m *Maker) Add(zone, text string) {
	m.l.t.Helper()
	if m.zones[zone] = text; text == "" {
		delete(m.zones, zone)
	}
	m.configure()
	m.process.Signal(syscall.SIGHUP)
}
