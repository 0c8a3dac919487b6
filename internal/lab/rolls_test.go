package lab_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
	"postern/internal/manage"
)

// rollsConfig serves zones whose keys are replaced, by the test's clock.
const rollsConfig = `
	[server]
	hostname = "edge.alpha.lab"
	state    = "state"
	control  = "run/control.sock"

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]

	[dns]
	source = ["198.51.100.53"]

	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones"

	[limits]
	exempt = ["192.0.2.0/24", "198.51.100.53", "203.0.113.0/24"]

	[resolver]
	root_hints   = "HINTS"
	trust_anchor = "ANCHOR"

	[dnssec.one]
	algorithm = "ed25519"

	[dnssec.pair]
	keys         = "ksk+zsk"
	denial       = "nsec3"
	zsk_lifetime = "manual"

	[key."second."]
	secret = "file:secrets/second"
`

// rolledZone has every kind of answer; its TTL is an hour, and so is that of its
// keys, ten minutes of what does not exist.
const rolledZone = `$TTL 3600
@ SOA ns hostmaster 1 3600 600 14400 600
@ NS ns
@ NS other
ns A 198.51.100.53
other A %s
www A 203.0.113.9
*.wild A 203.0.113.10
a.b.ent TXT "below names without records"
dn DNAME www.lab.
cut NS ns.cut
ns.cut A 203.0.113.11
`

const (
	rolledTTL  = time.Hour // of everything in it
	dsTTL      = 3 * time.Hour
	missingTTL = 10 * time.Minute
	lookEvery  = 10 * time.Minute
)

// keeper is caches that hold what they have as long as they may, but for some
// sets, of which they have the newest.
type keeper struct {
	*lab.Cache
	name   string
	newest []uint16
}

// keepers are one for each combination of old and new that a step may meet.
func (w *rolls) keepers() {
	w.l.T().Helper()
	for i, newest := range [][]uint16{nil, {dns.TypeDNSKEY}, {dns.TypeDS}, {dns.TypeDS, dns.TypeDNSKEY}} {
		name := "old"
		for _, rtype := range newest {
			name += "-new-" + dns.TypeToString[rtype]
		}
		w.kept = append(w.kept, keeper{w.tree.Cache(name, fmt.Sprintf("192.0.2.%d", 60+2*i), fmt.Sprintf("192.0.2.%d", 61+2*i)), name, newest})
	}
}

// rolls is a world in which keys are replaced.
type rolls struct {
	l     *lab.Lab
	tree  *lab.SignedTree
	clock *lab.Clock
	edge  *lab.Postern
	zones []string // absolute
	ds    map[string]string
	kept  []keeper

	seconds     map[string]*lab.Secondary // by address
	at          map[string]string         // the address of each zone's secondary
	away        map[string]bool           // zones whose secondary is not waited for
	began       time.Time
	warm, fresh int                  // names that were asked for: each time others
	ends        []time.Time          // when what was asked for then is about to end
	until       map[string]time.Time // the last of those, by zone or DS set
	versions    map[string]uint32
	changed     map[string]int // how often each zone, or DS set, was another
	judged      int
}

// secondAddress is that of their usual secondary.
const secondAddress = "203.0.113.61"

