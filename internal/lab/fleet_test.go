package lab_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// fleet is a Postern that is the primary of four other name servers. Each has
// a key of its own for every algorithm, and every algorithm a zone of its own.
type fleet struct {
	l       *lab.Lab
	edge    *lab.Postern
	servers []*lab.Secondary
	inner   *lab.Secondary // of the internal view, with one key for all
	hard    *hardZone
	keys    map[string]lab.TSIG // by peer: "bind-hmac-sha256" …, "free", "auditor"
	small   map[string]int      // of the zones that are not hard: what www has
}

const (
	hardName  = "hard.lab." // in both views, its transfers signed with HMAC-SHA-256
	corpName  = "corp.lab." // in the internal view only
	innerPeer = "inner"     // the secondary of that
	freeKey   = "free"      // a key of no peer
	auditor   = "auditor"   // a peer that takes the hard zone from anywhere and is told nothing
	bigName   = "big"       // holds a record that leaves just enough of a message
	bigOctets = 64500
)

// programs are the secondaries in the order of their addresses.
var programs = []lab.Program{lab.BIND, lab.NSD, lab.Knot, lab.PowerDNS}

// algorithms are those that all of them and Postern have.
func algorithms() []string {
	return []string{"hmac-sha256", "hmac-sha1", "hmac-sha224", "hmac-sha384", "hmac-sha512"}
}

// zoneOf is the zone that is transferred with an algorithm.
func zoneOf(algorithm string) string {
	if algorithm == "hmac-sha256" {
		return hardName
	}
	return algorithm + ".lab."
}

func addressOf(i int) string { return fmt.Sprintf("203.0.113.%d", 11+i) }

func peerOf(program lab.Program, algorithm string) string { return string(program) + "-" + algorithm }

const fleetConfig = `
	[server]
	hostname = "edge.alpha.lab"
	state    = "state"
	control  = "run/control.sock"

	[networks]
	internal = ["10.0.0.0/8"]

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]
	views     = ["external"]

	[[listen]]
	serve     = "dns"
	address   = ["10.0.0.53:53"]
	transport = ["udp", "tcp"]
	clients   = ["internal"]

	[dns]
	source = ["198.51.100.53"]

	[[view]]
	name    = "internal"
	clients = ["internal"]
	zones   = "zones/internal"
	overlay = "external"

	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones/external"

	# The tests ask more in a second than a stranger may.
	[limits]
	exempt = ["203.0.113.0/24", "198.51.100.53", "10.9.9.9"]

	[key."free."]
	algorithm = "hmac-sha256"
	secret    = "file:secrets/free"

	[key."auditor."]
	algorithm = "hmac-sha256"
	secret    = "file:secrets/auditor"

	[key."inner."]
	algorithm = "hmac-sha384"
	secret    = "file:secrets/inner"

	[peer.inner]
	notify = ["10.0.0.54:53"]
	source = ["10.0.0.53"]
	keys   = ["inner."]

	[zone_default.view.internal]
	secondaries = []

	[zone."hard.lab".view.internal]
	secondaries = ["inner"]

	[zone."corp.lab".view.internal]
	secondaries = ["inner"]

	[peer.auditor]
	notify = []
	keys   = ["auditor."]
`

