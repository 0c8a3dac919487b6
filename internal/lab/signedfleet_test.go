package lab_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// signedFleetConfig serves hard zones that Postern signs, one of them to the
// inner network too.
const signedFleetConfig = `
	[server]
	hostname = "edge.alpha.lab"
	state    = "state"
	control  = "run/control.sock"

	[networks]
	inner = ["10.0.0.0/8"]

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]
	views     = ["external"]
` + rollsInner + `
	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones"

	[dns]
	source = ["198.51.100.53"]

	[limits]
	exempt = ["198.51.100.53", "203.0.113.0/24", "inner"]

	[key."inner."]
	secret = "file:secrets/inner"

	[dnssec.chain]
	denial   = "nsec"
	check_ds = false

	[dnssec.chain2]
	keys     = "ksk+zsk"
	denial   = "nsec"
	check_ds = false

	[dnssec.hashed]
	keys     = "ksk+zsk"
	denial   = "nsec3"
	opt_out  = true
	check_ds = false

	[dnssec.hashed2]
	denial   = "nsec3"
	check_ds = false

	[zone."chain.lab".view.internal]
	secondaries = ["inner"]

	[peer.inner]
	notify        = ["10.0.0.90:53"]
	transfer_from = ["10.0.0.90"]
	keys          = ["inner."]
	source        = ["10.0.0.53"]
`

// signedWays are the zones of that configuration, by policy, and how they are
// verified; the long form has more.
func signedWays() map[string]string {
	ways := map[string]string{"chain": "-z", "hashed": "-x"}
	if os.Getenv("POSTERN_PROVE") != "" { // make prove
		ways["chain2"], ways["hashed2"] = "-x", "-z"
	}
	return ways
}

// TestSecondariesOfSigned: what BIND, NSD, Knot and PowerDNS have of zones that
// Postern signs, by NSEC and by NSEC3, is what Postern has, to the octet, after
// each of many edits by hand, be it transferred with whatever algorithm; and
// BIND's own verifier finds it whole. The inner view of a zone is a Knot's.
func TestSecondariesOfSigned(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		edits := 5
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			edits = 40
		}
		s := newSignedFleet(l, nil)
		for i := range edits + 1 {
			done := "nothing"
			for zone, hard := range s.hard {
				if i > 0 {
					for done = hard.edit(); strings.Contains(done, "large"); done = hard.edit() {
						delete(hard.sets, "large TXT")
					}
					s.edge.Write("zones/"+zone+"zone", hard.file())
				}
			}
			s.edge.Reload()
			for zone := range s.hard {
				s.same(zone, "external", done, s.servers...)
			}
			s.same("chain.lab.", "internal", done, s.inner)
			if t.Failed() {
				t.Fatalf("after edit %d: %s", i, done)
			}
		}
		for policy, how := range signedWays() {
			zone := policy + ".lab."
			all, err := lab.Transfer(addressOf(0), zone)
			if err != nil {
				t.Fatal(err)
			}
			file := l.Write(zone+"taken", zoneText(all))
			l.Shell(filepath.Dir(file), fmt.Sprintf("dnssec-verify -q %s -o %s %staken", how, zone, zone)).Want(0)
		}
		s.wantKeys()
		for _, second := range s.servers {
			whole, differences := second.Transfers("hashed.lab.")
			t.Logf("%s: %d times whole, %d differences", second.Program, whole, differences)
		}
	})
}

// signedFleet is a Postern that signs, with its secondaries. Each of these has a
// key for each zone, and all algorithms have their turn.
type signedFleet struct {
	*fleet
	hard    map[string]*hardZone
	dynamic bool // updates are allowed, and so there is no ZONEMD
}

