package lab_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
	"postern/internal/manage"
)

// A world in which keys are replaced, by the test's clock: Postern below a
// parent that follows CDS by BIND's dnssec-cds, with NSD for a secondary. What
// caches make of it is in rolljudge_test.go.

// rollsConfig serves the zones. INNER is what the inner network needs.
const rollsConfig = `
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
	INNER
	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones"

	[dns]
	source = ["198.51.100.53"]

	[limits]
	exempt = ["192.0.2.0/24", "198.51.100.53", "203.0.113.0/24", "inner"]

	[resolver]
	root_hints   = "HINTS"
	trust_anchor = "ANCHOR"

	[key."second."]
	secret = "file:secrets/second"
`

const rollsInner = `
	[[listen]]
	serve     = "dns"
	address   = ["10.0.0.53:53"]
	transport = ["udp", "tcp"]
	views     = ["internal"]

	[[view]]
	name    = "internal"
	clients = ["inner"]
	zones   = "inside"
	overlay = "external"
`

// rolledZone has every kind of name and of answer; its TTL is an hour, and so
// is that of its keys, ten minutes of what does not exist. A secondary that is
// not told of anything while the clock jumps is to keep it.
const rolledZone = `$TTL 3600
@ SOA ns hostmaster 1 3600 600 %s 600
@ NS ns
@ NS other
ns A %s
other A %s
www A 203.0.113.9
*.wild A 203.0.113.10
a.b.ent TXT "below names without records"
dn DNAME www.lab.
cut NS ns.cut
ns.cut A 203.0.113.11
safe NS ns.safe
ns.safe A 203.0.113.12
safe DS 12345 13 2 49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC49FD46E6C4B45C55D4AC1234
MiXeD.CaSe TXT "in any letters"
dot\.in\.it TXT "an escaped dot"
`

// rolledInside is what the inner network has otherwise.
const rolledInside = `$TTL 3600
www A 10.0.0.9
vault A 10.0.0.10
*.wild A 10.0.0.11
deep.b.ent A 10.0.0.12
`

const (
	rolledTTL  = time.Hour // of everything in it
	dsTTL      = 3 * time.Hour
	missingTTL = 10 * time.Minute
	lookEvery  = 10 * time.Minute
)

// The usual secondary, and that of the inner network, where Postern is at
// alphaInDNS.
const (
	secondAddress = "203.0.113.61"
	innerSecond   = "10.0.0.90"
)

// rollsOf says what world is wanted.
type rollsOf struct {
	zones  map[string]string // the policies, by zone; see rollPolicies
	more   string            // of the configuration
	at     map[string]string // the addresses of secondaries, where it is not the usual one
	expire time.Duration     // of the zones; 0: a week
	inside []string          // zones that the inner network has too, and otherwise
	hidden map[string]string // the policies of zones that only the inner network has, below one of those
}

// rollPolicies are policies MODEL-DENIAL, and with keys that stand by.
func rollPolicies() string {
	var b strings.Builder
	for _, model := range []string{"csk", "pair"} {
		how := "algorithm = \"ed25519\""
		if model == "pair" {
			how = "keys = \"ksk+zsk\"\nzsk_lifetime = \"manual\""
		}
		for _, denial := range []string{"nsec", "nsec3"} {
			for suffix, standby := range map[string]bool{"": false, "-standby": true} {
				fmt.Fprintf(&b, "\n[dnssec.%s-%s%s]\n%s\ndenial = %q\nstandby = %t\n", model, denial, suffix, how, denial, standby)
			}
		}
	}
	return b.String()
}

// rollSide is a zone as one view has it.
type rollSide struct{ zone, view, ours, theirs string }

// String is how it is called among what changes.
func (s rollSide) String() string {
	if s.view == "external" {
		return s.zone
	}
	return s.zone + " inside"
}

