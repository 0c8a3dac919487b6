package smtpd

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/smtpline"
)

// enter asks whether a client of this address may come in, and counts it.
func (c *conn) enter(a netip.Addr) *smtpline.Reply {
	n := &c.srv.Counters
	if len(c.conf.Clients) > 0 && !within(c.conf.Clients, a) {
		n.RefusedClient.Inc()
		return notAClient
	}
	switch c.conf.guard.enter(a, time.Now()) {
	case busyAddr:
		n.RefusedPerAddr.Inc()
		return tooMany
	case busyNetwork:
		n.RefusedNetwork.Inc()
		return tooManyNear
	case busyCrowd:
		n.RefusedCrowd.Inc()
		return tooBusy
	case tooFast:
		n.RefusedRate.Inc()
		return tooMany
	case tooFastNetwork:
		n.RefusedNetRate.Inc()
		return tooManyNear
	}
	n.Connections.Inc()
	c.counted = a
	c.seat.take(a, c.conf.guard.isExempt(a), time.Now())
	return nil
}

// moveTo counts the connection as one of another address.
func (c *conn) moveTo(a netip.Addr) *smtpline.Reply {
	if c.counted.IsValid() {
		c.conf.guard.leave(c.counted)
		c.counted = netip.Addr{}
	}
	return c.enter(a)
}

// leave gives back all places that the connection has. It is called once.
func (c *conn) leave() {
	c.signOut()
	if c.counted.IsValid() {
		c.conf.guard.leave(c.counted)
	}
	c.conf.guard.release()
}

// hearProxy reads the PROXY block that must come first, and lets its client in.
// A proxy that speaks for itself is counted as nobody: it looks now and then
// whether we are well.
func (c *conn) hearProxy() bool {
	if err := c.pipe.arm(c.conf.Limits.Proxy, true); err != nil {
		return false
	}
	p, err := readProxy(c.raw)
	switch {
	case err != nil:
		c.srv.Counters.RefusedProxy.Inc()
		if !errors.Is(err, io.EOF) { // it looked whether the port is open
			c.log.Warn("no PROXY block", "reason", "proxy", "err", err)
		}
		return false
	case p.local:
		c.srv.Counters.ProxyChecks.Inc()
		return true
	}
	c.srv.Counters.Proxied.Inc()
	c.info.Proxy, c.info.Remote, c.info.Local = c.info.Remote, p.from, p.to
	c.origin = p.from
	c.log = c.conf.logger(&c.info)
	if r := c.enter(p.from.Addr()); r != nil {
		if c.conf.Mode != ImplicitTLS {
			c.answer(r)
		}
		return false
	}
	return true
}

// nothing is the session before there is one.
type nothing struct{}

func (nothing) Mail(context.Context, address.Address, MailParams) *smtpline.Reply { return internal }
func (nothing) Rcpt(context.Context, address.Address, RcptParams) *smtpline.Reply { return internal }
func (nothing) Data(context.Context, io.Reader) *smtpline.Reply                   { return internal }
func (nothing) Reset()                                                            {}
func (nothing) Close()                                                            {}
