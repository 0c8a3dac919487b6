package lab_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/lab"
)

// wells are name servers that Postern fetches zones from within TLS: BINDs, one
// that asks for a certificate, one that asks for none, and one whose own is
// expired; and an NSD.
type wells struct {
	*fleet
	mutual, strict, old, nsd *lab.TLSPrimary
	serials                  map[string]int // of zones that are not hard
	sealed                   map[string]*sealedZone
}

const wellsConfig = `
	[server]
	hostname = "edge.alpha.lab"
	state    = "state"
	control  = "run/control.sock"

	[tls]
	issuer = "files"
	cert   = "own.pem"
	key    = "file:secrets/own.key"

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]

	[dns]
	source = ["198.51.100.53"]

	[[view]]
	name    = "external"
	clients = ["any"]

	[limits]
	exempt = ["203.0.113.0/24", "198.51.100.53"]

	[key."wells."]
	secret = "file:secrets/wells"
`

// well is a zone and how its primary is to prove itself.
type well struct {
	name, zone, at, proof string
	want                  string // of the reason; "": it comes
}

func (w *wells) all(ca, pin, otherPin string) []well {
	byName := "server_name = \"%s\"\nserver_ca = \"file:ca.pem\"\n"
	strict := "203.0.113.32:853"
	return []well{
		{"mutual", hardName, "203.0.113.31:853", fmt.Sprintf(byName, "mutual.isp.lab"), ""},
		{"strict", "strict.lab.", strict, fmt.Sprintf(byName, "strict.isp.lab"), ""},
		{"sealed", "sealed.lab.", "203.0.113.31:853", fmt.Sprintf(byName, "mutual.isp.lab"), ""},
		{"chained", "chained.lab.", strict, fmt.Sprintf(byName, "strict.isp.lab"), ""},
		{"pinned", "pinned.lab.", strict, "server_pin = [\"" + pin + "\"]\n", ""},
		{"both", "both.lab.", strict, fmt.Sprintf(byName, "strict.isp.lab") + "server_pin = [\"" + otherPin + "\", \"" + pin + "\"]\n", ""},
		{"loose", "loose.lab.", strict, "verify = \"none\"\n", ""},
		{"misnamed", "misnamed.lab.", strict, fmt.Sprintf(byName, "other.isp.lab"), "not other.isp.lab"},
		{"untrusted", "untrusted.lab.", strict, "server_name = \"strict.isp.lab\"\n", "unknown authority"},
		{"mispinned", "mispinned.lab.", strict, "server_pin = [\"" + otherPin + "\"]\n", "pinned"},
		{"old", "old.lab.", "203.0.113.33:853", fmt.Sprintf(byName, "old.isp.lab"), "expired"},
		{"plain", "plain.lab.", "203.0.113.32:8530", fmt.Sprintf(byName, "strict.isp.lab"), "tls-failed"},
		{"nsd", "nsd.lab.", "203.0.113.34:853", fmt.Sprintf(byName, "nsd.isp.lab"), "ALPN"},
	}
}

// text is the file of a zone at its next serial.
func (w *wells) text(zone string) string {
	if zone == hardName {
		w.hard.serial++
		return w.hard.file()
	}
	if z := w.sealed[zone]; z != nil {
		return z.next(w.l)
	}
	w.serials[zone]++
	n := w.serials[zone]
	return lab.ZoneFile(zone, "203.0.113.32", n, fmt.Sprintf("www A 203.0.113.%d\n*.w.ent TXT v%[1]d\nsub NS ns.sub\nns.sub A 192.0.2.%[1]d\nOld DNAME new\n", n%250))
}

func newWells(l *lab.Lab, seed uint64) (*wells, []well) {
	l.T().Helper()
	w := &wells{
		fleet:   &fleet{l: l, hard: newHardZone(l.T(), hardName, seed), keys: map[string]lab.TSIG{}, small: map[string]int{}},
		serials: map[string]int{},
		sealed: map[string]*sealedZone{
			"sealed.lab.":  {hard: carried(l.T(), "sealed.lab.", seed), how: "-z -3 - -H 0"},
			"chained.lab.": {hard: carried(l.T(), "chained.lab.", seed), pair: true},
		},
	}
	w.key("wells", "hmac-sha256")
	ca, other := l.Issue(nil, "authority.lab", false), l.Issue(nil, "others.lab", false)
	own, strict := l.Issue(ca, "edge.alpha.lab", false), l.Issue(ca, "strict.isp.lab", false)
	all := w.all(ca.Cert, strict.Pin(), other.Pin())
	zones := map[string]map[string]string{}
	config := wellsConfig
	for _, x := range all {
		host, _, _ := strings.Cut(x.at, ":")
		if zones[host] == nil {
			zones[host] = map[string]string{}
		}
		zones[host][x.zone] = w.text(x.zone)
		config += fmt.Sprintf("[peer.%s]\naddress = [%q]\ntransport = \"tls\"\nkeys = [\"wells.\"]\n%s[zone.%q]\nprimaries = [%[1]q]\n",
			x.name, x.at, x.proof, strings.TrimSuffix(x.zone, "."))
	}
	primary := func(program lab.Program, name, address string, shows *lab.Paper, ca string) *lab.TLSPrimary {
		return l.TLSPrimary(lab.TLSPrimaryConfig{
			Program: program, Name: name, Address: address, Secondary: alphaDNS, Key: w.keys["wells"], Shows: shows, CA: ca, Zones: zones[address],
		})
	}
	w.mutual = primary(lab.BIND, "mutual", "203.0.113.31", l.Issue(ca, "mutual.isp.lab", false), ca.Cert)
	w.strict = primary(lab.BIND, "strict", "203.0.113.32", strict, "")
	w.old = primary(lab.BIND, "old", "203.0.113.33", l.Issue(ca, "old.isp.lab", true), "")
	w.nsd = primary(lab.NSD, "nsd", "203.0.113.34", l.Issue(ca, "nsd.isp.lab", false), "")
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			l.T().Fatal(err)
		}
		return string(b)
	}
	w.edge = l.Prepare(lab.PosternConfig{Config: config, Files: map[string]string{"own.pem": read(own.Cert), "ca.pem": read(ca.Cert)}})
	w.secrets()
	w.secret("own.key", read(own.Key))
	w.edge.Start()
	return w, all
}

