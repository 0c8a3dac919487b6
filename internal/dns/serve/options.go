package serve

import (
	"net/netip"
	"time"

	"postern/internal/dns/answer"
	"postern/internal/dns/gate"
	"postern/internal/dns/listen"
	"postern/internal/dns/wire"
)

// padBlock is what replies are padded to where nobody on the way can read
// them (RFC 8467, Section 4.1).
const padBlock = 468

// options fills o for the reply to a query with EDNS and says what the
// client's cookie proves.
func (s *Server) options(o *wire.Options, r *listen.Request, q *wire.Query) gate.Standing {
	o.Limit, o.NSID, o.EDE, o.HasCookie = q.Limit(r.Transport == listen.UDP), s.config.NSID, 0, false
	o.Alive, o.Block, o.HasExpire = 0, 0, false
	if r.Transport != listen.UDP {
		if framed(r.Transport) {
			o.Alive = s.alive
		}
		if encrypted(r.Transport) {
			o.Block = padBlock
		}
	}
	if sent := q.Cookie(); sent != nil && s.config.Cookies != nil {
		now := s.at(r).Unix()
		if secrets := s.config.Cookies(now); secrets != nil {
			return s.bake(secrets, o, r.Client.Addr(), sent, uint32(now))
		}
	}
	return gate.NoCookie
}

// bake weighs the cookie and puts into o the one that goes back: the same
// while it is good, else a new one (RFC 7873, Section 5.2).
func (s *Server) bake(secrets *gate.Secrets, o *wire.Options, client netip.Addr, sent []byte, now uint32) gate.Standing {
	standing := secrets.Check(sent, client, now)
	if standing.Proven() {
		s.Counters.CookieValid.Inc()
	} else {
		s.Counters.CookieUnproven.Inc()
	}
	if o.HasCookie = true; standing == gate.Valid {
		copy(o.Cookie[:], sent)
	} else {
		secrets.Make(&o.Cookie, sent, client, now)
	}
	return standing
}

func (s *Server) now() time.Time {
	if s.config.Now != nil {
		return s.config.Now()
	}
	return time.Now()
}

// at is when the request came.
func (s *Server) at(r *listen.Request) time.Time {
	if s.config.Now == nil && !r.At.IsZero() {
		return r.At
	}
	return s.now()
}

// encrypted reports whether nobody on the way reads what is sent by t: only
// there is padding of use, and allowed (RFC 7830, Section 6).
func encrypted(t listen.Transport) bool { return t != listen.UDP && t != listen.TCP }

// framed reports whether messages come one after the other on a connection
// whose idle time is ours to tell: not with HTTP, and never with QUIC (RFC
// 9250, Section 5.5.2).
func framed(t listen.Transport) bool { return t == listen.TCP || t.String() == "tls" }

// sort says what the answer is counted as: what any number of names can be
// made to give is counted by its zone.
func sort(q *wire.Query, res *answer.Result) (gate.Kind, []byte) {
	kind := gate.Answer
	switch {
	case res.Kind == answer.NXDomain:
		kind = gate.Denial
	case res.Kind == answer.Referral:
		kind = gate.Referral
	case res.Wild || res.DNAME:
		kind = gate.Made
	}
	if kind == gate.Answer {
		return kind, q.Wire()
	}
	return kind, res.Zone.OriginWire()
}

// rule counts a reply against the client's prefix.
func (h *handler) rule(kind gate.Kind, of []byte) gate.Ruling {
	return h.RRL.Rule(h.client, kind, of, h.came.Sub(h.born))
}

// slip says as little as leads a real client on: the way to TCP, or, to one
// that knows of cookies, a cookie that spares it the limit (RFC 7873, Section
// 5.2.3). Half of the time it says nothing.
func (h *handler) slip(q *wire.Query, dst []byte, ruling gate.Ruling) []byte {
	if ruling == gate.Drop {
		return nil
	}
	h.opts.NSID, h.opts.EDE = "", 0
	if q.EDNS && h.opts.HasCookie {
		h.Counters.BadCookie.Inc()
		h.Counters.Rcodes[wire.BadCookie].Inc()
		return q.Error(dst, 0, wire.BadCookie, &h.opts)
	}
	h.Counters.Rcodes[wire.NoError].Inc()
	h.Counters.Truncated.Inc()
	return q.Error(dst, wire.TC, wire.NoError, &h.opts)
}
