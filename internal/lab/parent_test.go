package lab_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// parentConfig is that of a Postern whose zones are all signed.
const parentConfig = `
	[server]
	hostname = "edge.free.lab"
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
	root_hints   = "root.hints"
	trust_anchor = "trust.anchor"
`

const signedHere = `$TTL 300
@   SOA ns hostmaster 1 3600 600 86400 60
@   NS  ns
ns  A   198.51.100.53
www A   198.51.100.80
`

// TestParentIsAskedFirst: before a zone is signed first, its parent is asked
// for its DS, from the trust anchor down. Where it has one that leads to no key
// of ours, nothing is published that a validator would refuse; without one the
// zone is signed.
func TestParentIsAskedFirst(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		const cut = "\n%[1]s NS ns.%[1]s\nns.%[1]s A 198.51.100.53"
		tree := l.SignedTree(lab.SignedZone{Name: "lab", Text: fmt.Sprintf(cut, "free") + fmt.Sprintf(cut, "taken") +
			"\ntaken DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000"})
		files := map[string]string{"zones/free.lab.zone": signedHere, "zones/taken.lab.zone": signedHere}
		for name, path := range map[string]string{"root.hints": tree.Hints, "trust.anchor": tree.Anchor} {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(text)
		}
		edge := l.Postern(lab.PosternConfig{Config: parentConfig, Files: files})
		l.Eventually("free.lab is signed", func() error {
			if m := askHere(t, "free.lab.", dns.TypeDNSKEY); len(m.Answer) < 2 {
				return fmt.Errorf("rcode %s, %d records", dns.RcodeToString[m.Rcode], len(m.Answer))
			}
			return nil
		})
		edge.Run("dnssec", "status").Want(1, "ds-orphan: the parent has DS 1 13 2")
		for _, rtype := range []uint16{dns.TypeDNSKEY, dns.TypeSOA} {
			if m := askHere(t, "taken.lab.", rtype); m.Rcode != dns.RcodeServerFailure {
				t.Errorf("published under a DS of another's key:\n%v", m)
			}
		}
		if got := tree.Unbound("www.free.lab.", dns.TypeA); got != "insecure" {
			t.Errorf("a signed zone without DS is %s", got)
		}
	})
}

func askHere(t *testing.T, name string, rtype uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, rtype)
	m.SetEdns0(1232, true)
	reply, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, "198.51.100.53:53")
	if err != nil {
		t.Error(err)
		return new(dns.Msg)
	}
	return reply
}