// rolls is a world in which keys are replaced.
type rolls struct {
	l      *lab.Lab
	tree   *lab.SignedTree
	clock  *lab.Clock
	edge   *lab.Postern
	sides  []rollSide
	hidden map[string]bool   // zones that the world outside does not have
	ds     map[string]string // the DS sets, by zone
	rest   map[string]int    // how many keys a zone has when nothing is under way
	kept   []keeper

	seconds     map[string]*lab.Secondary // by address
	away        map[string]bool           // zones whose secondary is not waited for
	deaf        map[string]bool           // zones whose parent does not follow
	began       time.Time
	warm, fresh int                  // names that were asked for: each time others
	ends        []time.Time          // when what was asked for then is about to end
	until       map[string]time.Time // the last of those, by side or DS set
	versions    map[string]uint32    // by side
	changed     map[string]int       // how often each side, or DS set, was another
	judged      int
}

// newRolls starts a world.
func newRolls(l *lab.Lab, of rollsOf) *rolls {
	l.T().Helper()
	w := &rolls{
		l: l, began: time.Now().Truncate(time.Second), ds: map[string]string{}, versions: map[string]uint32{}, changed: map[string]int{},
		until: map[string]time.Time{}, seconds: map[string]*lab.Secondary{}, away: map[string]bool{}, hidden: map[string]bool{}, deaf: map[string]bool{}, rest: map[string]int{},
	}
	w.clock = l.Clock(w.began)
	cuts, config, files := w.place(of)
	key := lab.TSIG{Name: "second.", Algorithm: "hmac-sha256", Secret: "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IDEyMzQ="}
	w.tree = l.SignedTree(lab.SignedZone{Name: "lab", Text: "www A 203.0.113.1" + cuts})
	w.edge = l.Prepare(lab.PosternConfig{
		Config: strings.NewReplacer("HINTS", w.tree.Hints, "ANCHOR", w.tree.Anchor).Replace(config),
		Files:  files, Args: []string{"--test-knobs", "--test-clock", w.clock.File},
	})
	secret := w.edge.Path("secrets", "second")
	w.edge.Write("secrets/second", key.Secret+"\n")
	if err := os.Chmod(secret, 0o600); err != nil {
		l.T().Fatal(err)
	}
	if err := os.Chown(secret, nobody, nobody); err != nil {
		l.T().Fatal(err)
	}
	w.edge.Start()
	for _, s := range w.sides {
		if w.seconds[s.theirs] != nil {
			continue
		}
		keys := map[string]lab.TSIG{}
		for _, o := range w.sides {
			if o.theirs == s.theirs {
				keys[o.zone] = key
			}
		}
		w.seconds[s.theirs] = l.Secondary(lab.SecondaryConfig{Program: lab.NSD, Name: "nsd-" + s.theirs, Address: s.theirs, Primary: s.ours, Keys: keys})
	}
	return w
}

