package lab_test

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// tellingConfig serves a zone and that of its name servers, below the tree.
const tellingConfig = `
	[server]
	hostname = "edge.hosts.lab"
	state    = "state"
	control  = "run/control.sock"

	[[listen]]
	serve     = "dns"
	address   = ["198.51.100.53:53"]
	transport = ["udp", "tcp"]

	[[view]]
	name    = "external"
	clients = ["any"]
	zones   = "zones"

	[zone_default]
	dnssec = "standard"

	[resolver]
	root_hints   = "HINTS"
	trust_anchor = "ANCHOR"
`

const (
	// agentZone has where the parent's agent listens: agent.lab, port 5359, for CDS.
	agentZone = `*._dsync TYPE66 \# 16 003b0114ef056167656e74036c616200
agent A 203.0.113.59
hosts NS ns1.hosts
ns1.hosts A 198.51.100.53
free NS ns1.hosts
`
	hostsHere = "$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 198.51.100.53\n"
	freeHere  = "$TTL 300\n@ SOA ns1.hosts.lab. hostmaster 1 3600 600 86400 60\n@ NS ns1.hosts.lab.\nwww A 198.51.100.80\n"
)

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

// TestServerTellsParent: once caches can have the first signatures of a zone, the
// running server tells the parent's agent of its CDS, and the agent finds all
// that RFC 9615, Section 4.2, wants before it believes them: the same CDS and
// CDNSKEY in the zone, and validated at the names of its servers. What they lead
// to is the key that signs the zone.
func TestServerTellsParent(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		dir := filepath.Dir(l.Write(l.Path("made", "note"), "the key of hosts.lab"))
		l.Shell(dir, "dnssec-keygen -q -K . -a ECDSAP256SHA256 -f KSK hosts.lab").Want(0)
		ds := l.Shell(dir, "dnssec-dsfromkey -2 Khosts.lab.*.key").Want(0).Stdout
		keys, err := filepath.Glob(filepath.Join(dir, "Khosts.lab.*.private"))
		if err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		tree := l.SignedTree(lab.SignedZone{Name: "lab", Text: agentZone + ds})
		heard := agent(l)
		now := time.Now()
		edge := l.Prepare(lab.PosternConfig{
			Config: strings.NewReplacer("HINTS", tree.Hints, "ANCHOR", tree.Anchor).Replace(tellingConfig),
			Files:  map[string]string{"zones/hosts.lab.zone": hostsHere, "zones/free.lab.zone": freeHere, "clock": fmt.Sprintf("%d\n", now.Unix())},
			Args:   []string{"--test-knobs", "--test-clock", "clock"},
		})
		edge.Start()
		edge.Run("dnssec", "import", "hosts.lab", keys[0], "--adopt").Want(0, "csk/ecdsap256sha256/")

		l.Step("nothing is asked before caches can have the keys", func() {
			if m := askHere(t, "free.lab.", dns.TypeCDS); len(dataOf(m.Answer, dns.TypeCDS)) > 0 {
				t.Errorf("%v", m)
			}
			if m := askHere(t, "_dsboot.free.lab._signal.ns1.hosts.lab.", dns.TypeCDS); m.Rcode != dns.RcodeNameError {
				t.Errorf("%v", m)
			}
		})
		l.Step("the parent's agent is told", func() {
			edge.Write("clock", fmt.Sprintf("%d\n", now.Add(20*time.Minute).Unix()))
			late := time.After(90 * time.Second)
			for told := false; !told; {
				select {
				case m := <-heard:
					told = m.Question[0].Name == "free.lab."
					if m.Opcode != dns.OpcodeNotify || m.Question[0].Qtype != dns.TypeCDS || m.Response {
						t.Fatalf("%v", m)
					}
				case <-late:
					t.Fatalf("nobody is told\n%s", edge.Run("dnssec", "status"))
				}
			}
		})
		l.Step("and finds what it needs to believe it", func() {
			for _, rtype := range []uint16{dns.TypeCDS, dns.TypeCDNSKEY} {
				want := dataOf(askHere(t, "free.lab.", rtype).Answer, rtype)
				if len(want) != 1 {
					t.Fatalf("%s of the zone: %v", dns.Type(rtype), want)
				}
				var got *dns.Msg
				l.Eventually("the name server vouches for it", func() error {
					m := new(dns.Msg).SetQuestion("_dsboot.free.lab._signal.ns1.hosts.lab.", rtype)
					m.SetEdns0(1232, true)
					var err error
					got, _, err = (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, tree.Resolver+":53")
					if err == nil && len(dataOf(got.Answer, rtype)) == 0 {
						err = fmt.Errorf("rcode %s", dns.RcodeToString[got.Rcode])
					}
					return err
				})
				if !got.AuthenticatedData || !slices.Equal(dataOf(got.Answer, rtype), want) {
					t.Errorf("want %v, validated:\n%v", want, got)
				}
			}
		})
		l.Step("which leads to the key that signs the zone", func() {
			answer := askHere(t, "free.lab.", dns.TypeDNSKEY).Answer
			asked := askHere(t, "free.lab.", dns.TypeCDS).Answer
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
					t.Errorf("%v by %v", sig, entry)
				}
			}
			if entry == nil {
				t.Errorf("no key for %v", asked)
			}
		})
	})
}
