package lab_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// sources are name servers whose secondary Postern is: of a hard zone each, of
// one that is hard and sealed, that is signed by NSEC3 with opt-out, of one zone
// for every algorithm, of signed ones where they sign; and in another view it has
// the hard zone's name from the next of them.
type sources struct {
	*fleet
	primaries []*source
}

type source struct {
	*lab.Primary
	hard   *hardZone
	sealed *hardZone // NSD, which does not sign, has it signed
	inside uint32    // serial of the zone that it gives to the inner view
}

// signs reports whether the lab has the program sign zones.
func signs(p lab.Program) bool { return p == lab.BIND || p == lab.Knot }

func primaryAddress(i int) string { return fmt.Sprintf("203.0.113.%d", 21+i) }

func (s *source) zone() string { return string(s.Program) + ".lab." }

func (s *source) small(algorithm string) string { return algorithm + "." + s.zone() }

func (s *source) signed() string { return "signed-" + s.zone() }

// text is the file of its hard zone.
func (s *source) text(t *testing.T) string {
	t.Helper()
	return s.hard.plain(t, s.Program != lab.PowerDNS)
}

// sealedText is the file of its sealed zone, with a record of the moment.
func (s *source) sealedText(t *testing.T) (text, mark string) {
	t.Helper()
	s.sealed.serial++
	mark = fmt.Sprintf("edit-%d", s.sealed.serial)
	s.sealed.sets["mark TXT"] = rrsetOf{60, []string{`"` + mark + `"`}}
	text = s.sealed.plain(t, s.Program != lab.PowerDNS)
	if s.Program == lab.NSD {
		text = s.Sealed(s.sealed.origin, text)
	}
	return text, mark
}

const sourcesConfig = `
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
	overlay = "external"

	[[view]]
	name    = "external"
	clients = ["any"]

	# The tests ask more in a second than a stranger may.
	[limits]
	exempt = ["203.0.113.0/24", "198.51.100.53", "10.9.9.9"]
`

// newSources starts the primaries, and then Postern.
func newSources(l *lab.Lab, seed uint64) *sources {
	l.T().Helper()
	f := &sources{fleet: &fleet{l: l, keys: map[string]lab.TSIG{}, small: map[string]int{}}}
	config := sourcesConfig
	zone := func(name, view, peer string) {
		config += fmt.Sprintf("[zone.%q.view.%s]\nprimaries = [%q]\n", strings.TrimSuffix(name, "."), view, peer)
	}
	for i, program := range programs {
		s := &source{hard: newHardZone(l.T(), string(program)+".lab.", seed+uint64(i))}
		s.sealed = newHardZone(l.T(), "sealed-"+string(program)+".lab.", seed+uint64(100+i))
		if program == lab.NSD {
			delete(s.hard.sets, "large TXT") // which it cannot give to anybody
			delete(s.sealed.sets, "large TXT")
			// dnssec-signzone ends at a name below which no wildcard could be.
			maps.DeleteFunc(s.sealed.sets, func(key string, _ rrsetOf) bool { return len(key) > 200 })
		}
		cfg := lab.PrimaryConfig{Program: program, Address: primaryAddress(i), Secondary: alphaDNS}
		s.Primary = &lab.Primary{Program: program}
		add := func(peer, algorithm string) lab.TSIG {
			f.key(peer, algorithm)
			config += fmt.Sprintf("\n[key.%[1]q]\nalgorithm = %[2]q\nsecret = \"file:secrets/%[3]s\"\n[peer.%[3]s]\naddress = [\"%[4]s:53\"]\nkeys = [%[1]q]\n",
				peer+".", algorithm, peer, cfg.Address)
			return f.keys[peer]
		}
		for _, algorithm := range algorithms() {
			peer := peerOf(program, algorithm)
			key := add(peer, algorithm)
			if algorithm != "hmac-sha256" {
				cfg.Zones = append(cfg.Zones, lab.PrimaryZone{Name: s.small(algorithm), Key: key, Text: smallFile(s.small(algorithm), 1)})
				zone(s.small(algorithm), "external", peer)
				continue
			}
			cfg.Zones = append(cfg.Zones, lab.PrimaryZone{Name: s.zone(), Key: key, Text: s.text(l.T())})
			zone(s.zone(), "external", peer)
			if program != lab.NSD { // see sealedZones
				text, _ := s.sealedText(l.T())
				cfg.Zones = append(cfg.Zones, lab.PrimaryZone{Name: s.sealed.origin, Key: key, Text: text, Signed: true, OptOut: true})
			} else {
				cfg.Zones = append(cfg.Zones, lab.PrimaryZone{Name: s.sealed.origin, Key: key, Text: s.sealed.plain(l.T(), true)})
			}
			zone(s.sealed.origin, "external", peer)
			if signs(program) {
				cfg.Zones = append(cfg.Zones, lab.PrimaryZone{Name: s.signed(), Key: key, Text: smallFile(s.signed(), 1), Signed: true})
				zone(s.signed(), "external", peer)
			}
		}
		next := string(programs[(i+1)%len(programs)]) + ".lab."
		s.inside = 1
		inner := add(string(program)+"-inner", "hmac-sha384")
		cfg.Zones = append(cfg.Zones, lab.PrimaryZone{Name: next, Key: inner, Text: smallFile(next, 1)})
		zone(next, "internal", string(program)+"-inner")
		s.Primary = l.Primary(cfg)
		f.primaries = append(f.primaries, s)
	}
	f.edge = l.Prepare(lab.PosternConfig{Config: config})
	f.secrets()
	f.edge.Start()
	return f
}

