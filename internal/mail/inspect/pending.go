package inspect

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"postern/internal/mail/address"
	"postern/internal/mail/dkim"
	"postern/internal/mail/dmarc"
	"postern/internal/mail/message"
	"postern/internal/mail/spf"
	"postern/internal/mail/spool"
	"postern/internal/mail/verdict"
)

// Pending is the checks of one connection, in the order of its dialogue:
// Begin, Hello, Mail, Await or Reset, and Mail again; Close at its end.
type Pending struct {
	inspector *Inspector
	client    netip.Addr
	name      string // HELO
	from      address.Address
	rules     *Rules
	begun     int // evaluations of names and senders since a message came

	listed  []*future[listing]
	leads   *future[verdict.ReverseStatus] // where HELO leads
	reverse *future[verdict.Reverse]
	helo    *future[spf.Result]
	mail    *future[spf.Result]
}

// maxBegun is how many names and senders are looked into before a message has
// come. A client pays two short lines for another, and its SPF record can have
// us ask a hundred questions of whom it likes.
const maxBegun = 10

// ahead reports that a check may begin before there is a message.
func (p *Pending) ahead() bool {
	if p.begun >= maxBegun {
		p.inspector.Counters.PutOff.Inc()
		return false
	}
	p.begun++
	return true
}

// Hello is called when the client names itself, maybe more than once.
func (p *Pending) Hello(name string) {
	if name == p.name {
		return
	}
	p.helo.stop()
	p.leads.stop()
	p.name, p.helo, p.leads = name, nil, nil
	if p.ahead() {
		p.lookIntoName()
	}
}

func (p *Pending) lookIntoName() {
	name := p.name // copied: the goroutines outlive this call
	if host := hostName(name); host != "" && p.rules.Checks != (verdict.Checks{}) {
		p.leads = begin(p.inspector, p.client, "helo name", func(ctx context.Context) verdict.ReverseStatus {
			return leadsTo(ctx, p.inspector.cfg.Resolver, host, p.client)
		})
	}
	if name == "" || !p.rules.Checks.SPF {
		return
	}
	p.helo = begin(p.inspector, p.client, "spf helo", func(ctx context.Context) spf.Result {
		return spf.CheckHELO(ctx, p.inspector.cfg.Resolver, p.client, name)
	})
}

// Mail is called when a transaction begins; the zero address is the null
// sender.
func (p *Pending) Mail(from address.Address) {
	p.Reset()
	p.from = from
	if p.checksSender() && p.ahead() {
		p.lookIntoSender()
	}
}

func (p *Pending) checksSender() bool { return p.rules.Checks.SPF && p.from.Domain != "" }

func (p *Pending) lookIntoSender() {
	helo, from := p.name, p.from // copied: the goroutine outlives this call
	p.mail = begin(p.inspector, p.client, "spf mailfrom", func(ctx context.Context) spf.Result {
		return spf.CheckMailFrom(ctx, p.inspector.cfg.Resolver, p.client, helo, from)
	})
}

// catchUp begins what was put off: there is a message.
func (p *Pending) catchUp() {
	p.begun = 0
	if p.helo == nil && p.leads == nil {
		p.lookIntoName()
	}
	if p.mail == nil && p.checksSender() {
		p.lookIntoSender()
	}
}

// Reset is called when a transaction ends.
func (p *Pending) Reset() {
	p.mail.stop()
	p.mail, p.from = nil, address.Address{}
}

// Close is the last call.
func (p *Pending) Close() {
	p.Reset()
	p.helo.stop()
	p.leads.stop()
	p.reverse.stop()
	for _, l := range p.listed {
		l.stop()
	}
}

