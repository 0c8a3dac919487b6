package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"postern/config"
	"postern/internal/account"
	"postern/internal/mail/accept"
	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
	"postern/internal/mail/directory"
	"postern/internal/mail/envelope"
	"postern/internal/mail/inspect"
	"postern/internal/mail/mx"
	"postern/internal/mail/queue"
	"postern/internal/mail/recipient"
	"postern/internal/mail/relay"
	"postern/internal/mail/route"
	"postern/internal/mail/selector"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
	"postern/internal/mail/submission"
	"postern/internal/mail/verdict"
)

// mailWorld is what mail follows of one configuration. A reload makes a new
// one; sessions that are open keep the one they began with.
type mailWorld struct {
	router      *route.Router
	client      *deliver.Client
	asker       *deliver.Client // asks who exists
	people      *recipient.Plan
	directories map[string]*directory.Directory // by domain; they are asked who exists
	carry       carrying
	acceptor    *accept.Acceptor
	mx          *mx.Door
	submission  *submission.Door
	relay       *relay.Door
	senders     *senders // nil: none is rewritten
}

// buildMail opens the spool and makes what stands between it and the doors.
func (a *App) buildMail(cfg *config.Checked) error {
	var err error
	if a.spool, err = spool.Open(spool.Config{Dir: a.state.path("spool"), Now: a.now, Log: a.log}); err != nil {
		return err
	}
	if a.selector, err = a.selectorOf(cfg); err != nil {
		return err
	}
	a.inspector = inspect.New(inspect.Config{Resolver: a.outside(cfg), Rules: rulesOf(cfg), Now: a.now, Log: a.log})
	a.calls = deliver.NewPool(0, 0)
	a.queue, err = queue.New(queue.Config{
		Spool: a.spool, Router: following{a}, Deliverer: following{a}, Hostname: hostname(cfg),
		Bounce: a.bounce,
		Hold:   cfg.Mail.Outbound.Mode == "hold", Now: a.now, Log: a.log,
	})
	if err != nil {
		return err
	}
	if err := errors.Join(a.buildRecipients(), a.buildScout()); err != nil {
		return err
	}
	world, err := a.mailOf(cfg, nil)
	if err != nil {
		return err
	}
	a.mail.Store(world)
	a.recipients.Follow(world.people)
	return a.doors.prepare(a.doorsOf(cfg))
}

// following lets the queue route and deliver by the configuration in force.
type following struct{ a *App }

func (f following) Static(domain string) bool { return f.a.mail.Load().router.Static(domain) }

func (f following) Route(ctx context.Context, domain string) (route.Plan, error) {
	return f.a.mail.Load().router.Route(ctx, domain)
}

func (f following) Deliver(ctx context.Context, j deliver.Job) deliver.Report {
	return f.a.mail.Load().client.Deliver(ctx, j)
}

func checksOf(cfg *config.Checked) verdict.Checks {
	return verdict.Checks{SPF: cfg.Mail.Inbound.SPF, DKIM: cfg.Mail.Inbound.DKIM, DMARC: cfg.Mail.Inbound.DMARC}
}

// rulesOf is the part of the configuration that the checks follow.
func rulesOf(cfg *config.Checked) inspect.Rules {
	r := inspect.Rules{Checks: checksOf(cfg), Sealers: cfg.Mail.Inbound.Exceptions.Sealers, Domains: cfg.Mail.Domains, Hostname: hostname(cfg)}
	for _, l := range cfg.Mail.Inbound.Blocklists {
		r.Blocklists = append(r.Blocklists, inspect.Blocklist{Zone: l.Zone, Replies: l.Replies})
	}
	return r
}

func forwardersOf(cfg *config.Checked) []verdict.Forwarder {
	var all []verdict.Forwarder
	for _, p := range cfg.Mail.Inbound.Exceptions.Networks {
		all = append(all, verdict.Forwarder{Network: p})
	}
	for _, d := range cfg.Mail.Inbound.Exceptions.Domains {
		all = append(all, verdict.Forwarder{Domain: d})
	}
	return all
}