// smallFile is a zone that is not hard, at a serial. With its filling the
// difference of two is shorter than the whole.
func smallFile(zone string, serial int) string {
	filling := ""
	for i := range 60 {
		filling += fmt.Sprintf("host%d A 10.1.2.%[1]d\n", i)
	}
	return lab.ZoneFile(zone, alphaDNS, serial, filling+fmt.Sprintf("www A 203.0.113.%d\n*.w.ent TXT v%[1]d\nsub NS ns.sub\nns.sub A 192.0.2.%[1]d\nOld DNAME new\n", serial%250))
}

// plain is the hard zone in the plainest form, which all servers read alike:
// octets of names by their numbers, and types that are not as old as the rest
// as octets (RFC 3597, Section 5), which PowerDNS takes for no type it knows.
func (z *hardZone) plain(t *testing.T, octets bool) string {
	t.Helper()
	known := []uint16{dns.TypeSOA, dns.TypeNS, dns.TypeA, dns.TypeAAAA, dns.TypeMX, dns.TypeTXT, dns.TypeCNAME, dns.TypeDNAME, dns.TypePTR, dns.TypeDS, dns.TypeSRV}
	var b strings.Builder
	for _, rr := range z.records(t, z.serial) {
		h := rr.Header()
		fmt.Fprintf(&b, "%s %d IN ", numbered(t, h.Name), h.Ttl)
		text := strings.SplitN(rr.String(), "\t", 5)
		if _, odd := rr.(*dns.RFC3597); slices.Contains(known, h.Rrtype) || !octets && !odd {
			if h.Rrtype == dns.TypeSVCB || h.Rrtype == dns.TypeHTTPS {
				text[4] = strings.ReplaceAll(text[4], `"`, "")
			}
			fmt.Fprintf(&b, "%s %s\n", text[3], text[4])
			continue
		}
		if odd, ok := rr.(*dns.RFC3597); ok {
			fmt.Fprintf(&b, "TYPE%d \\# %d %s\n", h.Rrtype, len(odd.Rdata)/2, odd.Rdata)
			continue
		}
		generic := new(dns.RFC3597)
		if err := generic.ToRFC3597(rr); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "TYPE%d \\# %d %s\n", h.Rrtype, len(generic.Rdata)/2, generic.Rdata)
	}
	return b.String()
}

// numbered is a name in which every octet that is not plain stands by its
// number.
func numbered(t *testing.T, name string) string {
	t.Helper()
	buf := make([]byte, 256)
	n, err := dns.PackDomainName(name, buf, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i := 0; i < n && buf[i] != 0; i += 1 + int(buf[i]) {
		for _, c := range buf[i+1 : i+1+int(buf[i])] {
			if strings.IndexByte("*-_", c) >= 0 || '0' <= c && c <= '9' || 'a' <= c|32 && c|32 <= 'z' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "\\%03d", c)
			}
		}
		b.WriteByte('.')
	}
	return b.String()
}

// taken counts in Postern's log how often a zone was taken, by form.
func (f *sources) taken(zone, view, form string) int {
	line := regexp.MustCompile(`transfer taken.* zone=` + regexp.QuoteMeta(zone) + ` view=` + view + ` .*form=` + form)
	return len(line.FindAllString(f.edge.Log.String(), -1))
}

