// Package resolver answers the questions of our own clients: it iterates from
// the root, caches, follows aliases, and asks our own zones before anybody
// else. Answers to clients are not validated yet: none is Authentic. What a
// zone's parent says of it is (Delegation).
//
// It never sends a packet before somebody asks a question, never dials our own
// or private addresses unless one of our zones delegates there, and never lets
// a reply into the cache that has not passed iterate's scrub. Who may ask is
// not decided here.
//
// A question that needs the network runs in one goroutine of this package's
// lifecycle.Workers, shared by all who ask the same meanwhile; outbound owns
// the goroutines of exchanges. Stop ends them all.
//
// The parts: iterate decides (pure), cache keeps, outbound asks one server,
// walk.go drives them, flight.go shares and bounds the work; validate judges
// (pure), descent.go leads it from a trust anchor down, chain.go remembers.
//
// RFC 1034 (Section 5.3.3), 2181, 2308, 4035, 5452, 6303, 6604, 6761, 9156,
// 9520.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/cache"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/outbound"
	"postern/internal/dns/resolver/validate"
	"postern/internal/lifecycle"
	"postern/internal/lookup"
	"postern/internal/metrics"
)

// Hint is one root server.
type Hint struct {
	Name  name.Name
	Addrs []netip.Addr
}

// Local answers from our own zones as the view sees them. It reports false
// where no own zone holds the name (for DS: none above the name does). The
// message is what the zone would answer: data, an alias chain as far as own
// zones carry it, a denial with its SOA, SERVFAIL where the zone has no good
// state, or a referral (AA=0, no answer, NS in the authority section), which
// is followed and whose servers may have private addresses. The resolver does
// not change the message.
type Local func(view string, q name.Name, qtype uint16) (*dns.Msg, bool)

// Config is what a Resolver needs. Only Roots has no default.
type Config struct {
	Roots []Hint // where iteration begins

	Local    Local                 // our own zones; nil: none
	OwnAddrs func(netip.Addr) bool // addresses that are ours and never dialled; nil: none

	Sources              []netip.Addr                  // addresses to ask from; a family without one uses the system's choice
	UpstreamMap          map[netip.Addr]netip.AddrPort // for tests: where an address is really reached; applied when dialling
	AllowPrivateUpstream bool                          // for tests: loopback and private servers may be asked
	IPv4, IPv6           bool                          // families to ask over; neither set means both
	Timeout              time.Duration                 // longest wait for one reply (2 s)
	Wall                 time.Duration                 // longest life of one question (10 s)
	EDNSSize             uint16                        // largest UDP reply asked for (1232)
	NoCaseRandomisation  bool                          // for tests: send names as they are
	MaxInFlight          int                           // exchanges at one time (1000)

	Minimise     iterate.Minimise // QNAME minimisation (relaxed)
	Limits       iterate.Limits   // work for one question
	NoSpecialUse bool             // for tests: ask the world for special-use names too

	Anchors  []validate.Anchor // where trust begins; without any, nothing is validated
	Negative []name.Name       // at and below these nothing is validated
	Validate validate.Limits   // work for one walk from an anchor
	Outside  string            // the view whose zones hold the addresses of servers, for our own questions

	CacheBytes int64 // memory of the cache (256 MiB)
	MaxFlights int   // different questions being worked on (1000)
	MaxWaiting int   // clients waiting for them (10000)
	MaxWalks   int   // walks from an anchor at one time (16)
	MaxLinks   int   // names on such ways whose standing is remembered (2000)

	Now  func() time.Time // clock of everything that is remembered (time.Now)
	Rand io.Reader        // unguessable octets (crypto/rand)
	Log  *slog.Logger     // nil: silent
}

// Question is what a client asks. View names the own zones that answer it.
type Question struct {
	Name  name.Name
	Type  uint16
	Class uint16 // 0 means IN; other classes are not served
	View  string
}

// Failure is a question without a usable answer: the client gets Rcode.
type Failure struct {
	Rcode     int
	EDE       uint16 // RFC 8914 info-code
	Temporary bool   // asking again later may help
	Cause     error
}

