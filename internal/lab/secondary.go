package lab

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// TSIG is one key of transfers.
type TSIG struct {
	Name      string // absolute, in lower case
	Algorithm string // "hmac-sha256" …
	Secret    string // base64
}

// SecondaryConfig describes a name server that takes its zones from a primary.
type SecondaryConfig struct {
	Program Program
	// Name names the peer and its folder; "PROGRAM-secondary" if empty.
	Name string
	// Address is its own: what it listens on and asks the primary from.
	Address string
	// Primary is the primary's address; everything happens on port 53, but what
	// is named in Within.
	Primary string
	// Within holds zones that BIND or NSD takes within TLS, on port 853.
	Within map[string]Within
	// Keys holds the zones, and the key each is transferred with. A NOTIFY
	// counts only if it is signed with that.
	Keys map[string]TSIG
}

// Within is how a secondary and its primary know each other within TLS. All are
// paths of PEM files but Name, which is the primary's.
type Within struct {
	Name, CA  string
	Cert, Key string // what the secondary shows; "": nothing
}

// Secondary is a running name server with zones of a primary. Everybody may
// transfer them from it.
type Secondary struct {
	Address string
	Program Program
	Log     *Log // over all restarts

	l       *Lab
	dir     string
	start   func()
	process *Process
	spoken  dialect
}

// dialect is how a program's log tells what happened to a zone; each holds one
// %s for the zone's name without its last dot.
type dialect struct{ whole, difference, notified string }

// Secondary configures and starts a secondary. It does not wait for its zones.
func (l *Lab) Secondary(cfg SecondaryConfig) *Secondary {
	l.t.Helper()
	if cfg.Name == "" {
		cfg.Name = string(cfg.Program) + "-secondary"
	}
	s := &Secondary{Address: cfg.Address, Program: cfg.Program, Log: l.newLog(cfg.Name), l: l, dir: l.place(cfg.Name)}
	keys := map[string]TSIG{}
	for zone, key := range cfg.Keys {
		keys[strings.TrimSuffix(zone, ".")] = key
	}
	cfg.Keys = keys
	within := map[string]Within{}
	for zone, w := range cfg.Within {
		within[strings.TrimSuffix(zone, ".")] = w
	}
	cfg.Within = within
	switch cfg.Program {
	case BIND:
		s.asBIND(cfg)
	case NSD:
		s.asNSD(cfg)
	case Knot:
		s.asKnot(cfg)
	case PowerDNS:
		s.asPowerDNS(cfg)
	default:
		l.t.Fatalf("lab: no secondary of program %q", cfg.Program)
	}
	s.start()
	return s
}

// Down ends it as a power cut would.
func (s *Secondary) Down() { s.process.Kill9() }

// Up starts it again, with what it kept.
func (s *Secondary) Up() {
	s.l.t.Helper()
	s.start()
}

// Stop asks it to end.
func (s *Secondary) Stop() {
	s.l.t.Helper()
	s.process.Stop(patience)
}

// Serial asks it for a zone's serial.
func (s *Secondary) Serial(zone string) (uint32, error) {
	s.l.t.Helper()
	s.process.alive()
	return Serial(s.Address, zone)
}

// Serial asks a server, which must be an authority for the zone.
func Serial(server, zone string) (uint32, error) {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	reply, _, err := resolverClient.Exchange(m, server+":53")
	if err != nil {
		return 0, err
	}
	if reply.Rcode != dns.RcodeSuccess || !reply.Authoritative || len(reply.Answer) != 1 {
		return 0, fmt.Errorf("rcode %s, authority %t, %d answers", dns.RcodeToString[reply.Rcode], reply.Authoritative, len(reply.Answer))
	}
	soa, ok := reply.Answer[0].(*dns.SOA)
	if !ok {
		return 0, fmt.Errorf("not a SOA: %s", reply.Answer[0])
	}
	return soa.Serial, nil
}

// Zone returns the whole zone as it serves it, at that serial.
func (s *Secondary) Zone(zone string, serial uint32) ([]dns.RR, error) {
	s.l.t.Helper()
	s.process.alive()
	if s.Program == NSD {
		return s.written(zone, serial)
	}
	return Transfer(s.Address, zone)
}

// records reads a zone in master-file form.
func records(text io.Reader) ([]dns.RR, error) {
	var all []dns.RR
	parser := dns.NewZoneParser(text, ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		all = append(all, rr)
	}
	return all, parser.Err()
}

// written makes NSD write the zone: it cannot transfer a record of more than
// 16 KB, but sends messages without any, for ever.
func (s *Secondary) written(zone string, serial uint32) ([]dns.RR, error) {
	s.l.t.Helper()
	zone = strings.TrimSuffix(zone, ".")
	control := s.l.program("nsd-control", "nsd")
	s.l.Exec(control, "-c", s.dir+"/nsd.conf", "write", zone).Want(0)
	var all []dns.RR
	s.l.Eventually("NSD writes "+zone, func() error {
		file, err := os.Open(s.dir + "/" + zone + ".zone")
		if err != nil {
			return err
		}
		defer file.Close()
		if all, err = records(file); err != nil {
			return err
		}
		if soa, ok := all[0].(*dns.SOA); !ok || soa.Serial != serial {
			return fmt.Errorf("want serial %d: %s", serial, all[0])
		}
		return nil
	})
	return all, nil
}

// Transfer is an AXFR from a server, without the SOA at the end.
func Transfer(server, zone string) ([]dns.RR, error) {
	conn, err := dns.DialTimeout("tcp", server+":53", patience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if err := conn.WriteMsg(new(dns.Msg).SetAxfr(dns.Fqdn(zone))); err != nil {
		return nil, err
	}
	var all []dns.RR
	for messages := 0; ; messages++ {
		m, err := conn.ReadMsg()
		switch {
		case err != nil:
			return nil, fmt.Errorf("AXFR of %s from %s, after %d records: %w", zone, server, len(all), err)
		case m.Rcode != dns.RcodeSuccess || len(m.Answer) == 0:
			return nil, fmt.Errorf("AXFR of %s from %s, after %d records: rcode %s and %d records", zone, server, len(all), dns.RcodeToString[m.Rcode], len(m.Answer))
		}
		all = append(all, m.Answer...)
		if end := len(all) - 1; end > 0 && all[end].Header().Rrtype == dns.TypeSOA {
			return all[:end], nil
		}
	}
}

// Transfers counts in its log how often the zone came as a whole and how often
// as a difference. NSD tells only the size: 10 KB and more count as a whole.
func (s *Secondary) Transfers(zone string) (whole, differences int) {
	return s.count(s.spoken.whole, zone), s.count(s.spoken.difference, zone)
}

// Notified counts in its log the notifications it took for a zone.
func (s *Secondary) Notified(zone string) int { return s.count(s.spoken.notified, zone) }

func (s *Secondary) count(form, zone string) int {
	name := regexp.QuoteMeta(strings.TrimSuffix(zone, "."))
	return len(regexp.MustCompile(fmt.Sprintf(form, name)).FindAllString(s.Log.String(), -1))
}

// again starts a program that may have run before, into the same log.
func (l *Lab) again(log *Log, program string, args ...string) *Process {
	l.t.Helper()
	return l.launch(log.name, log, exec.Command(program, args...))
}
