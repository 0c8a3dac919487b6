package serve

import (
	"github.com/miekg/dns"

	"postern/internal/dns/answer"
	"postern/internal/dns/name"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
)

// Local returns what the resolver asks before it asks the world: the zones of
// the asking view (resolver.Local). A message says what the zone would
// answer, a chain as far as our zones carry it; SERVFAIL where the zone has no
// good state.
func Local(table func() *view.Table) func(viewName string, q name.Name, qtype uint16) (*dns.Msg, bool) {
	return func(viewName string, qname name.Name, qtype uint16) (*dns.Msg, bool) {
		sel := table().Named(viewName)
		if sel == nil {
			return nil, false
		}
		zone, own := sel.Zone(qname, qtype)
		if !own || qtype == dns.TypeDS && isTop(sel, qname) {
			return nil, false
		}
		if zone == nil {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Rcode: dns.RcodeServerFailure}}, true
		}
		msg, _, ok := ask(zone, sel, qname, qtype)
		return msg, ok
	}
}

// isTop reports whether the name is the apex of a zone of the view with no
// other above it: its DS is with somebody else (RFC 4035, Section 3.1.4.1).
func isTop(sel *view.Selected, n name.Name) bool {
	if !sel.Has(n) || n == name.Root {
		return false
	}
	_, above := sel.Zone(n.Parent(), dns.TypeSOA)
	return !above
}

// ask answers one question from a zone, as a library message: for callers
// that are not on the wire.
func ask(zone *answer.Zone, sel *view.Selected, qname name.Name, qtype uint16) (*dns.Msg, answer.Result, bool) {
	query := make([]byte, wire.HeaderLen, wire.HeaderLen+len(qname)+4)
	query[5] = 1
	query = append(query, qname...)
	query = append(query, byte(qtype>>8), byte(qtype), 0, dns.ClassINET)
	var q wire.Query
	if q.Parse(query) != wire.OK {
		return nil, answer.Result{}, false
	}
	reply, res := zone.Append(q.Start(nil), &q, wire.MaxTCP, sel)
	if res.Kind == answer.Left {
		if next, own := sel.Zone(nextName(reply, &res), qtype); own && next == nil {
			res.Rcode = wire.ServFail
		}
	}
	flags := uint16(0)
	if res.AA {
		flags = wire.AA
	}
	msg := new(dns.Msg)
	if err := msg.Unpack(q.Finish(reply, flags, res.Rcode, res.Counts, nil)); err != nil {
		return nil, res, false
	}
	if res.Kind == answer.Referral && res.Hops > 0 {
		msg.Ns, msg.Extra = nil, nil // the chain goes on from its last name
	}
	return msg, res, true
}
