// Package inspect runs all checks on one message from the world and gathers
// them as facts: SPF for HELO and MAIL FROM, the client's reverse name, block
// lists, DKIM and DMARC, chains of known ARC sealers, and marks of what is odd. What can be asked early is asked while the client still talks, so
// that no look-up delays the greeting, MAIL or RCPT; the answers are awaited
// after the final dot, for 20 seconds in all, of which the last quarter belongs
// to the author's policy.
//
// A Pending belongs to one connection and is used by its goroutine alone; each
// look-up runs in a goroutine of the Inspector, which ends with its answer, its
// 20 seconds, the transaction or Stop. How many run at once is bounded, and how
// many of them for one network.
// Nothing is decided here (mail/verdict) and nothing is kept.
package inspect

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"postern/internal/lifecycle"
	"postern/internal/lookup"
	"postern/internal/mail/verdict"
	"postern/internal/metrics"
)

// Config says what is checked and with what. Zero numbers are the defaults
// named.
type Config struct {
	Resolver lookup.Resolver
	Rules    Rules
	Timeout  time.Duration // of one look-up, and of the wait after the final dot; 20 s (RFC 7208, Section 4.6.4)
	LookUps  int           // evaluations at once; 256. An eighth of them for one network
	Hashing  int           // messages whose signatures are verified at once; 8
	Now      func() time.Time
	Log      *slog.Logger
}

// Counters are what an Inspector counts.
type Counters struct {
	Messages      metrics.Counter // messages looked at
	Waited        metrics.Counter // evaluations that had to wait for room
	WaitedNetwork metrics.Counter // evaluations that had to wait because their network had its share
	TimedOut      metrics.Counter // evaluations that did not end in time
	PutOff        metrics.Counter // names and senders not looked into before there was a message
	Unread        metrics.Counter // messages that could not be read back
	Listed        metrics.Counter // clients that a block list has, once a message and list
	ListsRefusing metrics.Counter // answers by which a block list refuses to answer us
	ListsFailing  metrics.Counter // questions that a block list did not answer
	Sealed        metrics.Counter // messages that known ARC sealers vouch for
	ChainsBroken  metrics.Counter // chains of known ARC sealers that did not validate
}

// Inspector runs checks. It implements lifecycle.Part.
type Inspector struct {
	Counters Counters

	cfg     Config
	workers lifecycle.Workers
	room    *room
	hashing chan struct{} // a token for each message whose signatures are verified
	rules   atomic.Pointer[Rules]
}

// New returns an Inspector.
func New(cfg Config) *Inspector {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 20 * time.Second
	}
	if cfg.LookUps <= 0 {
		cfg.LookUps = 256
	}
	if cfg.Hashing <= 0 {
		cfg.Hashing = 8
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	i := &Inspector{cfg: cfg, room: newRoom(cfg.LookUps), hashing: make(chan struct{}, cfg.Hashing)}
	i.Follow(cfg.Rules)
	return i
}

// Start does nothing: goroutines begin with the first connection.
func (i *Inspector) Start(context.Context) error { return nil }

// Stop ends running look-ups, whose checks then count as temporary errors.
func (i *Inspector) Stop(ctx context.Context) error { return i.workers.Stop(ctx) }

// Begin is called when a client connects.
func (i *Inspector) Begin(client netip.Addr) *Pending {
	p := &Pending{inspector: i, client: client.Unmap().WithZone(""), rules: i.rules.Load()}
	if p.rules.Checks != (verdict.Checks{}) && p.client.IsValid() {
		p.reverse = begin(i, p.client, "reverse name", func(ctx context.Context) verdict.Reverse { return reverseName(ctx, i.cfg.Resolver, p.client) })
	}
	if p.client.IsValid() {
		p.listed = i.listings(p)
	}
	return p
}

// acquire takes a token, or gives up with ctx. waited counts that it was not
// there at once.
func acquire(ctx context.Context, tokens chan struct{}, waited *metrics.Counter) bool {
	select {
	case tokens <- struct{}{}:
		return true
	default:
	}
	waited.Inc()
	select {
	case tokens <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// future is an evaluation under way.
type future[T any] struct {
	done   chan T // holds one value in the end, or is closed when nothing came of it
	cancel context.CancelFunc
}

// begin runs f about a client in a goroutine with its own time limit.
func begin[T any](i *Inspector, client netip.Addr, name string, f func(context.Context) T) *future[T] {
	ctx, cancel := context.WithTimeout(i.workers.Context(), i.cfg.Timeout)
	fut := &future[T]{done: make(chan T, 1), cancel: cancel}
	run := func(context.Context) {
		defer cancel()
		defer close(fut.done)
		leave, ok := i.enter(ctx, client)
		if !ok {
			return
		}
		defer leave()
		fut.done <- f(ctx)
	}
	if !i.workers.Go(name, run) {
		cancel()
		close(fut.done)
	}
	return fut
}

// stop ends it; the value is not wanted any more.
func (f *future[T]) stop() {
	if f != nil {
		f.cancel()
	}
}

// wait returns the value; false if there is none in time. The value stays for
// the next transaction of the connection.
func (f *future[T]) wait(ctx context.Context) (T, bool) {
	var none T
	if f == nil {
		return none, false
	}
	select {
	case v, ok := <-f.done:
		return f.keep(v, ok)
	case <-ctx.Done():
	}
	select { // what is there counts, even if another check has used up the time
	case v, ok := <-f.done:
		return f.keep(v, ok)
	default:
		return none, false
	}
}

// keep puts the value back for the next to ask.
func (f *future[T]) keep(v T, ok bool) (T, bool) {
	if ok {
		again := make(chan T, 1)
		again <- v
		f.done = again
	}
	return v, ok
}
