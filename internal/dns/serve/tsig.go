package serve

import (
	"encoding/binary"
	"log/slog"
	"net/netip"

	"github.com/miekg/dns"

	"postern/internal/dns/gate"
	"postern/internal/dns/listen"
	"postern/internal/dns/tsig"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
)

// logPause is how long, in seconds, refused signatures stay out of the log
// after one of them: anybody can send as many as they like.
const logPause = 60

// signed answers a request with a TSIG record. A key that a view names decides
// the view, before listener and address (VIEWS); any other good key leaves that
// to them. A bad one gets its error and nothing else: nobody who tried to sign
// is answered as if he had not (RFC 8945, Section 5.2).
func (h *handler) signed(r *listen.Request, q *wire.Query, dst []byte, table *view.Table, sel *view.Selected) []byte {
	v := h.verify(q)
	switch v.Standing {
	case tsig.Malformed:
		h.Counters.Rcodes[wire.FormErrCode].Inc()
		return q.Malformed(dst)
	case tsig.Good:
		home := sel
		if keyed := table.Keyed(v.Key); keyed != nil {
			sel = keyed
		}
		return h.proven(r, q, dst, v, h.polled(r, q, table, sel, v.Key), home)
	}
	return h.unproven(r, q, dst, v, sel)
}

// forged answers nobody whose address belongs to a view that the listener does
// not serve, whatever he sent: the reply would go to somebody else. But a key
// that a view names goes before listener and address alike, and so does that of
// a peer that asks for its zone.
func (h *handler) forged(r *listen.Request, dst []byte, table *view.Table) []byte {
	q := &h.query
	read := q.Parse(r.Msg)
	if read == wire.Other && q.Opcode() == dns.OpcodeNotify && h.signedNotice(q) {
		return h.notify(r, q, dst, table, nil) // a primary's key
	}
	if read == wire.Other && q.Opcode() == dns.OpcodeUpdate {
		return h.update(r, q, dst, table, nil, true)
	}
	if (read == wire.OK || read == wire.CookieOnly) && q.TSIG != 0 {
		if v := h.verify(q); v.Standing == tsig.Good {
			sel := h.polled(r, q, table, table.Keyed(v.Key), v.Key)
			if sel != nil || h.grants(r, q, v.Key) {
				return h.proven(r, q, dst, v, sel, nil)
			}
		}
	}
	h.Counters.Forged.Inc()
	return nil
}

func (h *handler) verify(q *wire.Query) *tsig.Verdict {
	v := h.keys().Verify(q.Msg, q.TSIG, h.now())
	q.Tail = v.Reserve()
	return &v
}

// keys may be nil: none is known.
func (s *Server) keys() *tsig.Keys {
	if s.config.Keys == nil {
		return nil
	}
	return s.config.Keys()
}

// proven answers a client that has shown its key, from the view sel. The key
// says who made the request, not where it came from: whoever has seen one can
// send it again, from any address, as long as its time is good (RFC 8945,
// Section 10.2). So it counts against the rate like any other of its address,
// whose own view is home.
func (h *handler) proven(r *listen.Request, q *wire.Query, dst []byte, v *tsig.Verdict, sel, home *view.Selected) []byte {
	h.Counters.TSIGGood.Inc()
	h.signer = v
	// Also when the answer panics: the next request may not be signed.
	defer func() { h.signer = nil }()
	h.weigh(r, q, home)
	return h.sign(v, q, h.ask(r, q, dst, sel), &h.opts)
}

// unproven says what is wrong with the signature, as often as the client's
// prefix may be told anything.
func (h *handler) unproven(r *listen.Request, q *wire.Query, dst []byte, v *tsig.Verdict, sel *view.Selected) []byte {
	switch v.Standing {
	case tsig.BadKey:
		h.Counters.TSIGBadKey.Inc()
	case tsig.BadSig:
		h.Counters.TSIGBadSig.Inc()
	case tsig.BadTime:
		h.Counters.TSIGBadTime.Inc()
	case tsig.BadTrunc:
		h.Counters.TSIGBadTrunc.Inc()
	}
	h.logRefused(v, r.Client)
	h.weigh(r, q, sel)
	if h.bounded && h.rule(gate.Error, nil) != gate.Pass {
		return nil
	}
	h.Counters.Rcodes[wire.NotAuth].Inc()
	return v.Sign(q.Error(dst, 0, wire.NotAuth, &h.opts), h.now())
}

func (s *Server) logRefused(v *tsig.Verdict, client netip.AddrPort) {
	now, until := s.now().Unix(), s.quiet.Load()
	if now < until || !s.quiet.CompareAndSwap(until, now+logPause) {
		return
	}
	s.config.Log.Warn("signature refused", slog.String("reason", v.Standing.String()),
		slog.String("key", v.Key.String()), slog.String("client", client.Addr().String()))
}

// sign ends a reply, if there is one, with its TSIG record, for which it has
// kept the room.
func (s *Server) sign(v *tsig.Verdict, q *wire.Query, reply []byte, o *wire.Options) []byte {
	if len(reply) == 0 {
		return reply
	}
	// RFC 8945, Section 5.3: of a reply that is too long the question is left,
	// and NOERROR.
	if flags := binary.BigEndian.Uint16(reply[2:]); flags&wire.TC != 0 {
		reply = q.Error(reply[:0], flags&(wire.TC|wire.AA|wire.RA), wire.NoError, o)
	}
	return v.Sign(reply, s.now())
}
