package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"postern/internal/mail/smtpline"
)

// conn is one connection; all but pipe.interrupt and raw.Close happens in its
// own goroutine.
type conn struct {
	srv     *Server
	conf    *settled
	raw     net.Conn
	pipe    *pipe
	info    Conn
	origin  netip.AddrPort // the client before any XCLIENT
	counted netip.Addr     // what the guard let in; invalid: nothing
	seat    seat
	log     *slog.Logger
	session Session

	secure       *tls.Conn        // nil in the clear
	shown        shown            // what the handshake showed
	doing        smtpline.Command // for the log
	inMail       bool             // a transaction has begun
	params       MailParams
	offers       Offers // at the last EHLO
	rcpts        int
	rcptsRefused int
	named        bool // a recipient who was taken, at any time

	commands  int // since the last accepted message
	messages  int
	errors    int
	authFails int
	broken    bool // nothing more can be said
}

func newConn(s *Server, conf *settled, raw net.Conn, info Conn) *conn {
	end := time.Now().Add(conf.Limits.SessionTime)
	p := newPipe(raw, end, conf.Limits.Write)
	info.end, info.Recipients = p.interrupt, conf.Limits.Recipients
	return &conn{srv: s, conf: conf, raw: raw, info: info, origin: info.Remote, session: nothing{}, pipe: p}
}

// serve runs the dialogue until one side ends it.
func (c *conn) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.log = c.conf.logger(&c.info)
	if c.conf.Proxy && !c.hearProxy() {
		return
	}
	if c.conf.Mode == ImplicitTLS && !c.handshake(ctx) {
		return
	}
	defer func() { c.session.Close() }() // XCLIENT may have changed it
	if !c.greet(ctx) {
		return
	}
	for !c.broken {
		line, err := c.pipe.line(c.conf.Limits.Command, false)
		if err != nil {
			c.hangUp(err)
			return
		}
		if !c.answer(c.command(ctx, line)) {
			return
		}
	}
}

// part sends what is still to be said, and under TLS that this was all. The
// client may be gone, so errors mean nothing any more.
func (c *conn) part() {
	_ = c.pipe.flush()
	if c.secure != nil {
		_ = c.secure.SetWriteDeadline(time.Now().Add(time.Second))
		_ = c.secure.CloseWrite()
	}
}

// greet makes the session and sends the greeting, after the silence that is
// asked for. A client that talks first is not one that speaks SMTP, or one
// that does not listen.
func (c *conn) greet(ctx context.Context) bool {
	if refusal := c.openSession(ctx); refusal != nil {
		c.answer(refusal)
		return false
	}
	wait := c.conf.Limits.GreetWait
	if c.conf.guard.isExempt(c.info.Remote.Addr()) {
		wait = 0
	}
	quiet, err := c.pipe.silent(wait)
	switch {
	case err != nil:
		c.hangUp(err)
	case !quiet:
		c.srv.Counters.EarlyTalkers.Inc()
		c.answer(earlyTalker)
	default:
		c.write(&smtpline.Reply{Code: 220, Text: c.banner()})
		return true
	}
	return false
}

// banner says who we are and nothing of what we run.
func (c *conn) banner() string { return c.conf.Hostname + " ESMTP" }

// openSession makes a session for the client as it is known, or says why not.
func (c *conn) openSession(ctx context.Context) *smtpline.Reply {
	session, refusal := c.conf.NewSession(ctx, &c.info)
	if refusal != nil {
		c.srv.Counters.RefusedClient.Inc()
		closed := *refusal
		closed.Close = true
		return &closed
	}
	c.session = session
	return nil
}

// hangUp ends the connection over an error of reading, with a last word where
// one can still be said.
func (c *conn) hangUp(err error) {
	var r *smtpline.Reply
	var timeout net.Error
	switch {
	case errors.Is(err, errBareLine):
		c.srv.Counters.BadFraming.Inc()
		r = bareLine
	case errors.Is(err, errLongLine):
		r = longCommand
	case errors.Is(err, errEnded):
		r = c.pipe.lastWord()
	case errors.Is(err, errOverTime):
		c.srv.Counters.TimedOut.Inc()
		r = overTime
	case errors.As(err, &timeout) && timeout.Timeout():
		c.srv.Counters.TimedOut.Inc()
		r = timedOut
	default: // io.EOF, a reset, an expired write
		c.log.Debug("connection lost", "err", err)
		return
	}
	c.answer(r)
}

// write puts a reply into the gathering buffer.
func (c *conn) write(r *smtpline.Reply) {
	if c.pipe.write(r) != nil {
		c.broken = true
	}
}

// answer sends a command's reply, counts it, and reports whether the dialogue
// goes on. A nil reply has been sent already.
func (c *conn) answer(r *smtpline.Reply) bool {
	if r == nil || c.broken {
		return !c.broken
	}
	c.write(r)
	if r.Code >= 400 {
		c.srv.Counters.CommandsRefused.Inc()
		c.logRefusal(r)
	}
	if r.Permanent() && c.blame() && !r.Close {
		c.srv.Counters.Limited.Inc()
		r = tooManyErrs
		c.write(r)
	}
	if !r.Close {
		return true
	}
	c.part()
	if r.Code >= 400 && r != shutdown && r != timedOut && r != overTime && r != slowData && r != crowded {
		c.linger() // the client may be in the middle of sending
	}
	c.broken = true
	return false
}

// logRefusal is one line an operator can act on.
func (c *conn) logRefusal(r *smtpline.Reply) {
	attrs := []any{"command", c.told(), "reason", r.Reason, "reply", r.String()}
	if r.Cause != nil {
		attrs = append(attrs, "err", r.Cause)
	}
	c.log.Info("refused", attrs...)
}

// told is the command for the log, with its argument only where that is an
// address: never what belongs to a login.
func (c *conn) told() string {
	if c.doing.Verb != smtpline.Mail && c.doing.Verb != smtpline.Rcpt {
		return c.doing.Verb.String()
	}
	return c.doing.Verb.String() + " " + c.doing.Arg[:min(len(c.doing.Arg), 320)]
}

// blame counts a refusal against the connection and its address, and reports
// whether it was one too many.
func (c *conn) blame() bool {
	c.errors++
	over := c.conf.guard.spend(c.info.Remote.Addr(), allowance{errors: 1}, time.Now())
	return over || c.errors >= c.conf.Limits.Errors
}

// linger reads for a moment what the client was still sending: closing over
// unread input makes the kernel throw away our last reply.
func (c *conn) linger() {
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if c.raw.SetReadDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = io.CopyN(io.Discard, c.raw, 1<<18) // only to empty the socket
	}
}

func (c *conn) endTransaction() {
	if c.inMail {
		c.session.Reset()
	}
	c.inMail, c.params, c.rcpts, c.rcptsRefused = false, MailParams{}, 0, 0
}
