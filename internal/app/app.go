package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postern/config"
	"postern/internal/account"
	"postern/internal/admin"
	"postern/internal/argon"
	"postern/internal/certs"
	"postern/internal/control"
	"postern/internal/dns/authority"
	"postern/internal/dns/gate"
	"postern/internal/dns/keyring"
	"postern/internal/dns/listen"
	"postern/internal/dns/resolver"
	"postern/internal/dns/roster"
	"postern/internal/dns/serve"
	"postern/internal/dns/tsig"
	"postern/internal/dns/xfr"
	"postern/internal/handshake"
	"postern/internal/lifecycle"
	"postern/internal/mail/deliver"
	"postern/internal/mail/inspect"
	"postern/internal/mail/queue"
	"postern/internal/mail/recipient"
	"postern/internal/mail/selector"
	"postern/internal/mail/spool"
	"postern/internal/mail/submission"
	"postern/internal/mail/trail"
	"postern/internal/manage"
	"postern/internal/metrics"
	"postern/internal/store"
)

// App is the appliance: every part, and how they meet. Start and stop it once.
type App struct {
	opts     Options
	log      *slog.Logger
	failures *failures
	trail    *trail.Trail
	now      func() time.Time
	started  time.Time
	registry *metrics.Registry
	own      atomic.Pointer[addrSet] // our addresses; changes with the configuration
	exempt   atomic.Pointer[[]netip.Prefix]

	state      *state
	certs      *certs.Keeper
	store      *store.Store    // nil: unusable
	accounts   *account.Keeper // nil with it
	hashes     *argon.Children // nil: passwords are hashed here
	turns      *handshake.Turns
	authority  *authority.Authority
	resolver   *resolver.Resolver
	serve      *serve.Server
	jar        atomic.Pointer[gate.Jar] // of DNS cookies; nil: off
	keys       atomic.Pointer[tsig.Keys]
	transfers  *transfers
	out        *xfr.Out
	notifier   *xfr.Notifier
	feeding    atomic.Pointer[[]xfr.Inbound] // changes with the configuration, and with catalogs
	refresher  *xfr.Refresher
	inquirer   *xfr.Inquirer
	roster     *roster.Roster
	zoneKeys   *keyring.Ring
	names      *listen.Set
	spool      *spool.Spool
	selector   *selector.Ring
	inspector  *inspect.Inspector
	room       room
	calls      *deliver.Pool // conversations with next hops
	announced  deliver.Announced
	queue      *queue.Queue
	recipients *recipient.Keeper
	scout      *deliver.Scout
	mail       atomic.Pointer[mailWorld] // what mail follows; changes with the configuration
	scans      scanCounts
	retired    mailCounts // counted before the last reload
	doors      doors
	desk       *manage.Desk

	heap  heap            // room for edits
	stack lifecycle.Stack // what runs, in the order in which it was started

	reloading  sync.Mutex // one reload at a time; guards what follows
	cfg        *config.Checked
	configured []xfr.Inbound // of feeding
}

