package lab_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// adoptConfig serves a zone that BIND signed until now, below the tree's parents.
const adoptConfig = `
	[server]
	hostname = "edge.child.lab"
	state    = "state"
	control  = "run/control.sock"

	[[listen]]
	serve   = "dns"
	address = ["198.51.100.53:53"]

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

// TestKeysAreAdopted: a zone whose parent, signed by BIND and validated by us,
// has a DS of BIND's key is not published signed with another; with BIND's key
// it is, and then others may judge it.
func TestKeysAreAdopted(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		tree := l.SignedTree(lab.SignedZone{Name: "lab"}, lab.SignedZone{Name: "child.lab", Text: "www A 203.0.113.9"})
		edge := l.Postern(lab.PosternConfig{
			Config: strings.NewReplacer("HINTS", tree.Hints, "ANCHOR", tree.Anchor).Replace(adoptConfig),
			Files:  map[string]string{"zones/child.lab.zone": lab.ZoneFile("child.lab.", alphaDNS, 9, "www A 203.0.113.9")},
		})
		keys, err := filepath.Glob(filepath.Join(filepath.Dir(tree.Anchor), "Kchild.lab.*.private"))
		if err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		asked := func() *dns.Msg {
			t.Helper()
			m := new(dns.Msg).SetQuestion("www.child.lab.", dns.TypeA)
			m.SetEdns0(1232, true)
			r, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, alphaDNS+":53")
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		l.Step("a DS of another key", func() {
			edge.Run("dnssec", "status").Want(1, "ds-orphan", "other")
			if r := asked(); r.Rcode != dns.RcodeServerFailure {
				t.Errorf("it is served: %v", r)
			}
			edge.Run("dnssec", "import", "child.lab", keys[0]).Want(1, "say --adopt")
		})
		l.Step("the key is taken over", func() {
			edge.Run("dnssec", "import", "child.lab", keys[0], "--adopt").Want(0, "csk/ecdsap256sha256/")
			edge.Run("dnssec", "status").Want(0, " ds ")
			if r := asked(); r.Rcode != dns.RcodeSuccess || len(r.Answer) != 2 {
				t.Errorf("%v", r)
			}
			edge.Run("dnssec", "import", "child.lab", keys[0], "--adopt").Want(1, "signed with keys that are here")
			file := l.Write("adopted.zone", edge.Run("zone", "export", "child.lab", "--signed").Want(0).Stdout)
			l.Shell(filepath.Dir(file), "dnssec-verify -q -z -o child.lab. adopted.zone").Want(0)
		})
		l.Step("and is there after a restart", func() {
			edge.Kill9()
			edge.Start()
			edge.Run("dnssec", "status").Want(0, "csk/ecdsap256sha256/")
			if r := asked(); r.Rcode != dns.RcodeSuccess || len(r.Answer) != 2 {
				t.Errorf("%v", r)
			}
		})
	})
}
