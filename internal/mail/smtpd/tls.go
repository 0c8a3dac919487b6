package smtpd

import (
	"context"
	"crypto/tls"

	"postern/internal/mail/smtpline"
)

// startTLS goes over to TLS (RFC 3207). What was said in the clear is
// forgotten; a handshake that fails ends the connection, since neither side can
// know what the other has understood.
func (c *conn) startTLS(ctx context.Context) *smtpline.Reply {
	switch {
	case c.info.TLS != nil:
		return tlsActive
	case c.conf.Mode != STARTTLS:
		return notImplemented
	}
	c.write(&smtpline.Reply{Code: 220, Enhanced: "2.0.0", Text: "go ahead"})
	if err := c.pipe.flush(); err != nil {
		c.broken = true
		return nil
	}
	c.endTransaction()
	c.info.Helo, c.info.ESMTP = "", false
	if !c.handshake(ctx) {
		c.broken = true
	}
	return nil
}

// handshake puts TLS between the socket and the pipe.
func (c *conn) handshake(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, c.conf.Limits.Handshake)
	defer cancel()
	if err := c.pipe.arm(c.conf.Limits.Handshake, true); err != nil {
		return false
	}
	raw := c.conf.Turns.Wrap(c.raw)
	defer raw.Done()
	t := tls.Server(raw, c.conf.TLS)
	if err := t.HandshakeContext(withShown(ctx, &c.shown)); err != nil {
		c.srv.Counters.TLSFailed.Inc()
		c.log.Info("no TLS", "reason", "tls-handshake", "err", err)
		return false
	}
	c.srv.Counters.TLS.Inc()
	state := t.ConnectionState()
	c.info.TLS, c.secure = &state, t
	c.pipe.use(t)
	return true
}
