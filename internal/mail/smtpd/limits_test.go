package smtpd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/mail/smtpline"
)

func TestSizeIsExact(t *testing.T) {
	t.Parallel()
	s := started(t, &desk{}, nil) // MaxSize 1000
	p := dial(t, s)
	inData(p)
	p.send(strings.Repeat("x", 499) + "\r\n" + strings.Repeat("x", 497) + "\r\n.\r\n")
	p.want(250)
	p.send("MAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n")
	p.want(250, 250, 354)
	p.send(strings.Repeat("x", 499) + "\r\n" + strings.Repeat("x", 498) + "\r\n.\r\n")
	if r := p.reply(); !strings.HasPrefix(r, "552 5.3.4 ") {
		t.Errorf("one octet more: %q", r)
	}
	p.send("MAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n")
	p.want(250, 250, 354)
	p.send("..\r\n" + strings.Repeat("x", 995) + "\r\n.\r\n") // RFC 1870, Section 5: a stuffed dot does not count
	p.want(250)
}

// What is far too large is not read for ever.
func TestEndlessMessage(t *testing.T) {
	t.Parallel()
	p := dial(t, started(t, &desk{}, nil))
	inData(p)
	for range 100 {
		p.send(strings.Repeat("x", 998) + "\r\n")
	}
	if r := p.reply(); !strings.HasPrefix(r, "552 ") {
		t.Errorf("%q", r)
	}
	p.wantClosed()
}

// A session that refuses before its first Read is heard instead of 354.
func TestRefusalInPlaceOf354(t *testing.T) {
	t.Parallel()
	d := &desk{onData: func(context.Context, io.Reader) *smtpline.Reply {
		return smtpline.Refuse(452, "4.3.1", "disk-full", "no room")
	}}
	p := dial(t, started(t, d, nil))
	p.want(220)
	p.send("EHLO client\r\n")
	p.want(250)
	p.send("MAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n")
	p.want(250, 250, 452)
	p.send("NOOP\r\n")
	p.want(250)
}

// A session that gives up halfway, or that accepts what it has not read.
func TestSessionThatDoesNotReadOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reply *smtpline.Reply
		code  int
	}{
		"refuses": {smtpline.Refuse(451, "4.3.0", "test", "disk"), 451},
		"accepts": {nil, 451},
	} {
		d := &desk{onData: func(_ context.Context, r io.Reader) *smtpline.Reply {
			_, err := io.ReadFull(r, make([]byte, 3))
			if err != nil {
				t.Error(err)
			}
			return c.reply
		}}
		s := started(t, d, nil)
		p := dial(t, s)
		inData(p)
		p.send("MAIL FROM:<x@example.net>\r\nline\r\n.\r\nNOOP\r\n")
		if r := p.reply(); !strings.HasPrefix(r, "451 ") {
			t.Errorf("%s: %q", name, r)
		}
		p.want(250)
		if s.Counters.Messages.Value() != 0 {
			t.Errorf("%s: counted as accepted", name)
		}
	}
}

