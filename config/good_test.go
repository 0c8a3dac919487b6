package config

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"postern/internal/secret"
)

// TestCheckedWhole reads a file that writes nearly every key.
func TestCheckedWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, d := range []string{"zones/internal", "zones/external"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"map": "198.41.0.4 127.0.0.1:5301\n", "ca.pem": "", "hints": "", "anchor": "; ours\n. IN DS 20326 8 2 E06D44B8\n", "password": "hunter2\n", "refused.txt": "correct horse battery\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("testdata/whole.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, problems := Options{TestKnobs: true}.Parse(text, "whole.toml", dir)
	if len(problems) > 0 || got == nil {
		t.Fatal(problems)
	}
	text = Effective(got)
	again, problems := Options{TestKnobs: true}.Parse(text, "effective.toml", t.TempDir())
	if again == nil {
		t.Fatal(problems)
	}
	if bytes.Contains(text, []byte("hunter2")) {
		t.Error("a secret is shown")
	}
	for _, c := range []*Checked{got, again} { // a secret compares with nothing
		if s := string(c.Mail.Routes[0].Secret.Reveal()); s != "hunter2" {
			t.Errorf("the secret is %q", s)
		}
		c.Mail.Routes[0].Secret, c.file = secret.Value{}, nil
	}
	want := wholeWanted(dir)
	for i := range reflect.TypeFor[Checked]().NumField() {
		f := reflect.TypeFor[Checked]().Field(i)
		if !f.IsExported() {
			continue
		}
		g, w := reflect.ValueOf(*got).Field(i).Interface(), reflect.ValueOf(*want).Field(i).Interface()
		if !reflect.DeepEqual(g, w) {
			t.Errorf("%s:\n got %+v\nwant %+v", f.Name, g, w)
		}
	}
	if !reflect.DeepEqual(got, again) {
		t.Errorf("what is in force reads back as\n%+v\nnot\n%+v", again, got)
	}
}

