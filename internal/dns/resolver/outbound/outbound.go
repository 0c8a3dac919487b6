// Package outbound asks one authoritative server one question and returns a
// reply only when it is known to belong to it.
//
// Every UDP query has its own connected socket on a random port, a random id
// and random letter case (RFC 5452; draft-vixie-dnsext-dns0x20). A packet that
// does not match is counted and never ends the wait; where one came close, the
// question is asked again over TCP. Nothing is remembered of a server from a
// packet that did not match. Addresses that a stranger must not make us dial
// are refused here (address.go), at the one place that dials.
//
// It decides nothing about what a reply means. It owns one goroutine per
// exchange in progress, bounded by MaxInFlight; the same question to the same
// server is asked once at a time, which also denies an attacker the birthday
// attack. Stop ends all.
//
// RFC 1035 (Section 4.2), 5452, 6891, 7766; RFC 6298 for the timers.
package outbound

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/resolver/iterate"
	"postern/internal/lifecycle"
	"postern/internal/metrics"
)

// Config is what a Client needs; every field has a default.
type Config struct {
	Sources             []netip.Addr // addresses to ask from
	UpstreamMap         map[netip.Addr]netip.AddrPort
	AllowPrivate        bool                  // loopback and private servers may be asked
	Own                 func(netip.Addr) bool // never asked
	IPv4, IPv6          bool                  // neither: both
	Timeout             time.Duration         // longest wait for one reply (2 s)
	EDNSSize            uint16                // (1232)
	NoCaseRandomisation bool
	MaxInFlight         int // exchanges at one time (1000)
	MaxPerServer        int // of them, with one server (200)
	MaxServers          int // servers whose round-trip time is remembered (10000)
	Now                 func() time.Time
	Rand                io.Reader
}

// Counters are what a Client counts.
type Counters struct {
	UDP         metrics.Counter // queries sent over UDP
	TCP         metrics.Counter // queries sent over TCP
	Replies     metrics.Counter // replies that matched
	Timeouts    metrics.Counter // exchanges without a reply
	Unreachable metrics.Counter // exchanges that the network refused
	Mismatch    metrics.Counter // packets with another id, question or shape: late replies or forgeries
	CaseBroken  metrics.Counter // packets right but for the letter case
	Truncated   metrics.Counter // replies with TC
	NoEDNS      metrics.Counter // queries repeated without EDNS
	Joined      metrics.Counter // exchanges that waited for an equal one in progress
	Busy        metrics.Counter // exchanges refused at MaxInFlight
	ServerBusy  metrics.Counter // exchanges refused at MaxPerServer
	Refused     metrics.Counter // servers not asked: own, private, loopback and the like
	Forgotten   metrics.Counter // servers dropped at MaxServers
	Notifies    metrics.Counter // NOTIFY messages sent to parents
}

// Why an exchange brought no reply.
var (
	ErrTimeout     = errors.New("no reply")
	ErrUnreachable = errors.New("server is unreachable")
	ErrRefused     = errors.New("address may not be asked")
	ErrBusy        = errors.New("too many exchanges at one time")
	ErrServerBusy  = errors.New("too many exchanges with the server at one time")
	ErrStopped     = errors.New("stopped")
)

// Client asks servers. It is safe for concurrent use.
type Client struct {
	Counters Counters

	cfg     Config
	servers servers
	workers lifecycle.Workers

	mu     sync.Mutex // guards all below
	calls  map[callKey]*call
	active map[netip.Addr]int // calls per server
}

type callKey struct {
	server netip.Addr
	q      iterate.Question
}

// call is an exchange in progress; msg, sent and err may be read after done.
type call struct {
	done chan struct{}
	msg  *dns.Msg
	sent int
	err  error
}