// newRolls starts a world of zones by policy. more goes into the configuration;
// at has the addresses of secondaries, by zone, where it is not the usual one.
func newRolls(l *lab.Lab, zones map[string]string, more string, at map[string]string) *rolls {
	l.T().Helper()
	w := &rolls{
		l: l, began: time.Now().Truncate(time.Second), ds: map[string]string{}, versions: map[string]uint32{}, changed: map[string]int{},
		until: map[string]time.Time{}, seconds: map[string]*lab.Secondary{}, at: map[string]string{}, away: map[string]bool{},
	}
	w.clock = l.Clock(w.began)
	key := lab.TSIG{Name: "second.", Algorithm: "hmac-sha256", Secret: "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IDEyMzQ="}
	cuts, files := "", map[string]string{}
	config := rollsConfig + more
	keys := map[string]map[string]lab.TSIG{}
	for zone, policy := range zones {
		w.zones = append(w.zones, zone)
		short := strings.TrimSuffix(zone, ".lab.")
		other := cmp.Or(at[zone], secondAddress)
		if w.at[zone] = other; keys[other] == nil {
			keys[other] = map[string]lab.TSIG{}
		}
		keys[other][zone] = key
		cuts += fmt.Sprintf("\n%[1]s NS ns.%[1]s\n%[1]s NS other.%[1]s\nns.%[1]s A 198.51.100.53\nother.%[1]s A %[2]s", short, other)
		files["zones/"+zone+"zone"] = fmt.Sprintf(rolledZone, other)
		config += fmt.Sprintf("\n[peer.%[1]s]\nnotify = [\"%[2]s:53\"]\ntransfer_from = [%[2]q]\nkeys = [\"second.\"]\n[zone.\"%[1]s.lab\"]\ndnssec = %[3]q\nsecondaries = [%[1]q]\n", short, other, policy)
	}
	slices.Sort(w.zones)
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
	for address, zones := range keys {
		w.seconds[address] = l.Secondary(lab.SecondaryConfig{Program: lab.NSD, Name: "nsd-" + address, Address: address, Primary: alphaDNS, Keys: zones})
	}
	return w
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
		all[dns.Fqdn(z.Zone)] = z
	}
	return all
}

// turn sets the clock, lets Postern do what is due, and waits until the
// secondary has what came of it.
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
		for _, zone := range w.zones {
			ours, err := lab.Serial(alphaDNS, zone)
			if err != nil {
				return fmt.Errorf("%s: %w", zone, err)
			}
			if theirs, err := lab.Serial(w.at[zone], zone); !w.away[zone] && (err != nil || theirs != ours) {
				return fmt.Errorf("%s: serial %d, want %d: %v", zone, theirs, ours, err)
			}
			if w.versions[zone] != ours {
				w.versions[zone] = ours
				w.changed[zone]++
			}
		}
		return nil
	})
}

// ask returns a set of a zone with its signatures, as the secondary has it.
func (w *rolls) ask(zone string, rtype uint16) []dns.RR {
	w.l.T().Helper()
	m := new(dns.Msg).SetQuestion(zone, rtype)
	m.SetEdns0(4096, true)
	r, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(m, w.at[zone]+":53")
	if err != nil || r.Rcode != dns.RcodeSuccess {
		w.l.T().Fatalf("%s %s: %v, %v", zone, dns.TypeToString[rtype], r, err)
	}
	return r.Answer
}

