package relay

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
)

func accept(context.Context, *smtpd.Conn, *spool.Draft, envelope.Envelope, string) *smtpline.Reply {
	return smtpline.Refuse(451, "4.3.0", "test", "not expected")
}

func config(t *testing.T) Config {
	t.Helper()
	sp, err := spool.Open(spool.Config{Dir: t.TempDir(), MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	})
	return Config{
		Hosts: []Host{
			{Name: "printer", Clients: prefixes("10.0.0.9/32"), Senders: []string{"scan@example.test"}, Recipients: []string{"@example.test"}},
			{Name: "exchange", Clients: prefixes("10.0.0.0/28", "fd00::/64"), Senders: []string{"@Example.test", "<>"}},
		},
		Postmaster: "edge.example.test", Spool: sp, Accept: accept, Log: slog.New(slog.DiscardHandler),
	}
}

func prefixes(s ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(s))
	for i := range s {
		out[i] = netip.MustParsePrefix(s[i])
	}
	return out
}

// The relay matrix: client, sender, recipient.
func TestMatrix(t *testing.T) {
	t.Parallel()
	door, err := New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		client, from, to string
		want             string // "": let through; else the step that refuses
	}{
		"stranger":                    {"192.0.2.1", "a@example.test", "b@other.test", "connect"},
		"stranger to our domain":      {"192.0.2.1", "a@example.test", "b@example.test", "connect"},
		"loopback is not named":       {"127.0.0.1", "a@example.test", "b@other.test", "connect"},
		"the next network":            {"10.0.0.16", "a@example.test", "b@other.test", "connect"},
		"the next IPv6 network":       {"fd00:0:0:1::1", "a@example.test", "b@other.test", "connect"},
		"foreign sender":              {"10.0.0.5", "a@other.test", "b@other.test", "mail"},
		"sender below our domain":     {"10.0.0.5", "a@sub.example.test", "b@other.test", "mail"},
		"sender with ours in quotes":  {"10.0.0.5", `"a@example.test"@other.test`, "b@other.test", "mail"},
		"null sender of the printer":  {"10.0.0.9", "", "b@example.test", "mail"},
		"other sender of the printer": {"10.0.0.9", "a@example.test", "b@example.test", "mail"},
		"printer to the world":        {"10.0.0.9", "scan@example.test", "b@other.test", "rcpt"},
		"printer by percent hack":     {"10.0.0.9", "scan@example.test", "b%other.test@example.test", "rcpt"},
		"printer by bang path":        {"10.0.0.9", "scan@example.test", "other.test!b@example.test", "rcpt"},
		"printer by quotes":           {"10.0.0.9", "scan@example.test", `"b@other.test"@example.test`, "rcpt"},
		"exchange by quotes":          {"10.0.0.5", "a@example.test", `"b> NOTIFY=NEVER"@other.test`, "rcpt"},
		"printer to us":               {"10.0.0.9", "Scan@Example.test", "b@example.test", ""},
		"exchange to the world":       {"10.0.0.5", "a@example.test", "b@other.test", ""},
		"exchange over IPv6":          {"fd00::5", "a@EXAMPLE.test", "b@other.test", ""},
		"a mapped address":            {"::ffff:10.0.0.5", "a@example.test", "b@other.test", ""},
		"exchange's DSN":              {"10.0.0.5", "", "b@other.test", ""},
	} {
		if got := play(t, door, c.client, c.from, c.to); got != c.want {
			t.Errorf("%s: refused at %q, want %q", name, got, c.want)
		}
	}
}

// play returns the step that refused for good.
func play(t *testing.T, door *Door, client, from, to string) string {
	t.Helper()
	s, r := door.Session(t.Context(), &smtpd.Conn{Remote: netip.AddrPortFrom(netip.MustParseAddr(client), 1)})
	if r != nil {
		if r.Code != 554 || !r.Close || s != nil {
			t.Errorf("%s: %v", client, r)
		}
		return "connect"
	}
	var sender address.Address
	if from != "" {
		sender = parse(t, from)
	}
	if r := s.Mail(t.Context(), sender, smtpd.MailParams{}); r != nil {
		return step(t, r, "mail")
	}
	if r := s.Rcpt(t.Context(), parse(t, to), smtpd.RcptParams{}); r != nil {
		return step(t, r, "rcpt")
	}
	return ""
}

