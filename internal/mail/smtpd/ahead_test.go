package smtpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"postern/internal/mail/smtpline"
)

// gather is a client's connection that keeps back what it should send, so that
// several records of TLS arrive as one.
type gather struct {
	net.Conn
	keep bool
	kept bytes.Buffer
}

func (g *gather) Write(p []byte) (int, error) {
	if g.keep {
		return g.kept.Write(p)
	}
	return g.Conn.Write(p)
}

func (g *gather) flush(t *testing.T) {
	t.Helper()
	g.keep = false
	if _, err := g.Conn.Write(g.kept.Bytes()); err != nil {
		t.Fatal(err)
	}
	g.kept.Reset()
}

func tlsClient(p *peer) *tls.Conn { return tls.Client(p.conn, insecure(nil)) }

// No silence is asked for before the greeting; what is in the socket by then is
// seen all the same, and without TLS in the way of it.
func TestEarlyTalkerWithoutWaiting(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{Plain, ImplicitTLS} {
		d := &desk{}
		spoke := make(chan struct{})
		secure := secured(t, d, mode)
		s := started(t, d, func(c *Config) {
			secure(c)
			c.Limits.GreetWait = 0
			c.NewSession = func(_ context.Context, conn *Conn) (Session, *smtpline.Reply) {
				<-spoke
				return seated(d, conn), nil
			}
		})
		for _, early := range []bool{true, false} {
			p := dial(t, s)
			if mode == ImplicitTLS {
				c := tlsClient(p)
				if err := c.Handshake(); err != nil {
					t.Fatal(err)
				}
				p = over(t, c)
			}
			if early {
				p.send("EHLO x\r\n")
			}
			spoke <- struct{}{}
			if early {
				p.want(554)
			} else {
				p.want(220)
			}
		}
		if s.Counters.EarlyTalkers.Value() != 1 {
			t.Errorf("mode %d: %d early talkers", mode, s.Counters.EarlyTalkers.Value())
		}
	}
}

// What comes in a record of its own behind EHLO, AUTH or DATA was sent without
// waiting, too.
func TestPipeliningInRecords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before []string
		codes  []int
		sent   []string
	}{
		"EHLO": {nil, nil, []string{"EHLO x\r\n", "MAIL FROM:<evil@example.net>\r\n"}},
		"AUTH": {[]string{"EHLO x\r\n"}, []int{250}, []string{"AUTH PLAIN\r\n", "AGEAb3BlbiBzZXNhbWU=\r\n"}},
		"DATA": {[]string{"EHLO x\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<b@example.test>\r\n"}, []int{250, 250, 250}, []string{"DATA\r\n", "evil\r\n.\r\n"}},
	} {
		d := &desk{}
		s := started(t, d, secured(t, d, ImplicitTLS))
		g := &gather{Conn: dial(t, s).conn}
		p := over(t, tls.Client(g, insecure(nil)))
		p.want(220)
		for i, line := range c.before {
			p.send(line)
			p.want(c.codes[i])
		}
		g.keep = true
		for _, record := range c.sent {
			p.send(record)
		}
		g.flush(t)
		p.want(503)
		p.wantClosed()
		if strings.Contains(d.log(), "evil") || strings.Contains(d.log(), "auth") || s.Counters.Pipelining.Value() != 1 {
			t.Errorf("%s: %s", name, d.log())
		}
	}
}

// Commands behind one another in records of their own are fine where one need
// not wait, and the look for more loses nothing.
func TestRecordsThatMayFollow(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, secured(t, d, ImplicitTLS))
	g := &gather{Conn: dial(t, s).conn}
	p := over(t, tls.Client(g, insecure(nil)))
	p.want(220)
	p.send("EHLO x\r\n")
	p.want(250)
	for range 3 {
		g.keep = true
		p.send("MAIL FROM:<>\r\nRCP")
		p.send("T TO:<b@example.test>\r\n")
		p.send("DATA\r\n")
		g.flush(t)
		p.want(250, 250, 354)
		g.keep = true
		p.send("text\r\n")
		p.send(".\r")
		p.send("\nNOOP\r\n")
		g.flush(t)
		p.want(250, 250)
	}
}