// newFleet starts all of them, and waits for nobody but Postern.
func newFleet(l *lab.Lab, seed uint64) *fleet {
	l.T().Helper()
	f := &fleet{l: l, hard: newHardZone(l.T(), hardName, seed), keys: map[string]lab.TSIG{}, small: map[string]int{}}
	f.key(freeKey, "hmac-sha256")
	f.key(auditor, "hmac-sha256")
	f.key(innerPeer, "hmac-sha384")
	config := fleetConfig
	files := map[string]string{
		"zones/external/hard.lab.zone": f.hard.file(),
		"zones/internal/hard.lab.zone": "$ORIGIN hard.lab.\n$TTL 300\nwww.deep.b.ent A 10.66.6.1\nvault A 10.66.6.6\nvault TXT inside-only\n",
		"zones/internal/corp.lab.zone": corpInternal,
	}
	for _, algorithm := range algorithms() {
		zone := zoneOf(algorithm)
		var peers []string
		for i, program := range programs {
			name := peerOf(program, algorithm)
			f.key(name, algorithm)
			peers = append(peers, name)
			config += fmt.Sprintf("\n[key.%[1]q]\nalgorithm = %[2]q\nsecret = \"file:secrets/%[3]s\"\n[peer.%[3]s]\nnotify = [\"%[4]s:53\"]\ntransfer_from = [%[4]q]\nkeys = [%[1]q]\n",
				name+".", algorithm, name, addressOf(i))
		}
		if zone == hardName {
			peers = append(peers, auditor)
		} else {
			files["zones/external/"+zone+"zone"] = f.smallZone(zone)
		}
		config += fmt.Sprintf("[zone.%q.view.external]\nsecondaries = [\"%s\"]\n", strings.TrimSuffix(zone, "."), strings.Join(peers, `", "`))
	}
	f.edge = l.Prepare(lab.PosternConfig{Config: config, Files: files})
	f.secrets()
	f.edge.Start()
	for i, program := range programs {
		cfg := lab.SecondaryConfig{Program: program, Address: addressOf(i), Primary: alphaDNS, Keys: map[string]lab.TSIG{}}
		for _, algorithm := range algorithms() {
			cfg.Keys[zoneOf(algorithm)] = f.keys[peerOf(program, algorithm)]
		}
		f.servers = append(f.servers, l.Secondary(cfg))
	}
	f.inner = l.Secondary(lab.SecondaryConfig{
		Program: lab.Knot, Name: innerPeer, Address: "10.0.0.54", Primary: alphaInDNS,
		Keys: map[string]lab.TSIG{hardName: f.keys[innerPeer], corpName: f.keys[innerPeer]},
	})
	return f
}

// secrets writes the keys for Postern alone to read.
func (f *fleet) secrets() {
	f.l.T().Helper()
	for name, key := range f.keys {
		f.secret(name, key.Secret+"\n")
	}
}

// secret writes a file for Postern alone to read.
func (f *fleet) secret(name, text string) {
	f.l.T().Helper()
	path := f.l.Write(f.edge.Path("secrets", name), text)
	if err := os.Chmod(path, 0o600); err != nil {
		f.l.T().Fatal(err)
	}
	if err := os.Chown(path, nobody, nobody); err != nil {
		f.l.T().Fatal(err)
	}
}

// key makes a key, whose name is the peer's.
func (f *fleet) key(name, algorithm string) {
	secret := make([]byte, 64)
	rand.Read(secret)
	f.keys[name] = lab.TSIG{Name: name + ".", Algorithm: algorithm, Secret: base64.StdEncoding.EncodeToString(secret)}
}

// smallZone is the next file of a zone that is not hard.
func (f *fleet) smallZone(zone string) string {
	f.small[zone]++
	octets := 2 * smallEdit // so that nobody takes a difference for all of it
	if zone == zoneOf("hmac-sha512") {
		octets = bigOctets
	}
	return lab.ZoneFile(zone, alphaDNS, 1, fmt.Sprintf("www A 203.0.113.%d\n", f.small[zone])) +
		bigName + " TXT" + strings.Repeat(` "`+strings.Repeat("b", 249)+`"`, octets/250) + "\n"
}

// zones are all zones that are transferred.
func (f *fleet) zones() []string {
	var zones []string
	for _, algorithm := range algorithms() {
		zones = append(zones, zoneOf(algorithm))
	}
	return zones
}

// publish writes a zone file as an editor does, and waits until Postern has
// read it.
func (f *fleet) publish(zone, text string) {
	f.l.T().Helper()
	f.write(zone, text)
	f.edge.Reload()
}

// write puts a whole file in the place of the former.
func (f *fleet) write(zone, text string) {
	f.l.T().Helper()
	path := f.edge.Path("zones", "external", zone+"zone")
	f.l.Write(path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		f.l.T().Fatal(err)
	}
}

// exported is what Postern serves of a zone to the world, and the serial.
func (f *fleet) exported(zone string) ([]dns.RR, uint32) {
	f.l.T().Helper()
	return f.exportedIn("external", zone)
}