// sealedZone is a hard zone that dnssec-signzone signs.
type sealedZone struct {
	hard *hardZone
	how  string // its options
	pair bool   // a KSK and a ZSK
	text string // as it is signed
}

// next is its file at the next serial.
func (z *sealedZone) next(l *lab.Lab) string {
	l.T().Helper()
	z.hard.serial++
	zone := z.hard.origin
	dir := filepath.Dir(l.Write(l.Path("sealing", zone+"in"), z.hard.plain(l.T(), true)))
	keys := "dnssec-keygen -q -K . -a ECDSAP256SHA256 -f KSK " + zone
	if z.pair {
		keys += " && dnssec-keygen -q -K . -a ECDSAP256SHA256 " + zone
	}
	l.Shell(dir, fmt.Sprintf("ls K%[1]s*.key || { %s; }; dnssec-signzone -S -K . -d . -P -O full %s -o %[1]s -f %[1]sout %[1]sin", zone, keys, z.how)).Want(0)
	z.text = l.Shell(dir, "cat "+zone+"out").Want(0).Stdout
	return z.text
}

// fetchedSealed waits until Postern has the zone as BIND signed it.
func (w *wells) fetchedSealed(zone string) {
	w.l.T().Helper()
	z := w.sealed[zone]
	w.l.Eventually(fmt.Sprintf("%s at serial %d", zone, z.hard.serial), func() error {
		if got, err := lab.Serial(alphaDNS, zone); err != nil || got != z.hard.serial {
			return fmt.Errorf("serial %d, %v", got, err)
		}
		return nil
	})
	got, _ := w.exported(zone)
	if d := differ(w.l.T(), parsed(w.l.T(), z.text), got); d != "" {
		w.l.T().Errorf("%s:%s", zone, d)
	}
	wellMade(w.l, zone, map[bool]string{false: "csk", true: "pair"}[z.pair], w.edge.Run("zone", "export", zone).Want(0).Stdout)
}

// upstream is a secondary zone in what status prints.
type upstream struct {
	Zone, State string
	Serial      uint32
	Upstream    *struct{ State, Reason string }
}

// upstreams is how Postern stands with its primaries.
func (w *wells) upstreams() map[string]upstream {
	w.l.T().Helper()
	var listed []upstream
	out := w.edge.Run("zone", "list", "--json")
	if err := json.Unmarshal([]byte(out.Stdout), &listed); err != nil {
		w.l.T().Fatalf("%v\n%s", err, out)
	}
	all := map[string]upstream{}
	for _, u := range listed {
		all[u.Zone] = u
	}
	return all
}

// fetched waits until Postern has the hard zone as the file has it.
func (w *wells) fetched() {
	w.l.T().Helper()
	want := byOctets(w.l.T(), w.hard.records(w.l.T(), w.hard.serial))
	w.l.Eventually(fmt.Sprintf("serial %d", w.hard.serial), func() error {
		got, err := lab.Serial(alphaDNS, hardName)
		if err == nil && got != w.hard.serial {
			err = fmt.Errorf("serial %d", got)
		}
		return err
	})
	got, _ := w.exported(hardName)
	if d := differFrom(w.l.T(), want, got); d != "" {
		w.l.T().Errorf("at serial %d:%s", w.hard.serial, d)
	}
}

// TestXoTIn: Postern takes zones within TLS from BIND, strict and mutual, by
// name and by pin, hard ones that are signed by either denial among them, and
// takes nothing from a server that is not the right one.
func TestXoTIn(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		edits, seed := 10, uint64(time.Now().UnixNano())
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			edits = 100
		}
		t.Logf("seed %d", seed)
		w, all := newWells(l, seed)
		l.Step("whole, or not at all", func() {
			for _, x := range all {
				l.Eventually(x.name, func() error {
					u := w.upstreams()[x.zone]
					if u.Upstream == nil || x.want == "" && u.State != "ok" || x.want != "" && (u.State != "waiting" || !strings.Contains(u.Upstream.Reason, x.want)) {
						return fmt.Errorf("want %q: %+v %+v", x.want, u, u.Upstream)
					}
					return nil
				})
				if _, err := lab.Serial(alphaDNS, x.zone); (err == nil) != (x.want == "") {
					l.T().Errorf("%s: %v", x.name, err)
				}
			}
			w.fetched()
			for zone := range w.sealed {
				w.fetchedSealed(zone)
			}
		})
		l.Step("edits by hand", func() {
			for n := range edits {
				w.hard.edit()
				w.mutual.Change(hardName, w.text(hardName))
				w.fetched()
				if n%4 != 0 {
					continue
				}
				for zone, from := range map[string]*lab.TLSPrimary{"sealed.lab.": w.mutual, "chained.lab.": w.strict} {
					w.sealed[zone].hard.edit()
					from.Change(zone, w.text(zone))
					w.fetchedSealed(zone)
				}
			}
			if !strings.Contains(w.edge.Log.String(), "form=incremental") {
				l.T().Error("no differences came")
			}
		})
		l.Step("a primary that was away", func() {
			w.mutual.Down()
			w.hard.edit()
			w.mutual.Change(hardName, w.text(hardName))
			w.mutual.Up()
			w.fetched()
		})
	})
}