// Await gathers the facts about a whole message; h is its header as received.
// An error means that the message could not be read back, which is ours, not
// the sender's; whatever is the sender's or the DNS's is in the facts.
func (p *Pending) Await(ctx context.Context, draft *spool.Draft, h *message.Header) (verdict.Facts, error) {
	i := p.inspector
	i.Counters.Messages.Inc()
	p.catchUp()
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Timeout)
	defer cancel()
	// The sender's own DNS may last as long as the sender likes. The author's
	// is asked last and must have time left, else a forger hides its policy.
	senders, done := context.WithTimeout(ctx, i.cfg.Timeout*3/4)
	defer done()
	f := verdict.Facts{Ran: p.rules.Checks, Client: p.client}
	if f.Ran.DKIM { // first, since it alone has not begun yet
		sigs, err := p.dkim(senders, draft, h)
		if err != nil {
			i.Counters.Unread.Inc()
			return f, fmt.Errorf("verify signatures: %w", err)
		}
		f.DKIM = sigs
	}
	if f.Ran.SPF {
		f.HELO = p.spf(senders, p.helo, spf.Result{Identity: spf.HELO, Domain: p.name})
		f.From = f.HELO
		if p.from.Domain != "" {
			f.From = p.spf(senders, p.mail, spf.Result{Identity: spf.MailFrom, Domain: p.from.Domain})
		}
	}
	f.Reverse, _ = p.reverse.wait(senders)
	p.awaitListings(senders, &f)
	if f.Ran.DMARC {
		p.dmarc(ctx, &f, h)
		if err := p.sealed(ctx, &f, draft, h); err != nil {
			i.Counters.Unread.Inc()
			return f, fmt.Errorf("validate the ARC chain: %w", err)
		}
	}
	if f.Ran != (verdict.Checks{}) {
		p.marks(senders, &f, h)
	}
	return f, nil
}

// spf waits for a result; one that does not come is a temporary error.
func (p *Pending) spf(ctx context.Context, fut *future[spf.Result], missing spf.Result) spf.Result {
	if fut == nil { // the client never said HELO: nothing to check
		return missing
	}
	if r, ok := fut.wait(ctx); ok {
		return r
	}
	p.inspector.Counters.TimedOut.Inc()
	missing.Status, missing.Explain = spf.TempError, "time-out"
	return missing
}

// dkim verifies the signatures, a bounded number of messages at a time.
func (p *Pending) dkim(ctx context.Context, draft *spool.Draft, h *message.Header) ([]dkim.Signature, error) {
	i := p.inspector
	if h.Count("DKIM-Signature") == 0 {
		return nil, nil
	}
	body := draft.Body()
	// One key that never comes must leave time to hash for those that did.
	fetching, cancel := context.WithTimeout(ctx, i.cfg.Timeout/2)
	check := dkim.Fetch(fetching, i.cfg.Resolver, h.Bytes()) // whoever waits for a key takes nobody's room
	cancel()
	if !acquire(ctx, i.hashing, &i.Counters.Waited) {
		i.Counters.TimedOut.Inc()
		return []dkim.Signature{{Status: dkim.TempError, Reason: "time-out"}}, nil
	}
	defer func() { <-i.hashing }()
	r, err := check.Verify(ctx, i.cfg.Now(), body)
	return r.Signatures, err
}

func (p *Pending) dmarc(ctx context.Context, f *verdict.Facts, h *message.Header) {
	authors, err := h.Authors()
	if err != nil {
		f.Author = err
		return
	}
	for _, a := range authors {
		f.Authors = append(f.Authors, a.Domain)
	}
	f.Lists = lists(h)
	in := dmarc.Input{Authors: f.Authors, SPF: dmarc.Identifier{Domain: f.From.Domain}}
	switch f.From.Status {
	case spf.Pass:
		in.SPF.Outcome = dmarc.Passed
	case spf.TempError:
		in.SPF.Outcome = dmarc.Open
	}
	for _, s := range f.DKIM {
		id := dmarc.Identifier{Domain: s.Domain}
		switch s.Status {
		case dkim.Pass:
			id.Outcome = dmarc.Passed
		case dkim.TempError:
			id.Outcome = dmarc.Open
		}
		in.DKIM = append(in.DKIM, id)
	}
	f.DMARC = dmarc.Evaluate(ctx, p.inspector.cfg.Resolver, in)
}

// lists are the identifiers in List-Id fields (RFC 2919, Section 3).
func lists(h *message.Header) []string {
	var out []string
	for _, f := range h.Fields() {
		if !f.Is("List-Id") || len(out) == 5 {
			continue
		}
		v := f.Value()
		from, to := strings.LastIndexByte(v, '<'), strings.LastIndexByte(v, '>')
		if from >= 0 && to > from {
			out = append(out, strings.ToLower(strings.TrimSpace(v[from+1:to])))
		}
	}
	return out
}