// arrive waits until Postern serves the zone with that serial, and holds what it
// serves against these records.
func (f *sources) arrive(view, zone string, serial uint32, want []dns.RR) {
	f.l.T().Helper()
	server := map[string]string{"external": alphaDNS, "internal": alphaInDNS}[view]
	f.l.Eventually(fmt.Sprintf("%s arrives in view %s", zone, view), func() error {
		got, err := Serial(f, server, zone)
		if err == nil && got != serial {
			err = fmt.Errorf("serial %d, want %d", got, serial)
		}
		return err
	})
	all, _ := f.exportedIn(view, zone)
	if d := differ(f.l.T(), want, all); d != "" {
		f.l.T().Errorf("%s in view %s at serial %d:%s", zone, view, serial, d)
	}
}

// Serial asks from a client of the view that the server is for.
func Serial(f *sources, server, zone string) (uint32, error) {
	if server == alphaDNS {
		return lab.Serial(server, zone)
	}
	m := f.demandFrom(insideClient, server, zone)
	if len(m.Answer) != 1 {
		return 0, fmt.Errorf("%s", dns.RcodeToString[m.Rcode])
	}
	soa, ok := m.Answer[0].(*dns.SOA)
	if !ok {
		return 0, fmt.Errorf("%s", m.Answer[0])
	}
	return soa.Serial, nil
}

func (f *sources) demandFrom(from, server, zone string) *dns.Msg {
	f.l.T().Helper()
	conn, err := lab.DialFrom(from, "tcp", server+":53")
	if err != nil {
		f.l.T().Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	c := &dns.Conn{Conn: conn}
	if err := c.WriteMsg(new(dns.Msg).SetQuestion(zone, dns.TypeSOA)); err != nil {
		f.l.T().Fatal(err)
	}
	m, err := c.ReadMsg()
	if err != nil {
		f.l.T().Fatal(err)
	}
	return m
}

// follows is arrive for what the primary itself gives, be it signed there; mark
// is a record that must be among it.
func (f *sources) follows(s *source, zone, mark string) {
	f.l.T().Helper()
	f.l.Eventually(zone+" follows its primary", func() error {
		theirs, err := s.Zone(zone)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(theirs, func(rr dns.RR) bool { return strings.Contains(rr.String(), mark) }) {
			return fmt.Errorf("the primary has no %q yet", mark)
		}
		if _, err := lab.Serial(alphaDNS, zone); err != nil {
			return err // nothing came yet
		}
		ours, serial := f.exported(zone)
		if d := differ(f.l.T(), theirs, ours); d != "" {
			return fmt.Errorf("at serial %d:%s", serial, d)
		}
		return nil
	})
}

// edit edits the hard zone of a primary.
func (s *source) edit(t *testing.T) string {
	t.Helper()
	before := s.hard.serial
	done := s.hard.edit()
	if s.hard.serial == before {
		s.hard.serial++
	}
	s.Publish(s.zone(), s.text(t))
	return done
}

// TestPrimaries: Postern takes zones from BIND, NSD, Knot and PowerDNS, signed
// with every algorithm, and after each of many edits it serves what the
// primary's file says.
func TestPrimaries(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		edits, seed := 30, uint64(time.Now().UnixNano())
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			edits = 200
		}
		t.Logf("seed %d", seed)
		f := newSources(l, seed)
		for _, step := range []struct {
			name string
			do   func()
		}{
			{"every zone, whole, in two views", f.first},
			{"every algorithm signs a change", f.change},
			{"edits by hand", func() { f.edits(edits) }},
			{"signed zones", f.signedZones},
			{"hard zones with NSEC3 and opt-out", f.sealedZones},
			{"primaries that were away", f.away},
			{"Postern that was away", f.restarted},
			{"serials that go back", f.backwards},
			{"status tells whom each comes from", f.wantFresh},
			{"nobody else tells of changes", f.foreignNotify},
		} {
			if l.Step(step.name, step.do); t.Failed() {
				return // what follows would wait in vain
			}
		}
	})
}