// follow has the parent do what the zone's CDS ask for, as dnssec-cds decides
// it; the first DS a person gives it.
func (w *rolls) follow(zone string) {
	w.l.T().Helper()
	var child strings.Builder
	asked := 0
	for _, rtype := range []uint16{dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY} {
		for _, rr := range w.ask(zone, rtype) {
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

// keep has caches ask for what may soon be others', so that it is as fresh as
// can be, unless they still hold what was there before an earlier change.
func (w *rolls) keep() {
	w.l.T().Helper()
	w.warm++
	for _, zone := range w.zones {
		for _, c := range w.kept {
			if w.clock.Now().After(w.until[zone]) {
				c.Forget(zone, dns.TypeDNSKEY, dns.TypeSOA)
			}
			if w.clock.Now().After(w.until[setOf(zone)]) {
				c.Forget(zone, dns.TypeDS)
			}
			for _, rtype := range []uint16{dns.TypeDS, dns.TypeDNSKEY, dns.TypeSOA} {
				c.Ask(zone, rtype)
			}
			for _, q := range w.questions(zone, fmt.Sprintf("kept%d", w.warm)) {
				c.Ask(q.Name, q.Qtype)
			}
		}
		for _, q := range w.questions(zone, fmt.Sprintf("kept%d", w.warm)) {
			w.tree.Unbound(q.Name, q.Qtype)
		}
	}
}

// questions are of names that nobody asked for before, where that is possible.
func (w *rolls) questions(zone, word string) []dns.Question {
	q := func(name string, rtype uint16) dns.Question {
		return dns.Question{Name: name + "." + zone, Qtype: rtype, Qclass: dns.ClassINET}
	}
	return []dns.Question{
		q("www", dns.TypeA), q(word+".wild", dns.TypeA), q(word, dns.TypeA), q(word+".www", dns.TypeTXT), q("b.ent", dns.TypeA), q("cut", dns.TypeDS),
	}
}

// judge holds all that caches have against each other.
func (w *rolls) judge(when string) {
	w.l.T().Helper()
	w.fresh++
	wants := func(who, got string, q dns.Question) {
		if w.judged++; got != "secure" {
			w.l.T().Errorf("%s, %s: %s %s is %s by %s", w.clock.Now().Sub(w.began), when, q.Name, dns.TypeToString[q.Qtype], got, who)
		}
	}
	for i, c := range w.kept {
		for _, zone := range w.zones {
			if len(c.newest) > 0 {
				c.Forget(zone, c.newest...)
			}
		}
		c.Judge()
		for _, zone := range w.zones {
			kept, fresh := w.questions(zone, fmt.Sprintf("kept%d", w.warm)), w.questions(zone, fmt.Sprintf("fresh%d", w.fresh))
			for _, q := range append(kept, fresh[1:]...) {
				wants(c.name, c.Unbound(q.Name, q.Qtype), q)
			}
			wants("delv, "+c.name, c.Delv(fresh[i].Name, fresh[i].Qtype), fresh[i])
		}
	}
	for _, zone := range w.zones {
		for _, q := range w.questions(zone, fmt.Sprintf("fresh%d", w.fresh)) {
			wants("a client", w.tree.Unbound(q.Name, q.Qtype), q)
		}
	}
	if w.l.T().Failed() {
		w.l.T().FailNow()
	}
}

// soonest is what happens next: what Postern is to do, or the end of what caches
// have; not the end of old key files, days later.
func (w *rolls) soonest() (at time.Time, end bool) {
	w.l.T().Helper()
	for _, z := range w.status() {
		for _, t := range []time.Time{z.Wakes, z.Asks} {
			if !done(z) && !t.IsZero() && (at.IsZero() || t.Before(at)) {
				at = t
			}
		}
	}
	w.ends = slices.DeleteFunc(w.ends, func(t time.Time) bool { return !t.After(w.clock.Now()) })
	for _, t := range w.ends {
		if at.IsZero() || t.Before(at) {
			at, end = t, true
		}
	}
	return at, end
}

// done reports whether no step is under way.
func done(z manage.SignedZone) bool {
	return strings.HasPrefix(z.Next, "nothing") || strings.Contains(z.Next, "is deleted at")
}

// quiet reports whether nothing is under way.
func (w *rolls) quiet() bool {
	w.l.T().Helper()
	for _, z := range w.status() {
		if !done(z) {
			return false
		}
	}
	return true
}

// live lets time pass until nothing is under way.
func (w *rolls) live(judges bool) {
	w.l.T().Helper()
	for range 100 {
		at, end := w.soonest()
		switch {
		case w.quiet() && at.IsZero():
			return
		case at.IsZero():
			at = w.clock.Now().Add(lookEvery)
		case end:
			w.clock.Set(at)
			w.judge("before a TTL ends")
			continue
		}
		w.step(at, judges, func() {})
	}
	w.l.T().Fatalf("it never comes to rest: %v", w.status())
}

// step lets what is due at a time be done, after act, and has it judged where
// anything is another than a second before.
func (w *rolls) step(at time.Time, judges bool, act func()) {
	w.l.T().Helper()
	before, had := at.Add(-time.Second), maps.Clone(w.changed)
	if judges {
		if before.After(w.clock.Now()) {
			w.clock.Set(before)
		}
		w.keep()
	}
	w.clock.Set(at)
	act()
	w.turn(at)
	for _, zone := range w.zones {
		w.follow(zone)
	}
	if maps.Equal(had, w.changed) {
		return
	}
	for _, zone := range w.zones {
		for what, ttl := range map[string]time.Duration{zone: rolledTTL, setOf(zone): dsTTL} {
			if w.changed[what] != had[what] {
				w.until[what] = before.Add(ttl)
				w.ends = append(w.ends, before.Add(missingTTL-time.Second), before.Add(ttl-time.Second))
			}
		}
	}
	if judges {
		w.judge("after a step")
	} else {
		w.ends = nil
	}
	for zone, z := range w.status() {
		w.l.T().Logf("%s  %s %v %s %v", w.clock.Now().Sub(w.began), zone, z.Keys, z.Next, z.Alarms)
	}
}

// TestKeysAreReplaced: a CSK, a KSK and a ZSK, and an algorithm are replaced from
// begin to end, at a parent that follows CDS by BIND's dnssec-cds, with a
// secondary. At each step, and just before each TTL ends, Unbound validates what
// caches hold from before and after.
func TestKeysAreReplaced(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		w := newRolls(l, map[string]string{"one.lab.": "one", "pair.lab.": "pair", "other.lab.": "moving"}, "\n[dnssec.moving]\nalgorithm = \"ecdsap256sha256\"\n", nil)
		w.turn(w.began)
		w.keepers()
		w.live(false)
		first := w.status()
		for zone, z := range first {
			if z.Parent != manage.ParentDS {
				t.Fatalf("%s: %+v", zone, z)
			}
		}
		w.clock.Set(w.clock.Now().Add(2 * dsTTL))
		w.keep()
		w.judge("before anything")

		w.step(w.clock.Now().Add(time.Minute), true, func() {
			config, err := os.ReadFile(w.edge.Path("postern.toml"))
			if err != nil {
				t.Fatal(err)
			}
			w.edge.Write("postern.toml", strings.Replace(string(config), `"ecdsap256sha256"`, `"ecdsap384sha384"`, 1))
			w.edge.Reload()
			w.edge.Run("dnssec", "roll", "one.lab").Want(0)
			w.edge.Run("dnssec", "roll", "pair.lab").Want(0)
			w.edge.Run("dnssec", "roll", "other.lab", "--algorithm", "ecdsap384sha384").Want(0)
		})
		w.live(true)
		for zone, z := range w.status() {
			for _, k := range z.Keys {
				if slices.Contains(first[zone].Keys, k) {
					t.Errorf("%s still has key %s", zone, k)
				}
			}
			if len(z.Keys) != len(first[zone].Keys) || z.Parent != manage.ParentDS || len(z.Alarms) > 0 {
				t.Errorf("%+v", z)
			}
		}
		t.Logf("%s passed, versions and DS sets %v, %d verdicts", w.clock.Now().Sub(w.began), w.changed, w.judged)
		for zone, least := range map[string]int{"one.lab.": 5, "pair.lab.": 6, "other.lab.": 7} {
			if w.changed[zone] < least || w.changed[setOf(zone)] < 2 {
				t.Errorf("%s changed too little", zone)
			}
		}
		w.refuses()
	})
}

// refuses shows that the judges can say no: with a DS of another key nothing is
// secure, but for who has the former one.
func (w *rolls) refuses() {
	w.l.T().Helper()
	zone := w.zones[0]
	w.keep()
	w.tree.Delegate(zone, zone+" 3600 IN DS 1 13 2 "+strings.Repeat("00", 32))
	q := w.questions(zone, "last")[2]
	for i, want := range map[int]string{0: "secure", len(w.kept) - 1: "bogus"} {
		c := w.kept[i]
		if len(c.newest) > 0 {
			c.Forget(zone, c.newest...)
		}
		c.Judge()
		for who, got := range map[string]string{"unbound": c.Unbound(q.Name, q.Qtype), "delv": c.Delv(q.Name, q.Qtype)} {
			if got != want {
				w.l.T().Errorf("with a DS of nobody's: %s is %s by %s and %s, want %s", q.Name, got, c.name, who, want)
			}
		}
	}
}
