package cli

import (
	"net/netip"
	"strings"
	"testing"
)

func ownAddrs(addrs ...string) func() ([]netip.Addr, error) {
	return func() ([]netip.Addr, error) {
		var all []netip.Addr
		for _, a := range addrs {
			all = append(all, netip.MustParseAddr(a))
		}
		return all, nil
	}
}

func TestInitFindsWhereTheWorldAndTheInsideArrive(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		own, given, inner        string
		outside, inside, relayAt string
		twoRoles                 bool
		wrong                    string
	}{
		"public and private":   {own: "198.51.100.7 10.0.0.1", outside: "198.51.100.7", inside: "127.0.0.1 10.0.0.1"},
		"public only":          {own: "198.51.100.7", outside: "198.51.100.7", inside: "127.0.0.1"},
		"behind translation":   {own: "10.0.0.1", given: "198.51.100.7", outside: "10.0.0.1", inside: "127.0.0.1", twoRoles: true},
		"one of two is given":  {own: "198.51.100.7 198.51.100.8", given: "198.51.100.8", outside: "198.51.100.8", inside: "127.0.0.1"},
		"relay door":           {own: "198.51.100.7 10.0.0.1", inner: "10.0.0.5", outside: "198.51.100.7", inside: "127.0.0.1 10.0.0.1", relayAt: "10.0.0.1"},
		"private without help": {own: "10.0.0.1", wrong: "--address"},
		"no address at all":    {own: "", wrong: "--address"},
		"no room for a relay":  {own: "10.0.0.1", given: "198.51.100.7", inner: "10.0.0.5", wrong: "--inner"},
		"inner is no address":  {own: "198.51.100.7 10.0.0.1", inner: "exchange", wrong: "not an address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := initArgs{dir: t.TempDir(), addresses: strings.Fields(c.given), inner: c.inner}
			p, err := a.plan("city.example", ownAddrs(strings.Fields(c.own)...))
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("got %v, want an error with %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if join(p.Outside) != c.outside || join(p.Inside) != c.inside || join(p.RelayAt) != c.relayAt || p.TwoRoles != c.twoRoles {
				t.Errorf("outside %q inside %q relay %q two roles %v", join(p.Outside), join(p.Inside), join(p.RelayAt), p.TwoRoles)
			}
		})
	}
}

func join(addrs []netip.Addr) string {
	var s []string
	for _, a := range addrs {
		s = append(s, a.String())
	}
	return strings.Join(s, " ")
}