func (f *sources) first() {
	f.l.T().Helper()
	for i, s := range f.primaries {
		f.arrive("external", s.zone(), s.hard.serial, s.hard.records(f.l.T(), s.hard.serial))
		for _, algorithm := range algorithms()[1:] {
			f.arrive("external", s.small(algorithm), 1, parsed(f.l.T(), smallFile(s.small(algorithm), 1)))
		}
		inner := f.primaries[(i+1)%len(f.primaries)].zone()
		f.arrive("internal", inner, 1, parsed(f.l.T(), smallFile(inner, 1)))
		if signs(s.Program) {
			f.follows(s, s.signed(), "RRSIG")
		}
	}
}

func (f *sources) change() {
	f.l.T().Helper()
	for _, s := range f.primaries {
		for _, algorithm := range algorithms()[1:] {
			if s.Program != lab.NSD {
				s.Publish(s.small(algorithm), smallFile(s.small(algorithm), 2))
			}
		}
	}
	for _, s := range f.primaries {
		for _, algorithm := range algorithms()[1:] {
			zone := s.small(algorithm)
			if s.Program == lab.NSD { // a reload ends the processes that transfer: one after the other
				s.Publish(zone, smallFile(zone, 2))
			}
			f.arrive("external", zone, 2, parsed(f.l.T(), smallFile(zone, 2)))
			if steps := f.taken(zone, "external", "incremental"); steps == 0 && s.Program != lab.PowerDNS {
				f.l.T().Errorf("%s came whole", zone)
			}
		}
	}
}

// edits edits the hard zones at random.
func (f *sources) edits(n int) {
	f.l.T().Helper()
	for range n {
		done := map[*source]string{}
		for _, s := range f.primaries {
			done[s] = s.edit(f.l.T())
		}
		for _, s := range f.primaries {
			f.arrive("external", s.zone(), s.hard.serial, s.hard.records(f.l.T(), s.hard.serial))
			if f.l.T().Failed() {
				f.l.T().Fatalf("%s after %s", s.Program, done[s])
			}
		}
	}
	for _, s := range f.primaries {
		whole, steps := f.taken(s.zone(), "external", "full"), f.taken(s.zone(), "external", "incremental")
		f.l.T().Logf("%s: %d times whole, %d differences of %d edits", s.Program, whole, steps, n)
		// PowerDNS gives no differences, and NSD makes none of this zone.
		if steps < n/2 && signs(s.Program) {
			f.l.T().Errorf("%s: %d differences of %d edits", s.Program, steps, n)
		}
	}
}

func (f *sources) signedZones() {
	f.l.T().Helper()
	for _, s := range f.primaries {
		if !signs(s.Program) {
			continue
		}
		for serial := 2; serial < 8; serial++ {
			s.Publish(s.signed(), smallFile(s.signed(), serial))
			f.follows(s, s.signed(), fmt.Sprintf("203.0.113.%d", serial))
		}
		if f.taken(s.signed(), "external", "incremental") == 0 {
			f.l.T().Errorf("%s: never a difference", s.signed())
		}
	}
}

// sealedZones edits hard zones that are signed.
func (f *sources) sealedZones() {
	f.l.T().Helper()
	const edits = 6
	for range edits {
		done := map[*source]string{}
		marks := map[*source]string{}
		for _, s := range f.primaries {
			done[s] = s.sealed.edit()
			var text string
			text, marks[s] = s.sealedText(f.l.T())
			s.Publish(s.sealed.origin, text)
		}
		for _, s := range f.primaries {
			f.follows(s, s.sealed.origin, marks[s])
			all, _ := f.exported(s.sealed.origin)
			for _, kind := range []uint16{dns.TypeNSEC3PARAM, dns.TypeNSEC3, dns.TypeRRSIG} {
				if !slices.ContainsFunc(all, func(rr dns.RR) bool { return rr.Header().Rrtype == kind }) {
					f.l.T().Errorf("%s has no %s", s.sealed.origin, dns.Type(kind))
				}
			}
			if f.l.T().Failed() {
				f.l.T().Fatalf("%s after %s", s.Program, done[s])
			}
		}
	}
	for _, s := range f.primaries {
		f.answersAlike(s, s.sealed.origin)
		zone := s.sealed.origin
		f.l.T().Logf("%s: %d times whole, %d differences of %d edits", zone, f.taken(zone, "external", "full"), f.taken(zone, "external", "incremental"), edits)
	}
}

