package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"postern/internal/lookup"
)

// The limits of RFC 7208, Section 4.6.4.
const (
	maxTerms = 10 // with questions, of all records together
	maxVoid  = 2  // questions of terms that found nothing
	maxHosts = 10 // of one mx, and of the client's reverse name
)

// maxRecord bounds a record (RFC 7208, Section 3.4, recommends some 450 octets).
// Ten of 64 KiB, each including the next, cost half a second for every sender
// that is named.
const maxRecord = 4 << 10

// evaluation is one run of check_host() with all that it includes.
type evaluation struct {
	ctx    context.Context
	r      lookup.Resolver
	client netip.Addr
	helo   string
	local  string // of the sender; what was an at sign in quotes is one
	sender string // its domain

	terms, void int
	clients     []string // the client's confirmed names, once they were asked for
	named       bool
}

// outcome ends an evaluation: a result and what led to it.
type outcome struct {
	status Status
	why    string
}

func permanent(format string, args ...any) *outcome {
	return &outcome{PermError, fmt.Sprintf(format, args...)}
}

// check is check_host() of RFC 7208, Section 4, for a domain of sound form.
func (e *evaluation) check(domain string) outcome {
	txt, end := e.fetch(domain)
	if end != nil {
		return *end
	}
	r, err := parse(txt)
	if err != nil {
		return *permanent("record of %s: %v", domain, err)
	}
	for _, m := range r.mechanisms {
		matches, end := e.match(m, domain)
		if end != nil {
			return *end
		}
		if matches {
			return outcome{m.result, "matched " + m.name}
		}
	}
	if !r.redirects { // Section 4.7
		return outcome{Neutral, "nothing matched"}
	}
	if end := e.term(); end != nil {
		return *end
	}
	target, err := e.expand(r.redirect, domain)
	if err != nil || !isName(target) {
		return *permanent("redirect leads to no name")
	}
	got := e.check(target)
	if got.status == None { // Section 6.1
		return *permanent("redirect to %s, which has no record", target)
	}
	return got
}

// fetch finds the one policy of a domain (RFC 7208, Sections 4.4 and 4.5).
func (e *evaluation) fetch(domain string) (string, *outcome) {
	answer, err := e.r.Query(e.ctx, domain, lookup.TXT)
	if err != nil && lookup.IsTemporary(err) {
		return "", e.failed(err)
	}
	found, n := "", 0
	for _, r := range answer.Records {
		if isRecord(r.Text) {
			found, n = r.Text, n+1
		}
	}
	switch n {
	case 0:
		return "", &outcome{None, "no record"}
	case 1:
		if len(found) > maxRecord {
			return "", permanent("record of %s: longer than %d octets", domain, maxRecord)
		}
		return found, nil
	}
	return "", permanent("%d records at %s", n, domain)
}

// failed is a question without an answer.
func (e *evaluation) failed(err error) *outcome {
	if e.ctx.Err() != nil {
		return &outcome{TempError, "time-out"}
	}
	var at *lookup.Error
	if errors.As(err, &at) {
		lines := strings.Split(fmt.Sprint(at.Cause), "\n") // of several tries the last
		return &outcome{TempError, "look-up of " + at.Name + ": " + lines[len(lines)-1]}
	}
	return &outcome{TempError, "a look-up was not answered"}
}

// term counts one that asks questions.
func (e *evaluation) term() *outcome {
	if e.terms++; e.terms > maxTerms {
		return permanent("more than %d terms with look-ups", maxTerms)
	}
	return nil
}

// ask asks for a term. A name that cannot be asked for does not exist (RFC 7208,
// Section 4.8).
func (e *evaluation) ask(name string, t lookup.Type) ([]lookup.Record, *outcome) {
	records, err := e.query(name, t)
	if err != nil {
		return nil, e.failed(err)
	}
	if len(records) == 0 {
		if e.void++; e.void > maxVoid {
			return nil, permanent("more than %d look-ups found nothing", maxVoid)
		}
	}
	return records, nil
}

// query fails only for a while: what can never be asked has no records.
func (e *evaluation) query(name string, t lookup.Type) ([]lookup.Record, error) {
	if !isName(name) {
		return nil, nil
	}
	answer, err := e.r.Query(e.ctx, name, t)
	if err != nil && !lookup.IsTemporary(err) {
		return nil, nil
	}
	return answer.Records, err
}

