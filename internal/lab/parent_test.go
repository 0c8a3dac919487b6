package lab_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// noKey is the DS of a zone that leads to nobody's key.
const noKey = " DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000"

// TestParentIsAskedFirst: before a hard zone is signed first, its parent is asked
// for its DS, from the trust anchor down. Where it has one that leads to no key
// of ours, nothing is published in any view that a validator would refuse;
// without one the zone is signed, by either denial and with one key or two. With
// the DS that we print, Unbound then validates all of it, in both views.
func TestParentIsAskedFirst(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		policies, files, hard := map[string]string{}, map[string]string{}, map[string]*hardZone{}
		cuts := ""
		for i, how := range signings() {
			for _, prefix := range []string{"free-", "taken-"} {
				zone := signedZone(prefix, how)
				policies[zone], hard[zone] = how, newHardZone(t, zone, uint64(i)).short()
				files["zones/"+zone+"zone"], files["inside/"+zone+"zone"] = hard[zone].file(), hardInside(zone)
				cuts += fmt.Sprintf("\n%[1]s NS ns.%[1]s\nns.%[1]s A %[2]s", zone, alphaDNS)
				if prefix == "taken-" {
					cuts += "\n" + zone + noKey
				}
			}
		}
		tree := l.SignedTree(lab.SignedZone{Name: "lab", Text: cuts})
		config := under(tree, policies)
		for _, path := range []string{tree.Hints, tree.Anchor} { // relative to the configuration
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name := path[strings.LastIndex(path, "/")+1:]
			files[name], config = string(text), strings.Replace(config, path, name, 1)
		}
		edge := l.Postern(lab.PosternConfig{Config: config, Files: files})
		caches := map[string]*lab.Cache{
			"external": tree.Cache("world", "192.0.2.60", "192.0.2.61", nil), "internal": tree.Cache("inside", "10.0.0.60", "10.0.0.61", nil),
		}
		for _, how := range signings() {
			free, taken := signedZone("free-", how), signedZone("taken-", how)
			l.Step(how, func() {
				l.Eventually(free+" is signed", func() error {
					if m := askAt(l.T(), alphaDNS, free, dns.TypeDNSKEY); len(m.Answer) < 2 {
						return fmt.Errorf("rcode %s, %d records", dns.RcodeToString[m.Rcode], len(m.Answer))
					}
					return nil
				})
				for _, server := range []string{alphaDNS, alphaInDNS} {
					for _, q := range append(hardQuestions(taken), questions(taken, "vault A")...) {
						if m := askAt(l.T(), server, q.Name, q.Qtype); m.Rcode != dns.RcodeServerFailure || len(m.Answer)+len(m.Ns) > 0 {
							l.T().Errorf("published under a DS of another's key:\n%v", m)
						}
					}
				}
				for _, view := range []string{"external", "internal"} {
					vouched(l, edge, view, free, how, besides(l.T(), hard[free], view))
				}
				if got := tree.Unbound("www.deep.b.ent."+free, dns.TypeA); got != "insecure" {
					l.T().Errorf("a signed zone without DS is %s", got)
				}
			})
		}
		out := edge.Run("dnssec", "status").Want(1, "ds-orphan: the parent has DS 1 13 2")
		if n := strings.Count(out.Stdout, "ds-orphan: the parent has DS 1 13 2"); n < len(signings()) {
			t.Errorf("%d zones have another's DS:\n%s", n, out)
		}
		l.Step("with its DS it is secure", func() {
			for _, how := range signings() {
				zone := signedZone("free-", how)
				tree.Delegate(zone, edge.Run("dnssec", "ds", strings.TrimSuffix(zone, ".")).Stdout)
				caches["internal"].From(zone, alphaInDNS)
			}
			count := 0
			for view, c := range caches {
				for _, how := range signings() {
					count += wantHard(l.T(), view, "secure", c.Unbound, hardQuestions(signedZone("free-", how)))
				}
			}
			for _, how := range signings() {
				count += wantHard(l.T(), "inside", "secure", caches["internal"].Unbound, questions(signedZone("free-", how), "vault A", "vault MX", "x.inside A", "x.inside TXT"))
			}
			l.T().Logf("%d verdicts", count)
		})
	})
}
