package lab_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// dynamicRule lets a key change nearly all that edits of a hard zone do: no rule
// lets anybody change wildcards.
func dynamicRule(zone string) string {
	names := []string{zone, "*." + zone, "_own-svc." + zone, "_dns." + zone, "*._tcp." + zone, "_443._tcp.www2." + zone}
	types := []string{"A", "AAAA", "NS", "DS", "CNAME", "DNAME", "MX", "TXT", "CAA", "HTTPS", "SVCB", "SRV", "NAPTR", "TLSA", "SSHFP", "LOC", "PTR", "TYPE65280", "TYPE65281"}
	return fmt.Sprintf("dynamic = [{ key = \"upd.\", names = [\"%s\"], types = [\"%s\"] }]\n", strings.Join(names, `", "`), strings.Join(types, `", "`))
}

// TestUpdatesOfSigned: hard zones that Postern signs, by either denial and with
// one key or two, are changed by updates at random: cuts, DNAMEs, names of
// any octets, aliases that become addresses. After each of them a zone holds
// what it should, BIND's and Knot's verifiers find it whole, and all secondaries
// have the same octets, that of the inner network those of its view; so it is
// after a kill, and beside an edit of the file.
func TestUpdatesOfSigned(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		rounds := 6
		if os.Getenv("POSTERN_PROVE") != "" { // make prove
			rounds = 40
		}
		s := newSignedFleet(l, dynamicRule)
		for round := range rounds {
			done := map[string]string{}
			for zone := range s.hard {
				done[zone] = s.update(zone)
			}
			if round == rounds/2 {
				s.edge.Kill9()
				s.edge.Start()
			}
			for zone := range s.hard {
				s.holds(zone, fmt.Sprintf("update %d: %s", round, done[zone]))
			}
			if t.Failed() {
				t.Fatalf("after update %d: %v", round, done)
			}
		}
		l.Step("beside an edit of the file", func() {
			for zone, hard := range s.hard {
				// The file knows nothing of the updates: it is what it was, and one more.
				first := newHardZone(t, zone, 0).short()
				if hard.sets[nameOf255(hard)+" A"].data == nil {
					delete(first.sets, nameOf255(first)+" A")
				}
				first.sets["by-hand A"] = rrsetOf{60, []string{"203.0.113.200"}}
				hard.sets["by-hand A"] = first.sets["by-hand A"]
				s.edge.Write("zones/"+zone+"zone", first.file())
			}
			s.edge.Reload()
			for zone := range s.hard {
				s.holds(zone, "an edit of the file")
			}
		})
		for _, second := range s.servers {
			whole, differences := second.Transfers("hashed.lab.")
			t.Logf("%s: %d times whole, %d differences", second.Program, whole, differences)
		}
	})
}

// nameOf255 is the longest name of a hard zone, if it has it.
func nameOf255(z *hardZone) string {
	for key := range z.sets {
		if owner, _, _ := strings.Cut(key, " "); strings.HasPrefix(owner, "nnn") {
			return owner
		}
	}
	return ""
}

// update changes a zone as an edit by hand would, and tells how.
func (s *signedFleet) update(zone string) string {
	t, hard := s.l.T(), s.hard[zone]
	t.Helper()
	var m *dns.Msg
	done := ""
	for m == nil {
		before, timers := maps.Clone(hard.sets), hard.timers
		done = hard.edit()
		hard.timers = timers // of these an update may say nothing here
		if m = hard.updateFrom(t, before); m == nil {
			hard.sets = before
		}
	}
	key := s.keys["upd"]
	m.SetTsig(key.Name, dns.Fqdn(key.Algorithm), 300, time.Now().Unix())
	c := &dns.Client{Net: "tcp", Timeout: 10 * time.Second, TsigSecret: map[string]string{key.Name: key.Secret}}
	reply, _, err := c.Exchange(m, alphaDNS+":53")
	if err != nil || reply.Rcode != dns.RcodeSuccess {
		t.Fatalf("%s: %v\n%v\n%s", done, err, reply, m)
	}
	return done
}

// updateFrom is the update that makes a zone what it is, of what it was; nil
// where nothing changed, or something is not allowed or, as the last NS of a zone
// (RFC 2136, Section 3.4.2.3), not done.
func (z *hardZone) updateFrom(t *testing.T, before map[string]rrsetOf) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetUpdate(z.origin)
	was, is := &hardZone{origin: z.origin, sets: before}, z
	a, b := was.bySet(t), is.bySet(t)
	keys := slices.Sorted(maps.Keys(a))
	for key := range b {
		if _, ok := a[key]; !ok {
			keys = append(keys, key)
		}
	}
	var come []dns.RR
	for _, key := range keys {
		if sameSet(t, a[key], b[key]) {
			continue
		}
		if gone := a[key]; len(gone) > 0 {
			m.RemoveRRset(gone[:1])
		}
		come = append(come, b[key]...)
	}
	m.Insert(come)
	if len(m.Ns) == 0 {
		return nil
	}
	for _, rr := range m.Ns {
		if h := rr.Header(); strings.HasPrefix(h.Name, "*.") || h.Name == z.origin && h.Rrtype == dns.TypeNS {
			return nil
		}
	}
	return m
}

// bySet are the records of the sets, by name and type.
func (z *hardZone) bySet(t *testing.T) map[string][]dns.RR {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "$ORIGIN %s\n", z.origin)
	for _, key := range slices.Sorted(maps.Keys(z.sets)) {
		owner, kind, _ := strings.Cut(key, " ")
		for _, data := range z.sets[key].data {
			fmt.Fprintf(&b, "%s %d IN %s %s\n", owner, z.sets[key].ttl, kind, data)
		}
	}
	all := map[string][]dns.RR{}
	for _, rr := range parsed(t, b.String()) {
		key := folded(t, rr.Header().Name) + " " + dns.Type(rr.Header().Rrtype).String()
		all[key] = append(all[key], rr)
	}
	return all
}

func sameSet(t *testing.T, a, b []dns.RR) bool {
	t.Helper()
	return len(a) == len(b) && (len(a) == 0 || differ(t, a, b) == "")
}

// holds wants a zone to be what it should, here and at all secondaries.
func (s *signedFleet) holds(zone, done string) {
	t, hard := s.l.T(), s.hard[zone]
	t.Helper()
	export := s.edge.Run("zone", "export", zone, "--view", "external").Want(0).Stdout
	all := parsed(t, export)
	soa, ok := all[0].(*dns.SOA)
	if !ok {
		t.Fatalf("%s begins with %s", zone, all[0])
	}
	if d := differ(t, hard.records(t, soa.Serial), all); d != "" {
		t.Errorf("after %s, %s:%s", done, zone, d)
	}
	policy := strings.TrimSuffix(zone, ".lab.")
	model := map[string]string{"-z": "csk", "-x": "pair"}[signedWays()[policy]]
	wellMade(s.l, zone, model, s.edge.Run("zone", "export", zone, "--view", "external", "--signed").Want(0).Stdout)
	s.same(zone, "external", done, s.servers...)
	if zone == "chain.lab." {
		wellMade(s.l, zone, model, s.edge.Run("zone", "export", zone, "--view", "internal", "--signed").Want(0, "inside-only").Stdout)
		s.same(zone, "internal", done, s.inner)
	}
}
