package serve

import (
	"postern/internal/dns/gate"
	"postern/internal/dns/listen"
	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
	"postern/internal/dns/xfr"
)

// notify answers NOTIFY (RFC 1996): NOERROR to a primary of the zone, which
// makes us ask it; REFUSED to others who see the zone here, NOTAUTH to those who
// do not, whether there is one or not. BIND tells the three apart in this way;
// unlike BIND we refuse it too where we are the primary ourselves.
func (h *handler) notify(r *listen.Request, q *wire.Query, dst []byte, table *view.Table, sel *view.Selected) []byte {
	n, ok := xfr.ReadNotice(q.Msg)
	if !ok {
		if h.config.Refresher != nil {
			h.config.Refresher.Counters.NotifyMalformed.Inc()
		}
		h.Counters.Rcodes[wire.FormErrCode].Inc()
		return q.Malformed(dst)
	}
	q.End, q.EDNS, q.TSIG = n.End, n.EDNS, n.TSIG
	if n.TSIG == 0 {
		return h.heard(r, q, dst, n, sel, "")
	}
	v := h.verify(q)
	switch v.Standing {
	case tsig.Malformed:
		h.Counters.Rcodes[wire.FormErrCode].Inc()
		return q.Malformed(dst)
	case tsig.Good:
		h.Counters.TSIGGood.Inc()
		if keyed := table.Keyed(v.Key); keyed != nil {
			sel = keyed
		}
		reply := h.heard(r, q, dst, n, sel, v.Key)
		if len(reply) == 0 {
			return nil
		}
		return v.Sign(reply, h.now())
	}
	return h.unproven(r, q, dst, v, sel)
}

// signedNotice reports whether it is a NOTIFY that a key of ours has signed.
func (h *handler) signedNotice(q *wire.Query) bool {
	n, ok := xfr.ReadNotice(q.Msg)
	if !ok || n.TSIG == 0 {
		return false
	}
	v := h.keys().Verify(q.Msg, n.TSIG, h.now())
	return v.Standing == tsig.Good
}

// heard says what the primaries' keeper makes of a NOTIFY. A refusal counts
// against the client's prefix. What was taken does not: the reply is no longer
// than the request, and a primary of many zones tells of them all at once.
func (h *handler) heard(r *listen.Request, q *wire.Query, dst []byte, n xfr.Notice, sel *view.Selected, key name.Name) []byte {
	h.weigh(r, q, sel)
	seen := sel != nil && sel.Has(n.Zone)
	rcode, flags := h.config.Refresher.Heard(n, h.asker(r, key), seen), wire.AA
	if rcode != wire.NoError {
		if h.bounded && h.rule(gate.Error, nil) != gate.Pass {
			return nil
		}
		flags = 0
	}
	h.Counters.Rcodes[rcode].Inc()
	return q.Error(dst, flags, rcode, &h.opts)
}