func (f *fleet) exportedIn(view, zone string) ([]dns.RR, uint32) {
	f.l.T().Helper()
	all := parsed(f.l.T(), f.edge.Run("zone", "export", zone, "--view", view).Want(0).Stdout)
	soa, ok := all[0].(*dns.SOA)
	if !ok {
		f.l.T().Fatalf("%s begins with %s", zone, all[0])
	}
	return all, soa.Serial
}

// settle waits until each of these secondaries has the serial that is served,
// and holds its whole zone against the export.
func (f *fleet) settle(zone string, servers ...*lab.Secondary) uint32 {
	f.l.T().Helper()
	return f.settleIn("external", zone, servers...)
}

func (f *fleet) settleIn(view, zone string, servers ...*lab.Secondary) uint32 {
	f.l.T().Helper()
	want, serial := f.exportedIn(view, zone)
	f.await(view, zone, byOctets(f.l.T(), want), serial, servers...)
	return serial
}

// await is settle for an export that is there already.
func (f *fleet) await(view, zone string, want map[string]dns.RR, serial uint32, servers ...*lab.Secondary) {
	f.l.T().Helper()
	for _, s := range servers {
		f.l.Eventually(fmt.Sprintf("%s has %s of view %s", s.Program, zone, view), func() error {
			got, err := s.Serial(zone)
			if err == nil && got != serial {
				err = fmt.Errorf("serial %d, want %d", got, serial)
			}
			return err
		})
		if s.Program == lab.PowerDNS && zone == zoneOf("hmac-sha512") {
			continue // it takes the big record, and cannot transfer it on; see wantBig
		}
		got, err := s.Zone(zone, serial)
		if err != nil {
			f.l.T().Error(err)
		}
		if d := differFrom(f.l.T(), want, got); d != "" {
			f.l.T().Errorf("%s at serial %d of %s:%s", s.Program, serial, zone, d)
		}
	}
}

// wantBig asks a secondary for the record that is nearly as large as a message.
func (f *fleet) wantBig(s *lab.Secondary) {
	f.l.T().Helper()
	name := bigName + "." + zoneOf("hmac-sha512")
	all, _ := f.exported(zoneOf("hmac-sha512"))
	all = slices.DeleteFunc(all, func(rr dns.RR) bool { return rr.Header().Name != name })
	reply, _, err := (&dns.Client{Net: "tcp"}).Exchange(new(dns.Msg).SetQuestion(name, dns.TypeTXT), s.Address+":53")
	if err != nil || len(all) != 1 {
		f.l.T().Fatalf("%s: %d records, %v", s.Program, len(all), err)
	}
	if d := differ(f.l.T(), all, reply.Answer); d != "" {
		f.l.T().Errorf("%s of %s:%s", name, s.Program, d)
	}
}

// standing is a secondary in what status prints.
type standing struct {
	Zone, View, Peer, Address, State, Reason string
	Serial                                   uint32
}

// status is how Postern sees all secondaries.
func (f *fleet) status() []standing {
	f.l.T().Helper()
	var s struct{ Secondaries []standing }
	out := f.edge.Run("status", "--json")
	if out.Has("internal error") {
		f.l.T().Fatal(out)
	}
	if err := json.Unmarshal([]byte(out.Stdout), &s); err != nil {
		f.l.T().Fatalf("%v\n%s", err, out)
	}
	return s.Secondaries
}

// wantStatus waits until status says what it should of each zone at each
// secondary.
func (f *fleet) wantStatus(t *testing.T, state string) {
	t.Helper()
	serials := map[string]uint32{}
	for _, zone := range f.zones() {
		_, serials[zone] = f.exported(zone)
	}
	f.l.Eventually("status says "+state, func() error {
		seen := 0
		for _, s := range f.status() {
			if s.Peer == auditor || s.View != map[bool]string{true: "internal", false: "external"}[s.Peer == innerPeer] {
				return fmt.Errorf("nobody is told of this: %+v", s)
			}
			if s.Peer == innerPeer {
				continue
			}
			if s.State != state || state == "ok" && s.Serial != serials[s.Zone] {
				return fmt.Errorf("want %s %d: %+v", state, serials[s.Zone], s)
			}
			seen++
		}
		if want := len(programs) * len(f.zones()); seen != want {
			return fmt.Errorf("%d entries, want %d", seen, want)
		}
		return nil
	})
}
