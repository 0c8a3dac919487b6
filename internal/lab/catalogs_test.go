package lab_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

const catalogName = "catalog.lab."

const catalogConfig = `
	[server]
	hostname = "edge.alpha.lab"
	state    = "state"
	control  = "run/control.sock"

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]

	[dns]
	source = ["198.51.100.53"]

	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones/external"

	[limits]
	exempt = ["203.0.113.0/24", "198.51.100.53"]
`

// TestCatalogIsFollowed: BIND, Knot and PowerDNS follow a catalog that Postern
// makes: a zone file that comes is a zone on each of them, and a zone that is
// removed is one no more. To others the catalog does not exist. Among the zones
// are hard ones that Postern signs, by either denial: BIND answers for them as
// Postern does, to the octet, and so does Knot.
func TestCatalogIsFollowed(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		f := &fleet{l: l, keys: map[string]lab.TSIG{}}
		config := catalogConfig + "\n[zone_default]\ncatalog = \"catalog.lab\"\nsecondaries = [\"bind\", \"knot\", \"powerdns\"]\n"
		followers := []lab.Program{lab.BIND, lab.Knot, lab.PowerDNS}
		for i, program := range followers {
			name := strings.ToLower(string(program))
			config += fmt.Sprintf("[peer.%s]\nnotify = [\"%s:53\"]\ntransfer_from = [%[2]q]\n", name, addressOf(i))
			if program == lab.PowerDNS {
				config += "insecure_by_address = true\n"
				continue
			}
			f.key(name, "hmac-sha256")
			config += fmt.Sprintf("keys = [%[1]q]\n[key.%[1]q]\nsecret = \"file:secrets/%[2]s\"\n", name+".", name)
		}
		files := map[string]string{"zones/external/one.lab.zone": smallFile("one.lab.", 1)}
		hard := map[string]*hardZone{}
		config += signingPolicies()
		for i, how := range []string{"csk-nsec", "pair-nsec3"} {
			hard[how] = carried(t, signedZone("", how), uint64(i))
			config = strings.Replace(config, fmt.Sprintf("denial = %q\n", []string{"nsec", "nsec3"}[i]), fmt.Sprintf("denial = %q\ncheck_ds = false\n", []string{"nsec", "nsec3"}[i]), -1)
			config += fmt.Sprintf("[zone.\"%[1]s.lab\"]\ndnssec = %[1]q\n", how)
		}
		files["zones/external/csk-nsec.lab.zone"] = hard["csk-nsec"].file()
		f.edge = l.Prepare(lab.PosternConfig{Config: config, Files: files})
		f.secrets()
		f.edge.Start()
		for i, program := range followers {
			f.servers = append(f.servers, l.Follower(lab.FollowerConfig{
				Program: program, Address: addressOf(i), Primary: alphaDNS, Catalog: catalogName, Key: f.keys[strings.ToLower(string(program))],
			}))
		}
		everyone := func(zone string, has bool) {
			t.Helper()
			for _, s := range f.servers {
				l.Eventually(fmt.Sprintf("%s has %s: %t", s.Program, zone, has), func() error {
					switch serial, err := s.Serial(zone); {
					case has && err != nil:
						return err
					case !has && err == nil:
						return fmt.Errorf("it has serial %d", serial)
					}
					return nil
				})
			}
		}
		l.Step("a zone that is there", func() {
			everyone("one.lab.", true)
			f.alike("csk-nsec.lab.")
		})
		l.Step("hard zones that are signed", func() {
			f.edge.Write("zones/external/pair-nsec3.lab.zone", hard["pair-nsec3"].file())
			everyone("pair-nsec3.lab.", true)
			f.alike("pair-nsec3.lab.")
			for range 2 {
				for how, z := range hard {
					z.edit()
					z.addBelow()
					f.edge.Write("zones/external/"+how+".lab.zone", z.file())
				}
				f.edge.Reload()
				for how := range hard {
					f.alike(how + ".lab.")
				}
			}
		})
		l.Step("a zone that comes", func() {
			f.edge.Write("zones/external/two.lab.zone", smallFile("two.lab.", 1))
			everyone("two.lab.", true)
		})
		l.Step("a zone that is removed", func() {
			f.edge.Remove("zones/external/two.lab.zone")
			l.Eventually("the file is missed", func() error {
				if out := f.edge.Run("zone", "remove", "two.lab"); out.Code != 0 {
					return fmt.Errorf("exit %d: %s", out.Code, out.Stderr)
				}
				return nil
			})
			everyone("two.lab.", false)
			everyone("one.lab.", true)
		})
		l.Step("the catalog is nobody else's", func() {
			m, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion(catalogName, dns.TypeSOA), alphaDNS+":53")
			if err != nil || m.Rcode != dns.RcodeRefused {
				t.Errorf("%v %v", m, err)
			}
			if _, err := lab.Transfer(alphaDNS, catalogName); err == nil {
				t.Error("a stranger transfers it")
			}
		})
		l.Step("after a restart", func() {
			f.edge.Restart()
			f.edge.Write("zones/external/three.lab.zone", smallFile("three.lab.", 1))
			everyone("three.lab.", true)
			for how := range hard {
				f.alike(how + ".lab.")
			}
		})
	})
}