func wholeWanted(dir string) *Checked {
	p := netip.MustParsePrefix
	a := netip.MustParseAddrPort
	return &Checked{
		Server: Server{Hostname: "edge.example.test", State: filepath.Join(dir, "var"), Control: "/run/x.sock", Admins: []int{1000}},
		Networks: map[string][]netip.Prefix{
			"any":      {p("0.0.0.0/0"), p("::/0")},
			"loopback": {p("127.0.0.0/8"), p("::1/128")},
			"self":     {p("127.0.0.0/8"), p("::1/128"), p("192.0.2.1/32"), p("10.0.0.1/32")},
			"internal": {p("10.0.0.0/8"), p("10.1.1.1/32")},
		},
		Listen: []Listen{
			{Serve: ServeDNS, Addrs: []netip.AddrPort{a("192.0.2.1:53")}, Transports: []string{"udp", "tcp"}, Views: []string{"external"}},
			{Serve: ServeDNS, Addrs: []netip.AddrPort{a("10.0.0.1:53")}, Transports: []string{"udp"}, Clients: []netip.Prefix{p("10.0.0.0/8"), p("10.1.1.1/32"), p("192.168.0.0/16")}},
			{Serve: ServeSubmission, Addrs: []netip.AddrPort{a("192.0.2.1:465")}, Transports: []string{"tls"}, Proxy: true},
			{Serve: ServeSubmission, Addrs: []netip.AddrPort{a("192.0.2.1:587")}, Transports: []string{"starttls"}, Scram: true},
			{Serve: ServeRelay, Addrs: []netip.AddrPort{a("10.0.0.1:0")}},
			{Serve: ServeMX, Addrs: []netip.AddrPort{a("192.0.2.1:25")}},
		},
		DNS: DNS{Apply: "manual", Serial: "date", Lint: "strict", MaxChange: 45, Updates: Rate{Count: 50, Window: time.Second}, Cookies: true, Source: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		Views: []View{
			{
				Name: "internal", Clients: []netip.Prefix{p("10.0.0.0/8"), p("10.1.1.1/32")}, Zones: filepath.Join(dir, "zones/internal"),
				Overlay: "external", Hide: []string{"www.example.test"}, HideTree: []string{"old.example.test"}, Recursion: true,
			},
			{Name: "external", Clients: []netip.Prefix{p("0.0.0.0/0"), p("::/0")}, Any: true, Zones: filepath.Join(dir, "zones/external")},
		},
		Zones: []Zone{
			{Name: "64/26.2.0.192.in-addr.arpa", File: "rev-64-26.zone"},
			{Name: "example.test", Views: []ZoneView{{View: "internal", NoOverlay: true, Secondaries: []string{"inner"}}, {View: "external", Secondaries: []string{}}}},
		},
		Policies:    []Policy{{Name: "standard", Algorithm: "ecdsap256sha256", ZONEMD: "auto", CDS: true, CheckDS: true}},
		ZoneDefault: ZoneDefault{Views: []ZoneView{{View: "external", Secondaries: []string{"isp1", "archive"}}}},
		Peers: []Peer{
			{Name: "archive", From: []netip.Prefix{p("198.51.100.99/32")}, ByAddress: true, Transport: "tcp"},
			{Name: "inner", Notify: []netip.AddrPort{a("10.0.0.53:53")}, From: []netip.Prefix{p("10.0.0.0/8"), p("10.1.1.1/32")}, ByAddress: true, Transport: "tcp"},
			{
				Name: "isp1", Notify: []netip.AddrPort{a("198.51.100.53:53"), a("[2001:db8::53]:5353")}, From: []netip.Prefix{p("198.51.100.48/28")},
				ByAddress: true, Transport: "tcp", Source: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
			},
		},
		Resolver: Resolver{
			RootHints: filepath.Join(dir, "hints"), Source: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
			CacheSize: 64e6, QNAMEMinimisation: "strict",
			TrustAnchors: []string{".\t3600\tIN\tDS\t20326 8 2 E06D44B8"}, Negative: []string{"broken.test"},
			Test: ResolverTest{
				Written: true, Skew: 5 * time.Second, UpstreamMap: map[netip.Addr]netip.AddrPort{netip.MustParseAddr("198.41.0.4"): a("127.0.0.1:5301")},
				AllowPrivateUpstream: true, Timeout: 200 * time.Millisecond, IPv4: true, EDNSSize: 4096, SpecialUse: true,
			},
		},
		Mail: Mail{
			Domains: []string{"example.test"},
			Routes: []Route{
				{Domain: "example.test", NextHops: []NextHop{
					{Scheme: "smtp", Host: "10.0.0.5", Port: 25},
					{Scheme: "smtps", Host: "mail.inner.test", Port: 465},
					{Scheme: "lmtp", Host: "fd00::5", Port: 2424},
					{Scheme: "maildir", Path: filepath.Join(dir, "box")},
					{Scheme: "lmtp", Path: "/run/lmtp"},
				}, TLS: "required", Name: "mail.inner.test", CA: filepath.Join(dir, "ca.pem"), User: "edge", Recipients: "any"},
			},
			Inbound:  Inbound{MaxSize: 30 << 20, SPF: true, DKIM: true, Quarantine: "tag", Chunking: true, TrustedProxies: []netip.Prefix{p("10.0.0.0/8"), p("10.1.1.1/32")}, TrustedXClient: []netip.Prefix{p("10.0.0.7/32"), p("fd00::7/128")}},
			Relays:   []Relay{{Name: "inner", Clients: []netip.Prefix{p("10.0.0.5/32")}, Senders: []string{"@example.test", "<>", "Root@host.test"}, Recipients: []string{"a@b.test"}, ForeignFrom: "keep", Rate: Rate{100, time.Minute}}},
			Outbound: Outbound{Mode: "hold", Source: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, PerAccountPerDay: 5, MessagesPerAccountPerDay: 6, NewPerAccountPerDay: 7},
			DKIM:     DKIM{Algorithms: []string{"ed25519"}},
		},
		Accounts: Accounts{MinLength: 16, Lockout: Rate{5, time.Hour}, Reuse: 5, MaxAge: 90 * 24 * time.Hour, Blocklist: filepath.Join(dir, "refused.txt")},
		Limits: Limits{
			Exempt: []netip.Prefix{p("10.9.0.0/16")}, Connections: 7, ConnectionsPerAddress: 50, ConnectionsPerNetwork: 30, ConnectionsPerAccount: 3,
			ConnectionsPerMinute: 60, NetworkConnectionsPerMinute: 40, ErrorsPerMinute: 60, NetworkErrorsPerMinute: 41,
			UnknownPerHour: 42, NetworkUnknownPerHour: 43, BytesPerHour: 1e9, NetworkBytesPerHour: 2 << 30, AccountBytesPerDay: 3e6,
			SessionTime: 30 * time.Minute, GreetingDelay: 100 * time.Millisecond, RecipientsPerMessage: 1000, MessagesPerConnection: 1000, ChunksPerMessage: 9,
		},
		TLS: TLS{Issuer: "local", MinVersion: "1.3"},
	}
}

// TestNothingWritten gives every default.
func TestNothingWritten(t *testing.T) {
	t.Parallel()
	c, problems := Parse(nil, "postern.toml", t.TempDir())
	if c == nil {
		t.Fatal(problems)
	}
	if !c.Mail.Inbound.DMARC || !c.Mail.Inbound.Enforce || c.Mail.Inbound.MaxSize != 25e6 {
		t.Errorf("mail checks are not on by default: %+v", c.Mail.Inbound)
	}
	if want := (Rate{10, 10 * time.Minute}); c.Accounts.Lockout != want || c.Accounts.MinLength != 12 || c.Accounts.Reuse != 3 || c.Accounts.MaxAge != 0 {
		t.Errorf("accounts: %+v", c.Accounts)
	}
	if !c.Derived.DKIM || len(c.Mail.DKIM.Algorithms) != 2 || c.TLS.Issuer != "local" || c.Mail.Outbound.Mode != "deliver" {
		t.Errorf("defaults: %+v", c)
	}
	if c.Resolver.Test.Written || !c.Resolver.Test.IPv6 || !c.Resolver.Test.CaseRandomisation {
		t.Errorf("the resolver's protections are not on by default: %+v", c.Resolver.Test)
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), `with "quotes" and \`)
	c := Demo(filepath.Join(dir, "var"), filepath.Join(dir, "zones"))
	if c == nil {
		t.Fatal("no demo")
	}
	if c.Server.Control != filepath.Join(dir, "var", "control.sock") || c.Views[1].Zones != filepath.Join(dir, "zones", "external") {
		t.Errorf("paths: %+v %+v", c.Server, c.Views)
	}
	if hop := c.Mail.Routes[0].NextHops[0]; hop.Path != filepath.Join(dir, "var", "maildir") {
		t.Errorf("maildir: %+v", hop)
	}
	if c.Mail.Outbound.Mode != "hold" {
		t.Error("the demo would send to the world")
	}
	for _, l := range c.Listen {
		for _, a := range l.Addrs {
			if !a.Addr().IsLoopback() {
				t.Errorf("%s on %s", l.Serve, a)
			}
		}
	}
	if c := Demo("var", "zo\xffnes"); c == nil {
		t.Error("no demo below a name that is not UTF-8")
	}
}

func TestOwnPrefixViews(t *testing.T) {
	t.Parallel()
	text := "[networks]\nlan = [\"10.0.0.0/8\"]\ndmz = [\"192.0.2.0/24\"]\n" +
		"[[view]]\nname = \"guest\"\nclients = [\"10.9.0.0/16\"]\n[[view]]\nname = \"internal\"\nclients = [\"lan\", \"loopback\"]\n"
	c, problems := Parse([]byte(text), "postern.toml", t.TempDir())
	if c == nil {
		t.Fatal(problems)
	}
	want := []string{
		"192.0.2.0/24 (dmz): no view",
		"10.0.0.0/8 (lan): view internal",
		"127.0.0.0/8 (loopback): view internal",
		"::1/128 (loopback): view internal",
		"10.9.0.0/16: view guest",
	}
	if got := OwnPrefixViews(c); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestZoneOfTwoFiles: of two spellings of a zone's name in one directory the
// second is passed over, which only a warning tells.
func TestZoneOfTwoFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, file := range []string{"Example.test.zone", "example.test.zone", "0%2F25.test.zone", "0%2f25.test.zone", "other.test.zone", ".other.test.zone", "other.test.zone~"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, problems := Parse([]byte("[[view]]\nname = \"a\"\nclients = [\"any\"]\nzones = \".\"\n"), "postern.toml", dir)
	var got []string
	for _, p := range problems {
		if p.Hint == "remove one of them" {
			got = append(got, p.String())
		}
	}
	want := []string{
		"postern.toml:4:9: warning: " + dir + " holds the zone 0/25.test twice: 0%2F25.test.zone is read, 0%2f25.test.zone is passed over (remove one of them)",
		"postern.toml:4:9: warning: " + dir + " holds the zone example.test twice: Example.test.zone is read, example.test.zone is passed over (remove one of them)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestControlPath finds the socket in a file that is otherwise refused.
func TestControlPath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.toml")
	for text, want := range map[string]string{
		"":                               "/run/postern/control.sock",
		"[server]\ncontrol = 5\n":        "/run/postern/control.sock",
		"[server]\ncontrol = \"c\"\n[x]": filepath.Join(filepath.Dir(path), "c"),
		"[resolver.test]\n[server]\ncontrol = \"/c\"\n=": "/c",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ControlPath(path); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := ControlPath(filepath.Dir(path)); err == nil {
		t.Error("a directory has a control socket")
	}
}

// TestEffectiveKeepsSecrets shows references, never what is behind them.
func TestEffectiveKeepsSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"cert.pem", "key.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("hunter2"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, problems := Parse([]byte("[tls]\nissuer = \"files\"\ncert = \"cert.pem\"\nkey = \"file:key.pem\"\n"), "postern.toml", dir)
	if c == nil {
		t.Fatal(problems)
	}
	text := Effective(c)
	if bytes.Contains(text, []byte("hunter2")) || !bytes.Contains(text, []byte(quoted("file:"+filepath.Join(dir, "key.pem")))) {
		t.Errorf("%s", text)
	}
}

// TestMarkOfUTF8 takes a file with the mark that some editors put in front.
func TestMarkOfUTF8(t *testing.T) {
	t.Parallel()
	c, problems := Parse([]byte("\ufeff[server]\r\nhostname = \"edge.example.test\"\r\n"), "postern.toml", t.TempDir())
	if c == nil || c.Server.Hostname != "edge.example.test" {
		t.Errorf("%v", problems)
	}
}