// Error says why.
func (f *Failure) Error() string { return "resolve: " + f.Cause.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// Why a question is refused before any work.
var (
	ErrBusy     = errors.New("too many questions are being worked on")
	ErrStopped  = errors.New("the resolver has stopped")
	ErrClass    = errors.New("only class IN is resolved")
	ErrMetaType = errors.New("type can not be resolved")
	ErrRecent   = errors.New("failed a moment ago")
	ErrOwnZone  = errors.New("own zone has no good state")
)

// Counters are what a Resolver counts.
type Counters struct {
	Questions metrics.Counter // all that were asked
	Local     metrics.Counter // answered from own zones, special-use names or the cache, without a packet
	Shared    metrics.Counter // joined a question already being worked on
	Iterated  metrics.Counter // worked on with packets
	Failed    metrics.Counter // ended in a Failure, refusals included
	Refused   metrics.Counter // over MaxFlights or MaxWaiting
	Exhausted metrics.Counter // ended by a limit of work
	Recent    metrics.Counter // refused because they failed a moment ago (RFC 9520)
	Cycles    metrics.Counter // server names that needed themselves
	Rejected  metrics.Counter // messages that did not validate; another server was asked, if there was one
}

// Resolver resolves. New makes one; it is safe for concurrent use.
type Resolver struct {
	Counters Counters

	cfg     Config
	root    iterate.Delegation
	special map[name.Name]special
	cache   *cache.Cache
	out     Exchanger
	client  *outbound.Client // what out is, unless a test replaced it
	flights flights
	chain   chain
	workers lifecycle.Workers
	log     *slog.Logger
}

// Exchanger asks one server one question. outbound.Client is the real one.
type Exchanger interface {
	// Usable reports whether a server may be asked at all.
	Usable(addr netip.Addr, inside bool) bool
	// Pick chooses the most promising of several servers.
	Pick(addrs []netip.Addr) netip.Addr
	// Exchange returns a reply that is known to belong to the question, and
	// how many packets it took; the count is right on an error too.
	Exchange(ctx context.Context, server netip.Addr, q iterate.Question, inside bool) (*dns.Msg, int, error)
}

// New returns a resolver at rest: it sends nothing until Resolve is called.
func New(cfg Config) (*Resolver, error) {
	cfg = cfg.withDefaults()
	r := &Resolver{cfg: cfg, log: cfg.Log, cache: cache.New(cache.Config{Bytes: cfg.CacheBytes})}
	for _, h := range cfg.Roots {
		r.root.Servers = append(r.root.Servers, iterate.Server{Name: h.Name, Addrs: h.Addrs})
	}
	r.root.Zone = name.Root
	if len(r.root.Servers) == 0 {
		return nil, errors.New("resolver: no root hints")
	}
	if !cfg.NoSpecialUse {
		r.special = specialNames()
	}
	client, err := outbound.New(outbound.Config{
		Sources: cfg.Sources, UpstreamMap: cfg.UpstreamMap, AllowPrivate: cfg.AllowPrivateUpstream,
		Own: cfg.OwnAddrs, IPv4: cfg.IPv4, IPv6: cfg.IPv6, Timeout: cfg.Timeout, EDNSSize: cfg.EDNSSize,
		NoCaseRandomisation: cfg.NoCaseRandomisation, MaxInFlight: cfg.MaxInFlight, Now: cfg.Now, Rand: cfg.Rand,
	})
	if err != nil {
		return nil, fmt.Errorf("resolver: %w", err)
	}
	r.client, r.out = client, client
	r.flights.init(cfg.MaxFlights, cfg.MaxWaiting)
	r.chain.init(cfg.MaxWalks, cfg.MaxLinks)
	return r, nil
}

func (c Config) withDefaults() Config {
	if c.Wall <= 0 {
		c.Wall = 10 * time.Second
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = 256 << 20
	}
	if c.MaxFlights <= 0 {
		c.MaxFlights = 1000
	}
	if c.MaxWaiting <= 0 {
		c.MaxWaiting = 10_000
	}
	if c.MaxWalks <= 0 {
		c.MaxWalks = 16
	}
	if c.MaxLinks <= 0 {
		c.MaxLinks = 2000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if !c.IPv4 && !c.IPv6 {
		c.IPv4, c.IPv6 = true, true
	}
	return c
}

// Start does nothing: the first question starts the work.
func (r *Resolver) Start(context.Context) error { return nil }

// Stop refuses new questions, ends the running ones and waits for them.
func (r *Resolver) Stop(ctx context.Context) error {
	return errors.Join(r.workers.Stop(ctx), r.client.Stop(ctx))
}

// Flush forgets what is cached at n, or with tree at and below it.
func (r *Resolver) Flush(n name.Name, tree bool) int {
	return r.cache.Flush(n, tree) + r.chain.forget(n, tree)
}

// Cache is the resolver's cache, for its counters and gauges.
func (r *Resolver) Cache() *cache.Cache { return r.cache }

// Outbound is what asks the servers, for its counters.
func (r *Resolver) Outbound() *outbound.Client { return r.client }

// Lookup returns a lookup.Resolver that sees what the view sees. Mail uses the
// external view: the world as outsiders see it.
func (r *Resolver) Lookup(view string) lookup.Resolver { return lookups{r, view} }
