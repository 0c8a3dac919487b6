package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"postern/config"
	"postern/internal/mail/mx"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/submission"
)

// doors is the listening mail sockets. A reload keeps those that stay.
type doors struct {
	mu      sync.Mutex // guards servers
	servers map[doorKey]*smtpd.Server
}

// doorKey is what makes two listeners the same socket.
type doorKey struct {
	addr netip.AddrPort
	name string
	mode smtpd.Mode
}

// prepare takes what is wanted; Start opens it.
func (d *doors) prepare(wanted map[doorKey]smtpd.Config) error {
	d.servers = map[doorKey]*smtpd.Server{}
	for k, c := range wanted {
		s, err := smtpd.New(c)
		if err != nil {
			return err
		}
		d.servers[k] = s
	}
	return nil
}

// Start opens every door, or none.
func (d *doors) Start(ctx context.Context) error {
	var open []*smtpd.Server
	for _, s := range d.servers {
		if err := s.Start(ctx); err != nil {
			return errors.Join(err, stopDoors(ctx, open))
		}
		open = append(open, s)
	}
	return nil
}

// Stop closes every door; messages on their way in may end until ctx does.
func (d *doors) Stop(ctx context.Context) error {
	var all []*smtpd.Server
	for _, s := range d.servers {
		all = append(all, s)
	}
	return stopDoors(ctx, all)
}

