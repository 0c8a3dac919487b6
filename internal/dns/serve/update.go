package serve

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/authority"
	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/update"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
)

// Updates carries out what a key has proven (authority.Authority).
type Updates interface {
	Update(ctx context.Context, u authority.Update) authority.Outcome
}

const (
	// maxUpdates bounds the updates that are under way; the rest gets SERVFAIL.
	maxUpdates = 200
	// updateTimeout is how long a client waits for the owner of its zone.
	updateTimeout = 10 * time.Second
)

// Reason words of updates that do not come as far as their zone.
const (
	reasonReplayed = "update-replayed" // the same message again, or an old one; nothing is done twice
	reasonRate     = "update-rate"     // SERVFAIL: the key sends more than Config.UpdateRate
	reasonMany     = "update-busy"     // SERVFAIL: maxUpdates
)

// update answers an UPDATE (RFC 2136). Only a key is believed, and what it may
// do its rules say: who signs nothing is refused, whatever he asks for (RFC
// 3007, Section 3). Nothing but the outline is read before the signature is
// proven. home is the view of the client's address, nil for a forged one: its
// owner hears nothing that he did not ask for.
func (h *handler) update(r *listen.Request, q *wire.Query, dst []byte, table *view.Table, home *view.Selected, forged bool) []byte {
	o, ok := update.Read(r.Msg)
	switch {
	case forged && (!ok || o.TSIG == 0):
		h.Counters.Forged.Inc()
		return nil
	case !ok:
		h.Counters.Rcodes[wire.FormErrCode].Inc()
		return q.Malformed(dst)
	}
	q.End, q.EDNS, q.Version, q.Size = o.ZoneEnd, o.EDNS, o.Version, o.Size
	h.weigh(r, q, home)
	switch {
	case q.Version > 0:
		return h.fail(q, dst, 0, wire.BadVers, 0)
	case o.TSIG == 0 || h.config.Updates == nil || r.Transport != listen.UDP && !framed(r.Transport):
		h.Counters.UpdatesUnsigned.Inc()
		return h.fail(q, dst, 0, wire.Refused, 0)
	}
	q.TSIG = o.TSIG
	v := h.verify(q)
	switch {
	case forged && v.Standing != tsig.Good:
		h.Counters.Forged.Inc()
		return nil
	case v.Standing == tsig.Malformed:
		h.Counters.Rcodes[wire.FormErrCode].Inc()
		return q.Malformed(dst)
	case v.Standing != tsig.Good:
		return h.unproven(r, q, dst, v, home)
	}
	h.Counters.TSIGGood.Inc()
	if keyed := table.Keyed(v.Key); keyed != nil {
		home = keyed
	}
	rcode, done := h.admit(v, r)
	if !done {
		h.carryOut(r, v, home, forged)
		return nil
	}
	if rcode == pending || forged {
		return nil // the first of them is answered
	}
	if rcode == badTime {
		h.Counters.TSIGBadTime.Inc()
		v.Standing, rcode = tsig.BadTime, wire.NotAuth
	}
	h.Counters.Rcodes[rcode].Inc()
	return v.Sign(q.Error(dst, 0, rcode, &h.opts), h.now())
}

// admit decides whether an update is to be carried out; else done is true, and
// the reply has that rcode, or is what known says. Where it is to be, a slot is
// taken.
func (h *handler) admit(v *tsig.Verdict, r *listen.Request) (rcode int, done bool) {
	now := h.now()
	rcode, again := h.replays.known(v, now)
	if again {
		h.Counters.UpdatesReplayed.Inc()
		if rcode != pending {
			h.logUpdate(slog.LevelInfo, reasonReplayed, v.Key, "", r, "")
		}
		return rcode, true
	}
	if !h.replays.within(v.Key, int(h.rate.Load()), now) {
		h.Counters.UpdatesOverRate.Inc()
		h.logRefusedUpdate(reasonRate, v.Key, r)
		return wire.ServFail, true
	}
	select {
	case h.updates <- struct{}{}:
	default:
		h.Counters.UpdatesBusy.Inc()
		h.logRefusedUpdate(reasonMany, v.Key, r)
		return wire.ServFail, true
	}
	rcode, noted := h.replays.note(v, now)
	if !noted {
		<-h.updates
		h.Counters.UpdatesBusy.Inc()
		h.logRefusedUpdate(reasonMany, v.Key, r)
	}
	return rcode, !noted
}