// answersAlike asks the primary and us what is hard to answer: what both say, and
// what proves it, is the same.
func (f *sources) answersAlike(s *source, zone string) {
	f.l.T().Helper()
	for _, q := range []struct {
		name string
		kind uint16
	}{
		{"nothing.here", dns.TypeA},
		{"z.empty", dns.TypeTXT}, // an empty non-terminal
		{"any.wild", dns.TypeTXT}, {"any.wild", dns.TypeA}, {"a.b.wild", dns.TypeMX}, {"x.a.any.wild", dns.TypeTXT},
		{"x.y.old", dns.TypeA}, {"old", dns.TypeTXT}, {"old", dns.TypeA},
		{"sub", dns.TypeDS}, {"below.sub", dns.TypeA}, // a delegation that is secure
		{"other", dns.TypeDS}, {"below.other", dns.TypeA}, // one that is not, and has no NSEC3
		{"www", dns.TypeA}, {"star\\*", dns.TypeA}, {"sp\\032ace\\@at\\;semi", dns.TypeTXT}, {"dot\\.in\\.label", dns.TypeMX},
		{"many", dns.TypeAAAA}, {"raw", 65280}, {"ns", dns.TypeMX}, {"", dns.TypeNSEC3PARAM}, {"", dns.TypeDNSKEY},
	} {
		if s.Program == lab.PowerDNS && strings.HasPrefix(q.name, "sp") {
			continue // it transfers a name with a space, but does not answer it
		}
		name := strings.TrimPrefix(q.name+"."+zone, ".")
		said := map[string]string{}
		for who, server := range map[string]string{"it": s.Address, "we": alphaDNS} {
			m := new(dns.Msg).SetQuestion(name, q.kind)
			m.SetEdns0(65535, true)
			m.RecursionDesired = false
			reply, _, err := (&dns.Client{Net: "tcp", Timeout: 10 * time.Second}).Exchange(m, server+":53")
			if err != nil {
				f.l.T().Fatalf("%s %s: %v", name, dns.Type(q.kind), err)
			}
			said[who] = dns.RcodeToString[reply.Rcode] + "\n" + proven(reply.Answer, "") + "\n" + proven(reply.Ns, zone)
		}
		if said["it"] != said["we"] {
			f.l.T().Errorf("%s %s: %s says\n%s\nand we\n%s", name, dns.Type(q.kind), s.Program, said["it"], said["we"])
		}
	}
}

// proven is records in order, each once, their TTLs apart: what the RFCs leave to
// a server. So is the CNAME that a DNAME makes, and in the authority section the
// name servers beside an answer.
func proven(all []dns.RR, beside string) string {
	dname := slices.ContainsFunc(all, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeDNAME })
	var texts []string
	for _, rr := range all {
		kind := rr.Header().Rrtype
		sig, signs := rr.(*dns.RRSIG)
		if dname && kind == dns.TypeCNAME || strings.EqualFold(rr.Header().Name, beside) && (kind == dns.TypeNS || signs && sig.TypeCovered == dns.TypeNS) {
			continue
		}
		rr = dns.Copy(rr)
		rr.Header().Ttl = 0
		rr.Header().Name = strings.ToLower(rr.Header().Name)
		texts = append(texts, strings.ToLower(rr.String()))
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), "\n")
}

// away ends all primaries, changes files, and starts them again.
func (f *sources) away() {
	f.l.T().Helper()
	for _, s := range f.primaries {
		s.Down()
	}
	for _, s := range f.primaries {
		s.edit(f.l.T())
		if _, err := lab.Serial(alphaDNS, s.zone()); err != nil {
			f.l.T().Errorf("%s: %v", s.zone(), err)
		}
	}
	for _, s := range f.primaries {
		s.Anew()
	}
	for _, s := range f.primaries {
		f.l.Eventually(string(s.Program)+" is back", func() error { _, err := lab.Serial(s.Address, s.zone()); return err })
		f.edge.Run("zone", "retransfer", s.zone(), "--view", "external").Want(0, "is being transferred whole")
		f.arrive("external", s.zone(), s.hard.serial, s.hard.records(f.l.T(), s.hard.serial))
	}
}

// restarted ends Postern in the middle of edits, with and without warning.
func (f *sources) restarted() {
	f.l.T().Helper()
	for i, s := range f.primaries {
		s.edit(f.l.T())
		if i%2 == 0 {
			f.edge.Kill9()
		} else {
			f.edge.Stop()
		}
		was := s.hard.serial
		s.edit(f.l.T())
		f.edge.Start()
		f.arrive("external", s.zone(), s.hard.serial, s.hard.records(f.l.T(), s.hard.serial))
		if s.hard.serial == was {
			f.l.T().Error("nothing was edited")
		}
		for _, other := range f.primaries { // what nobody edited is served at once
			f.arrive("external", other.zone(), other.hard.serial, other.hard.records(f.l.T(), other.hard.serial))
		}
	}
}