// selectorOf keeps DKIM keys for our mail domains, published in our own zones
// unless the admin keeps that to himself.
func (a *App) selectorOf(cfg *config.Checked) (*selector.Ring, error) {
	c := selector.Config{
		Dir: a.state.path("keys", "dkim"), Domains: cfg.Mail.Domains, Algorithms: cfg.Mail.DKIM.Algorithms,
		Resolver: a.outside(cfg), Now: a.now, Log: a.log,
	}
	if cfg.Derived.DKIM {
		c.Publisher = a.authority
	}
	return selector.New(c)
}

// mailOf makes the parts that follow the configuration; old is what they
// replace, or nil at the start.
func (a *App) mailOf(cfg *config.Checked, old *mailWorld) (*mailWorld, error) {
	w := &mailWorld{}
	routes, err := routesOf(cfg)
	if err != nil {
		return nil, err
	}
	w.router = a.routerOf(cfg, routes)
	w.carry = carrying{routes, &a.announced}
	w.client = deliver.New(deliver.Config{
		Hostname: hostname(cfg), Sources: cfg.Mail.Outbound.Source, Pool: a.calls, Now: a.now, Log: a.log, Announced: &a.announced,
	})
	w.asker = a.askerOf(cfg)
	if w.directories, err = a.directoriesOf(cfg, w.router); err != nil {
		return nil, err
	}
	if w.people, err = a.peopleOf(cfg); err != nil {
		return nil, err
	}
	if w.acceptor, err = a.acceptorOf(cfg, old); err != nil {
		return nil, err
	}
	w.senders = a.sendersOf(cfg)
	if w.mx, err = a.mxOf(cfg, w); err != nil {
		return nil, err
	}
	if w.submission, err = a.submissionOf(cfg, w.acceptor, w.carry, old); err != nil {
		return nil, err
	}
	w.relay, err = a.relayOf(cfg, w)
	return w, err
}

func (a *App) acceptorOf(cfg *config.Checked, old *mailWorld) (*accept.Acceptor, error) {
	c := accept.Config{
		Spool: a.spool, Queue: a.queue, Keys: a.selector, Hostname: hostname(cfg), Domains: cfg.Mail.Domains,
		Lists: cfg.Mail.Inbound.Exceptions.Lists, Forwarders: forwardersOf(cfg), Now: a.now, Log: a.log,
	}
	var err error
	if c.Scanners, err = a.scannersOf(cfg); err != nil {
		return nil, err
	}
	if !cfg.Mail.Inbound.Enforce {
		c.DMARC = verdict.Monitor
	}
	if cfg.Mail.Inbound.Quarantine == "tag" {
		c.Quarantine = accept.Tag
	}
	if old != nil {
		return old.acceptor.Renew(c)
	}
	return accept.New(c)
}

// routerOf finds the next hops: those of the configuration, and the world's.
// Names of configured hops resolve like all mail look-ups, as outsiders see
// them, until a hop can name its view.
func (a *App) routerOf(cfg *config.Checked, routes map[string][]route.Hop) *route.Router {
	return route.New(route.Config{
		Routes: routes, Lookup: a.outside(cfg), Inside: a.inside(cfg), OwnNames: []string{hostname(cfg)},
		OwnAddrs: func(addr netip.Addr) bool { return a.own.Load().has(addr) },
	})
}

// routesOf is the configured hops by domain.
func routesOf(cfg *config.Checked) (map[string][]route.Hop, error) {
	routes := map[string][]route.Hop{}
	for _, r := range cfg.Mail.Routes {
		roots, err := rootsOf(r.CA)
		if err != nil {
			return nil, fmt.Errorf("route for %s: %w", r.Domain, err)
		}
		for _, n := range r.NextHops {
			h := route.Hop{Host: n.Host, Port: uint16(n.Port), Path: n.Path, User: r.User, Secret: r.Secret}
			h.Protocol = protocols[n.Scheme]
			h.TLS = route.TLS{Name: r.Name, Roots: roots}
			if r.TLS == "required" || h.Protocol == route.SMTPS || h.User != "" {
				h.TLS.Mode = route.Required
			}
			routes[r.Domain] = append(routes[r.Domain], h)
		}
	}
	return routes, nil
}