// carryOut hands an admitted update over.
func (h *handler) carryOut(r *listen.Request, v *tsig.Verdict, home *view.Selected, forged bool) {
	viewName := ""
	if home != nil {
		viewName = home.Name
	}
	p, s := r.Keep(), h.Server
	if !s.workers.Go("update", func(ctx context.Context) { s.changeZone(ctx, p, v, viewName, forged) }) {
		<-s.updates
		p.Reply(nil) // stopping
	}
}

// changeZone carries an update out and replies.
func (s *Server) changeZone(ctx context.Context, p *listen.Pending, v *tsig.Verdict, viewName string, forged bool) {
	var reply []byte
	rcode := wire.ServFail
	defer func() {
		if cause := recover(); cause != nil {
			s.Counters.Panics.Inc()
			s.config.Log.Error("update failed", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
			reply = nil
		}
		s.replays.answered(v, rcode)
		p.Reply(reply)
		<-s.updates
	}()
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	o, ok := update.Read(p.Msg)
	if !ok {
		return // cannot be: it was read before
	}
	out := s.outcome(ctx, o, v.Key, viewName)
	rcode = out.Rcode
	level := slog.LevelInfo
	if out.Reason == update.ReasonUnmet || rcode == wire.NoError {
		level = slog.LevelDebug // a client's own business; what changes is logged with its zone
	}
	s.logUpdate(level, out.Reason, v.Key, o.Zone, &p.Request, out.Detail)
	if forged && out.View == "" {
		s.Counters.Forged.Inc()
		return // no rule names the key: whoever lives there did not ask
	}
	q := new(wire.Query)
	q.Parse(p.Msg) // the header, which was read before
	q.End, q.EDNS, q.Size, q.Tail = o.ZoneEnd, o.EDNS, o.Size, v.Reserve()
	var opts wire.Options
	if q.EDNS {
		s.options(&opts, &p.Request, q)
	}
	s.Counters.Rcodes[rcode].Inc()
	reply = v.Sign(q.Error(nil, 0, rcode, &opts), s.now())
}

func (s *Server) outcome(ctx context.Context, o *update.Outline, key name.Name, viewName string) authority.Outcome {
	if o.Class != dns.ClassINET { // RFC 2136, Section 3.1.2: no zone of ours
		return authority.Outcome{Rcode: update.NotAuth, Reason: authority.ReasonNoZone}
	}
	request, refused := o.Request()
	if refused != nil {
		return authority.Outcome{Rcode: refused.Rcode, Reason: refused.Reason, Detail: refused.Error()}
	}
	return s.config.Updates.Update(ctx, authority.Update{Request: request, Key: key, View: viewName})
}

// logUpdate logs what became of an update that a key signed: the rate of each
// key bounds it.
func (s *Server) logUpdate(level slog.Level, reason string, key, zone name.Name, r *listen.Request, detail string) {
	text := "update is not carried out"
	if reason == "" {
		text = "update is carried out"
	}
	s.config.Log.Log(context.Background(), level, text, // Background: a log has nothing to cancel
		slog.String("reason", reason), slog.String("key", key.String()), slog.String("zone", zone.String()),
		slog.String("client", r.Client.Addr().String()), slog.String("detail", detail))
}

// logRefusedUpdate is for what nothing bounds: once in a while.
func (s *Server) logRefusedUpdate(reason string, key name.Name, r *listen.Request) {
	now, until := s.now().Unix(), s.quiet.Load()
	if now < until || !s.quiet.CompareAndSwap(until, now+logPause) {
		return
	}
	s.config.Log.Warn("update is not carried out", slog.String("reason", reason), slog.String("key", key.String()), slog.String("client", r.Client.Addr().String()))
}
