package smtpd

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

var anyTLS = &tls.ConnectionState{}

func insecure(edit func(*tls.Config)) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true}
	if edit != nil {
		edit(c)
	}
	return c
}

// upgrade runs STARTTLS and returns the peer over TLS.
func upgrade(p *peer, c *tls.Config) (*peer, *tls.Conn, error) {
	p.t.Helper()
	p.want(220)
	p.send("EHLO in.the.clear\r\n")
	p.want(250)
	p.send("STARTTLS\r\n")
	p.want(220)
	t := tls.Client(p.conn, c)
	err := t.Handshake()
	return over(p.t, t), t, err
}

// RFC 3207, Section 4.2: what was said in the clear is forgotten, and STARTTLS
// is no longer offered.
func TestStartTLS(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, secured(t, d, STARTTLS))
	p, _, err := upgrade(dial(t, s), insecure(nil))
	if err != nil {
		t.Fatal(err)
	}
	p.send("MAIL FROM:<a@example.net>\r\n")
	p.want(503)
	p.send("EHLO over.tls\r\n")
	if r := p.reply(); strings.Contains(r, "STARTTLS") || !strings.Contains(r, "AUTH PLAIN LOGIN") {
		t.Errorf("%q", r)
	}
	p.send("STARTTLS\r\n")
	p.want(503)
	p.send("MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n")
	p.want(250, 250, 354)
	p.send(".\r\nQUIT\r\n")
	p.want(250, 221)
	if !strings.Contains(d.log(), `data "" ESMTPS`) {
		t.Errorf("%s", d.log())
	}
}

func TestStartTLSForgetsTheTransaction(t *testing.T) {
	t.Parallel()
	d := &desk{}
	p := dial(t, started(t, d, secured(t, d, STARTTLS)))
	p.want(220)
	p.send("EHLO x\r\n")
	p.want(250)
	p.send("MAIL FROM:<evil@example.net>\r\nRCPT TO:<b@example.test>\r\n")
	p.want(250, 250)
	p.send("STARTTLS\r\n")
	p.want(220)
	c := tls.Client(p.conn, insecure(nil))
	p = over(t, c)
	p.send("EHLO x\r\nDATA\r\n"[:8])
	p.want(250)
	p.send("DATA\r\n")
	p.want(503)
	if !strings.Contains(d.log(), "reset") {
		t.Errorf("%s", d.log())
	}
}

// nostarttls.secvuln.info: commands that came in the clear behind STARTTLS.
func TestStartTLSInjection(t *testing.T) {
	t.Parallel()
	d := &desk{}
	p := dial(t, started(t, d, secured(t, d, STARTTLS)))
	p.want(220)
	p.send("EHLO x\r\n")
	p.want(250)
	p.send("STARTTLS\r\nMAIL FROM:<evil@example.net>\r\n")
	p.want(554)
	p.wantClosed()
	if strings.Contains(d.log(), "mail") {
		t.Errorf("%s", d.log())
	}
}

func TestFailedHandshakeCloses(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, secured(t, d, STARTTLS))
	p := dial(t, s)
	p.want(220)
	p.send("EHLO x\r\n")
	p.want(250)
	p.send("STARTTLS\r\n")
	p.want(220)
	p.send("MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.test>\r\n")
	if r := p.reply(); strings.HasPrefix(r, "2") || strings.HasPrefix(r, "5") {
		t.Errorf("%q in the clear after a failed handshake", r)
	}
	stop(t, s)
	if s.Counters.TLSFailed.Value() != 1 || strings.Contains(d.log(), "mail") {
		t.Errorf("%d failed; %s", s.Counters.TLSFailed.Value(), d.log())
	}
}

func TestRequireTLS(t *testing.T) {
	t.Parallel()
	d := &desk{}
	secure := secured(t, d, STARTTLS)
	p := dial(t, started(t, d, func(c *Config) { secure(c); c.RequireTLS = true }))
	p.want(220)
	p.send("EHLO x\r\n")
	if r := p.reply(); strings.Contains(r, "AUTH") || !strings.Contains(r, "STARTTLS") {
		t.Errorf("%q", r)
	}
	for _, line := range []string{"AUTH PLAIN AGEAb3BlbiBzZXNhbWU=", "MAIL FROM:<>", "RSET", "VRFY a", "HELP"} {
		p.send(line + "\r\n")
		if r := p.reply(); !strings.HasPrefix(r, "530 5.7.0 ") {
			t.Errorf("%s: %q", line, r)
		}
	}
	p.send("NOOP\r\nQUIT\r\n")
	p.want(250, 221)
	if strings.Contains(d.log(), "auth") {
		t.Error("a password in the clear reached the session")
	}
}

