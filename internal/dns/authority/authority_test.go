package authority

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

func TestDerivedRecords(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.MaxChange = 100
	b.write("external/example.test.zone", external+
		"taken TXT mine\nalias CNAME www\nsub NS ns.else.test.\nd DNAME else.test.\n")
	b.write("internal/example.test.zone", "intranet 60 A 10.0.0.1\n")
	b.start()
	for owner, reason := range map[string]string{
		"taken.example.test":      "admin-record",
		"alias.example.test":      "admin-cname",
		"sub.example.test":        "admin-cut",
		"a.b.sub.example.test":    "admin-cut",
		"x.d.example.test":        "admin-dname",
		"a.other.test":            "no-zone",
		"a..b":                    "bad-owner",
		"empty.text.example.test": "bad-text",
	} {
		texts := []string{"t"}
		if reason == "bad-text" {
			texts = []string{""}
		}
		if err := b.a.Publish(t.Context(), owner, "dkim", texts); !isRefusal(err, reason) {
			t.Errorf("%s: %v, want %s", owner, err, reason)
		}
	}
	const selector = "s1._domainkey.example.test"
	long := "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 400) + `\"`
	if err := b.a.Publish(t.Context(), selector, "dkim", []string{long}); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		for _, view := range []string{"external", "internal"} {
			n, _ := name.Parse(selector)
			set := b.zone(view, "example.test").Node(n).Set(dns.TypeTXT)
			if set == nil {
				t.Errorf("%s: %s lacks the record", when, view)
				continue
			}
			text := strings.Join(set.RRs[0].(*dns.TXT).Txt, "")
			if text = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(text); text != long {
				t.Errorf("%s: %q", when, text)
			}
		}
	}
	check("published")
	serial := b.zone("external", "example.test").Serial()
	if serial != 11 {
		t.Errorf("serial %d", serial)
	}
	b.start()
	check("restarted")
	if again := b.zone("external", "example.test").Serial(); again != serial {
		t.Errorf("the restart moved the serial from %d to %d", serial, again)
	}
	if err := b.a.Publish(t.Context(), selector, "dkim", []string{long}); err != nil {
		t.Fatal(err)
	}
	if again := b.zone("external", "example.test").Serial(); again != serial {
		t.Errorf("publishing the same moved the serial to %d", again)
	}
	b.write("external/example.test.zone", external+"new A 192.0.2.3\n")
	b.settle()
	check("edited")
	b.write("external/example.test.zone", "@ SOA\n")
	b.settle()
	b.start()
	check("restarted with a broken file")

	// The admin's own record wins, and the derived one comes back after it.
	b.write("external/example.test.zone", external+"s1._domainkey TXT admin\n")
	b.settle()
	if got := b.rr("external", "example.test", selector, dns.TypeTXT); got != `"admin"` {
		t.Errorf("the admin's record: %q", got)
	}
	b.wantState("external", OK, "WARN admin-record")
	b.write("external/example.test.zone", external)
	b.settle()
	check("yielded and back")

	if err := b.a.Withdraw(t.Context(), selector, "dkim"); err != nil {
		t.Fatal(err)
	}
	if got := b.rr("internal", "example.test", selector, dns.TypeTXT); got != "" {
		t.Errorf("withdrawn: %q", got)
	}
	if err := b.a.Withdraw(t.Context(), selector, "dkim"); err != nil {
		t.Error("withdrawn twice:", err)
	}
}

func TestReconfigure(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("external/example.test.zone", external)
	b.start()
	table := b.a.Table()
	bad := b.cfg
	bad.Views = append(bad.Views[:2:2], ViewConfig{Name: "lab", Overlay: "lab"})
	if err := b.a.Reconfigure(t.Context(), bad); err == nil || b.a.Table() != table {
		t.Error("a ring must change nothing")
	}
	good := bad
	if err := os.Mkdir(filepath.Join(b.root, "lab"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.write("lab/example.test.zone", "bench 60 A 10.9.0.1\n")
	good.Views[2] = ViewConfig{Name: "lab", Dir: filepath.Join(b.root, "lab"), Overlay: "internal", Hide: []string{"mail.example.test"}}
	if err := b.a.Reconfigure(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	b.want("lab", "bench.example.test", "10.9.0.1")
	b.want("lab", "mail.example.test", "")
	b.want("internal", "mail.example.test", "192.0.2.25")
	if err := b.a.Reconfigure(t.Context(), b.cfg); err != nil || b.a.Table().Named("lab") != nil {
		t.Error("the view stays", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	ok := Config{StateDir: "x", Views: []ViewConfig{{Name: "a"}}}
	for why, spoil := range map[string]func(*Config){
		"no state":         func(c *Config) { c.StateDir = "" },
		"serial policy":    func(c *Config) { c.Serial = "random" },
		"view twice":       func(c *Config) { c.Views = []ViewConfig{{Name: "a"}, {Name: "a"}} },
		"unknown overlay":  func(c *Config) { c.Views = []ViewConfig{{Name: "a", Overlay: "b"}} },
		"bad hide":         func(c *Config) { c.Views = []ViewConfig{{Name: "a", Hide: []string{"a..b"}}} },
		"file in a folder": func(c *Config) { c.Files = map[string]string{"a.test": "../x.zone"} },
		"file twice":       func(c *Config) { c.Files = map[string]string{"a.test": "x.zone", "b.test": "x.zone"} },
		"external":         func(c *Config) { c.External = "nobody" },
	} {
		c := ok
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", why)
		}
	}
	a, err := New(ok)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(t.Context(), "a", "b", []string{"c"}); !errors.Is(err, ErrStopped) {
		t.Error("before the start:", err)
	}
}