// New returns a client at rest.
func New(cfg Config) (*Client, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.EDNSSize == 0 {
		cfg.EDNSSize = 1232
	}
	if cfg.MaxInFlight <= 0 {
		cfg.MaxInFlight = 1000
	}
	if cfg.MaxPerServer <= 0 {
		cfg.MaxPerServer = 200
	}
	if cfg.MaxServers <= 0 {
		cfg.MaxServers = 10_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if !cfg.IPv4 && !cfg.IPv6 {
		cfg.IPv4, cfg.IPv6 = true, true
	}
	for _, a := range cfg.Sources {
		if !a.IsValid() {
			return nil, errors.New("source address is not valid")
		}
	}
	c := &Client{cfg: cfg, calls: make(map[callKey]*call), active: make(map[netip.Addr]int)}
	c.servers.init(cfg.MaxServers, cfg.Timeout, &c.Counters)
	return c, nil
}

// Stop ends the exchanges in progress and waits for their goroutines.
func (c *Client) Stop(ctx context.Context) error { return c.workers.Stop(ctx) }

// Exchange asks server the question. inside allows a private address. It
// returns how many packets were sent for it, also on an error.
func (c *Client) Exchange(ctx context.Context, server netip.Addr, q iterate.Question, inside bool) (*dns.Msg, int, error) {
	server = server.Unmap()
	if !c.Usable(server, inside) {
		return nil, 0, ErrRefused
	}
	one, err := c.join(server, q)
	if err != nil {
		return nil, 0, err
	}
	select {
	case <-one.done:
	case <-ctx.Done():
		return nil, 1, ctx.Err()
	}
	if one.err != nil {
		return nil, one.sent, one.err
	}
	return one.msg.Copy(), one.sent, nil
}

// join returns the exchange in progress for the question, or begins one.
func (c *Client) join(server netip.Addr, q iterate.Question) (*call, error) {
	k := callKey{server, q}
	c.mu.Lock()
	defer c.mu.Unlock()
	if one, ok := c.calls[k]; ok {
		c.Counters.Joined.Inc()
		return one, nil
	}
	if len(c.calls) >= c.cfg.MaxInFlight {
		c.Counters.Busy.Inc()
		return nil, ErrBusy
	}
	// Random names below a zone of slow servers would otherwise fill all places.
	if c.active[server] >= c.cfg.MaxPerServer {
		c.Counters.ServerBusy.Inc()
		return nil, ErrServerBusy
	}
	one := &call{done: make(chan struct{})}
	started := c.workers.Go("exchange", func(ctx context.Context) {
		defer c.leave(k, one)
		one.msg, one.sent, one.err = c.ask(ctx, server, q)
	})
	if !started {
		return nil, ErrStopped
	}
	c.calls[k] = one
	c.active[server]++
	return one, nil
}

func (c *Client) leave(k callKey, one *call) {
	c.mu.Lock()
	delete(c.calls, k)
	if c.active[k.server]--; c.active[k.server] == 0 {
		delete(c.active, k.server)
	}
	c.mu.Unlock()
	close(one.done)
}

// ask is one exchange: UDP, once more without EDNS where the server does not
// know it, TCP where the reply was cut or something came close to forging one.
func (c *Client) ask(ctx context.Context, server netip.Addr, q iterate.Question) (*dns.Msg, int, error) {
	known := c.servers.get(server, c.cfg.Now())
	query, err := c.newQuery(q, known)
	if err != nil {
		return nil, 0, err
	}
	sent := 1
	c.Counters.UDP.Inc()
	got, err := c.udp(ctx, server, query, known.wait)
	if err == nil && got.msg != nil && ednsUnknown(got.msg) && query.edns {
		c.servers.noEDNS(server, c.cfg.Now())
	}
	if query.edns && (got.msg == nil && got.bareFormErr || got.msg != nil && ednsUnknown(got.msg)) {
		c.Counters.NoEDNS.Inc()
		known.noEDNS = true
		if query, err = c.newQuery(q, known); err != nil {
			return nil, sent, err
		}
		sent++
		c.Counters.UDP.Inc()
		got, err = c.udp(ctx, server, query, known.wait)
	}
	if err == nil && got.msg != nil && got.msg.Truncated {
		c.Counters.Truncated.Inc()
	}
	if needTCP(got, err) {
		sent++
		c.Counters.TCP.Inc()
		got, err = c.tcp(ctx, server, query)
	}
	return c.settle(server, got, err, sent)
}

func needTCP(got result, err error) bool {
	if got.msg != nil {
		return got.msg.Truncated
	}
	return errors.Is(err, ErrTimeout) && got.nearMisses > 0
}

// settle remembers what the exchange says about the server. Only a reply that
// matched and a wait that ended count; no other packet does.
func (c *Client) settle(server netip.Addr, got result, err error, sent int) (*dns.Msg, int, error) {
	now := c.cfg.Now()
	switch {
	case err == nil:
		c.Counters.Replies.Inc()
		c.servers.replied(server, got.rtt, got.foldsCase, now)
		return got.msg, sent, nil
	case errors.Is(err, ErrUnreachable):
		c.Counters.Unreachable.Inc()
		c.servers.unreachable(server, got.noRoute, now)
	case errors.Is(err, ErrTimeout):
		c.Counters.Timeouts.Inc()
		c.servers.silent(server, now)
	}
	return nil, sent, err
}
