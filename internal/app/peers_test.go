package app

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/config"
	"postern/internal/dns/name"
)

func mustName(t *testing.T, s string) name.Name {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const peerConfig = `[key."in."]
secret = "file:k"
[key."out."]
secret = "file:k"
[key."free."]
secret = "file:k"
[dns]
source = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
[[view]]
name = "inner"
clients = ["10.0.0.0/8"]
keys = ["in."]
[[view]]
name = "outer"
clients = ["any"]
keys = ["out."]
[peer.both]
notify = ["198.51.100.1:53"]
keys = ["in.", "out."]
[peer.free]
notify = []
keys = ["free.", "out."]
source = ["192.0.2.9"]
[peer.plain]
notify = []
insecure_by_address = true
transfer_from = ["198.51.100.0/24"]
[zone_default.view.outer]
secondaries = ["plain", "both"]
[zone."Example.test".view.inner]
secondaries = ["both"]
[zone."Example.test".view.outer]
secondaries = ["free"]
[zone."none.test".view.outer]
secondaries = []
`

// TestPeering is who gets what, with which keys and from which address.
func TestPeering(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "k"), []byte(keyFile(oldSecret)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, problems := config.Parse([]byte(peerConfig), "postern.toml", dir)
	if cfg == nil {
		t.Fatal(problems)
	}
	p, err := peeringOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ zone, view, want string }{
		{"example.test", "inner", "both [in.] [] false [192.0.2.1 2001:db8::1]"},
		{"example.test", "outer", "free [out. free.] [] false [192.0.2.9 2001:db8::1]"},
		{"other.test", "outer", "plain [] [198.51.100.0/24] true [192.0.2.1 2001:db8::1]; both [out.] [] false [192.0.2.1 2001:db8::1]"},
		{"other.test", "inner", ""},
		{"none.test", "outer", ""},
		{"none.test", "inner", ""},
		{"other.test", "nowhere", ""},
	} {
		var got []string
		for _, x := range p.of(place{mustName(t, c.zone), c.view}) {
			got = append(got, fmt.Sprintf("%s %v %v %t %v", x.Name, x.Keys, x.From, x.ByAddress, x.Source))
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s in %s: %q, want %q", c.zone, c.view, got, c.want)
		}
	}
	var nobody *peering
	if nobody.of(place{name.Root, "outer"}) != nil {
		t.Error("nobody is somebody")
	}
	if got := onePerFamily(nil, []netip.Addr{}); got != nil {
		t.Errorf("%v", got)
	}
}