// place decides where each zone is: what the parent has of it, the
// configuration and the zone files.
func (w *rolls) place(of rollsOf) (cuts, config string, files map[string]string) {
	files = map[string]string{}
	inner, expire := "", fmt.Sprint(cmp.Or(of.expire, 7*24*time.Hour).Seconds())
	if len(of.inside) > 0 {
		inner = rollsInner
	}
	config = strings.Replace(rollsConfig, "INNER", inner, 1) + rollPolicies() + of.more
	peer := func(name, second, source, policy, zone, view string) {
		config += fmt.Sprintf("\n[peer.%[1]s]\nnotify = [\"%[2]s:53\"]\ntransfer_from = [%[2]q]\nkeys = [\"second.\"]\nsource = [%[3]q]\n", name, second, source)
		if policy != "" {
			config += fmt.Sprintf("[zone.%q]\ndnssec = %q\n", zone, policy)
		}
		config += fmt.Sprintf("[zone.%q.view.%s]\nsecondaries = [%q]\n", zone, view, name)
	}
	cut := func(label, ours, theirs string) string {
		return fmt.Sprintf("\n%[1]s NS ns.%[1]s\n%[1]s NS other.%[1]s\nns.%[1]s A %[2]s\nother.%[1]s A %[3]s\n", label, ours, theirs)
	}
	for _, zone := range slices.Sorted(maps.Keys(of.zones)) {
		short, second := strings.TrimSuffix(zone, ".lab."), cmp.Or(of.at[zone], secondAddress)
		cuts += cut(short, alphaDNS, second)
		files["zones/"+zone+"zone"] = fmt.Sprintf(rolledZone, expire, alphaDNS, second)
		peer(short, second, alphaDNS, of.zones[zone], short+".lab", "external")
		w.sides = append(w.sides, rollSide{zone, "external", alphaDNS, second})
		if slices.Contains(of.inside, zone) {
			files["inside/"+zone+"zone"] = rolledInside
			peer(short+"-in", innerSecond, alphaInDNS, "", short+".lab", "internal")
			w.sides = append(w.sides, rollSide{zone, "internal", alphaInDNS, innerSecond})
		}
	}
	for _, zone := range slices.Sorted(maps.Keys(of.hidden)) {
		label, above, _ := strings.Cut(zone, ".")
		files["inside/"+above+"zone"] += cut(label, alphaInDNS, innerSecond)
		files["inside/"+zone+"zone"] = fmt.Sprintf(rolledZone, expire, alphaInDNS, innerSecond)
		peer(label, innerSecond, alphaInDNS, of.hidden[zone], strings.TrimSuffix(zone, "."), "internal")
		w.sides = append(w.sides, rollSide{zone, "internal", alphaInDNS, innerSecond})
		w.hidden[zone] = true
	}
	return cuts, config, files
}

// zones are all of them.
func (w *rolls) zones() (all []string) {
	for _, s := range w.sides {
		all = append(all, s.zone)
	}
	return slices.Compact(all)
}

// reconfigure changes the configuration.
func (w *rolls) reconfigure(oldnew ...string) {
	w.l.T().Helper()
	config, err := os.ReadFile(w.edge.Path("postern.toml"))
	if err != nil {
		w.l.T().Fatal(err)
	}
	w.edge.Write("postern.toml", strings.NewReplacer(oldnew...).Replace(string(config)))
	w.edge.Reload()
}

// roll asks for keys to be replaced.
func (w *rolls) roll(zone string, how ...string) {
	w.l.T().Helper()
	w.edge.Run(append([]string{"dnssec", "roll", strings.TrimSuffix(zone, ".")}, how...)...).Want(0)
}

// status is what Postern says of each zone.
func (w *rolls) status() map[string]manage.SignedZone {
	w.l.T().Helper()
	var rows []manage.SignedZone
	out := w.edge.Run("dnssec", "status", "--json")
	if err := json.Unmarshal([]byte(out.Stdout), &rows); err != nil {
		w.l.T().Fatalf("%v\n%s", err, out)
	}
	all := map[string]manage.SignedZone{}
	for _, z := range rows {
		all[dns.Fqdn(z.Zone)] = z // the keys are those of all its views
	}
	return all
}

// turn sets the clock, lets Postern do what is due, and waits until the
// secondaries have what came of it.
func (w *rolls) turn(to time.Time) {
	w.l.T().Helper()
	w.clock.Set(to)
	w.l.Eventually("what is due is done", func() error {
		w.edge.Reload() // it looks at everything at once
		for zone, z := range w.status() {
			for _, due := range []time.Time{z.Wakes, z.Asks} {
				if !due.IsZero() && !due.After(to) {
					return fmt.Errorf("%s: %s is due at %s, it is %s", zone, z.Next, due, to)
				}
			}
		}
		return nil
	})
	w.l.Eventually("the secondary has it", func() error {
		for _, s := range w.sides {
			ours, err := lab.Serial(s.ours, s.zone)
			if err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
			if theirs, err := lab.Serial(s.theirs, s.zone); !w.away[s.zone] && (err != nil || theirs != ours) {
				return fmt.Errorf("%s: serial %d, want %d: %v", s, theirs, ours, err)
			}
			w.saw(s, ours)
		}
		return nil
	})
}

