package listen

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"

	"postern/internal/dns/listen/doh"
	"postern/internal/dns/listen/doq"
)

// alpn is what a client may ask for. One that asks for nothing gets in over
// TLS: RFC 7858 is older than its name.
var alpn = map[Transport]string{TLS: "dot", HTTPS: doh.ALPN, QUIC: doq.ALPN}

// setTLS puts c in force for the handshakes to come.
func (l *listener) setTLS(c *tls.Config) {
	if !l.spec.Transport.secure() {
		return
	}
	c = c.Clone()
	c.NextProtos = []string{alpn[l.spec.Transport]}
	l.tls.Store(c)
}

// shake makes the handshake; nil: there is no connection any more. Nothing is
// said to who does not speak TLS.
func (l *listener) shake(raw net.Conn) *tls.Conn {
	l.mu.Lock()
	l.shaking[raw] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.shaking, raw)
		l.mu.Unlock()
	}()
	select {
	case <-l.stopping: // stop may have looked before we were there
		_ = raw.Close()
		return nil
	default:
	}
	c := tls.Server(raw, l.tls.Load())
	_ = raw.SetDeadline(time.Now().Add(l.conns.limits.Handshake))
	// Bounded by the deadline; stop closes the connection below it.
	if err := c.Handshake(); err != nil {
		l.counters.TLSHandshakesFailed.Inc()
		_ = raw.Close()
		return nil
	}
	_ = raw.SetDeadline(time.Time{})
	return c
}

// serveHTTPS sees one connection through to its end.
func (l *listener) serveHTTPS(nc net.Conn) {
	below := doh.NewConn(nc)
	c := l.shake(below)
	if c == nil {
		return
	}
	if !l.doh.Hand(c) {
		_ = below.Close()
		return
	}
	<-below.Over()
}

func (l *listener) newDoH() *doh.Server {
	limits := l.conns.limits
	return doh.New(doh.Config{
		Answer: l.answers.answer, Messages: &l.counters.HTTPSMessages, Refused: &l.counters.HTTPSRefused,
		Streams: limits.InFlight, Idle: limits.Idle, Write: limits.Write,
	})
}

func (l *listener) bindQUIC(ctx context.Context, lc *net.ListenConfig) error {
	pc, err := lc.ListenPacket(ctx, l.spec.network(), l.spec.Addr.String())
	if err != nil {
		return err // wrapped by bindError
	}
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		return fmt.Errorf("socket is a %T", pc)
	}
	l.quic = conn
	limits := l.conns.limits
	l.doq, err = doq.New(doq.Config{
		Conn: conn, TLS: l.tls.Load, Answer: l.answers.answer, Admit: l.admitQUIC,
		Messages: &l.counters.QUICMessages, Refused: &l.counters.QUICRefused,
		Streams: limits.InFlight, Handshake: limits.Handshake, Idle: limits.Idle, Write: limits.Write,
	})
	return err // wrapped by bindError
}

func (l *listener) admitQUIC(client netip.AddrPort) (leave func()) {
	insider := l.answers.insider(client.Addr())
	if !l.conns.admit(client.Addr(), insider) {
		return nil
	}
	return func() { l.conns.leave(client.Addr(), insider) }
}

// stopSecure begins to stop what has a handshake.
func (l *listener) stopSecure(ctx context.Context) {
	l.cutHandshakes()
	if l.doh != nil {
		l.running.Go(func() { _ = l.doh.Stop(ctx) }) // who waits tells that ctx ended
	}
	if l.doq != nil {
		l.running.Go(func() { _ = l.doq.Stop(ctx) })
	}
}

func (l *listener) cutHandshakes() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.shaking {
		_ = c.Close()
	}
}

// closeSecure cuts off what is left. The servers ended with their context,
// but for one that was bound and never started.
func (l *listener) closeSecure() {
	l.cutHandshakes()
	if l.doq != nil {
		l.doq.Close()
	}
	if l.quic != nil {
		_ = l.quic.Close()
	}
}
