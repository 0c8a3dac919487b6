package accept

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"postern/internal/mail/address"
	"postern/internal/mail/dkim"
	"postern/internal/mail/dmarc"
	"postern/internal/mail/envelope"
	"postern/internal/mail/inspect"
	"postern/internal/mail/message"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spf"
	"postern/internal/mail/spool"
	"postern/internal/mail/verdict"
)

// Arrival is a connection of port 25: its checks, and this door at the end of
// each message. It is what mail/mx calls an Inspection.
type Arrival struct {
	acceptor *Acceptor
	pending  *inspect.Pending
	protocol func(utf8 bool) string
}

// Arrive binds a connection's checks to the door. protocol gives the keyword
// of the trace field; nil: ESMTP or ESMTPS by the envelope.
func (a *Acceptor) Arrive(p *inspect.Pending, protocol func(utf8 bool) string) *Arrival {
	return &Arrival{a, p, protocol}
}

// Hello is called when the client names itself.
func (v *Arrival) Hello(name string) { v.pending.Hello(name) }

// Mail is called when a transaction begins.
func (v *Arrival) Mail(from address.Address) { v.pending.Mail(from) }

// Close ends the checks.
func (v *Arrival) Close() { v.pending.Close() }

// Inbound decides over a message and commits the draft or does not.
func (v *Arrival) Inbound(ctx context.Context, draft *spool.Draft, env envelope.Envelope) *smtpline.Reply {
	with := ""
	if v.protocol != nil {
		with = v.protocol(env.UTF8)
	}
	return v.acceptor.inbound(ctx, draft, env, v.pending, with)
}

// Inbound takes a message from the world: checks, verdict, trace, commit. It
// ends the draft.
func (a *Acceptor) Inbound(ctx context.Context, draft *spool.Draft, env envelope.Envelope, p *inspect.Pending) *smtpline.Reply {
	return a.inbound(ctx, draft, env, p, "")
}

func (a *Acceptor) inbound(ctx context.Context, draft *spool.Draft, env envelope.Envelope, p *inspect.Pending, with string) *smtpline.Reply {
	defer draft.Abort()
	if env.Received.IsZero() {
		env.Received = a.cfg.Now()
	}
	h, bad := a.read(draft)
	if bad != nil {
		return a.refuse(draft, &env, h, bad)
	}
	facts, err := p.Await(ctx, draft, h)
	if err != nil {
		return a.refuse(draft, &env, h, a.fault(err))
	}
	d := a.decide(facts, env.To)
	found := findings(facts)
	if d.Reply == nil { // scanning costs, and could not save it
		var scanned []any
		d, scanned = a.scan(ctx, draft, &env, facts.Reverse.Name, d)
		found = append(found, scanned...)
	}
	if d.Reply != nil {
		return a.refuse(draft, &env, h, d.Reply, found...)
	}
	final, err := a.annotate(draft, &env, h, facts, d, with)
	if err != nil {
		return a.refuse(draft, &env, h, a.fault(err), found...)
	}
	env.NoBounce = !vouched(env.From, facts)
	held := ""
	if d.Action == verdict.Quarantine && a.cfg.Quarantine == Hold {
		held = d.Reason
	}
	reply := a.commit(ctx, draft, env, final.Bytes(), held)
	if !reply.Positive() {
		return a.refuse(draft, &env, h, reply, found...)
	}
	a.countInbound(d, held)
	if env.NoBounce {
		a.Counters.Suspect.Inc()
		found = append(found, "no_bounce", true)
	}
	a.cfg.Log.Info("message accepted", append(told(draft, &env, h, "reason", d.Reason, "action", d.Action.String(), "held", held != ""), found...)...)
	return reply
}

func (a *Acceptor) countInbound(d verdict.Decision, held string) {
	a.Counters.Inbound.Inc()
	switch {
	case held != "":
		a.Counters.Held.Inc()
	case d.Action == verdict.Quarantine:
		a.Counters.Tagged.Inc()
	}
}

// decide asks the verdict, with an eye on how long the domain's DNS has been
// failing.
func (a *Acceptor) decide(f verdict.Facts, to []address.Address) verdict.Decision {
	now := a.cfg.Now()
	policy := verdict.Policy{DMARC: a.cfg.DMARC, Lists: a.cfg.Lists, Forwarders: a.cfg.Forwarders, Role: roles(to), Patient: true}
	author := f.DMARC.Author
	if f.DMARC.Status != dmarc.TempError {
		a.failing.forget(author)
		return verdict.Decide(f, policy)
	}
	policy.Patient = a.failing.lasted(author, now) < a.cfg.Patience
	d := verdict.Decide(f, policy)
	if d.Action == verdict.Defer && !a.failing.note(author, now) {
		a.Counters.Forgetful.Inc()
	}
	return d
}