// saw notes which version of a zone there is, and of a hidden one the DS too.
func (w *rolls) saw(s rollSide, serial uint32) {
	w.l.T().Helper()
	if w.versions[s.String()] != serial {
		w.versions[s.String()] = serial
		w.changed[s.String()]++
	}
	if !w.hidden[s.zone] {
		return
	}
	ds := ""
	for _, rr := range w.ask(s, dns.TypeDS) {
		if rr.Header().Rrtype == dns.TypeDS {
			ds += rr.String() + "\n"
		}
	}
	if !sameLines(ds, w.ds[s.zone]) {
		w.ds[s.zone] = ds
		w.changed[setOf(s.zone)]++
	}
}

// ask returns a set of a zone with its signatures, as the secondary has it.
func (w *rolls) ask(s rollSide, rtype uint16) []dns.RR {
	w.l.T().Helper()
	m := new(dns.Msg).SetQuestion(s.zone, rtype)
	m.SetEdns0(4096, true)
	r, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(m, s.theirs+":53")
	if err != nil || r.Rcode != dns.RcodeSuccess {
		w.l.T().Fatalf("%s %s: %v, %v", s, dns.TypeToString[rtype], r, err)
	}
	return r.Answer
}

// follow has the parent do what the zone's CDS ask for, as dnssec-cds decides
// it; the first DS a person gives it.
func (w *rolls) follow(s rollSide) {
	w.l.T().Helper()
	if w.hidden[s.zone] || s.view != "external" {
		return // its parent is ours, or follows what is outside
	}
	zone := s.zone
	var child strings.Builder
	asked := 0
	for _, rtype := range []uint16{dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY} {
		for _, rr := range w.ask(s, rtype) {
			if rr.Header().Rrtype == dns.TypeCDS {
				asked++
			}
			fmt.Fprintln(&child, rr)
		}
	}
	if asked == 0 {
		return
	}
	ds := ""
	if w.ds[zone] == "" {
		out := w.edge.Run("dnssec", "ds", zone).Want(0)
		if out.Has("WAIT") {
			return
		}
		for line := range strings.Lines(out.Stdout) {
			if rr, err := dns.NewRR(line); err == nil && rr != nil && rr.Header().Rrtype == dns.TypeDS {
				rr.Header().Ttl = uint32(dsTTL / time.Second)
				ds += rr.String() + "\n"
			}
		}
	} else {
		dir := w.l.Path("signed")
		w.l.Write(dir+"/child", child.String())
		w.l.Write(dir+"/have", w.ds[zone])
		// It takes no older signatures than the file that it has.
		out := w.l.Shell(dir, fmt.Sprintf("dnssec-cds -s -2000000 -T %d -f child -d have %s", dsTTL/time.Second, zone)).Want(0)
		ds = out.Stdout
	}
	w.delegate(zone, ds)
}

// delegate has the parent have a DS set.
func (w *rolls) delegate(zone, ds string) {
	w.l.T().Helper()
	if sameLines(ds, w.ds[zone]) {
		return
	}
	w.l.T().Logf("%s  parent has\n%s", w.clock.Now().Sub(w.began), ds)
	w.ds[zone] = ds
	w.changed[setOf(zone)]++
	w.tree.Delegate(zone, ds)
}

// setOf is how a zone's DS set is called among what changes.
func setOf(zone string) string { return "DS of " + zone }

func sameLines(a, b string) bool {
	sorted := func(s string) []string {
		all := strings.Fields(s)
		slices.Sort(all)
		return all
	}
	return slices.Equal(sorted(a), sorted(b))
}
