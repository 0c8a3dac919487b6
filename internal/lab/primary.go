package lab

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/miekg/dns"
)

// PrimaryConfig describes a name server that gives its zones to a secondary.
type PrimaryConfig struct {
	Program Program
	// Address is its own: what it listens on and tells of changes from. Whoever
	// asks from it may transfer everything; others need the zone's key.
	Address string
	// Secondary is whom it tells of changes, signed with the zone's key.
	Secondary string
	Zones     []PrimaryZone
	// Open has Knot give its zones to the secondary without a key, and tell it
	// of nothing.
	Open bool
}

// PrimaryZone is a zone that it has.
type PrimaryZone struct {
	Name   string // absolute
	Key    TSIG
	Text   string // in master-file form
	Signed bool   // BIND and Knot sign it, with serials of their own, PowerDNS with that of the text
	OptOut bool   // with Signed: by NSEC3 without insecure delegations; else by NSEC
}

// Primary is a running name server with zones of its own.
type Primary struct {
	Address string
	Program Program
	Log     *Log // over all restarts

	l       *Lab
	dir     string
	start   func()
	load    func(zone string) // takes a file in that has changed; nil: by SIGHUP
	offline bool              // also while it does not run
	forget  []string          // what it keeps beside the files, as patterns
	process *Process
}

// Primary configures and starts a primary, and waits until it has its zones.
func (l *Lab) Primary(cfg PrimaryConfig) *Primary {
	l.t.Helper()
	name := string(cfg.Program) + "-primary"
	p := &Primary{Address: cfg.Address, Program: cfg.Program, Log: l.newLog(name), l: l, dir: l.place(name)}
	for _, z := range cfg.Zones {
		p.write(z.Name, z.Text)
	}
	switch cfg.Program {
	case BIND:
		p.asBIND(cfg)
	case NSD:
		p.asNSD(cfg)
	case Knot:
		p.asKnot(cfg)
	case PowerDNS:
		p.asPowerDNS(cfg)
	default:
		l.t.Fatalf("lab: no primary of program %q", cfg.Program)
	}
	p.start()
	for _, z := range cfg.Zones {
		l.Eventually(fmt.Sprintf("%s has %s", name, z.Name), func() error {
			_, err := Serial(p.Address, z.Name)
			return err
		})
	}
	return p
}

func (p *Primary) file(zone string) string {
	return p.dir + "/" + strings.TrimSuffix(zone, ".") + ".zone"
}

// write puts a whole file in the place of the former.
func (p *Primary) write(zone, text string) {
	p.l.t.Helper()
	path := p.file(zone)
	p.l.Write(path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		p.l.t.Fatal(err)
	}
}

// Publish gives a zone another file, which is taken in where it runs.
func (p *Primary) Publish(zone, text string) {
	p.l.t.Helper()
	p.write(zone, text)
	switch {
	case !p.process.Running() && !p.offline:
	case p.load != nil:
		p.load(zone)
	default:
		p.process.Signal(syscall.SIGHUP)
	}
}

// Sealed is the text of a zone as dnssec-signzone signs it, by NSEC3 without
// insecure delegations: for a program that does not sign. Its keys stay the same.
func (p *Primary) Sealed(zone, text string) string {
	p.l.t.Helper()
	p.l.program("dnssec-signzone", "bind9-utils")
	file := p.l.Write(p.dir+"/sealed.in", text)
	p.l.Shell(p.dir, fmt.Sprintf("test -e K%[1]s+013+*.key || dnssec-keygen -q -K . -a ECDSAP256SHA256 -f KSK %[1]s", zone)).Want(0)
	p.l.Shell(p.dir, fmt.Sprintf("dnssec-signzone -S -z -K . -d . -P -3 - -A -H 0 -O full -o %s -f sealed.out %s", zone, file)).Want(0)
	return withoutDSYNC(p.l.Shell(p.dir, "cat sealed.out").Want(0).Stdout)
}

// Down ends it as a power cut would.
func (p *Primary) Down() { p.process.Kill9() }

// Up starts it again, with what it kept. Where a file has changed meanwhile,
// BIND wants Anew.
func (p *Primary) Up() {
	p.l.t.Helper()
	p.start()
}

// Anew ends it and starts it with nothing but its files: so a serial may go
// back.
func (p *Primary) Anew() {
	p.l.t.Helper()
	if p.process.Running() {
		p.Down()
	}
	for _, pattern := range p.forget {
		p.l.Shell(p.dir, "rm -rf "+pattern)
	}
	p.start()
}

// Zone returns the whole zone as it gives it.
func (p *Primary) Zone(zone string) ([]dns.RR, error) {
	p.l.t.Helper()
	p.process.alive()
	return Transfer(p.Address, zone)
}
