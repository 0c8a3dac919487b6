package lab_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// agentZone has where the parent's agent listens: agent.lab, port 5359, for CDS.
const agentZone = `*._dsync TYPE66 \# 16 003b0114ef056167656e74036c616200
agent A 203.0.113.59
`

// hosts are the zones of the name servers that vouch for others, as others may
// spell them, and how each is signed.
func hosts() map[string]string {
	return map[string]string{"Hosts.lab.": "csk-nsec", "hOSTS3.lab.": "pair-nsec3"}
}

// agent is what a parent runs to hear of its children (RFC 9859, Section 4).
func agent(l *lab.Lab) <-chan *dns.Msg {
	l.T().Helper()
	conn, err := net.ListenPacket("udp", "203.0.113.59:5359")
	if err != nil {
		l.T().Fatal(err)
	}
	heard := make(chan *dns.Msg, 16)
	started := make(chan bool)
	server := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		select {
		case heard <- m:
		default: // more than anybody wants to see
		}
		_ = w.WriteMsg(new(dns.Msg).SetReply(m)) // who is not told asks again
	})}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	<-started
	l.T().Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	return heard
}

// dataOf is what the records of a type say, their owners and TTLs apart.
func dataOf(rrs []dns.RR, rtype uint16) []string {
	var all []string
	for _, rr := range rrs {
		if h := rr.Header(); h.Rrtype == rtype {
			all = append(all, strings.TrimPrefix(rr.String(), h.String()))
		}
	}
	slices.Sort(all)
	return all
}

// signalled is where a name server vouches for a zone (RFC 9615, Section 4.1).
func signalled(zone, host string) string { return "_dsboot." + zone + "_signal.ns1." + host }

// telling is a Postern that has signed zones first, below a parent with an agent.
type telling struct {
	l     *lab.Lab
	tree  *lab.SignedTree
	edge  *lab.Postern
	heard <-chan *dns.Msg
	began time.Time
	hard  map[string]*hardZone // all zones
	how   map[string]string
	free  []string // those that have no DS yet
}

func newTelling(l *lab.Lab) *telling {
	l.T().Helper()
	w := &telling{l: l, began: time.Now(), hard: map[string]*hardZone{}, how: map[string]string{}}
	files := map[string]string{"clock": fmt.Sprintf("%d\n", w.began.Unix())}
	var servers, imports []string
	parent := agentZone
	for host, how := range hosts() {
		zone := strings.ToLower(host)
		w.how[zone], w.hard[zone] = how, newHardZone(l.T(), zone, 1).short().brief(600)
		w.hard[zone].sets["Ns1 A"] = rrsetOf{300, []string{alphaDNS}}
		servers = append(servers, "ns1."+host)
		ds, keys := w.made(zone, how)
		imports = append(imports, keys)
		parent += fmt.Sprintf("%[1]s NS ns1.%[1]s\nns1.%[1]s A %[2]s\n%[3]s\n", zone, alphaDNS, ds)
	}
	for i, how := range signings() {
		zone := signedZone("free-", how)
		w.free = append(w.free, zone)
		w.how[zone], w.hard[zone] = how, newHardZone(l.T(), zone, uint64(i)).short().brief(600)
		set := w.hard[zone].sets["@ NS"]
		w.hard[zone].sets["@ NS"] = rrsetOf{set.ttl, append(set.data, servers...)}
		parent += zone + " NS " + servers[i%2] + "\n"
	}
	for zone, hard := range w.hard {
		files["zones/"+zone+"zone"], files["inside/"+zone+"zone"] = hard.file(), hardInside(zone)
	}
	w.tree = l.SignedTree(lab.SignedZone{Name: "lab", Text: parent})
	w.heard = agent(l)
	w.edge = l.Postern(lab.PosternConfig{Config: under(w.tree, w.how), Files: files, Args: []string{"--test-knobs", "--test-clock", "clock"}})
	for _, keys := range imports {
		w.edge.Run(append([]string{"dnssec", "import"}, strings.Fields(keys)...)...).Want(0, "ecdsap256sha256/")
	}
	return w
}

