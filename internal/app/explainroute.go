package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/internal/mail/address"
	"postern/internal/mail/route"
	"postern/internal/manage"
)

// explainRoute says what would become of mail for an address, by asking all that
// port 25 and the queue ask.
func (a *App) explainRoute(ctx context.Context, q manage.RouteArgs) (manage.RouteExplanation, error) {
	cfg, world := a.inForce(), a.mail.Load()
	text := q.Address
	if strings.EqualFold(text, "postmaster") && len(cfg.Mail.Domains) > 0 {
		text += "@" + cfg.Mail.Domains[0] // RFC 5321, Section 4.5.1
	}
	to, err := address.Parse(text)
	if err != nil {
		return manage.RouteExplanation{}, &manage.Error{Reason: manage.ReasonUsage, Text: fmt.Sprintf("%q: %v", q.Address, err), Hint: "such as anna@city.example"}
	}
	out := manage.RouteExplanation{Address: to.String(), To: []manage.Destination{}, Ours: slices.Contains(cfg.Mail.Domains, to.Domain)}
	var targets []address.Address
	switch back, rewritten, err := world.returns(to); {
	case rewritten && err != nil:
		out.How, out.Recipient = "a rewritten sender: "+err.Error(), "550 5.7.1 (srs-forged)"
	case rewritten:
		out.How, out.Recipient = "a rewritten sender: bounces go back to whom it stands for", "250, from the null sender alone"
		targets = []address.Address{back}
	case !out.Ours:
		out.How, out.Recipient = "not a domain of ours: only from users and named hosts", "550 5.7.1 (relay-denied)"
		targets = []address.Address{to}
	default:
		targets = a.explainRecipient(ctx, to, &out)
	}
	for _, t := range targets {
		out.To = append(out.To, a.destination(ctx, world, t))
	}
	return out, nil
}

// returns finds whom a rewritten sender stands for.
func (w *mailWorld) returns(to address.Address) (back address.Address, ours bool, err error) {
	if w.senders == nil {
		return address.Address{}, false, nil
	}
	return w.senders.back(to)
}

func (a *App) explainRecipient(ctx context.Context, to address.Address, out *manage.RouteExplanation) []address.Address {
	x := a.recipients.Explain(ctx, to)
	out.Recipients, out.How, out.Recipient = fmt.Sprintf("%s (%s)", x.Mode, x.State), x.How, "250"
	if x.Reply != nil {
		out.Recipient = fmt.Sprintf("%s (%s)", x.Reply, x.Reply.Reason)
	}
	return x.Targets
}

// destination finds the hops of one address as the queue does.
func (a *App) destination(ctx context.Context, world *mailWorld, to address.Address) manage.Destination {
	d := manage.Destination{Address: to.String(), Why: "the MX records of " + to.Domain}
	if to.IsLiteral() {
		d.Why = "the address that it names"
	}
	if world.router.Static(to.Domain) {
		d.Why = "the route of " + to.Domain
	} else {
		d.Held = a.inForce().Mail.Outbound.Mode == "hold"
	}
	plan, err := world.router.Route(ctx, to.Domain)
	if err != nil {
		d.Problem = err.Error()
		if e, ok := errors.AsType[*route.Error](err); ok {
			d.Problem = fmt.Sprintf("%d %s %s (%s)", e.Code, e.Enhanced, e.Text, e.Reason)
			if e.Cause != nil {
				d.Problem += ": " + e.Cause.Error()
			}
		}
		return d
	}
	for _, h := range plan.Hops {
		d.Hops = append(d.Hops, a.hop(h))
	}
	return d
}

func (a *App) hop(h route.Hop) manage.Hop {
	out := manage.Hop{Hop: h.String(), User: h.User}
	for _, addr := range h.Addrs {
		out.Addresses = append(out.Addresses, addr.Addr().String())
	}
	if h.Host != "" {
		if out.TLS = h.TLS.Mode.String(); h.TLS.Mode == route.Required {
			if out.Name = h.TLS.Name; out.Name == "" {
				out.Name = h.Host
			}
		}
	}
	if can, known := a.announced.Of(h); known {
		out.Can = []string{}
		if can.UTF8 {
			out.Can = append(out.Can, "SMTPUTF8")
		}
		if can.RequireTLS {
			out.Can = append(out.Can, "REQUIRETLS")
		}
		if can.Size > 0 {
			out.Can = append(out.Can, fmt.Sprintf("SIZE %d", can.Size))
		}
	}
	return out
}