func step(t *testing.T, r *smtpline.Reply, name string) string {
	t.Helper()
	if r.Code != 550 || r.Enhanced != "5.7.1" || r.Reason == "" {
		t.Errorf("%s: %+v", name, r)
	}
	return name
}

func parse(t *testing.T, s string) address.Address {
	t.Helper()
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]Host{
		"nobody":            {Senders: []string{"<>"}},
		"no senders":        {Clients: prefixes("10.0.0.1/32")},
		"everybody":         {Clients: prefixes("0.0.0.0/0"), Senders: []string{"<>"}},
		"everybody on IPv6": {Clients: prefixes("10.0.0.1/32", "::/0"), Senders: []string{"<>"}},
		"no prefix":         {Clients: []netip.Prefix{{}}, Senders: []string{"<>"}},
		"bad sender":        {Clients: prefixes("10.0.0.1/32"), Senders: []string{"example.test"}},
		"bad domain":        {Clients: prefixes("10.0.0.1/32"), Senders: []string{"@"}},
		"bad recipient":     {Clients: prefixes("10.0.0.1/32"), Senders: []string{"<>"}, Recipients: []string{"any"}},
	} {
		c := config(t)
		c.Hosts = []Host{h}
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	c := config(t)
	c.Now = func() time.Time { return now }
	c.Hosts[1].PerHour = 2
	door, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := door.Session(t.Context(), &smtpd.Conn{Remote: netip.MustParseAddrPort("10.0.0.5:1")})
	if r := s.Mail(t.Context(), parse(t, "a@example.test"), smtpd.MailParams{}); r != nil {
		t.Fatal(r)
	}
	rcpt := func() *smtpline.Reply { return s.Rcpt(t.Context(), parse(t, "a@other.test"), smtpd.RcptParams{}) }
	if r := errors.Join(asError(rcpt()), asError(rcpt())); r != nil {
		t.Fatal(r)
	}
	if r := rcpt(); !r.Temporary() || r.Reason != "relay-rate" {
		t.Errorf("the third of two: %v", r)
	}
	now = now.Add(30 * time.Minute)
	if r := rcpt(); r != nil {
		t.Errorf("half an hour later: %v", r)
	}
}

func asError(r *smtpline.Reply) error {
	if r == nil {
		return nil
	}
	return errors.New(r.String())
}

// Through sockets, with a client that others wrote.
func TestOverTheWire(t *testing.T) {
	t.Parallel()
	for name, clients := range map[string][]netip.Prefix{"named": prefixes("127.0.0.1/32"), "not named": prefixes("10.0.0.1/32")} {
		c := config(t)
		c.Hosts[1].Clients = clients
		var got envelope.Envelope
		c.Accept = func(ctx context.Context, _ *smtpd.Conn, d *spool.Draft, env envelope.Envelope, host string) *smtpline.Reply {
			b, err := io.ReadAll(d.Open())
			if err != nil || host != "exchange" || string(b) != "Subject: x\r\n\r\ntext\r\n" {
				t.Errorf("%q %s %v", b, host, err)
			}
			if _, err := d.Commit(ctx, env, d.Header()); err != nil {
				t.Error(err)
			}
			got = env
			return nil
		}
		s := serve(t, c)
		client, err := smtp.Dial(s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		err = client.Hello("x")
		if name == "not named" {
			var e *smtp.SMTPError
			if !errors.As(err, &e) || e.Code != 554 {
				t.Errorf("%v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := client.SendMail("", []string{"b@other.test"}, strings.NewReader("Subject: x\r\n\r\ntext\r\n")); err != nil {
			t.Error(err)
		}
		if err := client.Quit(); err != nil {
			t.Error(err)
		}
		if !got.From.IsZero() || got.Origin != envelope.Relay || got.Account != "exchange" {
			t.Errorf("%+v", got)
		}
	}
}

func serve(t *testing.T, c Config) *smtpd.Server {
	t.Helper()
	door, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s, err := smtpd.New(smtpd.Config{
		Name: "relay", Hostname: c.Postmaster, Addr: netip.MustParseAddrPort("127.0.0.1:0"), Mode: smtpd.Plain, Log: c.Log, NewSession: door.Session,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the test's own context has ended
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}