func TestLimitsOfAConnection(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits Limits
		play   func(p *peer)
	}{
		"errors": {Limits{Errors: 3}, func(p *peer) {
			p.send("X\r\nY\r\nZ\r\n")
			p.want(500, 500, 500, 421)
		}},
		"commands": {Limits{Commands: 3}, func(p *peer) {
			p.send("NOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n")
			p.want(250, 250, 250, 421)
		}},
		"recipients, softly": {Limits{Recipients: 1, Errors: 1}, func(p *peer) {
			p.send("HELO x\r\n")
			p.want(250)
			p.send("MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nRCPT TO:<c@b.test>\r\nRCPT TO:<d@b.test>\r\nRSET\r\nX\r\n")
			p.want(250, 250, 452, 452, 250, 500, 421)
		}},
		"messages": {Limits{Messages: 1}, func(p *peer) {
			p.send("HELO x\r\n")
			p.want(250)
			p.send("MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
			p.want(250, 250, 354)
			p.send(".\r\n")
			p.want(250)
			p.send("MAIL FROM:<>\r\n")
			p.want(421)
		}},
		"long command": {Limits{}, func(p *peer) {
			p.send("NOOP " + strings.Repeat("x", maxCommandLine) + "\r\n")
			p.want(500)
		}},
		"command without end": {Limits{}, func(p *peer) {
			p.send(strings.Repeat("x", maxAuthLine+100))
			p.want(500)
		}},
		"long line of a message": {Limits{DataLine: 998, Errors: 1}, func(p *peer) {
			p.send("HELO x\r\n")
			p.want(250)
			p.send("MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
			p.want(250, 250, 354)
			p.send(strings.Repeat("x", 999) + "\r\nmore\r\n.\r\n")
			p.want(554, 421)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := started(t, &desk{}, func(conf *Config) {
				conf.Limits = c.limits
				conf.MaxSize = 100_000
			})
			p := dial(t, s)
			p.want(220)
			c.play(p)
			p.wantClosed()
		})
	}
}

func TestLimitsOfAnAddress(t *testing.T) {
	t.Parallel()
	t.Run("connections at once", func(t *testing.T) {
		t.Parallel()
		s := started(t, &desk{}, func(c *Config) { c.Limits.ConnectionsPerAddr = 1 })
		first := dial(t, s)
		first.want(220)
		second := dial(t, s)
		second.want(421)
		second.wantClosed()
		first.send("QUIT\r\n")
		first.want(221)
		if s.Counters.RefusedPerAddr.Value() != 1 {
			t.Error("not counted")
		}
	})
	t.Run("connections in all", func(t *testing.T) {
		t.Parallel()
		s := started(t, &desk{}, func(c *Config) {
			c.Limits.Connections = 1
			c.Exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		})
		first := dial(t, s)
		first.want(220)
		dial(t, s).want(421)
		if s.Counters.RefusedBusy.Value() != 1 {
			t.Error("not counted")
		}
	})
	t.Run("connections a minute", func(t *testing.T) {
		t.Parallel()
		s := started(t, &desk{}, func(c *Config) { c.Limits.ConnectRate = 2 })
		dial(t, s).want(220)
		dial(t, s).want(220)
		dial(t, s).want(421)
	})
	t.Run("errors a minute", func(t *testing.T) {
		t.Parallel()
		s := started(t, &desk{}, func(c *Config) { c.Limits.ErrorRate = 2 })
		p := dial(t, s)
		p.want(220)
		p.send("X\r\n")
		p.want(500)
		p.send("X\r\n")
		p.want(500, 421)
		dial(t, s).want(421)
		if s.Counters.RefusedRate.Value() != 1 {
			t.Error("not counted")
		}
	})
	t.Run("exempt", func(t *testing.T) {
		t.Parallel()
		s := started(t, &desk{}, func(c *Config) {
			c.Limits.ConnectRate, c.Limits.ErrorRate = 1, 1
			c.Exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		})
		for range 5 {
			p := dial(t, s)
			p.want(220)
			p.send("X\r\nX\r\n")
			p.want(500, 500)
		}
	})
	t.Run("not a client", func(t *testing.T) {
		t.Parallel()
		s := started(t, &desk{}, func(c *Config) { c.Clients = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
		p := dial(t, s)
		p.want(554)
		p.wantClosed()
	})
}

func TestGuard(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	g := newGuard(Limits{ConnectRate: 2, TrackedAddrs: 4}.withDefaults(), nil)
	six := netip.MustParseAddr("2001:db8::1")
	for _, a := range []string{"2001:db8::1", "2001:db8::2"} {
		if g.enter(netip.MustParseAddr(a), now) != letIn {
			t.Error(a)
		}
	}
	if g.enter(netip.MustParseAddr("2001:db8::3"), now) != tooFast {
		t.Error("a /64 counts as one")
	}
	if g.enter(netip.MustParseAddr("2001:db8:0:1::1"), now) != letIn {
		t.Error("another /64 is another")
	}
	if g.enter(six, now.Add(30*time.Second)) != letIn {
		t.Error("half a minute gives half of the rate back")
	}
	for i := range 100 {
		g.enter(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), now)
	}
	if len(g.rates) > 4 {
		t.Errorf("%d addresses remembered", len(g.rates))
	}
	v4 := netip.MustParseAddr("192.0.2.200")
	mapped := netip.MustParseAddr("::ffff:192.0.2.200")
	if site(v4) != site(mapped) {
		t.Error("a mapped address is the address")
	}
}

// A panic ends its own connection, is counted, and gives the place back.
func TestPanicStaysInItsConnection(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	d := &desk{}
	s := started(t, d, func(c *Config) {
		c.Limits.ConnectionsPerAddr = 2
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	other := dial(t, s)
	other.want(220)
	p := dial(t, s)
	p.want(220)
	p.send("HELO x\r\n")
	p.want(250)
	p.send("MAIL FROM:<panic@example.net>\r\n")
	p.wantClosed()
	other.send("QUIT\r\n")
	other.want(221)
	stop(t, s)
	if s.Counters.Panics.Value() != 1 || !strings.Contains(log.String(), "as asked") || !strings.Contains(d.log(), "close") {
		t.Errorf("%d panics; log %s; session:\n%s", s.Counters.Panics.Value(), log.String(), d.log())
	}
	if len(s.conf.Load().guard.open) != 0 {
		t.Error("the place was not given back")
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	first := started(t, &desk{}, nil)
	addr := first.Addr().String()
	second, err := New(Config{
		Name: "mx", Hostname: "x", Addr: netip.MustParseAddrPort(addr), Mode: Plain, Log: slog.New(slog.DiscardHandler),
		NewSession: func(context.Context, *Conn) (Session, *smtpline.Reply) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	err = second.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "smtp mx: "+addr+" is in use") {
		t.Errorf("%v", err)
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Errorf("stop what never started: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	session := func(context.Context, *Conn) (Session, *smtpline.Reply) { return nil, nil }
	log := slog.New(slog.DiscardHandler)
	for name, c := range map[string]Config{
		"no mode":        {Hostname: "x", NewSession: session, Log: log},
		"no certificate": {Hostname: "x", NewSession: session, Log: log, Mode: STARTTLS},
		"no session":     {Hostname: "x", Log: log, Mode: Plain},
		"no hostname":    {NewSession: session, Log: log, Mode: Plain},
		"no log":         {Hostname: "x", NewSession: session, Mode: Plain},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestReconfigure(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, nil)
	old := dial(t, s)
	old.want(220)
	next := s.conf.Load().Config
	next.Hostname, next.MaxSize = "new.example.test", 5
	if err := s.Reconfigure(next); err != nil {
		t.Fatal(err)
	}
	if r := dial(t, s).reply(); !strings.HasPrefix(r, "220 new.example.test ") {
		t.Errorf("%q", r)
	}
	old.send("HELO x\r\n")
	if r := old.reply(); r != "250 edge.example.test\r\n" {
		t.Errorf("the old connection: %q", r)
	}
	next.Mode = 0
	if err := s.Reconfigure(next); err == nil {
		t.Error("a bad configuration was taken")
	}
}

func TestProtocol(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		conn Conn
		utf8 bool
	}{
		"SMTP":       {Conn{}, false},
		"ESMTP":      {Conn{ESMTP: true}, false},
		"ESMTPS":     {Conn{ESMTP: true, TLS: anyTLS}, false},
		"ESMTPA":     {Conn{ESMTP: true, User: "u"}, false},
		"ESMTPSA":    {Conn{ESMTP: true, TLS: anyTLS, User: "u"}, false},
		"UTF8SMTPSA": {Conn{ESMTP: true, TLS: anyTLS, User: "u"}, true},
	} {
		if got := c.conn.Protocol(c.utf8); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
