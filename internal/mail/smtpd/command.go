package smtpd

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"postern/internal/mail/smtpline"
)

// command carries out one command line and returns its reply; nil when it has
// been sent.
func (c *conn) command(ctx context.Context, line []byte) *smtpline.Reply {
	cmd, refusal := c.parse(line)
	if refusal != nil {
		return refusal
	}
	return c.dispatch(ctx, cmd)
}

// parse reads a command line and looks whether it may be said now.
func (c *conn) parse(line []byte) (smtpline.Command, *smtpline.Reply) {
	if c.commands++; c.commands > c.conf.Limits.Commands {
		c.srv.Counters.Limited.Inc()
		return smtpline.Command{}, tooManyCmds
	}
	cmd, refusal := smtpline.ParseCommand(line)
	c.doing = cmd
	if refusal != nil {
		return cmd, refusal
	}
	if r := c.outOfTurn(cmd.Verb); r != nil {
		c.srv.Counters.Pipelining.Inc()
		return cmd, r
	}
	if c.conf.RequireTLS && c.info.TLS == nil && !beforeTLS(cmd.Verb) {
		if cmd.Verb == smtpline.Bdat { // the octets behind it would be taken for commands
			return cmd, noChunks
		}
		return cmd, tlsFirst
	}
	return cmd, nil
}

func (c *conn) dispatch(ctx context.Context, cmd smtpline.Command) *smtpline.Reply {
	switch cmd.Verb {
	case smtpline.Ehlo, smtpline.Helo:
		return c.hello(ctx, cmd)
	case smtpline.StartTLS:
		return c.startTLS(ctx)
	case smtpline.Auth:
		return c.auth(ctx, cmd.Arg)
	case smtpline.Mail:
		return c.mail(ctx, cmd.Arg)
	case smtpline.Rcpt:
		return c.rcpt(ctx, cmd.Arg)
	case smtpline.Data:
		return c.data(ctx)
	case smtpline.Bdat:
		return c.bdat(ctx, cmd.Arg)
	case smtpline.Rset:
		c.endTransaction()
		return ok("forgotten")
	case smtpline.Noop:
		return ok("nothing done")
	case smtpline.Vrfy:
		return &smtpline.Reply{Code: 252, Enhanced: "2.5.0", Text: "send mail to find out"}
	case smtpline.Help:
		return &smtpline.Reply{Code: 214, Enhanced: "2.0.0", Text: "see RFC 5321"}
	case smtpline.Quit:
		return &smtpline.Reply{Code: 221, Enhanced: "2.0.0", Text: "bye", Close: true}
	case smtpline.XClientVerb:
		return c.xclient(ctx, cmd.Arg)
	case smtpline.HTTP:
		return notSMTP
	}
	return unknownCommand
}

// outOfTurn refuses input behind a command that must be the last of its group
// (RFC 2920, Section 3.1; RFC 3207, Section 4.2; RFC 4954, Section 4). What the
// client sent on it meant for another reader than us.
func (c *conn) outOfTurn(v smtpline.Verb) *smtpline.Reply {
	switch v {
	case smtpline.StartTLS:
		if c.pipe.ahead() {
			return injected
		}
	case smtpline.Helo, smtpline.Ehlo, smtpline.Data, smtpline.Auth, smtpline.XClientVerb:
		if c.pipe.ahead() {
			return pipelining
		}
	}
	return nil
}

// beforeTLS lists what RFC 3207, Section 4 still allows where TLS is required.
func beforeTLS(v smtpline.Verb) bool {
	switch v {
	case smtpline.Ehlo, smtpline.Helo, smtpline.StartTLS, smtpline.Noop, smtpline.Quit, smtpline.HTTP:
		return true
	}
	return false
}

// hello begins anew (RFC 5321, Section 4.1.4): a transaction is forgotten, the
// login is not.
func (c *conn) hello(ctx context.Context, cmd smtpline.Command) *smtpline.Reply {
	name, refusal := smtpline.ParseHelo(cmd.Arg)
	if refusal != nil {
		return refusal
	}
	c.endTransaction()
	c.sayHello(ctx, name, cmd.Verb == smtpline.Ehlo)
	text := c.conf.Hostname
	if c.info.ESMTP {
		text += "\nPIPELINING\nSIZE " + strconv.FormatInt(c.conf.MaxSize, 10) +
			"\n8BITMIME"
		if c.offers = c.offered(); c.offers.UTF8 {
			text += "\nSMTPUTF8"
		}
		text += "\nENHANCEDSTATUSCODES"
		if c.offers.RequireTLS {
			text += "\nREQUIRETLS"
		}
		if c.conf.DSN {
			text += "\nDSN"
		}
		if c.conf.Chunking {
			text += "\nCHUNKING"
		}
		if c.conf.Mode == STARTTLS && c.info.TLS == nil {
			text += "\nSTARTTLS"
		}
		if c.offersAuth() {
			text += "\nAUTH " + c.mechanisms()
		}
		if c.offersXClient() {
			text += "\nXCLIENT " + smtpline.XClientWords
		}
		text += "\nLIMITS " + c.limits() + "\nHELP"
	}
	return &smtpline.Reply{Code: 250, Text: text}
}