func TestNoLoginInTheClear(t *testing.T) {
	t.Parallel()
	d := &desk{}
	p := dial(t, started(t, d, secured(t, d, STARTTLS)))
	p.want(220)
	p.send("EHLO x\r\n")
	if r := p.reply(); strings.Contains(r, "AUTH") {
		t.Errorf("%q", r)
	}
	p.send("AUTH PLAIN AGEAb3BlbiBzZXNhbWU=\r\n")
	p.want(530)
	if strings.Contains(d.log(), "auth") {
		t.Error("a password in the clear reached the session")
	}
}

// golang.org/issue/70232
func TestNoSessionTickets(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{STARTTLS, ImplicitTLS} {
		for name, perClient := range map[string]bool{"plain": false, "chosen per client": true} {
			d := &desk{}
			secure := secured(t, d, mode)
			s := started(t, d, func(c *Config) {
				secure(c)
				if perClient {
					inner := c.TLS
					c.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }}
				}
			})
			cache := tls.NewLRUClientSessionCache(1)
			conf := insecure(func(c *tls.Config) { c.ClientSessionCache, c.ServerName = cache, "edge.example.test" })
			for range 2 {
				var conn *tls.Conn
				if mode == STARTTLS {
					var p *peer
					var err error
					if p, conn, err = upgrade(dial(t, s), conf); err != nil {
						t.Fatal(err)
					}
					p.send("QUIT\r\n")
					p.want(221)
				} else {
					conn = tls.Client(dial(t, s).conn, conf)
					over(t, conn).want(220)
				}
				if conn.ConnectionState().DidResume {
					t.Errorf("%s, mode %d: resumed", name, mode)
				}
			}
			if _, ok := cache.Get("edge.example.test"); ok {
				t.Errorf("%s, mode %d: a ticket was given", name, mode)
			}
		}
	}
}

// ALPACA: a web client that was led here must not get a connection.
func TestALPN(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, secured(t, d, ImplicitTLS))
	for proto, good := range map[string]bool{"h2": false, "http/1.1": false, "imap": false, "smtp": true, "": true} {
		c := tls.Client(dial(t, s).conn, insecure(func(c *tls.Config) {
			if proto != "" {
				c.NextProtos = []string{proto}
			}
		}))
		if err := c.Handshake(); (err == nil) != good {
			t.Errorf("%q: %v", proto, err)
		}
	}
}

// Plain bytes on the TLS port get no answer in SMTP.
func TestPlainTextOnTLSPort(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, secured(t, d, ImplicitTLS))
	p := dial(t, s)
	p.send("EHLO x\r\n")
	if r := p.reply(); strings.HasPrefix(r, "2") {
		t.Errorf("%q", r)
	}
}

func TestHandshakeTimesOut(t *testing.T) {
	t.Parallel()
	d := &desk{}
	secure := secured(t, d, ImplicitTLS)
	s := started(t, d, func(c *Config) { secure(c); c.Limits.Handshake = 50 * time.Millisecond })
	dial(t, s).wantClosed()
}

func TestEarlyTalkerUnderTLS(t *testing.T) {
	t.Parallel()
	d := &desk{}
	secure := secured(t, d, ImplicitTLS)
	s := started(t, d, func(c *Config) { secure(c); c.Limits.GreetWait = 5 * time.Second })
	c := tls.Client(dial(t, s).conn, insecure(nil))
	p := over(t, c)
	p.send("EHLO x\r\n")
	p.want(554)
}

func TestLongAuthLine(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, secured(t, d, ImplicitTLS))
	p := over(t, tls.Client(dial(t, s).conn, insecure(nil)))
	p.want(220)
	p.send("EHLO x\r\n")
	p.want(250)
	// RFC 4954, Section 4.1: up to 12288 octets; this one is read and refused
	// for what it holds.
	p.send("AUTH PLAIN " + strings.Repeat("AAAA", 3000) + "\r\n")
	p.want(501)
	p.send("AUTH PLAIN\r\n")
	p.want(334)
	p.send(strings.Repeat("AAAA", 3060) + "\r\n")
	p.want(501)
	p.send("NOOP\r\n")
	p.want(250)
}

// RFC 8446, Section 6.1: the end of a TLS connection is said, so that nobody
// takes a cut for one.
func TestCloseNotify(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, secured(t, d, ImplicitTLS))
	for _, last := range []string{"QUIT\r\n", "GET / HTTP/1.1\r\n"} {
		c := tls.Client(dial(t, s).conn, insecure(nil))
		p := over(t, c)
		p.want(220)
		p.send(last)
		p.reply()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %q: %v", last, err)
		}
	}
}
