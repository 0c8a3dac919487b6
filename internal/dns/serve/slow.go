package serve

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/gate"
	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/resolver"
	"postern/internal/dns/tsig"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
)

// later hands the question to the resolver, in a goroutine of its own, and
// leaves no reply for now. flags go into the reply besides RA. Where too many
// are there already the client is told at once: SERVFAIL, so that it tries
// its next server instead of waiting.
func (h *handler) later(r *listen.Request, q *wire.Query, dst []byte, sel *view.Selected, flags uint16) []byte {
	if h.bounded { // a signed request, that anybody may have sent again
		if ruling := h.rule(gate.Answer, q.Wire()); ruling != gate.Pass {
			return h.slip(q, dst, ruling)
		}
	}
	select {
	case h.slots <- struct{}{}:
	default:
		h.Counters.Refused.Inc()
		return h.fail(q, dst, wire.RA, wire.ServFail, 0)
	}
	ask := resolver.Question{Name: name.Name(strings.Clone(string(q.Name()))), Type: q.Type, Class: q.Class, View: sel.Name}
	p := r.Keep()
	s, signer := h.Server, h.signer
	if !s.workers.Go("question", func(ctx context.Context) { s.slow(ctx, p, ask, flags, signer) }) {
		<-h.slots
		p.Reply(nil) // stopping
		return nil
	}
	h.Counters.Slow.Inc()
	h.view.Recursive.Inc()
	return nil
}

// slow asks the resolver and replies; signer is nil where nothing is signed.
func (s *Server) slow(ctx context.Context, p *listen.Pending, ask resolver.Question, flags uint16, signer *tsig.Verdict) {
	var reply []byte
	defer func() {
		if cause := recover(); cause != nil {
			s.Counters.Panics.Inc()
			s.config.Log.Error("question failed", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
			reply = nil
		}
		p.Reply(reply)
		<-s.slots
	}()
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	msg, err := s.config.Resolver.Resolve(ctx, ask)

	q, ok := s.queries.Get().(*wire.Query)
	if !ok {
		q = new(wire.Query)
	}
	defer s.queries.Put(q)
	if q.Parse(p.Msg) != wire.OK {
		return // cannot be: it was parsed before
	}
	if signer != nil {
		q.Tail = signer.Reserve()
	}
	var o wire.Options
	if q.EDNS {
		s.options(&o, &p.Request, q)
	}
	reply = s.resolved(q, msg, err, flags|wire.RA, p.Transport == listen.UDP, &o)
	if signer != nil {
		reply = s.sign(signer, q, reply, &o)
	}
}

// resolved turns what the resolver said into a reply. AD stays clear: nothing
// is validated yet.
func (s *Server) resolved(q *wire.Query, msg *dns.Msg, err error, flags uint16, udp bool, o *wire.Options) []byte {
	if err != nil {
		rcode := wire.ServFail
		var failure *resolver.Failure
		if errors.As(err, &failure) && failure.Rcode > 0 && failure.Rcode < maxRcode {
			rcode, o.EDE = failure.Rcode, wire.EDE(failure.EDE)
		} else if errors.Is(err, context.DeadlineExceeded) {
			o.EDE = wire.NoReachable
		}
		return s.bare(q, wire.RA, rcode, o)
	}
	reply, counts, ok := pack(q, msg)
	if !ok || msg.Rcode < 0 || msg.Rcode >= maxRcode {
		return s.bare(q, wire.RA, wire.ServFail, o)
	}
	if len(reply) > q.Limit(udp)-q.Reserve(o) {
		if !udp {
			s.Counters.Oversize.Inc()
			return s.bare(q, wire.RA, wire.ServFail, o)
		}
		s.Counters.Truncated.Inc()
		reply, counts, flags = reply[:q.End], wire.Counts{Question: 1}, flags|wire.TC
	}
	s.Counters.Rcodes[msg.Rcode].Inc()
	return q.Finish(reply, flags, msg.Rcode, counts, o)
}

func (s *Server) bare(q *wire.Query, flags uint16, rcode int, o *wire.Options) []byte {
	s.Counters.Rcodes[rcode].Inc()
	return q.Error(nil, flags, rcode, o)
}

// pack returns question, answer and authority of msg as a reply to q, with
// the client's own question.
func pack(q *wire.Query, msg *dns.Msg) ([]byte, wire.Counts, bool) {
	qname, _, err := dns.UnpackDomainName(q.Msg, wire.HeaderLen)
	if err != nil {
		return nil, wire.Counts{}, false
	}
	m := &dns.Msg{
		Compress: true,
		Question: []dns.Question{{Name: qname, Qtype: q.Type, Qclass: q.Class}},
		Answer:   msg.Answer,
		Ns:       msg.Ns,
	}
	b, err := m.Pack()
	if err != nil || len(b) < q.End {
		return nil, wire.Counts{}, false
	}
	copy(b, q.Msg[:q.End])
	return b, wire.Counts{Question: 1, Answer: uint16(len(msg.Answer)), Authority: uint16(len(msg.Ns))}, true
}

// nextName returns the name a chain left our zones with.
func nextName(reply []byte, res *answer.Result) name.Name {
	n, _, err := name.FromWire(reply, res.Next)
	if err != nil {
		return name.Root // cannot be: the answer wrote it
	}
	return n
}
