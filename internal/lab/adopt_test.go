package lab_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// adopted is a zone that BIND signed until now.
type adopted struct {
	how  string
	hard *hardZone
	keys []string // files of BIND's private keys
	at   string   // where it is served as BIND signed it
}

// TestKeysAreAdopted: a hard zone whose parent, signed by BIND and validated by
// us, has a DS of BIND's key is published in no view signed with another; with
// BIND's keys it is, be it one or two, by either denial. Then others may judge it
// who still hold BIND's keys, or know neither.
func TestKeysAreAdopted(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		tree, zones := bindSigned(l)
		policies, files := map[string]string{}, map[string]string{}
		for zone, z := range zones {
			policies[zone] = z.how
			files["zones/"+zone+"zone"], files["inside/"+zone+"zone"] = z.hard.file(), hardInside(zone)
		}
		caches := heldByCaches(l, tree, zones)
		edge := l.Postern(lab.PosternConfig{Config: under(tree, policies), Files: files})
		l.Step("a DS of another key", func() {
			edge.Run("dnssec", "status").Want(1, "ds-orphan", "other")
			for zone, z := range zones {
				for _, server := range []string{alphaDNS, alphaInDNS} {
					for _, q := range []string{"mail.mixed.", "q.twice.", ""} {
						if r := askAt(l.T(), server, q+zone, dns.TypeA); r.Rcode != dns.RcodeServerFailure {
							l.T().Errorf("it is served: %v", r)
						}
					}
				}
				edge.Run(importOf(zone, z)...).Want(1, "say --adopt")
			}
		})
		l.Step("the keys are taken over", func() {
			for zone, z := range zones {
				model, _, _ := strings.Cut(z.how, "-")
				said := map[string]string{"csk": "csk/ecdsap256sha256/", "pair": "ksk/ecdsap256sha256/"}[model]
				edge.Run(append(importOf(zone, z), "--adopt")...).Want(0, said)
				edge.Run(append(importOf(zone, z), "--adopt")...).Want(1, "signed with keys that are here")
			}
			edge.Run("dnssec", "status").Want(0, " ds ")
		})
		judged := func(when string) {
			for zone, z := range zones {
				for _, view := range []string{"external", "internal"} {
					vouched(l, edge, view, zone, z.how, besides(t, z.hard, view))
				}
			}
			count := 0
			for name, c := range caches {
				c.Judge()
				for zone := range zones {
					count += wantHard(l.T(), name+" "+when, "secure", c.Unbound, hardQuestions(zone))
				}
			}
			l.T().Logf("%d verdicts", count)
		}
		l.Step("and others validate", func() {
			for zone := range zones {
				caches["old"].From(zone)
				caches["old"].From(zone, alphaDNS)
				caches["new"].From(zone, alphaDNS)
				caches["inside"].From(zone, alphaInDNS)
			}
			judged("after the import")
			for zone := range zones {
				for _, q := range questions(zone, "new.wild TXT", "no A") {
					wantHard(l.T(), "delv", "secure", caches["old"].Delv, []dns.Question{q})
				}
			}
		})
		l.Step("and is there after a restart", func() {
			edge.Kill9()
			edge.Start()
			edge.Run("dnssec", "status").Want(0, "csk/ecdsap256sha256/", "ksk/ecdsap256sha256/")
			for zone := range zones {
				wantHard(l.T(), "new, after a restart", "secure", caches["new"].Unbound, questions(zone, "later.wild TXT", "later A", "r2.*.twice A"))
			}
		})
	})
}

// bindSigned is a tree with a hard zone that BIND signed in each way.
func bindSigned(l *lab.Lab) (*lab.SignedTree, map[string]*adopted) {
	l.T().Helper()
	zones, all := map[string]*adopted{}, []lab.SignedZone{{Name: "lab"}}
	for i, how := range signings() {
		zone := signedZone("", how)
		z := &adopted{how: how, hard: newHardZone(l.T(), zone, uint64(i)).short(), at: fmt.Sprintf("192.0.2.%d", i+3)}
		z.hard.serial = 1
		signed := lab.SignedZone{Name: zone}
		if strings.HasPrefix(how, "pair") {
			signed.Keys = "ksk+zsk"
		}
		if strings.HasSuffix(how, "nsec3") {
			signed.Options = "-3 - -H 0"
			// dnssec-signzone ends at a name below which no wildcard could be.
			maps.DeleteFunc(z.hard.sets, func(key string, _ rrsetOf) bool { return len(key) > 200 })
		}
		signed.Text = z.hard.plain(l.T(), true)
		zones[zone], all = z, append(all, signed)
	}
	tree := l.SignedTree(all...)
	for zone, z := range zones {
		var err error
		z.keys, err = filepath.Glob(filepath.Join(filepath.Dir(tree.Anchor), "K"+zone+"*.private"))
		if want := map[bool]int{false: 1, true: 2}[strings.HasPrefix(z.how, "pair")]; err != nil || len(z.keys) != want {
			l.T().Fatal(z.keys, err)
		}
	}
	return tree, zones
}

// heldByCaches are one that holds the keys as BIND signed them, one that holds
// nothing, and one of the inner network.
func heldByCaches(l *lab.Lab, tree *lab.SignedTree, zones map[string]*adopted) map[string]*lab.Cache {
	l.T().Helper()
	caches := map[string]*lab.Cache{
		"old": tree.Cache("old", "192.0.2.60", "192.0.2.61", nil), "new": tree.Cache("new", "192.0.2.62", "192.0.2.63", nil),
		"inside": tree.Cache("inside", "10.0.0.60", "10.0.0.61", nil),
	}
	for zone, z := range zones {
		caches["old"].From(zone, z.at)
		for _, rtype := range []uint16{dns.TypeDS, dns.TypeDNSKEY, dns.TypeMX} {
			caches["old"].Ask(zone, rtype)
		}
		for _, q := range questions(zone, "first.wild TXT", "first A") {
			caches["old"].Ask(q.Name, q.Qtype)
			if got := caches["old"].Unbound(q.Name, q.Qtype); got != "secure" {
				l.T().Fatalf("%s as BIND signed it is %s", q.Name, got)
			}
		}
	}
	return caches
}

func importOf(zone string, z *adopted) []string {
	return append([]string{"dnssec", "import", strings.TrimSuffix(zone, ".")}, z.keys...)
}

// askAt asks one of Postern's servers, from where its clients are.
func askAt(t *testing.T, server, name string, rtype uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, rtype)
	m.SetEdns0(1232, true)
	from := map[string]string{alphaDNS: outsideClient, alphaInDNS: insideClient}[server]
	conn, err := lab.DialFrom(from, "tcp", server+":53")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, _, err := (&dns.Client{Timeout: 5 * time.Second}).ExchangeWithConn(m, &dns.Conn{Conn: conn})
	if err != nil {
		t.Fatalf("%s at %s: %v", name, server, err)
	}
	return r
}
