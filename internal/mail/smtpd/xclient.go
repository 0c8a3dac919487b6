package smtpd

import (
	"context"
	"time"

	"postern/internal/mail/smtpline"
)

// xclient lets a trusted client say whose mail it brings (Postfix's
// XCLIENT_README). All that was said before is forgotten, the login too, and
// the session begins anew, from the address given. It can only be another
// stranger's: the engine offers this to nobody but those that XClient names,
// asks for it the address that the client really came from, and gives no login.
func (c *conn) xclient(ctx context.Context, arg string) *smtpline.Reply {
	switch {
	case !c.offersXClient():
		c.srv.Counters.XClientRefused.Inc()
		return noXClient
	case c.inMail:
		return xclientInMail
	}
	x, refusal := smtpline.ParseXClient(arg)
	if refusal != nil {
		return refusal
	}
	c.session.Close()
	c.session = nothing{}
	c.forget()
	if x.Addr.IsValid() {
		c.info.Remote = x.AddrPort()
	}
	if r := c.moveTo(c.info.Remote.Addr()); r != nil {
		return r
	}
	c.log = c.conf.logger(&c.info)
	c.srv.Counters.XClient.Inc()
	if r := c.openSession(ctx); r != nil {
		return r
	}
	if x.Helo != "" {
		c.sayHello(ctx, x.Helo, x.ESMTP)
	}
	return &smtpline.Reply{Code: 220, Text: c.banner()}
}

// offersXClient goes by where the client connected from, or what a PROXY block
// said: not by what an earlier XCLIENT did.
func (c *conn) offersXClient() bool { return within(c.conf.XClient, c.origin.Addr()) }

// forget is what was said.
func (c *conn) forget() {
	c.endTransaction()
	c.info.Helo, c.info.ESMTP, c.offers = "", false, Offers{UTF8: c.offered().UTF8}
	c.signOut()
}

func (c *conn) signOut() {
	if c.info.User != "" {
		c.conf.guard.logout(c.info.User, time.Now())
		c.info.User = ""
	}
}

var (
	noXClient     = smtpline.Refuse(550, "5.7.0", "xclient", "XCLIENT is not for you")
	xclientInMail = smtpline.Refuse(503, "5.5.1", "sequence", "XCLIENT is not allowed inside a transaction")
)
