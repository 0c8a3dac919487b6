package app

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"postern/internal/mail/address"
	"postern/internal/mail/verdict"
	"postern/internal/manage"
)

// explainMail says what would become of a message from the world, by asking all
// that port 25 asks.
func (a *App) explainMail(ctx context.Context, q manage.MailArgs) (manage.MailExplanation, error) {
	var out manage.MailExplanation
	wrong := func(what, text string, err error) error {
		return &manage.Error{Reason: manage.ReasonUsage, Text: fmt.Sprintf("--%s %q: %v", what, text, err), Hint: "such as anna@city.example"}
	}
	ip, err := netip.ParseAddr(q.IP)
	if err != nil {
		return out, &manage.Error{Reason: manage.ReasonUsage, Text: fmt.Sprintf("--ip %q: not an address", q.IP), Hint: "of a client, such as 192.0.2.7"}
	}
	to, err := address.Parse(q.To)
	if err != nil {
		return out, wrong("to", q.To, err)
	}
	var from address.Address
	if q.From != "" && q.From != "<>" {
		if from, err = address.Parse(q.From); err != nil {
			return out, wrong("from", q.From, err)
		}
	}
	if !slices.Contains(a.inForce().Mail.Domains, to.Domain) {
		out.Recipient = "550 5.7.1 (relay-denied): not a domain of ours"
		return out, nil
	}
	targets, reply := a.recipients.Find(ctx, to)
	if reply != nil {
		out.Recipient = fmt.Sprintf("%s (%s)", reply, reply.Reason)
		return out, nil
	}
	out.Recipient = "250"
	for _, t := range targets {
		out.To = append(out.To, t.String())
	}
	f, d, err := a.preview(ctx, ip, q.Helo, from, to)
	if err != nil {
		return out, err
	}
	tell(&out, f, d)
	return out, nil
}

// preview has an unsigned message by that sender judged.
func (a *App) preview(ctx context.Context, ip netip.Addr, helo string, from, to address.Address) (verdict.Facts, verdict.Decision, error) {
	draft, err := a.spool.Create()
	if err != nil {
		return verdict.Facts{}, verdict.Decision{}, err
	}
	defer draft.Abort()
	author := from
	if from.IsZero() { // whoever writes bounces there
		author = address.Address{Local: "postmaster", Domain: "unknown.invalid"}
		if host, err := address.ParseDomain(helo); err == nil {
			author.Domain = host
		}
	}
	if _, err := fmt.Fprintf(draft, "From: %s\r\n\r\n", author.Path()); err != nil {
		return verdict.Facts{}, verdict.Decision{}, err
	}
	p := a.inspector.Begin(ip)
	defer p.Close()
	p.Hello(helo)
	p.Mail(from)
	return a.mail.Load().acceptor.Preview(ctx, draft, []address.Address{to}, p)
}

func tell(out *manage.MailExplanation, f verdict.Facts, d verdict.Decision) {
	out.Reverse, out.Name = f.Reverse.Status.String(), f.Reverse.Name
	for _, l := range f.Listings {
		out.Listed = append(out.Listed, l.List+"="+l.Reply.String())
	}
	if f.Ran.SPF {
		out.SPF = []string{"helo " + f.HELO.Status.String() + " " + f.HELO.Domain}
		if f.From != f.HELO {
			out.SPF = append(out.SPF, "mailfrom "+f.From.Status.String()+" "+f.From.Domain)
		}
	}
	if f.Ran.DMARC {
		out.DMARC, out.Policy, out.PolicyAt = f.DMARC.Status.String(), f.DMARC.Published.String(), f.DMARC.At
	}
	for _, m := range f.Marks {
		out.Marks = append(out.Marks, string(m))
	}
	out.Action, out.Reason = d.Action.String(), d.Reason
	if d.Reply != nil {
		out.Reply = d.Reply.String()
	}
}
