package lab_test

import (
	"fmt"
	"strings"
	"testing"

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
// removed is one no more. To others the catalog does not exist.
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
		f.edge = l.Prepare(lab.PosternConfig{Config: config, Files: map[string]string{"zones/external/one.lab.zone": smallFile("one.lab.", 1)}})
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
		l.Step("a zone that is there", func() { everyone("one.lab.", true) })
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
		})
	})
}

// TestFollowsACatalog: Postern follows the catalog that Knot makes of its zones,
// and serves its members at once after a restart without it.
func TestFollowsACatalog(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		f := &fleet{l: l, keys: map[string]lab.TSIG{}}
		f.key("knot", "hmac-sha256")
		maker := l.Maker(lab.FollowerConfig{Address: primaryAddress(0), Catalog: catalogName, Key: f.keys["knot"]}, alphaDNS)
		maker.Add("one.lab.", smallFile("one.lab.", 1))
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
		l.Step("a zone that is there", func() { serves("one.lab.", 1) })
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
		})
	})
}
