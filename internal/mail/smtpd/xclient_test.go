package smtpd

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"postern/internal/mail/smtpline"
)

func trusting(c *Config) { c.XClient = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }

func TestXClient(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, trusting)
	p := dial(t, s)
	p.want(220)
	p.send("EHLO x\r\n")
	if r := p.reply(); !strings.Contains(r, "\r\n250-XCLIENT NAME ADDR PORT PROTO HELO\r\n") {
		t.Errorf("%q", r)
	}
	p.send("XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.9 PORT=77\r\n")
	p.want(220)
	p.send("MAIL FROM:<a@example.net>\r\n") // RFC 5321: EHLO first, what was said is forgotten
	p.want(503)
	p.send("EHLO their.name\r\n")
	if r := p.reply(); !strings.Contains(r, "XCLIENT") { // Postfix's clients say it for each mail
		t.Errorf("%q", r)
	}
	p.send("MAIL FROM:<a@example.net>\r\nXCLIENT ADDR=192.0.2.10\r\n")
	p.want(250)
	p.want(503)
	p.send("RSET\r\n")
	p.want(250)
	p.send("XCLIENT ADDR=IPV6:2001:db8::9 HELO=six.example.net PROTO=SMTP\r\n")
	p.want(220)
	p.send("MAIL FROM:<b@example.net>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n")
	p.want(250, 250, 354)
	p.send(".\r\nQUIT\r\n")
	p.want(250, 221)
	stop(t, s)
	want := []string{
		"from 127.0.0.1:", "hello x", "close", "from 192.0.2.9:77", "hello their.name", "mail <a@example.net>", "reset", "close",
		"from [2001:db8::9]:0", "hello six.example.net", "mail <b@example.net>", `data "" SMTP`, "reset", "close",
	}
	rest := d.log()
	for _, step := range want {
		_, after, found := strings.Cut(rest, step)
		if !found {
			t.Fatalf("no %q in order in\n%s", step, d.log())
		}
		rest = after
	}
	if g := s.conf.Load().guard; len(g.open) != 0 || g.total != 0 {
		t.Errorf("places are not given back: %v", g.open)
	}
}

// Whom it is not offered to gains nothing by saying it, and loses nothing.
func TestXClientFromOthers(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, func(c *Config) { c.XClient = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	p := dial(t, s)
	p.want(220)
	p.send("EHLO x\r\n")
	if r := p.reply(); strings.Contains(r, "XCLIENT") {
		t.Errorf("%q", r)
	}
	p.send("XCLIENT ADDR=192.0.2.9\r\n")
	p.want(550)
	p.send("MAIL FROM:<a@example.net>\r\n")
	p.want(250)
	if strings.Contains(d.log(), "192.0.2.9") || s.Counters.XClientRefused.Value() != 1 {
		t.Errorf("%s", d.log())
	}
}

// The right to say it is of the connection: neither is it won by naming an
// address that has it, nor lost by naming one that has not.
func TestXClientRightIsNotPassedOn(t *testing.T) {
	t.Parallel()
	s := started(t, &desk{}, func(c *Config) {
		behindProxy(c)
		c.XClient = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}
	})
	p := dial(t, s)
	p.send(block(0x21, 0x21, six))
	p.want(220)
	p.send("XCLIENT ADDR=192.0.2.7\r\n")
	p.want(550)
	p = dial(t, s)
	p.send(block(0x21, 0x11, four))
	p.want(220)
	for range 2 {
		p.send("XCLIENT ADDR=198.51.100.9\r\n")
		p.want(220)
	}
}

func TestXClientSyntax(t *testing.T) {
	t.Parallel()
	d := &desk{}
	p := dial(t, started(t, d, func(c *Config) { trusting(c); c.Limits.Errors = 100 }))
	p.want(220)
	for _, arg := range []string{
		"", "ADDR", "ADDR=", "ADDR=x", "ADDR=2001:db8::1", "ADDR=IPV6:192.0.2.1", "ADDR=IPV6:fe80::1%25eth0", "ADDR=0.0.0.0", "ADDR=224.0.0.1",
		"ADDR=[UNAVAILABLE]", "ADDR=192.0.2.1 ADDR=192.0.2.2", "ADDR=192.0.2.1+0D+0A", "PORT=70000", "PORT=-1", "HELO=a+20b", "PROTO=QMTP",
		"LOGIN=anna@example.test", "DESTADDR=192.0.2.1", "NAME=a+0", "NAME=a=b",
	} {
		p.send("XCLIENT " + arg + "\r\n")
		p.want(501)
	}
	if d.log() != "from "+p.conn.LocalAddr().String()+" to "+p.conn.RemoteAddr().String() {
		t.Errorf("%s", d.log())
	}
}

// The login belongs to whoever logged in.
func TestXClientForgetsTheLogin(t *testing.T) {
	t.Parallel()
	d := &desk{}
	secure := secured(t, d, STARTTLS)
	s := started(t, d, func(c *Config) { secure(c); trusting(c) })
	p, _, err := upgrade(dial(t, s), insecure(nil))
	if err != nil {
		t.Fatal(err)
	}
	p.send("EHLO x\r\n")
	p.want(250)
	p.send("AUTH PLAIN AGEAb3BlbiBzZXNhbWU=\r\n")
	p.want(235)
	p.send("XCLIENT ADDR=192.0.2.9\r\n")
	p.want(220)
	p.send("EHLO x\r\n")
	p.want(250)
	p.send("MAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n")
	p.want(250, 250, 354)
	p.send(".\r\n")
	p.want(250)
	if !strings.Contains(d.log(), `data "" ESMTPS`) || strings.Contains(d.log(), "ESMTPSA") {
		t.Errorf("%s", d.log())
	}
	if n := s.conf.Load().guard.accounts["a"]; n != nil && n.open != 0 {
		t.Errorf("the account is still connected: %+v", n)
	}
}

// Who is refused, by limits or by the session, is told so and the connection
// ends: it never goes on as the client before.
func TestXClientThatIsRefused(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, func(c *Config) { trusting(c); c.Limits.ConnectRate = 1 })
	p := dial(t, s)
	p.want(220)
	p.send("XCLIENT ADDR=192.0.2.9\r\n")
	p.want(220)
	p.send("XCLIENT ADDR=192.0.2.9\r\n")
	p.want(421)
	p.wantClosed()

	s = started(t, d, func(c *Config) {
		trusting(c)
		c.NewSession = func(_ context.Context, conn *Conn) (Session, *smtpline.Reply) {
			if conn.Remote.Addr().IsLoopback() {
				return sitting{d, conn}, nil
			}
			return nil, smtpline.Refuse(554, "5.7.1", "test", "not you")
		}
	})
	p = dial(t, s)
	p.want(220)
	p.send("XCLIENT ADDR=192.0.2.9\r\n")
	p.want(554)
	p.wantClosed()
}
