package cli

import (
	"cmp"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
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
		"public and private":           {own: "198.51.100.7 10.0.0.1", outside: "198.51.100.7", inside: "127.0.0.1 10.0.0.1"},
		"public only":                  {own: "198.51.100.7", outside: "198.51.100.7", inside: "127.0.0.1"},
		"behind translation":           {own: "10.0.0.1", given: "198.51.100.7", outside: "10.0.0.1", inside: "127.0.0.1", twoRoles: true},
		"one of two is given":          {own: "198.51.100.7 198.51.100.8", given: "198.51.100.8", outside: "198.51.100.8", inside: "127.0.0.1"},
		"relay door":                   {own: "198.51.100.7 10.0.0.1", inner: "10.0.0.5", outside: "198.51.100.7", inside: "127.0.0.1 10.0.0.1", relayAt: "10.0.0.1"},
		"private without help":         {own: "10.0.0.1", wrong: "--address"},
		"translation is of one family": {own: "10.0.0.1", given: "2001:db8::7", wrong: "none of the addresses given"},
		"no address at all":            {own: "", wrong: "--address"},
		"no room for a relay":          {own: "10.0.0.1", given: "198.51.100.7", inner: "10.0.0.5", wrong: "--inner"},
		"inner is no address":          {own: "198.51.100.7 10.0.0.1", inner: "exchange", wrong: "not an address"},
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

// TestInitWritesNothingThatServeWouldRefuse, so that a second try finds the
// way free.
func TestInitWritesNothingThatServeWouldRefuse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ domain, hostname, state string }{
		"an address for a domain":  {domain: "192.0.2.1"},
		"a label too long":         {domain: strings.Repeat("a", 64) + ".example"},
		"a space in the hostname":  {domain: "city.example", hostname: "mail server.city.example"},
		"a path that needs quotes": {domain: "city.example", state: "/var/lib/my state"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := initArgs{dir: filepath.Join(t.TempDir(), "etc"), hostname: c.hostname, state: cmp.Or(c.state, "/var/lib/postern"), control: "/run/postern/control.sock"}
			p, err := a.plan(c.domain, ownAddrs("198.51.100.7"))
			if err == nil {
				err = p.write()
			}
			var usage usageError
			if !errors.As(err, &usage) {
				t.Errorf("got %v, want a usage error", err)
			}
			if _, err := os.Lstat(a.dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was written (%v)", err)
			}
		})
	}
}

// TestUnitMayWriteWhereTheStateLies, also outside of where systemd makes it.
func TestUnitMayWriteWhereTheStateLies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state, control string
		unit, next     []string
	}{
		"usual":     {"/var/lib/postern", "/run/postern/control.sock", []string{"\nStateDirectory=postern\n", "\nRuntimeDirectory=postern\n"}, nil},
		"elsewhere": {"/srv/mail/postern", "/srv/run/control.sock", []string{"\nReadWritePaths=/srv/mail/postern\n", "\nReadWritePaths=/srv/run\n"}, []string{"-m 0700 /srv/mail/postern\n", "-m 0700 /srv/run\n"}},
	} {
		a := initArgs{dir: "/etc/postern", state: c.state, control: c.control}
		p, err := a.plan("city.example", ownAddrs("198.51.100.7"))
		if err != nil {
			t.Fatal(err)
		}
		var unit, next strings.Builder
		if err := errors.Join(p.render(&unit, "postern.service.tmpl"), p.render(&next, "next.tmpl")); err != nil {
			t.Fatal(err)
		}
		for text, all := range map[string][]string{unit.String(): c.unit, next.String(): c.next} {
			for _, want := range all {
				if !strings.Contains(text, want) {
					t.Errorf("%s: no %q in\n%s", name, want, text)
				}
			}
		}
	}
}
