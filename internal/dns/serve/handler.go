package serve

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/gate"
	"postern/internal/dns/listen"
	"postern/internal/dns/tsig"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
	"postern/internal/dns/xfr"
)

// handler answers the queries of one reading goroutine.
type handler struct {
	*Server
	listener Listener
	acl      *gate.ACL
	query    wire.Query
	made     answer.Answer
	opts     wire.Options // of the reply at hand
	glances  []glance     // at the messages of a burst
	near     *answer.Zone // the zone they were taken in
	client   netip.Addr
	came     time.Time     // when the request at hand came, where bounded
	bounded  bool          // the reply at hand counts against the client's prefix
	signer   *tsig.Verdict // signs the reply at hand; nil: the request was not signed

	// What the client of a connection within TLS has shown.
	within *tls.ConnectionState
	shown  xfr.Shown

	// The view last seen and its counters, so that the map is rarely asked.
	seen *view.Selected
	view *ViewCounters
}

// Serve implements listen.Handler.
func (h *handler) Serve(r *listen.Request, dst []byte) (reply []byte) {
	defer func() {
		if cause := recover(); cause != nil {
			h.Failed(cause)
			reply = nil
		}
	}()
	return h.ServeBare(r, dst)
}

// Failed implements listen.Bare.
func (h *handler) Failed(cause any) {
	h.Counters.Panics.Inc()
	h.config.Log.Error("query handler failed", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
}

// ServeBare implements listen.Bare.
func (h *handler) ServeBare(r *listen.Request, dst []byte) []byte {
	h.Counters.by(r.Transport).Inc()
	if h.acl != nil && !h.acl.Admits(r.Client.Addr()) {
		h.Counters.Denied.Inc()
		return nil
	}
	table := h.config.Table()
	sel, forged := table.Select(h.listener.Views, r.Client.Addr())
	// Before anything is read: whatever is said to a forged source, be it
	// FORMERR, goes to somebody else.
	if forged {
		return h.forged(r, dst, table)
	}
	q := &h.query
	var verdict wire.Verdict
	if r.Seen > 0 {
		seen := &h.glances[r.Seen-1]
		q, verdict = &seen.query, seen.verdict
	} else {
		verdict = q.Parse(r.Msg)
	}
	switch verdict {
	case wire.Drop:
		h.Counters.Dropped.Inc()
		return nil
	case wire.FormErr:
		h.Counters.Rcodes[wire.FormErrCode].Inc()
		return q.Malformed(dst)
	case wire.Other:
		return h.opcode(r, q, dst, table, sel)
	}
	if q.TSIG != 0 {
		return h.signed(r, q, dst, table, sel)
	}
	h.weigh(r, q, sel)
	if q.Type == dns.TypeSOA && h.config.Transfers.Open() {
		sel = h.polled(r, q, table, sel, "")
	}
	if sel != nil && plain(q) {
		return h.answer(r, q, dst, sel)
	}
	return h.ask(r, q, dst, sel)
}

// ask is the line from the view on, for whoever is in it by now.
func (h *handler) ask(r *listen.Request, q *wire.Query, dst []byte, sel *view.Selected) []byte {
	if q.End == 0 {
		return h.cookieOnly(q, dst, sel)
	}
	if rcode, why := unfit(q); rcode != wire.NoError {
		return h.fail(q, dst, 0, rcode, why)
	}
	if isTransfer(q) {
		return h.transfer(r, q, dst)
	}
	if sel == nil {
		return h.fail(q, dst, 0, wire.Refused, wire.Prohibited) // a client of no view here
	}
	return h.answer(r, q, dst, sel)
}

// weigh sets the options of the reply, and whether it counts against the
// client's prefix: not where the address is proven, by TCP or by a cookie, nor
// for clients of a view with recursion (VIEWS: rates bound the outside, the
// resolver bounds its own work).
func (h *handler) weigh(r *listen.Request, q *wire.Query, sel *view.Selected) {
	standing := gate.NoCookie
	if q.EDNS {
		standing = h.options(&h.opts, r, q)
	}
	h.client = r.Client.Addr()
	h.bounded = h.RRL.On() && r.Transport == listen.UDP && !standing.Proven() && (sel == nil || !sel.Recursion)
	if h.bounded {
		h.came = h.at(r)
	}
}

// Insider implements listen.Insiders: clients of a view with recursion are.
func (h *handler) Insider(client netip.Addr) bool {
	sel, _ := h.config.Table().Select(h.listener.Views, client)
	return sel != nil && sel.Recursion && h.acl.Admits(client)
}

// opcode answers what is no QUERY: NOTIFY, UPDATE, and what is neither and not
// known (RFC 8906, Section 3.1.4). Nothing of that was read after the header, so
// the reply is a header, shorter than any query: no rate bounds it.
func (h *handler) opcode(r *listen.Request, q *wire.Query, dst []byte, table *view.Table, sel *view.Selected) []byte {
	switch q.Opcode() {
	case dns.OpcodeNotify:
		return h.notify(r, q, dst, table, sel)
	case dns.OpcodeUpdate:
		return h.update(r, q, dst, table, sel, false)
	}
	h.Counters.Rcodes[wire.NotImp].Inc()
	return q.Error(dst, 0, wire.NotImp, nil)
}

// cookieOnly answers a query without a question (RFC 7873, Section 5.4).
func (h *handler) cookieOnly(q *wire.Query, dst []byte, sel *view.Selected) []byte {
	switch {
	case h.config.Cookies == nil || !h.opts.HasCookie:
		h.Counters.Rcodes[wire.FormErrCode].Inc()
		return q.Malformed(dst)
	case q.Version > 0:
		return h.fail(q, dst, 0, wire.BadVers, 0)
	case sel == nil:
		return h.fail(q, dst, 0, wire.Refused, wire.Prohibited)
	}
	return h.fail(q, dst, 0, wire.NoError, 0)
}

// plain reports whether unfit has surely nothing against the query.
func plain(q *wire.Query) bool {
	return q.End != 0 && q.Class == dns.ClassINET && q.Type < dns.TypeTKEY && q.Type != dns.TypeOPT && q.Version == 0
}

// unfit returns the rcode of a query that no view needs to see, and why, or
// NOERROR.
func unfit(q *wire.Query) (int, wire.EDE) {
	switch {
	case q.EDNS && q.Version > 0:
		return wire.BadVers, 0 // RFC 6891, Section 6.1.3
	case q.Class != dns.ClassINET:
		// CH would tell version.bind and id.server: nobody's business.
		return wire.Refused, wire.NotSupported
	case q.Type == dns.TypeOPT || q.Type == dns.TypeTSIG || q.Type == dns.TypeTKEY:
		return wire.FormErrCode, 0 // types that no question has
	case q.Type == dns.TypeMAILA || q.Type == dns.TypeMAILB:
		return wire.NotImp, wire.NotSupported
	}
	return wire.NoError, 0
}

// fail replies without records. Where that is longer than the question, by
// its options, it could amplify too: so it is bounded like an answer.
func (h *handler) fail(q *wire.Query, dst []byte, flags uint16, rcode int, why wire.EDE) []byte {
	if h.bounded {
		if ruling := h.rule(gate.Error, nil); ruling != gate.Pass {
			return h.slip(q, dst, ruling)
		}
	}
	h.Counters.Rcodes[rcode].Inc()
	h.opts.EDE = why
	return q.Error(dst, flags, rcode, &h.opts)
}

// answer asks the zones of the view, then the resolver.
func (h *handler) answer(r *listen.Request, q *wire.Query, dst []byte, sel *view.Selected) []byte {
	if h.seen != sel {
		h.seen, h.view = sel, h.View(sel.Name)
	}
	h.view.Queries.Inc()
	zone, own := sel.ZoneOf(q)
	ra, recurse := uint16(0), false
	if sel.Recursion && h.config.Resolver != nil {
		ra, recurse = wire.RA, q.Flags&wire.RD != 0
	}
	if zone == nil {
		return h.without(r, q, dst, ra, sel, own, recurse)
	}
	return h.own(r, q, dst, ra, sel, zone, recurse)
}

// without answers where none of our zones can: the zone of the name has no
// good state, or the name is not ours.
func (h *handler) without(r *listen.Request, q *wire.Query, dst []byte, ra uint16, sel *view.Selected, own, recurse bool) []byte {
	switch {
	case own && sel.HasExpired(q.Name(), q.Type):
		return h.fail(q, dst, ra, wire.ServFail, wire.InvalidData)
	case own:
		return h.fail(q, dst, ra, wire.ServFail, wire.NotReady)
	case recurse:
		return h.later(r, q, dst, sel, 0)
	}
	// Not ours, and not asked to look elsewhere or not for this client.
	return h.fail(q, dst, ra, wire.Refused, wire.NotAuthority)
}

// own answers from one of our zones. What leads out of them is followed by
// the resolver where recurse allows: a referral to somebody else's servers,
// an alias of somebody else's name.
func (h *handler) own(r *listen.Request, q *wire.Query, dst []byte, ra uint16, sel *view.Selected, zone *answer.Zone, recurse bool) []byte {
	udp := r.Transport == listen.UDP
	limit := q.Limit(udp) - q.Reserve(&h.opts)
	res := &h.made.Result
	h.made.Hint = h.hint(r, zone)
	reply := h.made.Append(zone, q.Start(dst), q, limit, sel)
	switch {
	case res.TC && !udp:
		h.Counters.Oversize.Inc()
		return h.fail(q, dst, ra, wire.ServFail, 0)
	case res.TC:
		// The reply over TCP tells the rest.
	case res.Kind == answer.Referral && recurse:
		return h.later(r, q, dst, sel, aa(res))
	case res.Kind == answer.Left && recurse:
		return h.later(r, q, dst, sel, wire.AA)
	case res.Kind == answer.Left && brokenEnd(reply, res, sel, q.Type):
		return h.fail(q, dst, ra, wire.ServFail, wire.NotReady)
	}
	if h.bounded {
		if ruling := h.rule(sort(q, res)); ruling != gate.Pass {
			return h.slip(q, dst, ruling)
		}
	}
	if q.Expire && q.Type == dns.TypeSOA && res.AA && res.Kind == answer.Positive {
		h.opts.Expire, h.opts.HasExpire = h.config.Transfers.Expire(q.Name(), sel.Name)
	}
	flags := ra | aa(res)
	if res.TC {
		flags |= wire.TC
		h.Counters.Truncated.Inc()
	}
	h.Counters.Rcodes[res.Rcode].Inc()
	return q.Finish(reply, flags, res.Rcode, res.Counts, &h.opts)
}

func aa(res *answer.Result) uint16 {
	if res.AA {
		return wire.AA
	}
	return 0
}

// brokenEnd reports whether a chain ended at a zone of ours without a good
// state: that is a failure, not the edge of what we know.
func brokenEnd(reply []byte, res *answer.Result, sel *view.Selected, qtype uint16) bool {
	zone, own := sel.Zone(nextName(reply, res), qtype)
	return own && zone == nil
}