// newApp takes the state and opens what keeps data in it. Nothing runs yet.
func newApp(o Options, cfg *config.Checked) (_ *App, err error) {
	a := &App{opts: o, cfg: cfg, turns: handshake.NewTurns(runtime.GOMAXPROCS(0) / 2), failures: &failures{}, registry: metrics.NewRegistry(), trail: trail.New(trail.Config{})}
	a.log = slog.New(a.trail.Handler(o.logger(a.failures).Handler()))
	if a.now, err = o.clock(); err != nil {
		return nil, err
	}
	a.started = a.now()
	a.setAddresses(cfg)
	if o.Config == "" {
		if err := errors.Join(checkDemo(cfg), prepareDemo()); err != nil {
			return nil, err
		}
	}
	if a.state, err = openState(cfg.Server.State, o.TestKnobs); err != nil {
		return nil, err
	}
	a.trail.Open(a.state.path("trail"), a.log)
	if err := a.build(cfg); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// build makes every part, lowest first.
func (a *App) build(cfg *config.Checked) error {
	for _, part := range []func(*config.Checked) error{
		a.buildCertificate, a.buildAccounts, // who we are, and who our users are
		a.buildNames, // zones, resolver, listeners
		a.buildMail,  // spool, checks, queue, doors
		a.buildDesk,
	} {
		if err := part(cfg); err != nil {
			return err
		}
	}
	return a.count()
}

// start starts every part, in the order in which they need each other: names
// before mail, since mail asks names, and the doors when all behind them works.
func (a *App) start(ctx context.Context) error {
	prompt()
	if a.opts.TestKnobs {
		a.log.Warn("TEST: test knobs are on; this is no server for the world")
	}
	for _, p := range []struct {
		name string
		part lifecycle.Part
		stop time.Duration // how long its clients and its work may take to end
	}{
		{"message trail", a.trail, stopShort},
		{"certificate", a.certs, stopShort},
		{"memory", &a.heap, stopShort},
		{"zones", a.authority, stopLong}, // a change in hand is written down
		{"catalogs", a.roster, stopShort},
		{"resolver", a.resolver, stopShort},
		{"DKIM keys", a.selector, stopShort},
		{"mail checks", a.inspector, stopShort},
		{"conversations", a.calls, stopShort},
		{"queue", a.queue, stopLong},
		{"recipients", a.recipients, stopShort},
		{"next hops", a.scout, stopShort},
		{"accounts", a.buildUsers(), stopShort}, // before the doors: it ends after them
		{"day counts", &dayCounts{path: a.state.path("days.json"), door: func() *submission.Door { return a.mail.Load().submission }, now: a.now, log: a.log}, stopShort},
		{"remembered updates", &remembering{a.state.path("updates.json"), a.serve, a.log}, stopShort}, // on both sides of those who bring them
		{"DNS listeners", a.names, stopShort},
		// After its listeners, so that it ends before them: what still waits
		// for the world is answered, and nothing holds the sockets open.
		{"name service", a.serve, stopShort},
		{"secondary zones", a.refresher, stopShort},
		{"parents", &telling{zones: a.cdsNow, tell: a.tellParent, now: a.now, log: a.log}, stopShort},
		{"secondaries", a.notifier, stopShort}, // after the listeners: who is told comes at once
		{"mail doors", &a.doors, stopLong},
		{"health and metrics", a.buildAdmin(), stopShort},
		{"control socket", a.buildControl(), stopShort},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.part == nil {
			continue
		}
		if err := a.stack.Start(ctx, p.name, patient{p.part, p.stop}); err != nil {
			return err
		}
	}
	return nil
}

// Each part's own share of stopWithin, so that a client who holds one up, with
// half a message or half a request, takes no time from the others. They add up
// to more, since hardly ever more than two parts have anything to wait for.
const (
	stopShort = 500 * time.Millisecond
	stopLong  = 1500 * time.Millisecond
)

// patient is a part that waits for its clients no longer than that.
type patient struct {
	lifecycle.Part
	patience time.Duration
}

func (p patient) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	return p.Part.Stop(ctx)
}

// stop stops what runs, newest first, and gives the state back.
func (a *App) stop(ctx context.Context) error {
	return errors.Join(a.stack.Stop(ctx), a.close())
}

// close closes what keeps data.
func (a *App) close() error {
	var errs []error
	if a.spool != nil {
		errs = append(errs, a.spool.Close())
	}
	if a.hashes != nil {
		// Background: children are killed, and nobody waits for what they make.
		ctx, cancel := context.WithTimeout(context.Background(), stopShort)
		defer cancel()
		errs = append(errs, a.hashes.Stop(ctx))
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(append(errs, a.state.close())...)
}

// ready says why not every part works, or nil.
func (a *App) ready() error {
	for _, z := range a.authority.Zones() {
		if z.State == authority.Failed {
			return fmt.Errorf("zone %s in view %s has no good state: %s", z.Zone, z.View, z.Reason)
		}
	}
	if err := a.spool.Fault(); err != nil {
		return fmt.Errorf("spool takes no mail: %w", err)
	}
	if a.accounts == nil {
		return errors.New("account database cannot be used; submission is closed")
	}
	return nil
}

// hostname is our name. A server without mail needs none in its configuration,
// but its parts do.
func hostname(cfg *config.Checked) string {
	if cfg.Server.Hostname != "" {
		return cfg.Server.Hostname
	}
	if own, err := os.Hostname(); err == nil && own != "" {
		return strings.ToLower(own)
	}
	return "localhost"
}

// setAddresses takes what a configuration says about addresses.
func (a *App) setAddresses(cfg *config.Checked) {
	set, exempt := own(cfg), cfg.Limits.Exempt
	a.own.Store(&set)
	a.exempt.Store(&exempt)
}

// buildAdmin returns the listener for health and metrics, or nil if none is
// wanted.
func (a *App) buildAdmin() lifecycle.Part {
	c := admin.Config{Names: []string{hostname(a.cfg)}, Metrics: a.registry.Handler(), Ready: a.readyInBrief, Log: a.log}
	for _, l := range a.cfg.Listen {
		if l.Serve == config.ServeAdmin {
			c.Addrs = append(c.Addrs, l.Addrs...)
			c.Clients = append(c.Clients, l.Clients...)
		}
	}
	if len(c.Addrs) == 0 {
		return nil
	}
	return admin.NewServer(c)
}

func (a *App) buildControl() lifecycle.Part {
	c := control.Config{Path: a.cfg.Server.Control, Desk: a.desk, Log: a.log}
	for _, uid := range a.cfg.Server.Admins {
		c.Admins = append(c.Admins, uint32(uid))
	}
	return control.NewServer(c)
}
