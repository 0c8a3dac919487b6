package serve

import (
	"context"
	"crypto/tls"
	"log/slog"
	"runtime/debug"

	"github.com/miekg/dns"

	"postern/internal/dns/gate"
	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
	"postern/internal/dns/xfr"
)

func isTransfer(q *wire.Query) bool { return q.Type == dns.TypeAXFR || q.Type == dns.TypeIXFR }

// asker is who a peer would be that asks; key is what was proven, if anything.
func (h *handler) asker(r *listen.Request, key name.Name) xfr.Asker {
	a := xfr.Asker{Key: key, From: r.Client.Addr()}
	if r.TLS == nil {
		a.Loose = r.Transport == listen.TLS
		return a
	}
	// RFC 9103, Sections 7.1 and 7.2. Questions are not so strict: RFC 7858 is
	// older than both.
	a.TLS = r.TLS.NegotiatedProtocol == "dot" && r.TLS.Version >= tls.VersionTLS13
	a.Loose = !a.TLS
	if h.within != r.TLS {
		h.within, h.shown = r.TLS, xfr.Shown{Chain: r.TLS.PeerCertificates, Now: h.now}
	}
	if len(h.shown.Chain) > 0 {
		a.Shown = &h.shown
	}
	return a
}

// grants reports whether the request is for a zone that its key lets it have.
func (h *handler) grants(r *listen.Request, q *wire.Query, key name.Name) bool {
	if !isTransfer(q) {
		return false
	}
	_, ok := h.config.Transfers.Grant(q.Name(), h.asker(r, key))
	return ok
}

// polled returns the view that answers a secondary which asks for the SOA of its
// zone: that of its transfers, or it would compare serials that have nothing to
// do with each other. Everybody else stays in sel.
func (h *handler) polled(r *listen.Request, q *wire.Query, table *view.Table, sel *view.Selected, key name.Name) *view.Selected {
	if q.Type != dns.TypeSOA || h.config.Transfers == nil {
		return sel
	}
	who := h.asker(r, key)
	who.Polls = true // the SOA is no secret: also a peer of TLS asks for it by UDP
	g, ok := h.config.Transfers.Grant(q.Name(), who)
	if !ok {
		return sel
	}
	if of := table.ForPeers(g.View); of != nil && of.Has(g.Zone) {
		return of
	}
	return sel
}

// transfer answers AXFR and IXFR. Who is no secondary of the zone hears the
// same whether there is such a zone or not. IXFR by UDP is one message (RFC
// 1995, Section 2); AXFR by UDP is not defined (RFC 5936, Section 4.2); HTTPS
// and QUIC are not for servers.
func (h *handler) transfer(r *listen.Request, q *wire.Query, dst []byte) []byte {
	out := h.config.Transfers
	var key name.Name
	if h.signer != nil {
		key = h.signer.Key
	}
	who := h.asker(r, key)
	g, ok := out.Grant(q.Name(), who)
	udp := r.Transport == listen.UDP
	switch {
	case !ok || !udp && !framed(r.Transport):
		if out != nil {
			out.Counters.Refused.Inc()
			h.doubt(q.Name(), r, who)
		}
		return h.fail(q, dst, 0, wire.Refused, 0)
	case udp && q.Type == dns.TypeAXFR:
		return h.fail(q, dst, 0, wire.FormErrCode, 0)
	}
	if h.bounded { // by UDP the address may be somebody else's
		if ruling := h.rule(gate.Answer, q.Wire()); ruling != gate.Pass {
			return h.slip(q, dst, ruling)
		}
	}
	end, ok := out.Begin(g)
	if !ok {
		return h.fail(q, dst, 0, wire.ServFail, 0)
	}
	p := r.Keep()
	s, signer := h.Server, h.signer
	if !s.workers.Go("transfer", func(ctx context.Context) { s.send(ctx, p, g, signer, end) }) {
		end()
		p.Reply(nil) // stopping
	}
	return nil
}

// doubt tells the operator, and only him, of a peer that is refused for how it
// came: it hears what strangers hear.
func (h *handler) doubt(zone name.Name, r *listen.Request, who xfr.Asker) {
	d, peer := h.config.Transfers.Doubt(zone, who)
	if d == xfr.None || d == xfr.Stranger {
		return
	}
	h.config.Transfers.Counters.Insecure.Inc()
	now, until := h.now().Unix(), h.wary[d].Load()
	if now < until || !h.wary[d].CompareAndSwap(until, now+logPause) {
		return
	}
	h.config.Log.Warn("transfer refused", slog.String("reason", d.String()), slog.String("zone", zone.String()),
		slog.String("peer", peer.Name), slog.String("client", r.Client.Addr().String()), slog.String("transport", r.Transport.String()))
}

// send makes a transfer and sends it; signer is nil where nothing is signed.
func (s *Server) send(ctx context.Context, p *listen.Pending, g xfr.Grant, signer *tsig.Verdict, end func()) {
	var reply []byte
	defer func() {
		if cause := recover(); cause != nil {
			s.Counters.Panics.Inc()
			s.config.Log.Error("transfer failed", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
			reply = nil
			p.Break()
		}
		end()
		p.Reply(reply)
	}()
	q := new(wire.Query)
	if q.Parse(p.Msg) != wire.OK {
		return // cannot be: it was parsed before
	}
	sign := func(msg []byte) []byte { return msg }
	if signer != nil {
		q.Tail = signer.Reserve()
		stream := signer.Stream()
		sign = func(msg []byte) []byte { return stream.Sign(msg, s.now()) }
	}
	var o wire.Options
	if q.EDNS {
		s.options(&o, &p.Request, q)
		o.Expire, o.HasExpire = s.config.Transfers.Expire(g.Zone, g.View)
	}
	var rcode int
	if p.Transport == listen.UDP {
		reply, rcode = s.config.Transfers.Datagram(q, &o, g)
	} else {
		var err error
		rcode, err = s.config.Transfers.Transfer(ctx, q, &o, g, func(msg []byte) error { return p.Send(ctx, sign(msg)) })
		if err != nil {
			p.Break() // said and logged where it happened; nothing can follow
			return
		}
	}
	s.Counters.Rcodes[rcode].Inc()
	if rcode != wire.NoError {
		reply = q.Error(nil, 0, rcode, &o)
	}
	if len(reply) > 0 {
		reply = sign(reply)
	}
}
