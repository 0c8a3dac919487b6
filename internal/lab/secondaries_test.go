package lab_test

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// TestSecondaries: BIND, NSD, Knot and PowerDNS take zones from Postern, signed
// with every algorithm, and after each of many edits by hand all of them have
// what Postern serves.
func TestSecondaries(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		edits, seed := 30, uint64(time.Now().UnixNano())
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			edits = 200
		}
		t.Logf("seed %d", seed)
		f := newFleet(l, seed)

		l.Step("every zone, whole", func() {
			for _, zone := range f.zones() {
				f.settle(zone, f.servers...)
			}
			for _, s := range f.servers {
				f.wantBig(s)
			}
			f.wantStatus(t, "ok")
		})
		l.Step("every algorithm signs a difference", func() {
			for _, zone := range f.zones()[1:] {
				f.write(zone, f.smallZone(zone))
			}
			f.edge.Reload()
			for _, zone := range f.zones()[1:] {
				f.settle(zone, f.servers...)
				for _, s := range f.servers {
					if whole, differences := s.Transfers(zone); whole != 1 || differences != 1 {
						l.T().Errorf("%s took %s %d times whole and %d times as a difference", s.Program, zone, whole, differences)
					}
					if s.Notified(zone) == 0 {
						l.T().Errorf("%s was not notified of %s", s.Program, zone)
					}
				}
			}
		})
		l.Step("edits by hand", func() { f.editByHand(edits) })
		l.Step("status tells the serial of each", func() { f.wantStatus(t, "ok") })
		l.Step("the inner view", f.settleInside)
		l.Step("nobody else", f.refuseOthers)
		l.Step("secondaries that were away", f.comeBack)
		l.Step("a primary that was away", f.restart)
	})
}

// editByHand edits the hard zone at random. What changed little must reach the
// secondaries as a difference.
func (f *fleet) editByHand(edits int) {
	f.l.T().Helper()
	small := 0
	start, old := f.exported(hardName)
	before := byOctets(f.l.T(), start)
	for range edits {
		var taken []int
		for _, s := range f.servers {
			whole, _ := s.Transfers(hardName)
			taken = append(taken, whole)
		}
		done := f.hard.edit()
		f.publish(hardName, f.hard.file())
		export, serial := f.exported(hardName)
		after := byOctets(f.l.T(), f.hard.records(f.l.T(), serial))
		if d := differFrom(f.l.T(), after, export); d != "" {
			f.l.T().Fatalf("after %s Postern serves, at serial %d:%s", done, serial, d)
		}
		size := distance(before, after)
		f.await("external", hardName, after, serial, f.servers...)
		for i, s := range f.servers {
			whole, _ := s.Transfers(hardName)
			if size < smallEdit && whole != taken[i] {
				f.l.T().Errorf("%s: %s took the zone whole", done, s.Program)
			}
		}
		if size < smallEdit && serial != old {
			small++
		}
		if f.l.T().Failed() {
			f.l.T().Fatalf("after %s, %d octets, serial %d to %d", done, size, old, serial)
		}
		before, old = after, serial
	}
	for _, s := range f.servers {
		whole, differences := s.Transfers(hardName)
		f.l.T().Logf("%s: %d times whole, %d differences, %d notifications", s.Program, whole, differences, s.Notified(hardName))
		if differences < small {
			f.l.T().Errorf("%s took %d differences of %d small edits", s.Program, differences, small)
		}
	}
}

// smallEdit is what no server and no log takes for a whole zone, in octets.
const smallEdit = 8000