func stopDoors(ctx context.Context, all []*smtpd.Server) error {
	ended := make(chan error, len(all))
	for _, s := range all {
		go func() { ended <- s.Stop(ctx) }()
	}
	var errs []error
	for range all {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// each calls f for every open door.
func (d *doors) each(f func(doorKey, *smtpd.Server)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, s := range d.servers {
		f(k, s)
	}
}

// doorChange is new doors, already open, and what goes when they are taken.
type doorChange struct {
	doors  *doors
	wanted map[doorKey]smtpd.Config
	fresh  map[doorKey]*smtpd.Server
}

// change opens the doors that are new. Nothing else changes until commit.
func (d *doors) change(ctx context.Context, wanted map[doorKey]smtpd.Config) (*doorChange, error) {
	c := &doorChange{doors: d, wanted: wanted, fresh: map[doorKey]*smtpd.Server{}}
	for k, conf := range wanted {
		if _, runs := d.servers[k]; runs {
			continue
		}
		s, err := smtpd.New(conf)
		if err == nil {
			err = s.Start(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, c.abort(ctx))
		}
		c.fresh[k] = s
	}
	return c, nil
}

func (c *doorChange) abort(ctx context.Context) error {
	var all []*smtpd.Server
	for _, s := range c.fresh {
		all = append(all, s)
	}
	return stopDoors(ctx, all)
}

// commit takes the new doors, gives those that stay their new settings, and
// closes the others.
func (c *doorChange) commit(ctx context.Context) error {
	var gone []*smtpd.Server
	var errs []error
	c.doors.mu.Lock()
	for k, s := range c.doors.servers {
		if conf, stays := c.wanted[k]; stays {
			errs = append(errs, s.Reconfigure(conf))
			continue
		}
		gone = append(gone, s)
		delete(c.doors.servers, k)
	}
	for k, s := range c.fresh {
		c.doors.servers[k] = s
	}
	c.doors.mu.Unlock()
	return errors.Join(append(errs, stopDoors(ctx, gone))...)
}

// doorsOf is the mail listeners of a configuration.
func (a *App) doorsOf(cfg *config.Checked) map[doorKey]smtpd.Config {
	wanted := map[doorKey]smtpd.Config{}
	for _, l := range cfg.Listen {
		c, ok := a.doorOf(cfg, l)
		if !ok {
			continue
		}
		for _, addr := range l.Addrs {
			c.Addr = addr
			wanted[doorKey{addr, c.Name, c.Mode}] = c
		}
	}
	return wanted
}

func (a *App) doorOf(cfg *config.Checked, l config.Listen) (smtpd.Config, bool) {
	c := smtpd.Config{
		Turns:    a.turns,
		Hostname: hostname(cfg), Mode: smtpd.STARTTLS, TLS: a.tlsConfig(cfg), MaxSize: cfg.Mail.Inbound.MaxSize,
		DSN: true, Chunking: cfg.Mail.Inbound.Chunking, Clients: l.Clients, Exempt: cfg.Limits.Exempt, Log: a.log,
		Proxy: l.Proxy, Proxies: cfg.Mail.Inbound.TrustedProxies,
	}
	switch l.Serve {
	case config.ServeMX:
		c.Name, c.Limits, c.NewSession = "mx", mx.Limits(), a.mxSession
		c.Offers = func() smtpd.Offers { return a.mail.Load().carry.offers() }
		c.XClient = cfg.Mail.Inbound.TrustedXClient
		c.Limits.GreetWait = cfg.Limits.GreetingDelay
	case config.ServeSubmission:
		c.Name, c.Limits, c.NewSession = "submission", submission.Limits(), a.submissionSession
		if contains(l.Transports, "tls") {
			c.Mode = smtpd.ImplicitTLS
		}
		c.RequireTLS, c.NoScram, c.Offers = true, !l.Scram, a.offersOurs
	case config.ServeRelay:
		c.Name, c.NewSession, c.Offers = "relay", a.relaySession, a.offersOurs
		if slices.ContainsFunc(cfg.Mail.Relays, func(r config.Relay) bool { return len(r.Cert) > 0 }) {
			// Not verified here: the door knows its hosts' certificates.
			c.TLS.ClientAuth = tls.RequestClientCert
		}
	default:
		return c, false
	}
	bound(&c.Limits, cfg.Limits)
	return c, true
}

func (a *App) offersOurs() smtpd.Offers { return a.mail.Load().carry.offersOurs() }

// bound takes over the limits that can be set.
func bound(to *smtpd.Limits, l config.Limits) {
	to.Connections, to.ConnectionsPerAddr = l.Connections, l.ConnectionsPerAddress
	to.ConnectionsPerNetwork, to.ConnectionsPerAccount = l.ConnectionsPerNetwork, l.ConnectionsPerAccount
	to.ConnectRate, to.NetworkConnectRate = l.ConnectionsPerMinute, l.NetworkConnectionsPerMinute
	to.ErrorRate, to.NetworkErrorRate = l.ErrorsPerMinute, l.NetworkErrorsPerMinute
	to.UnknownRate, to.NetworkUnknownRate = l.UnknownPerHour, l.NetworkUnknownPerHour
	to.OctetRate, to.NetworkOctetRate = l.BytesPerHour, l.NetworkBytesPerHour
	to.OctetsPerAccount, to.SessionTime = l.AccountBytesPerDay, l.SessionTime
	to.Recipients, to.Messages, to.Chunks = l.RecipientsPerMessage, l.MessagesPerConnection, l.ChunksPerMessage
}

// The three doors. Each session follows the configuration in force when its
// client connected.

func (a *App) mxSession(ctx context.Context, c *smtpd.Conn) (smtpd.Session, *smtpline.Reply) {
	door := a.mail.Load().mx
	if door == nil {
		return nil, closed("mail.domains names no domain")
	}
	return door.Session(ctx, c)
}

func (a *App) submissionSession(ctx context.Context, c *smtpd.Conn) (smtpd.Session, *smtpline.Reply) {
	return a.mail.Load().submission.Session(ctx, c)
}

func (a *App) relaySession(ctx context.Context, c *smtpd.Conn) (smtpd.Session, *smtpline.Reply) {
	door := a.mail.Load().relay
	if door == nil {
		return nil, closed("no mail.relay names a host")
	}
	return door.Session(ctx, c)
}

func closed(why string) *smtpline.Reply {
	r := smtpline.Refuse(554, "5.7.1", "door-closed", "no mail is taken here")
	r.Cause = fmt.Errorf("%s", why)
	return r
}