// newSignedFleet starts it; dynamic is what the zones' configuration has of
// updates, where there are any.
func newSignedFleet(l *lab.Lab, dynamic func(zone string) string) *signedFleet {
	l.T().Helper()
	seed := uint64(1)
	if os.Getenv("POSTERN_PROVE") != "" { // make prove
		seed = uint64(time.Now().UnixNano())
	}
	l.T().Logf("seed %d", seed)
	s := &signedFleet{fleet: &fleet{l: l, keys: map[string]lab.TSIG{}}, hard: map[string]*hardZone{}, dynamic: dynamic != nil}
	s.key(innerPeer, "hmac-sha256")
	files := map[string]string{"inside/chain.lab.zone": "$ORIGIN chain.lab.\n$TTL 300\nwww.deep.b.ent A 10.66.6.1\nvault TXT inside-only\n"}
	var config strings.Builder
	if s.dynamic {
		s.key("upd", "hmac-sha256")
		config.WriteString("\n[key.\"upd.\"]\nsecret = \"file:secrets/upd\"\n")
	}
	keys := map[lab.Program]map[string]lab.TSIG{}
	for n, policy := range slices.Sorted(maps.Keys(signedWays())) {
		zone := policy + ".lab."
		s.hard[zone] = newHardZone(l.T(), zone, seed+uint64(n))
		delete(s.hard[zone].sets, "large TXT") // NSD would send no more than 16 KB of it
		if s.dynamic {
			s.hard[zone].short()
		}
		if strings.HasPrefix(policy, "hashed") {
			// NSD 4.6.1 dies of a name of 255 octets in a zone with NSEC3: it hashes
			// the wildcard below it.
			maps.DeleteFunc(s.hard[zone].sets, func(key string, _ rrsetOf) bool { return strings.HasPrefix(key, "nnn") })
		}
		files["zones/"+zone+"zone"] = s.hard[zone].file()
		var names []string
		for i, program := range programs {
			name := string(program) + "-" + policy
			s.key(name, algorithms()[(i+n)%len(algorithms())])
			if keys[program] == nil {
				keys[program] = map[string]lab.TSIG{}
			}
			names, keys[program][zone] = append(names, name), s.keys[name]
			fmt.Fprintf(&config, "\n[key.%[1]q]\nalgorithm = %[2]q\nsecret = \"file:secrets/%[3]s\"\n[peer.%[3]s]\nnotify = [\"%[4]s:53\"]\ntransfer_from = [%[4]q]\nkeys = [%[1]q]\n",
				name+".", s.keys[name].Algorithm, name, addressOf(i))
		}
		fmt.Fprintf(&config, "[zone.\"%[1]s.lab\"]\ndnssec = %[1]q\n[zone.\"%[1]s.lab\".view.external]\nsecondaries = [\"%[2]s\"]\n", policy, strings.Join(names, `", "`))
		if s.dynamic {
			config.WriteString(dynamic(policy + ".lab"))
		}
	}
	s.edge = l.Prepare(lab.PosternConfig{Config: signedFleetConfig + config.String(), Files: files})
	s.secrets()
	s.edge.Start()
	for i, program := range programs {
		s.servers = append(s.servers, l.Secondary(lab.SecondaryConfig{Program: program, Address: addressOf(i), Primary: alphaDNS, Keys: keys[program]}))
	}
	s.inner = l.Secondary(lab.SecondaryConfig{
		Program: lab.Knot, Name: "inner", Address: "10.0.0.90", Primary: alphaInDNS, Keys: map[string]lab.TSIG{"chain.lab.": s.keys[innerPeer]},
	})
	return s
}

// wantKeys wants every transfer of a signed zone to be of the peer whose key it
// is, and nobody to have one by another key or without.
func (s *signedFleet) wantKeys() {
	s.l.T().Helper()
	for zone := range s.hard {
		policy := strings.TrimSuffix(zone, ".lab.")
		for i, program := range programs {
			if program == lab.BIND {
				continue // its address is in a namespace of its own
			}
			own, other := s.keys[string(program)+"-"+policy], s.keys[string(programs[(i+1)%len(programs)])+"-"+policy]
			wrong := own
			wrong.Secret = other.Secret
			for _, c := range []struct {
				who  string
				key  *lab.TSIG
				want int
			}{{"its own key", &own, dns.RcodeSuccess}, {"another peer's", &other, dns.RcodeRefused}, {"another secret", &wrong, dns.RcodeNotAuth}, {"no key", nil, dns.RcodeRefused}} {
				r := s.demand("tcp", alphaDNS, addressOf(i), zone, dns.TypeAXFR, c.key)
				if r.Rcode != c.want || (len(r.Answer) > 0) != (c.want == dns.RcodeSuccess) {
					s.l.T().Errorf("%s, %s, %s: %v", program, zone, c.who, r)
				}
			}
		}
	}
}

// same wants the servers to have a zone of a view as Postern has it.
func (s *signedFleet) same(zone, view, done string, servers ...*lab.Secondary) {
	s.l.T().Helper()
	all := parsed(s.l.T(), s.edge.Run("zone", "export", zone, "--view", view, "--signed").Want(0).Stdout)
	soa, ok := all[0].(*dns.SOA)
	mark := map[bool]uint16{false: dns.TypeZONEMD, true: dns.TypeRRSIG}[s.dynamic]
	if !ok || !slices.ContainsFunc(all, func(rr dns.RR) bool { return rr.Header().Rrtype == mark }) {
		s.l.T().Fatalf("%s is not signed: %s", zone, all[0])
	}
	want := byOctets(s.l.T(), all)
	for _, second := range servers {
		s.l.Eventually(fmt.Sprintf("%s has %s of view %s", second.Program, zone, view), func() error {
			if serial, err := second.Serial(zone); err != nil || serial != soa.Serial {
				return fmt.Errorf("serial %d, want %d: %v", serial, soa.Serial, err)
			}
			return nil
		})
		got, err := lab.Transfer(second.Address, zone)
		if err != nil {
			s.l.T().Fatal(err)
		}
		if d := differFrom(s.l.T(), want, got); d != "" {
			s.l.T().Errorf("after %s, %s of view %s at %s:%s", done, zone, view, second.Program, d)
		}
	}
}

// zoneText is a zone in master-file form.
func zoneText(all []dns.RR) string {
	var b strings.Builder
	for _, rr := range all {
		fmt.Fprintln(&b, rr)
	}
	return b.String()
}