// refuseOthers asks for transfers without the right to them, and for those of
// a zone that does not exist: there is no telling one from the other.
func (f *fleet) refuseOthers() {
	f.l.T().Helper()
	peer := addressOf(1)
	good, foreign, wrong, unknown := f.keys[peerOf(lab.NSD, "hmac-sha256")], f.keys[freeKey], f.keys[peerOf(lab.NSD, "hmac-sha256")], f.keys[freeKey]
	other := f.keys[peerOf(lab.NSD, "hmac-sha1")]
	wrong.Secret = foreign.Secret
	unknown.Name = "nobody."
	for _, c := range []struct {
		name, server, from, want string
		key                      *lab.TSIG
	}{
		{"unsigned, a peer's address", alphaDNS, peer, "REFUSED", nil},
		{"unsigned, a stranger", alphaDNS, stranger, "REFUSED", nil},
		{"unsigned, inside", alphaInDNS, insideClient, "REFUSED", nil},
		{"a key of no peer", alphaDNS, peer, "REFUSED", &foreign},
		{"a key of no peer, inside", alphaInDNS, insideClient, "REFUSED", &foreign},
		{"the peer's key, a stranger", alphaDNS, stranger, "REFUSED", &good},
		{"the peer's key, inside", alphaInDNS, insideClient, "REFUSED", &good},
		{"the key of another zone", alphaDNS, peer, "REFUSED", &other},
		{"another secret", alphaDNS, peer, "NOTAUTH", &wrong},
		{"another secret, inside", alphaInDNS, insideClient, "NOTAUTH", &wrong},
		{"an unknown key", alphaDNS, peer, "NOTAUTH", &unknown},
	} {
		for _, kind := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
			for _, network := range []string{"tcp", "udp"} {
				asked := fmt.Sprintf("%s, %s, %s", c.name, dns.TypeToString[kind], network)
				none := f.demand(network, c.server, c.from, "none.lab.", kind, c.key)
				// AXFR is nothing for UDP, whoever asks (RFC 5936, Section 4.2).
				datagram := kind == dns.TypeAXFR && network == "udp"
				if dns.RcodeToString[none.Rcode] != c.want && !datagram || len(none.Answer)+len(none.Ns) > 0 {
					f.l.T().Errorf("%s: want %s\n%s", asked, c.want, none)
				}
				for _, zone := range []string{hardName, corpName} {
					if got := f.demand(network, c.server, c.from, zone, kind, c.key); got.String() != none.String() {
						f.l.T().Errorf("%s: %s differs from a zone that does not exist\n%s\n%s", asked, zone, got, none)
					}
				}
			}
		}
	}
	f.keepInside()
}

// settleInside: the inner secondary has the zones of the internal view, where an
// edit of the external file shows too.
func (f *fleet) settleInside() {
	f.l.T().Helper()
	f.hard.addHost()
	f.publish(hardName, f.hard.file())
	for _, zone := range []string{hardName, corpName} {
		serial := f.settleIn("internal", zone, f.inner)
		all, err := f.inner.Zone(zone, serial)
		if err != nil || !slices.ContainsFunc(all, func(rr dns.RR) bool { return strings.Contains(rr.String(), "10.66.6.") }) {
			f.l.T().Errorf("nothing of the inside in %s (%v)", zone, err)
		}
	}
	if whole, differences := f.inner.Transfers(hardName); whole != 1 || differences == 0 {
		f.l.T().Errorf("%d times whole, %d differences", whole, differences)
	}
}

// keepInside has a peer of the external view ask from inside, at the inner
// listener: it gets the external zone, and nothing that exists inside only.
func (f *fleet) keepInside() {
	f.l.T().Helper()
	want, _ := f.exported(hardName)
	key := f.keys[auditor]
	for _, at := range []struct{ server, from string }{{alphaDNS, stranger}, {alphaInDNS, insideClient}} {
		out := f.l.Exec("dig", "+tcp", "+tries=1", "+noall", "+answer", "+onesoa", "-y", key.Algorithm+":"+key.Name+":"+key.Secret,
			"-b", at.from, "@"+at.server, hardName, "AXFR").Want(0)
		if out.Has("10.66.6.") || out.Has("inside-only") || doubts(lab.Reply{Output: out}) {
			f.l.T().Errorf("at %s: internal data, or not signed well:\n%.2000s", at.server, out)
		}
		if d := differ(f.l.T(), want, parsed(f.l.T(), out.Stdout)); d != "" {
			f.l.T().Errorf("at %s:%s", at.server, d)
		}
		if r := f.demand("tcp", at.server, at.from, corpName, dns.TypeAXFR, &key); r.Rcode != dns.RcodeRefused || len(r.Answer) > 0 {
			f.l.T().Errorf("corp.lab at %s:\n%s", at.server, r)
		}
	}
}

