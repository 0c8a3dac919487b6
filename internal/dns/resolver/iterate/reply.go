package iterate

import (
	"fmt"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// got takes a reply, scrubs it and goes where it leads.
func (m *Machine) got(e Got, now time.Time) Action {
	m.sent = true
	r := Scrub(m.cut.Zone, m.out, e.Msg, m.budget.Limits)
	if r.Doubtful && r.Kind != Unusable {
		if m.spare == nil && m.out == m.q {
			m.spare = &spare{e, r}
		}
		return m.unusable(e, errLame, now)
	}
	return m.take(e, r, now)
}

func (m *Machine) take(e Got, r Reply, now time.Time) Action {
	if m.out != m.q {
		return m.shortened(e, r, now)
	}
	if m.q.DO && r.Kind != Referred && r.Kind != Unusable {
		m.final = e.From
		return Action{Act: Done, Result: Result{Rcode: e.Msg.Rcode, Canonical: m.q.Name, Msg: e.Msg}}
	}
	switch r.Kind {
	case Answered:
		a := m.done(dns.RcodeSuccess, r.Sets[0].RRs, nil)
		a.Learned = r.Sets
		return a
	case Aliased:
		return m.follow(r.Sets[0].RRs, r.Target, r.Why, r.Sets)
	case Denied:
		rcode := dns.RcodeSuccess
		if r.Sets[0].Kind == NXDomain {
			rcode = dns.RcodeNameError
		}
		a := m.done(rcode, nil, r.Sets[0].RRs)
		a.Learned = r.Sets
		return a
	case Referred:
		return m.descend(r, now)
	case Unusable:
	}
	return m.unusable(e, r.Why, now)
}

// rejected goes on to the next server after a message that did not validate.
func (m *Machine) rejected(e Rejected, now time.Time) Action {
	return m.unusable(Got{From: m.final}, e.Err, now)
}

func (m *Machine) unusable(e Got, why error, now time.Time) Action {
	m.exclude(e.From)
	m.failure = fmt.Errorf("%s for %s: %w", e.From, m.cut.Zone, why)
	return m.next(now)
}

// shortened takes the reply to a shortened question. It can only bring a cut,
// or show that there is none (RFC 9156, Section 2.3). What else it says is
// kept, as it passed the scrub.
func (m *Machine) shortened(e Got, r Reply, now time.Time) Action {
	switch {
	case r.Kind == Referred:
		return m.descend(r, now)
	case r.Kind == Unusable:
		// Many servers answer only for whole names: the same one is asked again.
		m.min.giveUp()
		m.failure = fmt.Errorf("%s for %s: %w", e.From, m.cut.Zone, r.Why)
	case r.Kind == Denied && r.Sets[0].Kind == NXDomain && m.min.mode == Strict && !m.q.DO:
		// RFC 8020: nothing exists below.
		a := m.done(dns.RcodeNameError, nil, r.Sets[0].RRs)
		a.Learned = r.Sets
		return a
	case r.Kind == Denied && r.Sets[0].Kind == NXDomain:
		// Relaxed: some servers deny empty non-terminals.
		m.min.count++
		m.min.giveUp()
	default:
		m.min.deeper(m.q)
	}
	a := m.next(now)
	a.Learned = r.Sets
	return a
}

// descend enters the cut of a referral. It lives as long as the parent says,
// and no longer than the cut above it: else a name that was taken away lives
// on in what hangs below it (ghost and phoenix domains).
func (m *Machine) descend(r Reply, now time.Time) Action {
	d := r.Cut
	d.Inside = m.cut.Inside
	d.Until = now.Add(time.Duration(r.CutTTL) * time.Second)
	if !m.cut.Until.IsZero() && m.cut.Until.Before(d.Until) {
		d.Until = m.cut.Until
	}
	if err := m.enter(d); err != nil {
		return m.fail(err)
	}
	a := m.next(now)
	a.Cut = &d
	return a
}

// ownZone takes the answer of one of our own zones. It is ours, so it is not
// scrubbed; it is never cached.
func (m *Machine) ownZone(msg *dns.Msg, now time.Time) Action {
	switch msg.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeYXDomain: // RFC 6672, Section 2.2
	default:
		return m.fail(fmt.Errorf("%w: %s", ErrOwn, dns.RcodeToString[msg.Rcode]))
	}
	at, n := m.ownChain(msg)
	final := n < len(msg.Answer)
	switch {
	case final, hasType(msg.Ns, dns.TypeSOA), msg.Rcode != dns.RcodeSuccess:
		m.q.Name = at
		var soa []dns.RR
		if !final {
			soa = only(msg.Ns, dns.TypeSOA)
		}
		m.own = m.own && msg.Authoritative
		return m.done(msg.Rcode, msg.Answer, soa)
	case at != m.q.Name:
		return m.follow(msg.Answer, at, nil, nil)
	}
	zone, ok := OwnReferral(msg, m.q)
	if !ok {
		m.own = m.own && msg.Authoritative
		return m.done(msg.Rcode, msg.Answer, nil)
	}
	return m.ownCut(zone, msg, now)
}

// ownCut enters a delegation of one of our own zones.
func (m *Machine) ownCut(zone name.Name, msg *dns.Msg, now time.Time) Action {
	m.own = false
	ns := find(owned(msg.Ns, zone), zone, dns.TypeNS)
	// The glue is ours too: all of it counts.
	d := delegation(zone, ns, msg.Extra, name.Root, m.budget.Limits)
	d.Inside = true
	d.Until = now.Add(maxTTL * time.Second)
	for _, rr := range ns {
		if until := now.Add(time.Duration(capTTL(rr.Header().Ttl, maxTTL)) * time.Second); until.Before(d.Until) {
			d.Until = until
		}
	}
	if err := m.enter(d); err != nil {
		return m.fail(err)
	}
	return m.next(now)
}

// OwnReferral returns the cut that an own zone's message refers to.
func OwnReferral(msg *dns.Msg, q Question) (name.Name, bool) {
	if len(msg.Answer) > 0 || msg.Rcode != dns.RcodeSuccess || hasType(msg.Ns, dns.TypeSOA) {
		return "", false
	}
	for _, rr := range only(msg.Ns, dns.TypeNS) {
		if zone, err := name.Parse(rr.Header().Name); err == nil && q.Name.IsBelow(zone) {
			return zone, true
		}
	}
	return "", false
}

// ownChain follows the aliases of the answer section and returns where they
// end and how many records they are.
func (m *Machine) ownChain(msg *dns.Msg) (name.Name, int) {
	at, n := m.q.Name, 0
	for _, rr := range msg.Answer {
		switch r := rr.(type) {
		case *dns.DNAME:
			if m.q.Type == dns.TypeDNAME || m.q.Type == dns.TypeANY {
				return at, n
			}
		case *dns.CNAME:
			target, err := name.Parse(r.Target)
			if m.q.Type == dns.TypeCNAME || m.q.Type == dns.TypeANY || err != nil {
				return at, n
			}
			at = target
		default:
			return at, n
		}
		n++
	}
	return at, n
}

func hasType(rrs []dns.RR, rtype uint16) bool { return len(only(rrs, rtype)) > 0 }

func only(rrs []dns.RR, rtype uint16) []dns.RR {
	var out []dns.RR
	for _, rr := range rrs {
		if rr.Header().Rrtype == rtype {
			out = append(out, rr)
		}
	}
	return out
}
