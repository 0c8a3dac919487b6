package smtpd

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"postern/internal/mail/smtpline"
)

// trap is a fault that an SMTP library in wide use was seen to have, played at our
// engine: what is sent in one go after EHLO, and the replies that must come.
type trap struct {
	name   string
	login  bool // under TLS, to a door with a login
	say    []string
	codes  [][]int // for each of say
	closed bool
	heard  string // must be among what the session hears
	never  string // must not
}

const transaction = "MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.test>\r\n"

func traps() []trap {
	long := func(n int) string { return strings.Repeat("x", n) }
	plain := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	refused := [][]int{{501}}
	return []trap{
		{name: "2: a quoted local part becomes a parameter", say: []string{"MAIL FROM:<>\r\n", "RCPT TO:<\"victim@evil.example> NOTIFY=NEVER\"@example.test>\r\n"}, codes: [][]int{{250}, {250}}, heard: `rcpt <"victim@evil.example> NOTIFY=NEVER"@example.test>`, never: "rcpt <victim"},
		{name: "3: two at signs", say: []string{"MAIL FROM:<a@b@c.example>\r\n"}, codes: refused, never: "mail"},
		{name: "3: NUL in the domain", say: []string{"MAIL FROM:<a@b\x00c.example>\r\n"}, codes: [][]int{{500}}, closed: true, never: "mail"},
		{name: "3: a control in the domain", say: []string{"MAIL FROM:<a@b\x01c.example>\r\n"}, codes: [][]int{{500}}, never: "mail"},
		{name: "3: no brackets", say: []string{"MAIL FROM:a@example.net\r\n"}, codes: refused, never: "mail"},
		{name: "3: beyond ASCII without SMTPUTF8", say: []string{"MAIL FROM:<\u00e4@example.net>\r\n"}, codes: [][]int{{553}}, never: "mail"},
		{name: "3: a source route is dropped", say: []string{"MAIL FROM:<>\r\n", "RCPT TO:<@relay.example:b@example.test>\r\n"}, codes: [][]int{{250}, {553}}, never: "rcpt"},
		{name: "3: postmaster without a domain is refused", say: []string{"MAIL FROM:<>\r\n", "RCPT TO:<postmaster>\r\n"}, codes: [][]int{{250}, {250}}, heard: "rcpt <postmaster>"},
		{name: "3: a local part without end", say: []string{"MAIL FROM:<" + long(300) + "@example.net>\r\n"}, codes: refused, never: "mail"},
		{name: "3: a domain without end", say: []string{"MAIL FROM:<a@" + strings.Repeat("abcdefg.", 40) + "net>\r\n"}, codes: refused, never: "mail"},
		{name: "4: MAIL within a transaction takes over its recipients", say: []string{transaction, "MAIL FROM:<evil@example.net>\r\n"}, codes: [][]int{{250, 250}, {503}}, never: "evil"},
		{name: "4: AUTH within a transaction", login: true, say: []string{transaction, "AUTH PLAIN " + plain("\x00ann\x00open sesame") + "\r\n"}, codes: [][]int{{250, 250}, {503}}, never: "auth"},
		{name: "4: a second AUTH swaps the user", login: true, say: []string{"AUTH PLAIN " + plain("\x00ann\x00open sesame") + "\r\n", "AUTH PLAIN " + plain("\x00eve\x00open sesame") + "\r\n"}, codes: [][]int{{235}, {503}}, never: "eve"},
		{name: "5: a message of just the size that is announced", say: []string{"MAIL FROM:<> SIZE=1000\r\nRCPT TO:<b@example.test>\r\nDATA\r\n", long(499) + "\r\n" + long(497) + "\r\n.\r\n"}, codes: [][]int{{250, 250, 354}, {250}}},
		{name: "6: a bare LF reaches the message", say: []string{transaction + "DATA\r\n", "a\nb\r\n.\r\n"}, codes: [][]int{{250, 250, 354}, {550}}, closed: true, never: "data"},
		{name: "6: a bare CR reaches the message", say: []string{transaction + "DATA\r\n", "a\rb\r\n.\r\n"}, codes: [][]int{{250, 250, 354}, {550}}, closed: true, never: "data"},
		{name: "6: a dot and a bare CR vanish", say: []string{transaction + "DATA\r\n", "a\r\n.\rb\r\n.\r\n"}, codes: [][]int{{250, 250, 354}, {550}}, closed: true, never: "data"},
		{name: "6: CR CR LF dot CR LF hangs", say: []string{transaction + "DATA\r\n", "a\r\r\n.\r\n"}, codes: [][]int{{250, 250, 354}, {550}}, closed: true, never: "data"},
		{name: "6: dot CR CR LF hangs", say: []string{transaction + "DATA\r\n", "a\r\n.\r\r\n.\r\n"}, codes: [][]int{{250, 250, 354}, {550}}, closed: true, never: "data"},
		{name: "8: a long line of AUTH closes", login: true, say: []string{"AUTH PLAIN " + strings.Repeat("AAAA", 2000) + "\r\n", "NOOP\r\n"}, codes: [][]int{{501}, {250}}},
		{name: "9: a chunk with a wrong second word runs as commands", say: []string{"MAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\n", "BDAT 28 FIRST\r\nMAIL FROM:<evil@evil.test>\r\n"}, codes: [][]int{{250, 250}, {501}}, closed: true, never: "evil"},
		{name: "10: passwords are tried without end", login: true, say: []string{"AUTH PLAIN " + plain("\x00a\x001") + "\r\n", "AUTH PLAIN " + plain("\x00a\x002") + "\r\n", "AUTH PLAIN " + plain("\x00a\x003") + "\r\n"}, codes: [][]int{{535}, {535}, {535, 421}}, closed: true},
		{name: "13: a login for one account acts for another", login: true, say: []string{"AUTH PLAIN " + plain("boss\x00ann\x00open sesame") + "\r\n"}, codes: [][]int{{535}}, never: "auth"},
		{name: "14: a parameter overwrites the first", say: []string{"MAIL FROM:<> SIZE=1 SIZE=2\r\n"}, codes: refused, never: "mail"},
		{name: "14: a size beyond 32 bits is bad syntax", say: []string{"MAIL FROM:<> SIZE=99999999999\r\n"}, codes: [][]int{{552}}, never: "mail"},
	}
}