// match evaluates one mechanism (RFC 7208, Section 5).
func (e *evaluation) match(m mechanism, domain string) (bool, *outcome) {
	switch m.kind {
	case kindAll:
		return true, nil
	case kindIP:
		return m.prefix.Contains(e.client), nil
	}
	if end := e.term(); end != nil {
		return false, end
	}
	target := domain
	if len(m.target) > 0 {
		var err error
		if target, err = e.expand(m.target, domain); errors.Is(err, errLocal) {
			return false, nil
		} else if err != nil {
			return false, permanent("%s: %v", m.name, err)
		}
	}
	switch m.kind {
	case kindInclude:
		return e.include(target)
	case kindExists: // Section 5.7: IPv4, whatever the client has
		records, end := e.ask(target, lookup.A)
		return len(records) > 0, end
	case kindA:
		records, end := e.ask(target, e.family())
		return e.among(records, m), end
	case kindMX:
		return e.matchMX(m, target)
	default:
		return e.matchPTR(target)
	}
}

// include is the table of RFC 7208, Section 5.2.
func (e *evaluation) include(target string) (bool, *outcome) {
	if !isName(target) {
		return false, permanent("include leads to no name")
	}
	got := e.check(target)
	switch got.status {
	case Pass:
		return true, nil
	case Fail, SoftFail, Neutral:
		return false, nil
	case None:
		return false, permanent("include of %s, which has no record", target)
	}
	return false, &got
}

// matchMX compares with the addresses of a domain's mail hosts (RFC 7208, Section
// 5.4). A host without an address of the client's family does not count as a
// question in vain: the domain cannot help what the client connects by (departs
// from RFC 7208, Section 4.6.4).
func (e *evaluation) matchMX(m mechanism, target string) (bool, *outcome) {
	hosts, end := e.ask(target, lookup.MX)
	if end != nil {
		return false, end
	}
	if len(hosts) > maxHosts {
		return false, permanent("mx: more than %d hosts", maxHosts)
	}
	for _, h := range hosts {
		records, err := e.query(h.Host, e.family())
		if err != nil {
			return false, e.failed(err)
		}
		if e.among(records, m) {
			return true, nil
		}
	}
	return false, nil
}

// matchPTR compares with the client's confirmed names (RFC 7208, Section 5.5).
func (e *evaluation) matchPTR(target string) (bool, *outcome) {
	target = strings.ToLower(target)
	for _, n := range e.names() {
		if n == target || strings.HasSuffix(n, "."+target) {
			return true, nil
		}
	}
	return false, nil
}

// names are what the client's address leads to and what leads back to it. The
// reverse zone is the client's: its faults, and that it is empty, are no matter of
// the domain whose policy this is (departs from RFC 7208, Section 4.6.4).
func (e *evaluation) names() []string {
	if e.named {
		return e.clients
	}
	e.named = true
	hosts, _ := e.query(ReverseName(e.client), lookup.PTR)
	for _, h := range hosts[:min(len(hosts), maxHosts)] {
		records, _ := e.query(h.Host, e.family())
		for _, r := range records {
			if r.Addr.Unmap() == e.client {
				e.clients = append(e.clients, strings.ToLower(strings.TrimSuffix(h.Host, ".")))
				break
			}
		}
	}
	return e.clients
}

// clientName is %{p}: of the confirmed names the domain itself, else one below it,
// else any (RFC 7208, Section 7.3).
func (e *evaluation) clientName(domain string) string {
	name, rank := "unknown", 0
	for _, n := range e.names() {
		now := 1
		if n == domain {
			now = 3
		} else if strings.HasSuffix(n, "."+domain) {
			now = 2
		}
		if now > rank {
			name, rank = n, now
		}
	}
	return name
}

// family is the type of the client's addresses.
func (e *evaluation) family() lookup.Type {
	if e.client.Is4() {
		return lookup.A
	}
	return lookup.AAAA
}

// among reports whether the client is in one of the networks around addresses.
func (e *evaluation) among(records []lookup.Record, m mechanism) bool {
	n := m.bits4
	if e.client.Is6() {
		n = m.bits6
	}
	for _, r := range records {
		if netip.PrefixFrom(r.Addr.Unmap(), n).Masked().Contains(e.client) {
			return true
		}
	}
	return false
}

// isName reports whether a name can be asked for: labels of 1 to 63 octets.
func isName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return len(s) <= 253
}