// made is the DS of keys of BIND's for a zone, and what it takes to import them.
func (w *telling) made(zone, how string) (ds, imports string) {
	l := w.l
	l.T().Helper()
	dir := filepath.Dir(l.Write(l.Path("made", "note"), "the keys of the name servers' zones"))
	l.Shell(dir, "dnssec-keygen -q -K . -P -1h -A -1h -a ECDSAP256SHA256 -f KSK "+zone).Want(0)
	ds = l.Shell(dir, "dnssec-dsfromkey -2 K"+zone+"*.key").Want(0).Stdout
	if strings.HasPrefix(how, "pair") {
		l.Shell(dir, "dnssec-keygen -q -K . -P -1h -A -1h -a ECDSAP256SHA256 "+zone).Want(0)
	}
	keys, err := filepath.Glob(filepath.Join(dir, "K"+zone+"*.private"))
	if err != nil || len(keys) == 0 {
		l.T().Fatal(keys, err)
	}
	return ds, strings.TrimSuffix(zone, ".") + " " + strings.Join(keys, " ") + " --adopt"
}

// later sets the clock, and has Postern look at it.
func (w *telling) later(by time.Duration) {
	w.l.T().Helper()
	w.edge.Write("clock.new", fmt.Sprintf("%d\n", w.began.Add(by).Unix()))
	if err := os.Rename(w.edge.Path("clock.new"), w.edge.Path("clock")); err != nil {
		w.l.T().Fatal(err)
	}
	w.edge.Reload()
}

// TestServerTellsParent: once caches can have the first signatures of hard zones,
// by either denial and with one key or two, the running server tells the parent's
// agent of their CDS, and the agent finds all that RFC 9615, Section 4.2, wants
// before it believes them: the same CDS and CDNSKEY in the zone, in both views, and
// validated at the names of its servers, whose zones are hard themselves. What
// they lead to is the key that signs the zone: with a DS of it all is secure.
func TestServerTellsParent(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		w := newTelling(l)
		l.Step("nothing is asked before caches can have the keys", func() {
			for _, zone := range w.free {
				if m := askAt(l.T(), alphaDNS, zone, dns.TypeCDS); m.Rcode != dns.RcodeSuccess || len(dataOf(m.Answer, dns.TypeCDS)) > 0 {
					l.T().Errorf("%v", m)
				}
				for host := range hosts() {
					if m := askAt(l.T(), alphaDNS, signalled(zone, host), dns.TypeCDS); m.Rcode != dns.RcodeNameError {
						l.T().Errorf("%v", m)
					}
				}
			}
		})
		l.Step("the parent's agent is told", w.tells)
		l.Step("and finds what it needs to believe it", w.signals)
		l.Step("which leads to the keys that sign the zones", w.leads)
		l.Step("with those all of it is secure", w.secures)
		l.Step("and nothing more is signalled", w.falls)
	})
}

// tells waits until the agent has heard of all zones without a DS.
func (w *telling) tells() {
	w.later(20 * time.Minute)
	late, told := time.After(90*time.Second), map[string]int{}
	missing := func() bool {
		return slices.ContainsFunc(w.free, func(zone string) bool { return told[zone] == 0 })
	}
	for missing() {
		select {
		case m := <-w.heard:
			told[m.Question[0].Name]++
			if m.Opcode != dns.OpcodeNotify || m.Question[0].Qtype != dns.TypeCDS || m.Response {
				w.l.T().Fatalf("%v", m)
			}
		case <-late:
			w.l.T().Fatalf("told is %v\n%s", told, w.edge.Run("dnssec", "status"))
		}
	}
	for zone, n := range told {
		if w.how[zone] == "" || n != 1 {
			w.l.T().Errorf("told %d times of %s", n, zone)
		}
	}
}