// backwards makes every primary anew with a lower serial: nothing comes before
// somebody asks for it, and then exactly that.
func (f *sources) backwards() {
	f.l.T().Helper()
	for _, s := range f.primaries {
		s.hard.edit()
		s.hard.serial = 3
		s.Publish(s.zone(), s.text(f.l.T()))
		s.Anew()
		f.l.Eventually(string(s.Program)+" has gone back", func() error {
			got, err := lab.Serial(s.Address, s.zone())
			if err == nil && got != 3 {
				err = fmt.Errorf("serial %d", got)
			}
			return err
		})
		f.edge.Run("zone", "retransfer", s.zone(), "--view", "external").Want(0)
		f.arrive("external", s.zone(), 3, s.hard.records(f.l.T(), 3))
		s.edit(f.l.T())
		f.arrive("external", s.zone(), s.hard.serial, s.hard.records(f.l.T(), s.hard.serial))
	}
}

// patienceOfSigners is how long a zone that was asked for may take to come.
const patienceOfSigners = 4 * time.Second

// wantFresh: whoever lost its state signs from the beginning, and its serials
// end where the number of its steps leads, which may be before what we have.
// Then somebody has to ask for it once, as for every serial that went back.
func (f *sources) wantFresh() {
	f.l.T().Helper()
	ownSerials, asked := map[string]bool{}, map[string]time.Time{}
	for _, s := range f.primaries {
		if signs(s.Program) {
			ownSerials[s.signed()], ownSerials[s.sealed.origin] = true, true
		}
	}
	f.l.Eventually("status says fresh", func() error {
		var s struct {
			Zones []struct {
				Zone, View, State string
				Serial            uint32
				Upstream          struct {
					State, Primary string
					Serial         uint32
					Expires        time.Time
				}
			}
		}
		out := f.edge.Run("status", "--json")
		if err := json.Unmarshal([]byte(out.Stdout), &s); err != nil {
			return err
		}
		if want := len(programs)*(len(algorithms())+2) + 2; len(s.Zones) != want {
			return fmt.Errorf("%d zones, want %d", len(s.Zones), want)
		}
		for _, z := range s.Zones {
			u := z.Upstream
			if u.State == "stale" && ownSerials[z.Zone] && time.Since(asked[z.Zone]) > patienceOfSigners {
				asked[z.Zone] = time.Now()
				out := f.edge.Run("zone", "retransfer", z.Zone, "--view", z.View)
				f.l.T().Logf("%s is %+v: %s%s", z.Zone, u, out.Stdout, out.Stderr)
			}
			if z.State != "ok" || u.State != "fresh" || u.Serial != z.Serial || u.Primary == "" || time.Until(u.Expires) < 10*time.Hour {
				return fmt.Errorf("%+v", z)
			}
		}
		return nil
	})
}

// foreignNotify: who is no primary is refused, where it sees the zone and where
// not, and nothing is asked.
func (f *sources) foreignNotify() {
	f.l.T().Helper()
	for _, c := range []struct{ zone, from, want string }{
		{f.primaries[0].zone(), stranger, "REFUSED"},
		{"none.lab.", stranger, "NOTAUTH"},
		{"none.lab.", primaryAddress(1), "NOTAUTH"},
		{f.primaries[0].zone(), primaryAddress(3), "NOERROR"}, // of the inner view's zone of that name
		{f.primaries[0].zone(), primaryAddress(1), "REFUSED"},
	} {
		conn, err := lab.DialFrom(c.from, "udp", alphaDNS+":53")
		if err != nil {
			f.l.T().Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		co := &dns.Conn{Conn: conn}
		if err := co.WriteMsg(new(dns.Msg).SetNotify(c.zone)); err != nil {
			f.l.T().Fatal(err)
		}
		m, err := co.ReadMsg()
		_ = conn.Close() // it was read
		if err != nil || dns.RcodeToString[m.Rcode] != c.want {
			f.l.T().Errorf("%+v: %v %v", c, m, err)
		}
	}
}