// Preview says what would become of a message, and why; it takes nothing, counts
// nothing and remembers nothing.
func (a *Acceptor) Preview(ctx context.Context, draft *spool.Draft, to []address.Address, p *inspect.Pending) (verdict.Facts, verdict.Decision, error) {
	h, err := message.Parse(draft.Header())
	if err != nil {
		return verdict.Facts{}, verdict.Decision{}, err
	}
	f, err := p.Await(ctx, draft, h)
	policy := verdict.Policy{DMARC: a.cfg.DMARC, Lists: a.cfg.Lists, Forwarders: a.cfg.Forwarders, Role: roles(to), Patient: true}
	return f, verdict.Decide(f, policy), err
}

// roles tells whether all recipients are those whom everybody must be able to
// write to (RFC 2142, Section 2; RFC 5321, Section 4.5.1).
func roles(to []address.Address) bool {
	return !slices.ContainsFunc(to, func(a address.Address) bool { return !IsRole(a) })
}

// IsRole reports postmaster and abuse.
func IsRole(a address.Address) bool {
	return strings.EqualFold(a.Local, "postmaster") || strings.EqualFold(a.Local, "abuse")
}

// vouched tells whether MAIL FROM is who sent the message, by what its own domain
// says: SPF passes, or a signature of the domain, or of one above it, does. Only
// such a sender is told should the inner server refuse the message later; telling
// others would make us a source of backscatter (RFC 3834, Section 2; RFC 5321,
// Section 6.2). A mailing list breaks its author's DMARC but not its own SPF, and
// is told; so is a sender whose message was forwarded, if its domain's signature
// is whole.
func vouched(from address.Address, f verdict.Facts) bool {
	if from.IsZero() { // whom nobody tells
		return true
	}
	if f.From.Identity == spf.MailFrom && f.From.Status == spf.Pass {
		return true
	}
	return slices.ContainsFunc(f.DKIM, func(s dkim.Signature) bool {
		return s.Status == dkim.Pass && (from.Domain == s.Domain || strings.HasSuffix(from.Domain, "."+s.Domain))
	})
}

// annotate writes the header as it goes on: our results on top of our trace
// field, on top of what came, less what was forged.
func (a *Acceptor) annotate(draft *spool.Draft, env *envelope.Envelope, h *message.Header, f verdict.Facts, d verdict.Decision, with string) (*message.Header, error) {
	t := a.received(draft, env, with)
	t.Helo, t.Client, t.Name = env.Helo, env.Client, f.Reverse.Name
	fields := []string{verdict.Results(a.cfg.Hostname, env.Client, f), t.Field()}
	if d.Action == verdict.Quarantine {
		fields = append([]string{message.FormatField(Mark, d.Action.String()+";", "reason="+d.Reason)}, fields...)
	}
	if len(f.Marks) > 0 {
		fields = append([]string{message.FormatField(Marks, marks(f)...)}, fields...)
	}
	return a.strip(h).Prepend(fields...)
}

func marks(f verdict.Facts) []string {
	var out []string
	for _, m := range f.Marks {
		out = append(out, string(m))
	}
	return out
}

// findings are the facts for the log line.
func findings(f verdict.Facts) []any {
	var out []any
	if f.Ran.SPF {
		out = append(out, "spf", f.From.Status.String(), "spf_domain", f.From.Domain)
	}
	if f.Ran.DKIM {
		var sigs []string
		for _, s := range f.DKIM {
			sigs = append(sigs, fmt.Sprintf("%s:%s", s.Domain, s.Status))
		}
		out = append(out, "dkim", strings.Join(sigs, " "))
	}
	if f.Ran.DMARC {
		out = append(out, "dmarc", f.DMARC.Status.String(), "author", f.DMARC.Author, "policy", f.DMARC.Applied.String())
	}
	for _, l := range f.Listings {
		out = append(out, "dnsbl", l.List+"="+l.Reply.String())
	}
	if len(f.Marks) > 0 {
		out = append(out, "marks", strings.Join(marks(f), " "))
	}
	return out
}