// carried is a hard zone that all programs can carry when it is signed.
func carried(t *testing.T, zone string, seed uint64) *hardZone {
	t.Helper()
	z := newHardZone(t, zone, seed).short()
	maps.DeleteFunc(z.sets, func(key string, _ rrsetOf) bool { return len(key) > 200 })
	return z
}

// alike wants all secondaries to have a zone's serial, and to answer the hard
// questions as Postern does, to the octet of each record.
func (f *fleet) alike(zone string) {
	t := f.l.T()
	t.Helper()
	serial, err := lab.Serial(alphaDNS, zone)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(server string, q dns.Question) *dns.Msg {
		m := new(dns.Msg).SetQuestion(q.Name, q.Qtype)
		m.SetEdns0(4096, true)
		r, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(m, server+":53")
		if err != nil {
			t.Fatalf("%s at %s: %v", q.Name, server, err)
		}
		return r
	}
	signed := 0
	for _, s := range f.servers {
		f.l.Eventually(fmt.Sprintf("%s has %s", s.Program, zone), func() error {
			if got, err := s.Serial(zone); err != nil || got != serial {
				return fmt.Errorf("serial %d, want %d: %v", got, serial, err)
			}
			return nil
		})
		// PowerDNS proves in its own ways, by the rectified zone.
		if s.Program == lab.PowerDNS {
			continue
		}
		for _, q := range append(hardQuestions(zone), questions(zone, "fresh A")...) {
			ours, theirs := ask(alphaDNS, q), ask(s.Address, q)
			if ours.Rcode != theirs.Rcode || differ(t, ours.Answer, theirs.Answer) != "" {
				t.Errorf("%s %s: %s says\n%v\nand we\n%v", q.Name, dns.Type(q.Qtype), s.Program, theirs, ours)
			}
			if slices.ContainsFunc(append(ours.Answer, ours.Ns...), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG }) {
				signed++
			}
		}
	}
	if signed == 0 {
		t.Errorf("%s is not signed", zone)
	}
}

// TestFollowsACatalog: Postern follows the catalog that Knot makes of its zones,
// a hard one among them that BIND signed by NSEC3, and serves its members at once
// after a restart without it.
func TestFollowsACatalog(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		f := &fleet{l: l, keys: map[string]lab.TSIG{}}
		f.key("knot", "hmac-sha256")
		maker := l.Maker(lab.FollowerConfig{Address: primaryAddress(0), Catalog: catalogName, Key: f.keys["knot"]}, alphaDNS)
		maker.Add("one.lab.", smallFile("one.lab.", 1))
		hard := carried(t, "hard.lab.", 1)
		hard.serial = 1
		sealed := maker.Sealed("hard.lab.", hard.plain(t, true))
		maker.Add("hard.lab.", sealed)
		f.edge = l.Prepare(lab.PosternConfig{
			Config: catalogConfig + fmt.Sprintf("[key.\"knot.\"]\nsecret = \"file:secrets/knot\"\n[peer.knot]\naddress = [\"%s:53\"]\nkeys = [\"knot.\"]\n", primaryAddress(0)) +
				"[zone.\"catalog.lab\"]\nprimaries = [\"knot\"]\nmembers = true\n",
			Files: map[string]string{"zones/external/own.lab.zone": smallFile("own.lab.", 7)},
		})
		f.secrets()
		f.edge.Start()
		serves := func(zone string, serial uint32) {
			t.Helper()
			l.Eventually(fmt.Sprintf("Postern has %s: %d", zone, serial), func() error {
				got, err := lab.Serial(alphaDNS, zone)
				switch {
				case serial == 0 && err == nil, serial != 0 && got != serial:
					return fmt.Errorf("serial %d, %v", got, err)
				}
				return nil
			})
		}
		wantSealed := func() {
			t.Helper()
			serves("hard.lab.", 1)
			all, _ := f.exported("hard.lab.")
			if d := differ(l.T(), parsed(l.T(), sealed), all); d != "" {
				l.T().Errorf("hard.lab.:%s", d)
			}
		}
		l.Step("a zone that is there", func() { serves("one.lab.", 1) })
		l.Step("a hard zone that BIND signed", wantSealed)
		l.Step("a zone that comes", func() {
			maker.Add("two.lab.", smallFile("two.lab.", 3))
			serves("two.lab.", 3)
		})
		l.Step("a zone of our own", func() {
			maker.Add("own.lab.", smallFile("own.lab.", 9))
			l.Eventually("it is refused", func() error {
				if out := f.edge.Run("zone", "list"); !strings.Contains(out.Stdout, "zone own.lab. is here already") {
					return fmt.Errorf("%s", out.Stdout)
				}
				return nil
			})
			serves("own.lab.", 7)
			maker.Add("own.lab.", "")
		})
		l.Step("a zone that goes", func() {
			maker.Add("two.lab.", "")
			serves("two.lab.", 0)
			serves("one.lab.", 1)
		})
		l.Step("a restart without the primary", func() {
			maker.Down()
			f.edge.Restart()
			if serial, err := lab.Serial(alphaDNS, "one.lab."); err != nil || serial != 1 {
				t.Errorf("serial %d, %v", serial, err)
			}
			wantSealed()
		})
	})
}