// signals wants name servers to vouch for the zones, to Unbound's satisfaction.
func (w *telling) signals() {
	for _, zone := range w.free {
		for _, rtype := range []uint16{dns.TypeCDS, dns.TypeCDNSKEY} {
			want := dataOf(askAt(w.l.T(), alphaDNS, zone, rtype).Answer, rtype)
			if len(want) != 1 {
				w.l.T().Fatalf("%s of %s: %v", dns.Type(rtype), zone, want)
			}
			if inside := dataOf(askAt(w.l.T(), alphaInDNS, zone, rtype).Answer, rtype); !slices.Equal(inside, want) {
				w.l.T().Errorf("%s of %s inside: %v, want %v", dns.Type(rtype), zone, inside, want)
			}
			for host := range hosts() {
				var got *dns.Msg
				w.l.Eventually("the name server vouches for "+zone, func() error {
					m := new(dns.Msg).SetQuestion(signalled(zone, host), rtype)
					m.SetEdns0(1232, true)
					var err error
					got, _, err = (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, w.tree.Resolver+":53")
					if err == nil && len(dataOf(got.Answer, rtype)) == 0 {
						err = fmt.Errorf("rcode %s", dns.RcodeToString[got.Rcode])
					}
					return err
				})
				if !got.AuthenticatedData || !slices.Equal(dataOf(got.Answer, rtype), want) {
					w.l.T().Errorf("want %v, validated:\n%v", want, got)
				}
				if inside := askAt(w.l.T(), alphaInDNS, signalled(zone, host), rtype); !slices.Equal(dataOf(inside.Answer, rtype), want) {
					w.l.T().Errorf("want %v inside:\n%v", want, inside)
				}
			}
		}
	}
}

// leads wants the CDS of each zone to be of the key that signs its keys.
func (w *telling) leads() {
	for _, zone := range w.free {
		answer, asked := askAt(w.l.T(), alphaDNS, zone, dns.TypeDNSKEY).Answer, askAt(w.l.T(), alphaDNS, zone, dns.TypeCDS).Answer
		var set []dns.RR
		var entry *dns.DNSKEY
		for _, rr := range answer {
			if k, ok := rr.(*dns.DNSKEY); ok {
				set = append(set, k)
				for _, c := range asked {
					if cds, ok := c.(*dns.CDS); ok && k.ToDS(dns.SHA256).Digest == strings.ToLower(cds.Digest) {
						entry = k
					}
				}
			}
		}
		for _, rr := range answer {
			if sig, ok := rr.(*dns.RRSIG); ok && (entry == nil || sig.Verify(entry, set) != nil) {
				w.l.T().Errorf("%v by %v", sig, entry)
			}
		}
		if entry == nil {
			w.l.T().Errorf("no key for %v", asked)
		}
	}
}

// secures has the parent take what the name servers vouch for.
func (w *telling) secures() {
	for _, zone := range w.free {
		ds := ""
		for _, data := range dataOf(askAt(w.l.T(), alphaDNS, signalled(zone, "hosts.lab."), dns.TypeCDS).Answer, dns.TypeCDS) {
			ds += zone + " 300 IN DS " + data + "\n"
		}
		w.tree.Delegate(zone, ds)
	}
	caches := map[string]*lab.Cache{
		"external": w.tree.Cache("world", "192.0.2.60", "192.0.2.61", nil), "internal": w.tree.Cache("inside", "10.0.0.60", "10.0.0.61", nil),
	}
	count := 0
	for zone := range w.hard {
		caches["internal"].From(zone, alphaInDNS)
		for view, c := range caches {
			count += wantHard(w.l.T(), view, "secure", c.Unbound, hardQuestions(zone))
		}
	}
	w.l.T().Logf("%d verdicts", count)
}

// falls waits until the parent's DS is seen: then nobody vouches any more
// (RFC 9615, Section 4.2), and all zones are whole.
func (w *telling) falls() {
	w.later(50 * time.Minute)
	for _, zone := range w.free {
		for host := range hosts() {
			w.l.Eventually("nobody vouches for "+zone, func() error {
				w.edge.Reload()
				if m := askAt(w.l.T(), alphaDNS, signalled(zone, host), dns.TypeCDS); m.Rcode != dns.RcodeNameError {
					return fmt.Errorf("%v", m)
				}
				return nil
			})
		}
	}
	w.edge.Run("dnssec", "status").Want(0)
	for zone, hard := range w.hard {
		for _, view := range []string{"external", "internal"} {
			vouched(w.l, w.edge, view, zone, w.how[zone], besides(w.l.T(), hard, view))
		}
	}
}
