package app

import (
	"context"
	"fmt"

	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
	"postern/internal/mail/mx"
	"postern/internal/mail/route"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
)

// buildScout makes the one who asks the next hops of the configuration in force
// what they can do.
func (a *App) buildScout() (err error) {
	a.scout, err = deliver.NewScout(deliver.ScoutConfig{
		Hops: func(ctx context.Context) (all []route.Hop, whole bool) {
			world := a.mail.Load()
			whole = true
			for domain := range world.carry.hops {
				plan, err := world.router.Route(ctx, domain)
				all, whole = append(all, plan.Hops...), whole && err == nil
			}
			return all, whole
		},
		Call: func(ctx context.Context, hops []route.Hop) (*deliver.Call, error) {
			return a.mail.Load().asker.Call(ctx, hops)
		},
		Log: a.log,
	})
	return err
}

// carrying knows what the next hops of our domains will do with a message, so
// that a sender is refused at once what would come back to it later.
type carrying struct {
	hops map[string][]route.Hop // by domain
	said *deliver.Announced
}

// can sums up the hops of one domain: what all of them are known to lack, the
// domain lacks. None that was never spoken to is known to lack what only it can
// announce.
func (c carrying) can(domain string) deliver.Abilities {
	hops := c.hops[domain]
	if len(hops) == 0 {
		return deliver.Abilities{UTF8: true} // the world's: each host says for itself
	}
	var sum deliver.Abilities
	unbounded := false
	for _, h := range hops {
		a, known := c.said.Of(h)
		a.RequireTLS = a.RequireTLS && (h.TLS.Mode == route.Required || h.Protocol == route.Maildir) // it may have changed since
		if !known {
			a = deliver.Abilities{UTF8: true, RequireTLS: h.TLS.Mode == route.Required}
		}
		sum.UTF8, sum.RequireTLS = sum.UTF8 || a.UTF8, sum.RequireTLS || a.RequireTLS
		sum.Size, unbounded = max(sum.Size, a.Size), unbounded || a.Size == 0
	}
	if unbounded {
		sum.Size = 0
	}
	return sum
}

// offers is what port 25 announces: what the hops of any domain can do.
func (c carrying) offers() smtpd.Offers {
	o := smtpd.Offers{}
	for domain := range c.hops {
		a := c.can(domain)
		o.UTF8, o.RequireTLS = o.UTF8 || a.UTF8, o.RequireTLS || a.RequireTLS
	}
	return o
}

// offersOurs is what the doors of our own users and hosts announce. Each host of
// the world says for itself whether it takes SMTPUTF8. That mail for the world
// goes to the right host is not proven yet, so that REQUIRETLS is for those of
// our domains that keep it.
func (c carrying) offersOurs() smtpd.Offers {
	return smtpd.Offers{UTF8: true, RequireTLS: c.offers().RequireTLS}
}

// refuseOurs decides about one recipient of mail of our own users and hosts.
// What else a next hop would refuse comes back to them as a notice.
func (c carrying) refuseOurs(to address.Address, p smtpd.MailParams) *smtpline.Reply {
	return c.refuse(to, mx.Needs{RequireTLS: p.RequireTLS})
}

// refuse decides about one recipient.
func (c carrying) refuse(to address.Address, n mx.Needs) *smtpline.Reply {
	a := c.can(to.Domain)
	switch {
	case n.RequireTLS && !a.RequireTLS:
		return smtpline.Refuse(550, "5.7.30", "no-requiretls", "this recipient's server cannot promise to keep TLS")
	case n.UTF8 && !a.UTF8:
		return smtpline.Refuse(550, "5.6.7", "no-smtputf8", "this recipient's server does not take internationalised mail")
	case a.Size > 0 && n.Size > a.Size:
		return smtpline.Refuse(552, "5.3.4", "too-large", "the message is larger than this recipient's server takes")
	}
	return nil
}

// group tells apart recipients for whom a message may be judged differently at
// its end, by what their next hops take. What MAIL has told is judged at RCPT.
func (c carrying) group(to address.Address, n mx.Needs, most int64) string {
	a, group := c.can(to.Domain), ""
	if n.Size == 0 && a.Size > 0 && a.Size < most {
		group = fmt.Sprintf("size %d", a.Size)
	}
	if n.UTF8 && !a.UTF8 {
		group += " ascii"
	}
	return group
}
