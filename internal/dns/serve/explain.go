package serve

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/view"
	"postern/internal/dns/xfr"
)

// Explanation tells how a question would be answered, and why.
type Explanation struct {
	View    string   `json:"view,omitempty"`
	Why     string   `json:"why"`            // why this view
	Zone    string   `json:"zone,omitempty"` // the zone that answers, or answers last
	Kind    string   `json:"kind"`           // what kind of answer
	Rcode   string   `json:"rcode,omitempty"`
	Records []string `json:"records,omitempty"`
}

// Explain says what a client would get that asks with RD on a listener of
// these views. It asks nobody.
func (s *Server) Explain(qname name.Name, qtype uint16, client netip.Addr, listenerViews []string) Explanation {
	if e, ok := s.explainTransfer(qname, qtype, xfr.Asker{From: client}); ok {
		return e
	}
	table := s.config.Table()
	sel, forged := table.Select(listenerViews, client)
	if sel == nil {
		return refusedView(forged, client, listenerViews)
	}
	return s.explained(sel, fmt.Sprintf("%s is a client of view %s%s", client, sel.Name, onListener(listenerViews)), qname, qtype)
}

// ExplainSigned is Explain for a client that signs with that key.
func (s *Server) ExplainSigned(key, qname name.Name, qtype uint16, client netip.Addr, listenerViews []string) Explanation {
	if !s.keys().Has(key) {
		return Explanation{Why: fmt.Sprintf("there is no key %s", key), Kind: "refused with BADKEY", Rcode: "NOTAUTH"}
	}
	if e, ok := s.explainTransfer(qname, qtype, xfr.Asker{Key: key, From: client}); ok {
		return e
	}
	if sel := s.config.Table().Keyed(key); sel != nil {
		return s.explained(sel, fmt.Sprintf("the key %s chooses view %s", key, sel.Name), qname, qtype)
	}
	e := s.Explain(qname, qtype, client, listenerViews)
	e.Why += fmt.Sprintf("; no view names the key %s", key)
	return e
}

// explainTransfer tells what a peer gets in place of others: zones, and their
// SOA of the same view. It takes every peer to come by TLS.
func (s *Server) explainTransfer(qname name.Name, qtype uint16, a xfr.Asker) (e Explanation, ok bool) {
	transfer := qtype == dns.TypeAXFR || qtype == dns.TypeIXFR
	if !transfer && qtype != dns.TypeSOA {
		return e, false
	}
	a.Polls = true
	g, ok := s.config.Transfers.Grant(qname, a)
	if !ok {
		return e, false
	}
	why := fmt.Sprintf("%s is the peer %s, a secondary of %s in view %s", a.From, g.Peer.Name, g.Zone, g.View)
	if transfer {
		kind := "zone transfer"
		if g.Peer.TLS {
			kind += ", within TLS alone"
		}
		if g.Peer.Holder != nil {
			kind += ", to who shows the peer's certificate"
		}
		return Explanation{View: g.View, Why: why, Zone: g.Zone.String(), Kind: kind, Rcode: "NOERROR"}, true
	}
	sel := s.config.Table().ForPeers(g.View)
	if sel == nil {
		return e, false
	}
	return s.explained(sel, why, qname, qtype), true
}

// explained says how a view answers, which was chosen for that reason.
func (s *Server) explained(sel *view.Selected, why string, qname name.Name, qtype uint16) Explanation {
	e := Explanation{View: sel.Name, Why: why}
	zone, own := sel.Zone(qname, qtype)
	recurse := sel.Recursion && s.config.Resolver != nil
	switch {
	case qtype == dns.TypeAXFR || qtype == dns.TypeIXFR:
		e.Kind, e.Rcode = "zone transfers are for the zone's secondaries alone", "REFUSED"
	case own && zone == nil && sel.HasExpired(qname, qtype):
		e.Kind, e.Rcode = "our secondary zone, but it has expired", "SERVFAIL"
	case own && zone == nil:
		e.Kind, e.Rcode = "our zone, but it has no good state", "SERVFAIL"
	case own:
		e.fromZone(sel, qname, qtype, recurse)
	case recurse:
		e.Kind = "not ours: the resolver looks it up (without RD: REFUSED)"
	default:
		e.Kind, e.Rcode = "not ours, and the view does not recurse", "REFUSED"
	}
	return e
}

func (e *Explanation) fromZone(sel *view.Selected, qname name.Name, qtype uint16, recurse bool) {
	zone, _ := sel.Zone(qname, qtype)
	msg, res, ok := ask(zone, sel, qname, qtype)
	if !ok {
		e.Kind, e.Rcode = "the question cannot be written", "FORMERR"
		return
	}
	e.Zone, e.Kind, e.Rcode = res.Zone.Origin().String(), res.Kind.String(), dns.RcodeToString[res.Rcode]
	if res.Wild {
		e.Kind += ", from a wildcard"
	}
	if res.Hops > 0 {
		e.Kind += fmt.Sprintf(", after %d aliases", res.Hops)
	}
	if recurse && strings.HasPrefix(e.Kind, "referral") || recurse && strings.HasPrefix(e.Kind, "leaves") {
		e.Kind += "; the resolver follows (without RD it does not)"
	}
	for _, section := range [][]dns.RR{msg.Answer, msg.Ns, msg.Extra} {
		for _, rr := range section {
			e.Records = append(e.Records, rr.String())
		}
	}
}

func refusedView(forged bool, client netip.Addr, listenerViews []string) Explanation {
	if forged {
		return Explanation{
			Why:  fmt.Sprintf("%s belongs to a view that is not served%s: a forged source", client, onListener(listenerViews)),
			Kind: "dropped",
		}
	}
	return Explanation{Why: fmt.Sprintf("%s is a client of no view%s", client, onListener(listenerViews)), Kind: "refused", Rcode: "REFUSED"}
}

func onListener(views []string) string {
	if len(views) == 0 {
		return ""
	}
	return " on a listener of " + strings.Join(views, ", ")
}