// demand asks for a transfer and returns the first message of the reply,
// without what differs from one request to the next.
func (f *fleet) demand(network, server, from, zone string, kind uint16, key *lab.TSIG) *dns.Msg {
	f.l.T().Helper()
	m := new(dns.Msg).SetAxfr(zone)
	if kind == dns.TypeIXFR {
		m.SetIxfr(zone, 1, "ns."+zone, "hostmaster."+zone)
	}
	query, err := m.Pack()
	if key != nil {
		m.SetTsig(key.Name, dns.Fqdn(key.Algorithm), 300, time.Now().Unix())
		query, _, err = dns.TsigGenerate(m, key.Secret, "", false)
	}
	if err != nil {
		f.l.T().Fatal(err)
	}
	conn, err := lab.DialFrom(from, network, net.JoinHostPort(server, "53"))
	if err != nil {
		f.l.T().Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	c := &dns.Conn{Conn: conn}
	if _, err := c.Write(query); err != nil {
		f.l.T().Fatal(err)
	}
	raw, err := c.ReadMsgHeader(nil)
	if err != nil {
		f.l.T().Fatalf("%s from %s: %v", zone, from, err)
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(raw); err != nil {
		f.l.T().Fatal(err)
	}
	// The question stands for the size of the message, which the lengths of all
	// these names have no part in.
	reply.Id, reply.Question = 0, []dns.Question{{Name: fmt.Sprintf("%d.octets.", len(raw)), Qtype: kind}}
	if r := reply.IsTsig(); r != nil {
		r.MAC, r.TimeSigned, r.OrigId = "", 0, 0
	}
	return reply
}

// comeBack ends all secondaries at once, edits, and starts them again.
func (f *fleet) comeBack() {
	f.l.T().Helper()
	for _, s := range f.servers {
		s.Down()
	}
	for range 3 {
		f.hard.edit()
		f.hard.addHost()
		f.publish(hardName, f.hard.file())
	}
	f.l.Eventually("status tells that they are away", func() error {
		for _, s := range f.status() {
			if s.Zone == hardName && s.View == "external" && s.State != "unreachable" {
				return fmt.Errorf("%+v", s)
			}
		}
		return nil
	})
	f.edge.Run("status").Want(1, "unreachable")
	for _, s := range f.servers {
		s.Up()
	}
	f.settle(hardName, f.servers...)
	f.edge.Run("zone", "notify").Want(0, strings.TrimSuffix(hardName, "."))
	f.wantStatus(f.l.T(), "ok")
}

// restart ends Postern as a power cut would, edits the file meanwhile, and
// starts it again: that still makes a difference.
func (f *fleet) restart() {
	f.l.T().Helper()
	_, old := f.exported(hardName)
	f.edge.Kill9()
	var taken []int
	for _, s := range f.servers {
		whole, _ := s.Transfers(hardName)
		taken = append(taken, whole)
		if serial, err := s.Serial(hardName); serial != old || err != nil {
			f.l.T().Errorf("%s alone: serial %d, %v", s.Program, serial, err)
		}
	}
	f.hard.addHost()
	f.write(hardName, f.hard.file())
	f.edge.Start()
	if serial := f.settle(hardName, f.servers...); int32(serial-old) <= 0 {
		f.l.T().Errorf("serial %d after %d", serial, old)
	}
	for i, s := range f.servers {
		if whole, _ := s.Transfers(hardName); whole != taken[i] {
			f.l.T().Errorf("%s took the zone whole", s.Program)
		}
	}
	f.wantStatus(f.l.T(), "ok")
}