// offered asks what comes after us. REQUIRETLS is for TLS alone (RFC 8689,
// Section 4.1).
func (c *conn) offered() Offers {
	if c.conf.Offers == nil {
		return Offers{UTF8: true}
	}
	o := c.conf.Offers()
	o.RequireTLS = o.RequireTLS && c.info.TLS != nil
	return o
}

func (c *conn) sayHello(ctx context.Context, name string, esmtp bool) {
	c.info.Helo, c.info.ESMTP = name, esmtp
	if g, ok := c.session.(Greeter); ok {
		g.Hello(ctx, name)
	}
}

// limits announces what a client would else learn from refusals (RFC 9422,
// Section 4: numbers of at most six digits).
func (c *conn) limits() string {
	const most = 999_999
	return fmt.Sprintf("MAILMAX=%d RCPTMAX=%d", min(c.conf.Limits.Messages, most), min(c.conf.Limits.Recipients, most))
}

func (c *conn) extensions() smtpline.Extensions {
	if !c.info.ESMTP {
		return smtpline.Extensions{}
	}
	return smtpline.Extensions{Size: true, EightBit: true, UTF8: c.offers.UTF8, Auth: c.offersAuth(), DSN: c.conf.DSN, RequireTLS: c.offers.RequireTLS}
}

func (c *conn) mail(ctx context.Context, arg string) *smtpline.Reply {
	switch {
	case c.info.Helo == "":
		return helloFirst
	case c.inMail:
		return nestedMail
	case c.messages >= c.conf.Limits.Messages:
		c.srv.Counters.Limited.Inc()
		return tooManyMsgs
	}
	from, params, refusal := smtpline.ParseMail(arg, c.extensions())
	if refusal != nil {
		return refusal
	}
	if params.Size > c.conf.MaxSize {
		return largeMsg // RFC 1870, Section 6.1
	}
	if c.hasSentEnough(0) {
		c.srv.Counters.OverOctets.Inc()
		return overOctets
	}
	r := c.session.Mail(ctx, from, params)
	if !r.Positive() {
		return r
	}
	c.inMail, c.params = true, params
	return orElse(r, "2.1.0", "sender ok")
}

func (c *conn) rcpt(ctx context.Context, arg string) *smtpline.Reply {
	switch {
	case !c.inMail:
		return mailFirst
	case c.rcpts >= c.conf.Limits.Recipients:
		return tooManyRcpts
	}
	to, params, refusal := smtpline.ParseRcpt(arg, c.extensions(), c.params.UTF8)
	if refusal == nil {
		refusal = c.session.Rcpt(ctx, to, params)
	}
	if !refusal.Positive() {
		c.rcptsRefused++
		return c.countUnknown(refusal)
	}
	if c.rcpts++; c.messages == 0 && !c.named {
		c.named = true // once: recipients who exist are no reason to stay
		c.earn()
	}
	return orElse(refusal, "2.1.5", "recipient ok")
}

// countUnknown counts a recipient that does not exist: who tries many of them is
// after the names of those who do.
func (c *conn) countUnknown(r *smtpline.Reply) *smtpline.Reply {
	if r.Enhanced != "5.1.1" {
		return r
	}
	c.srv.Counters.UnknownRcpts.Inc()
	if !c.conf.guard.spend(c.info.Remote.Addr(), allowance{unknown: 1}, time.Now()) {
		return r
	}
	c.srv.Counters.OverUnknown.Inc()
	return tooManyUnknown
}

// hasSentEnough counts octets of a message, and reports whether address,
// network or account may send no more for a while.
func (c *conn) hasSentEnough(octets int64) bool {
	now := time.Now()
	over := c.conf.guard.spend(c.info.Remote.Addr(), allowance{octets: float64(octets)}, now)
	if c.info.User != "" && !c.conf.guard.charge(c.info.User, octets, now) {
		over = true
	}
	return over
}

// earn notes that something came of the connection.
func (c *conn) earn() {
	g := proven
	if c.info.User != "" {
		g = known
	}
	c.seat.earn(g, time.Now())
}

// orElse is the usual success where the session gave no reply of its own.
func orElse(r *smtpline.Reply, enhanced, text string) *smtpline.Reply {
	if r != nil {
		return r
	}
	return &smtpline.Reply{Code: 250, Enhanced: enhanced, Text: text}
}