// TestTrapsOfSMTPLibraries: the numbers are those of our list of faults.
func TestTrapsOfSMTPLibraries(t *testing.T) {
	t.Parallel()
	for _, c := range traps() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := &desk{}
			p := c.reach(t, d)
			p.want(220)
			p.send("EHLO client\r\n")
			p.want(250)
			for i, said := range c.say {
				p.send(said)
				p.want(c.codes[i]...)
			}
			if c.closed {
				p.wantClosed()
			} else {
				p.send("QUIT\r\n") // it is still in step
				p.want(221)
			}
			heard := d.log()
			if !strings.Contains(heard, c.heard) || c.never != "" && strings.Contains(heard, c.never) {
				t.Errorf("the session heard:\n%s", heard)
			}
		})
	}
}

func (c trap) reach(t *testing.T, d *desk) *peer {
	t.Helper()
	if !c.login {
		return dial(t, started(t, d, chunking))
	}
	return over(t, tls.Client(dial(t, started(t, d, secured(t, d, ImplicitTLS))).conn, &tls.Config{InsecureSkipVerify: true}))
}

// Trap 1: what comes after a time-out inside a message ran as commands, and the
// reply told addresses.
func TestTrapTimeOutInsideTheMessage(t *testing.T) {
	t.Parallel()
	d := &desk{}
	bubbled(t, d, Limits{}, func(t *testing.T, _ *Server, dial func() *peer) {
		p := dial()
		inData(p)
		p.send("Subject: x\r\n")
		began := time.Now()
		if r := p.reply(); !strings.HasPrefix(r, "421 ") || strings.Contains(r, "tcp") || strings.Contains(r, "i/o") {
			t.Errorf("%q after %v", r, time.Since(began))
		}
		p.send("MAIL FROM:<evil@example.net>\r\n")
		p.wantClosed()
	})
	if strings.Contains(d.log(), "evil") || strings.Contains(d.log(), "data") {
		t.Error(d.log())
	}
}

// Trap 7: after a handshake that fails the dialogue went on in the clear, and what
// was sent ahead of it was kept.
func TestTrapFailedHandshake(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]string{"sent ahead": "STARTTLS\r\nNOOP\r\n", "no handshake": "STARTTLS\r\n"} {
		d := &desk{}
		p := dial(t, started(t, d, secured(t, d, STARTTLS)))
		p.want(220)
		p.send("EHLO x\r\n")
		p.want(250)
		p.send(ahead)
		if r := p.reply(); strings.HasPrefix(r, "220") == (name == "sent ahead") {
			t.Errorf("%s: %q", name, r)
		}
		p.send("MAIL FROM:<evil@example.net>\r\n")
		if r := p.reply(); strings.HasPrefix(r, "2") || strings.HasPrefix(r, "5") {
			t.Errorf("%s: %q in the clear", name, r)
		}
		if strings.Contains(d.log(), "evil") {
			t.Errorf("%s: %s", name, d.log())
		}
	}
}

// Trap 11: each line of a reply was a packet of its own.
func TestTrapRepliesInPieces(t *testing.T) {
	t.Parallel()
	bubbled(t, &desk{}, Limits{}, func(t *testing.T, _ *Server, dial func() *peer) {
		p := dial()
		p.want(220)
		for _, said := range []string{"EHLO client\r\n", "MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.test>\r\nRCPT TO:<no@example.test>\r\nDATA\r\n"} {
			p.send(said)
			got := make([]byte, 4096) // one read of an in-memory connection is one write
			n, err := p.conn.Read(got)
			if lines := strings.Count(string(got[:n]), "\r\n"); err != nil || lines < 4 {
				t.Errorf("%d lines at once: %q, %v", lines, got[:n], err)
			}
		}
		p.send(".\r\n")
		p.want(250)
	})
}

// Trap 14: an error of ours was told to the client as it was.
func TestTrapErrorsAreTold(t *testing.T) {
	t.Parallel()
	d := &desk{onData: func(_ context.Context, r io.Reader) *smtpline.Reply {
		_, err := io.ReadAll(r)
		reply := smtpline.Refuse(451, "4.3.0", "test", "local error, try again later")
		reply.Cause = errors.Join(err, &net.OpError{Op: "write", Net: "tcp", Err: errors.New("/var/lib/postern/spool: secret")})
		return reply
	}}
	p := dial(t, started(t, d, nil))
	inData(p)
	p.send("x\r\n.\r\n")
	if r := p.reply(); r != "451 4.3.0 local error, try again later\r\n" {
		t.Errorf("%q", r)
	}
}
