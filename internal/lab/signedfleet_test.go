package lab_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// signedFleetConfig serves two hard zones that Postern signs, one of them to
// the inner network too.
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

	[key."second."]
	secret = "file:secrets/second"

	[dnssec.chain]
	denial   = "nsec"
	check_ds = false

	[dnssec.hashed]
	keys     = "ksk+zsk"
	denial   = "nsec3"
	opt_out  = true
	check_ds = false

	[zone."chain.lab"]
	dnssec = "chain"

	[zone."hashed.lab"]
	dnssec = "hashed"

	[zone."chain.lab".view.internal]
	secondaries = ["inner"]

	[peer.inner]
	notify        = ["10.0.0.90:53"]
	transfer_from = ["10.0.0.90"]
	keys          = ["second."]
	source        = ["10.0.0.53"]
`

// TestSecondariesOfSigned: what BIND, NSD, Knot and PowerDNS have of zones that
// Postern signs, by NSEC and by NSEC3, is what Postern has, to the octet, after
// each of many edits by hand; and BIND's own verifier finds it whole. The inner
// view of a zone is a Knot's.
func TestSecondariesOfSigned(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		edits := 5
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			edits = 40
		}
		s := newSignedFleet(l)
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
		for zone, how := range map[string]string{"chain.lab.": "-z", "hashed.lab.": "-x"} {
			all, err := lab.Transfer(addressOf(0), zone)
			if err != nil {
				t.Fatal(err)
			}
			file := l.Write(zone+"taken", zoneText(all))
			l.Shell(filepath.Dir(file), fmt.Sprintf("dnssec-verify -q %s -o %s %staken", how, zone, zone)).Want(0)
		}
		for _, second := range s.servers {
			whole, differences := second.Transfers("hashed.lab.")
			t.Logf("%s: %d times whole, %d differences", second.Program, whole, differences)
		}
	})
}

// signedFleet is a Postern that signs, with its secondaries.
type signedFleet struct {
	l       *lab.Lab
	edge    *lab.Postern
	servers []*lab.Secondary
	inner   *lab.Secondary
	hard    map[string]*hardZone
}

func newSignedFleet(l *lab.Lab) *signedFleet {
	l.T().Helper()
	key := lab.TSIG{Name: "second.", Algorithm: "hmac-sha256", Secret: "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IDEyMzQ="}
	s := &signedFleet{l: l, hard: map[string]*hardZone{"chain.lab.": nil, "hashed.lab.": nil}}
	files := map[string]string{"inside/chain.lab.zone": "$ORIGIN chain.lab.\n$TTL 300\nwww.deep.b.ent A 10.66.6.1\nvault TXT inside-only\n"}
	var config strings.Builder
	var names []string
	for i, program := range programs {
		names = append(names, string(program))
		fmt.Fprintf(&config, "\n[peer.%[1]s]\nnotify = [\"%[2]s:53\"]\ntransfer_from = [%[2]q]\nkeys = [\"second.\"]\n", program, addressOf(i))
	}
	keys := map[string]lab.TSIG{}
	for zone := range s.hard {
		s.hard[zone] = newHardZone(l.T(), zone, uint64(len(zone)))
		delete(s.hard[zone].sets, "large TXT") // NSD would send no more than 16 KB of it
		if zone == "hashed.lab." {
			// NSD 4.6.1 dies of a name of 255 octets in a zone with NSEC3: it hashes
			// the wildcard below it.
			maps.DeleteFunc(s.hard[zone].sets, func(key string, _ rrsetOf) bool { return strings.HasPrefix(key, "nnn") })
		}
		files["zones/"+zone+"zone"] = s.hard[zone].file()
		keys[zone] = key
		fmt.Fprintf(&config, "[zone.%q.view.external]\nsecondaries = [\"%s\"]\n", strings.TrimSuffix(zone, "."), strings.Join(names, `", "`))
	}
	s.edge = l.Prepare(lab.PosternConfig{Config: signedFleetConfig + config.String(), Files: files})
	(&fleet{l: l, edge: s.edge}).secret("second", key.Secret+"\n")
	s.edge.Start()
	for i, program := range programs {
		s.servers = append(s.servers, l.Secondary(lab.SecondaryConfig{Program: program, Address: addressOf(i), Primary: alphaDNS, Keys: keys}))
	}
	s.inner = l.Secondary(lab.SecondaryConfig{
		Program: lab.Knot, Name: "inner", Address: "10.0.0.90", Primary: alphaInDNS, Keys: map[string]lab.TSIG{"chain.lab.": key},
	})
	return s
}

// same wants the servers to have a zone of a view as Postern has it.
func (s *signedFleet) same(zone, view, done string, servers ...*lab.Secondary) {
	s.l.T().Helper()
	all := parsed(s.l.T(), s.edge.Run("zone", "export", zone, "--view", view, "--signed").Want(0).Stdout)
	soa, ok := all[0].(*dns.SOA)
	if !ok || !slices.ContainsFunc(all, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeZONEMD }) {
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