var protocols = map[string]route.Protocol{"smtp": route.SMTP, "smtps": route.SMTPS, "lmtp": route.LMTP, "maildir": route.Maildir}

func rootsOf(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

func (a *App) mxOf(cfg *config.Checked, w *mailWorld) (*mx.Door, error) {
	if len(cfg.Mail.Domains) == 0 {
		return nil, nil
	}
	c := mx.Config{
		Domains: cfg.Mail.Domains, Spool: a.intake(), Find: a.recipients.Find, Refuse: w.carry.refuse, Now: a.now, Log: a.log,
		Begin: func(_ context.Context, c *smtpd.Conn) mx.Inspection {
			return w.acceptor.Arrive(a.inspector.Begin(c.Remote.Addr()), c.Protocol)
		},
	}
	blocked := len(cfg.Mail.Inbound.Blocklists) > 0
	c.Group = func(to address.Address, n mx.Needs) string {
		group := w.carry.group(to, n, cfg.Mail.Inbound.MaxSize)
		if blocked && accept.IsRole(to) { // whom block lists do not count for
			group += " role"
		}
		return group
	}
	if w.senders != nil {
		c.Return = w.senders.back
	}
	return mx.New(c)
}

func (a *App) submissionOf(cfg *config.Checked, door *accept.Acceptor, carry carrying, old *mailWorld) (*submission.Door, error) {
	c := submission.Config{
		Spool: a.intake(), Find: a.recipients.FindForOurs, Refuse: carry.refuseOurs, Stopped: a.stopAccount, Late: a.holdLate, Now: a.now, Log: a.log,
		Day: submission.Day{
			Recipients: cfg.Mail.Outbound.PerAccountPerDay, Messages: cfg.Mail.Outbound.MessagesPerAccountPerDay, New: cfg.Mail.Outbound.NewPerAccountPerDay,
		},
		Accept: func(ctx context.Context, c *smtpd.Conn, d *spool.Draft, e envelope.Envelope, acc account.Account) *smtpline.Reply {
			return door.Submitted(ctx, d, e, acc.Permits)
		},
	}
	if a.accounts != nil {
		c.Accounts = a.accounts
	}
	if old != nil {
		return old.submission.Renew(c)
	}
	return submission.New(c)
}

func (a *App) relayOf(cfg *config.Checked, w *mailWorld) (*relay.Door, error) {
	if len(cfg.Mail.Relays) == 0 {
		return nil, nil
	}
	c := relay.Config{Postmaster: hostname(cfg), Find: a.recipients.FindForOurs, Refuse: w.carry.refuseOurs, Spool: a.intake(), Now: a.now, Log: a.log}
	if len(cfg.Mail.Domains) > 0 {
		c.Postmaster = cfg.Mail.Domains[0]
	}
	policy := map[string]accept.RelayPolicy{}
	for _, r := range cfg.Mail.Relays {
		h := relay.Host{Name: r.Name, Clients: r.Clients, Cert: r.Cert, CertName: r.CertName, Senders: r.Senders, Recipients: r.Recipients, PerHour: r.Rate.Count}
		if r.ForeignFrom == "srs" {
			h.Rewrite = w.senders.forward
		}
		c.Hosts = append(c.Hosts, h)
		if r.ForeignFrom != "refuse" {
			policy[r.Name] = accept.RelayPolicy{ForeignFrom: accept.KeepForeign}
		}
	}
	c.Accept = func(ctx context.Context, _ *smtpd.Conn, d *spool.Draft, e envelope.Envelope, host string) *smtpline.Reply {
		return w.acceptor.Relayed(ctx, d, e, policy[host])
	}
	return relay.New(c)
}

// intake is the spool as the doors see it: closed while the queue is full.
func (a *App) intake() smtpd.Spool { return intake{a} }

type intake struct{ a *App }

func (i intake) Create() (*spool.Draft, error) {
	if i.a.queue.Full() {
		return nil, fmt.Errorf("queue holds as many messages as it may: %w", spool.ErrFull)
	}
	return i.a.spool.Create()
}
