package app

import (
	"context"
	"fmt"

	"postern/config"
	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
	"postern/internal/mail/directory"
	"postern/internal/mail/recipient"
	"postern/internal/mail/route"
)

// directoriesOf makes those of the configuration, by the domains that they are
// asked for.
func (a *App) directoriesOf(cfg *config.Checked, router *route.Router) (map[string]*directory.Directory, error) {
	all := map[string]*directory.Directory{}
	for _, r := range cfg.Mail.Routes {
		for _, c := range cfg.Mail.Directories {
			if c.Name != r.Directory {
				continue
			}
			d, err := a.directoryOf(c, router)
			if err != nil {
				return nil, fmt.Errorf("directory %s: %w", c.Name, err)
			}
			all[r.Domain] = d
		}
	}
	return all, nil
}

func (a *App) directoryOf(c config.Directory, router *route.Router) (*directory.Directory, error) {
	roots, err := rootsOf(c.CA)
	if err != nil {
		return nil, err
	}
	d := directory.Config{
		Plain: c.Plain, Roots: roots, Name: c.CertName, User: c.User, Secret: c.Secret, Base: c.Base, Filter: c.Filter,
		Timeout: c.Timeout, Addresses: router.Inside, Now: a.now,
	}
	for _, s := range c.Servers {
		d.Servers = append(d.Servers, directory.Server{Host: s.Host, Port: uint16(s.Port), TLS: s.Scheme == "ldaps"})
	}
	return directory.New(d)
}

// inquiry gives a directory's answers as a next hop would.
type inquiry struct{ *directory.Call }

func (i inquiry) Ask(to address.Address) (deliver.Answer, error) {
	found, err := i.Exists(to)
	if !found && err == nil {
		// RFC 5233, Section 1: the detail is the mailbox's own affair.
		if base, ok := to.Base(); ok {
			found, err = i.Exists(base)
		}
	}
	switch {
	case err != nil:
		return deliver.Answer{}, err
	case found:
		return deliver.Answer{Code: 250, Enhanced: "2.1.5"}, nil
	}
	return deliver.Answer{Code: 550, Enhanced: "5.1.1", Text: "the directory has nobody of that address"}, nil
}

// callTo begins a conversation with whoever knows the recipients of a domain.
func (a *App) callTo(ctx context.Context, domain string) (recipient.Call, error) {
	world := a.mail.Load()
	if d := world.directories[domain]; d != nil {
		call, err := d.Call(ctx)
		if err != nil {
			return nil, err
		}
		return inquiry{call}, nil
	}
	plan, err := world.router.Route(ctx, domain)
	if err != nil {
		return nil, err
	}
	call, err := world.asker.Call(ctx, plan.Hops)
	if err != nil {
		return nil, err
	}
	return call, nil
}
