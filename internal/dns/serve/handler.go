package serve

import (
	"log/slog"
	"net/netip"
	"runtime/debug"

	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/gate"
	"postern/internal/dns/listen"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
)

// handler answers the queries of one reading goroutine.
type handler struct {
	*Server
	listener Listener
	acl      *gate.ACL
	query    wire.Query

	// The counters of the view last seen, so that the map is rarely asked.
	viewName string
	view     *ViewCounters
}

// Serve implements listen.Handler.
func (h *handler) Serve(r *listen.Request, dst []byte) (reply []byte) {
	defer func() {
		if cause := recover(); cause != nil {
			h.Counters.Panics.Inc()
			h.config.Log.Error("query handler failed", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
			reply = nil
		}
	}()
	if r.Transport == listen.UDP {
		h.Counters.UDP.Inc()
	} else {
		h.Counters.TCP.Inc()
	}
	if !h.acl.Admits(r.Client.Addr()) {
		h.Counters.Denied.Inc()
		return nil
	}
	table := h.config.Table()
	sel := table.Select(h.listener.Views, r.Client.Addr())
	// Before anything is read: whatever is said to a forged source, be it
	// FORMERR, goes to somebody else.
	if sel == nil && table.Forged(h.listener.Views, r.Client.Addr()) {
		h.Counters.Forged.Inc()
		return nil
	}
	q := &h.query
	switch q.Parse(r.Msg) {
	case wire.Drop:
		h.Counters.Dropped.Inc()
		return nil
	case wire.FormErr:
		h.Counters.Rcodes[wire.FormErrCode].Inc()
		return q.Malformed(dst)
	case wire.Other:
		return h.opcode(q, dst)
	}
	if rcode := unfit(q); rcode != wire.NoError {
		return h.fail(q, dst, 0, rcode)
	}
	if sel == nil {
		return h.fail(q, dst, 0, wire.Refused) // a client of no view here
	}
	return h.answer(r, q, dst, sel)
}

// Insider implements listen.Insiders: clients of a view with recursion are.
func (h *handler) Insider(client netip.Addr) bool {
	sel := h.config.Table().Select(h.listener.Views, client)
	return sel != nil && sel.Recursion && h.acl.Admits(client)
}

// opcode answers what is no QUERY. NOTIFY and UPDATE are known, but nobody is
// allowed them (RFC 2136, Section 3.3; RFC 1996, Section 3.10); the rest is
// not known (RFC 8906, Section 3.1.4).
func (h *handler) opcode(q *wire.Query, dst []byte) []byte {
	switch q.Opcode() {
	case dns.OpcodeNotify, dns.OpcodeUpdate:
		return h.fail(q, dst, 0, wire.Refused)
	}
	return h.fail(q, dst, 0, wire.NotImp)
}

// unfit returns the rcode of a query that no view needs to see, or NOERROR.
func unfit(q *wire.Query) int {
	switch {
	case q.EDNS && q.Version > 0:
		return wire.BadVers // RFC 6891, Section 6.1.3
	case q.TSIG:
		// No key is known yet; whoever signs must not be answered as if it had
		// not (RFC 8945, Section 5.2).
		return wire.NotAuth
	case q.Class != dns.ClassINET:
		// CH would tell version.bind and id.server: nobody's business.
		return wire.Refused
	case q.Type == dns.TypeAXFR || q.Type == dns.TypeIXFR:
		return wire.Refused
	case q.Type == dns.TypeOPT || q.Type == dns.TypeTSIG || q.Type == dns.TypeTKEY:
		return wire.FormErrCode // types that no question has
	case q.Type == dns.TypeMAILA || q.Type == dns.TypeMAILB:
		return wire.NotImp
	}
	return wire.NoError
}

// fail replies without records.
func (h *handler) fail(q *wire.Query, dst []byte, flags uint16, rcode int) []byte {
	h.Counters.Rcodes[rcode].Inc()
	return q.Error(dst, flags, rcode, h.config.NSID)
}

// answer is the line from the view on.
func (h *handler) answer(r *listen.Request, q *wire.Query, dst []byte, sel *view.Selected) []byte {
	h.count(sel.Name)
	zone, own := sel.Zone(q.Name(), q.Type)
	recurse := sel.Recursion && h.config.Resolver != nil
	ra := uint16(0)
	if recurse {
		ra = wire.RA
	}
	recurse = recurse && q.Flags&wire.RD != 0
	switch {
	case own && zone == nil:
		return h.fail(q, dst, ra, wire.ServFail)
	case own:
		return h.own(r, q, dst, ra, sel, zone, recurse)
	case recurse:
		return h.later(r, q, dst, sel, 0)
	}
	// Not ours, and not asked to look elsewhere or not for this client.
	return h.fail(q, dst, ra, wire.Refused)
}

func (h *handler) count(viewName string) {
	if h.view == nil || h.viewName != viewName {
		h.viewName, h.view = viewName, h.View(viewName)
	}
	h.view.Queries.Inc()
}

// own answers from one of our zones. What leads out of them is followed by
// the resolver where recurse allows: a referral to somebody else's servers,
// an alias of somebody else's name.
func (h *handler) own(r *listen.Request, q *wire.Query, dst []byte, ra uint16, sel *view.Selected, zone *answer.Zone, recurse bool) []byte {
	udp := r.Transport == listen.UDP
	limit := q.Limit(udp) - q.Reserve(h.config.NSID)
	reply, res := zone.Append(q.Start(dst), q, limit, sel)
	switch {
	case res.TC && !udp:
		h.Counters.Oversize.Inc()
		return h.fail(q, dst, ra, wire.ServFail)
	case res.TC:
		// The reply over TCP tells the rest.
	case res.Kind == answer.Referral && recurse:
		return h.later(r, q, dst, sel, aa(res))
	case res.Kind == answer.Left && recurse:
		return h.later(r, q, dst, sel, wire.AA)
	case res.Kind == answer.Left && brokenEnd(reply, res, sel, q.Type):
		return h.fail(q, dst, ra, wire.ServFail)
	}
	flags := ra | aa(res)
	if res.TC {
		flags |= wire.TC
		h.Counters.Truncated.Inc()
	}
	h.Counters.Rcodes[res.Rcode].Inc()
	return q.Finish(reply, flags, res.Rcode, res.Counts, h.config.NSID)
}

func aa(res answer.Result) uint16 {
	if res.AA {
		return wire.AA
	}
	return 0
}

// brokenEnd reports whether a chain ended at a zone of ours without a good
// state: that is a failure, not the edge of what we know.
func brokenEnd(reply []byte, res answer.Result, sel *view.Selected, qtype uint16) bool {
	zone, own := sel.Zone(nextName(reply, res), qtype)
	return own && zone == nil
}
