package app

import (
	"fmt"
	"slices"
	"time"

	"postern/config"
	"postern/internal/mail/deliver"
	"postern/internal/mail/recipient"
	"postern/internal/manage"
)

// buildRecipients makes the one who knows who exists. It asks the next hops and
// directories of the configuration in force.
func (a *App) buildRecipients() (err error) {
	a.recipients, err = recipient.New(recipient.Config{
		Call: a.callTo,
		File: a.state.path("recipients"), Now: a.now, Log: a.log,
	})
	return err
}

// askerOf is who asks next hops: somebody waits at RCPT meanwhile, so it waits
// for nothing long.
func (a *App) askerOf(cfg *config.Checked) *deliver.Client {
	const short = 10 * time.Second
	return deliver.New(deliver.Config{
		Hostname: hostname(cfg), Now: a.now, Log: a.log, Announced: &a.announced,
		Timeouts: deliver.Timeouts{
			Connect: short / 2, Greeting: short, Hello: short, TLS: short, Mail: short, Rcpt: short, Quit: time.Second,
		},
	})
}

var recipientModes = map[string]recipient.Mode{"any": recipient.Any, "file": recipient.File, "verify": recipient.Verify, "ldap": recipient.Directory}

// peopleOf reads what the configuration says about who exists.
func (a *App) peopleOf(cfg *config.Checked) (*recipient.Plan, error) {
	var domains []recipient.Domain
	for _, r := range cfg.Mail.Routes {
		if !slices.Contains(cfg.Mail.Domains, r.Domain) {
			continue
		}
		d := recipient.Domain{
			Name: r.Domain, Mode: recipientModes[r.Recipients], File: r.List,
			Hops: fmt.Sprintf("%s, tls %s %s %s, user %s", hopsOf(r), r.TLS, r.Name, r.CA, r.User),
		}
		for _, c := range cfg.Mail.Directories {
			if c.Name == r.Directory {
				d.Hops = c.Text()
			}
		}
		domains = append(domains, d)
	}
	return a.recipients.Prepare(domains)
}

// knowing is how the recipients of the domains are known.
func (a *App) knowing() []manage.Recipients {
	all := []manage.Recipients{}
	for _, s := range a.recipients.Standings() {
		all = append(all, manage.Recipients{Domain: s.Domain, Mode: s.Mode.String(), State: s.State.String(), Known: s.Known})
	}
	return all
}

// unknowing counts the domains whose recipients are not known as configured.
func (a *App) unknowing(states ...recipient.State) float64 {
	n := 0
	for _, s := range a.recipients.Standings() {
		if slices.Contains(states, s.State) {
			n++
		}
	}
	return float64(n)
}
