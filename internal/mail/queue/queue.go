// Package queue decides who is tried when. It owns every message between its
// commit to the spool and its last recipient: it makes attempts, waits between
// them, gives up after five days, and sees to it that the sender is told before
// a recipient is written off. A sender for whom nothing vouches is not told: its
// message is held, and postmaster is told (departs from RFC 5321, Section 6.1, as
// Section 6.2 allows; RFC 3834).
//
// One goroutine, the owner, holds what changes: which messages there are, when
// each is due, which are being worked on. Others send it functions to run. A
// bounded number of workers make the attempts, one goroutine each; one more
// goroutine makes the journal durable. Stop ends them all.
//
// A message is
//
//	waiting -> active -> waiting ...  until all its recipients are final
//	held    by an operator, or since it failed and nobody was told, until released
//	parked  in mode hold, while all its open recipients lie outside
//
// Only active messages have their envelope in memory, and their number is
// bounded; of the others it keeps the id and the time. The truth is on disk:
// the spool's files and its journal, from which Start builds everything anew.
// It never opens a socket itself and never touches a message's content.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/lifecycle"
	"postern/internal/mail/deliver"
	"postern/internal/mail/dsn"
	"postern/internal/mail/envelope"
	"postern/internal/mail/route"
	"postern/internal/mail/spool"
	"postern/internal/metrics"
)

// Router finds the hops of a domain; *route.Router is one. Errors are
// *route.Error.
type Router interface {
	Static(domain string) bool // it asks nothing
	Route(ctx context.Context, domain string) (route.Plan, error)
}

// Deliverer makes one attempt; *deliver.Client is one.
type Deliverer interface {
	Deliver(ctx context.Context, j deliver.Job) deliver.Report
}

// Config is what the queue works with. Zero numbers mean the default named.
type Config struct {
	Spool     *spool.Spool
	Router    Router
	Deliverer Deliverer
	Hostname  string // our public name, in notifications

	// Bounce makes a notification durable and queues it, before the failure it
	// tells of is written down. It may call Add.
	Bounce func(ctx context.Context, m dsn.Message) error

	Hold           bool          // nothing goes out but by configured routes
	MaxAge         time.Duration // 5 days: then a recipient is given up
	MaxMessages    int           // 100 000: above it Full reports true
	Active         int           // 2000: messages being worked on; a tenth is kept for configured routes
	Workers        int           // 50: attempts at once; a tenth likewise
	PerDestination int           // 10: of them, to one domain
	AttemptTime    time.Duration // 1 h: the longest attempt

	Now    func() time.Time // nil: time.Now
	Chance func() float64   // in [0,1); nil: math/rand
	Log    *slog.Logger     // the mail log; nil: nothing is logged
}

func (c *Config) setDefaults() {
	number := func(n *int, def int) {
		if *n <= 0 {
			*n = def
		}
	}
	number(&c.MaxMessages, 100_000)
	number(&c.Active, 2000)
	number(&c.Workers, 50)
	number(&c.PerDestination, 10)
	if c.MaxAge <= 0 {
		c.MaxAge = 5 * 24 * time.Hour
	}
	if c.AttemptTime <= 0 {
		c.AttemptTime = time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Chance == nil {
		c.Chance = rand.Float64
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Counters are what the queue counts.
type Counters struct {
	Queued        metrics.Counter // messages added
	Attempts      metrics.Counter // deliveries tried
	Delivered     metrics.Counter // recipients
	Deferred      metrics.Counter // recipients, once a try
	Failed        metrics.Counter // recipients refused for good or given up
	Dropped       metrics.Counter // recipients dropped by an operator
	Bounced       metrics.Counter // notifications made
	Confirmed     metrics.Counter // notices of success
	BounceFaults  metrics.Counter // notifications that could not be made durable
	DoubleBounces metrics.Counter // failures that nobody could be told of
	Kept          metrics.Counter // messages held after a failure, since nothing vouches for their sender
	Notices       metrics.Counter // to postmaster, of those
	KeptPushed    metrics.Counter // of those, the oldest, dropped for too many were held
	KeptExpired   metrics.Counter // of those, dropped since nobody decided on them in time
	Busy          metrics.Counter // times a due message had to wait for room
	SitesRefused  metrics.Counter // silent hosts that could not be remembered
	JournalFaults metrics.Counter // states not written; a restart may repeat deliveries
}

// Queue is a queue. All its methods are safe for concurrent use.
type Queue struct {
	Counters Counters

	cfg   Config
	sites sites
	kept  keeping
	jobs  lifecycle.Workers // attempts
	own   lifecycle.Workers // owner and journal writer

	started atomic.Bool
	count   atomic.Int64
	ops     chan func()   // run by the owner
	quit    chan struct{} // closed when the owner is to end
	ending  sync.Once
	dirty   chan struct{} // the journal has something to sync

	state // the owner's alone
}

// What callers branch on.
var (
	ErrUnknown = errors.New("no such message in the queue")
	ErrStopped = errors.New("the queue is not running")
)

// New returns a queue that does nothing until Start.
func New(cfg Config) (*Queue, error) {
	cfg.setDefaults()
	if cfg.Spool == nil || cfg.Router == nil || cfg.Deliverer == nil || cfg.Bounce == nil {
		return nil, errors.New("queue: spool, router, deliverer and bounce are needed")
	}
	q := &Queue{cfg: cfg, ops: make(chan func()), quit: make(chan struct{}), dirty: make(chan struct{}, 1)}
	q.sites.dead = make(map[netip.AddrPort]site)
	q.kept.ids = make(map[envelope.ID]time.Time)
	q.state = newState(cfg.Hold)
	return q, nil
}

// Start takes up what lies in the spool and begins to deliver.
func (q *Queue) Start(context.Context) error {
	if !q.started.CompareAndSwap(false, true) {
		return errors.New("queue: started twice")
	}
	found := make(chan error, 1)
	q.own.Go("queue owner", func(context.Context) {
		err := q.recover()
		found <- err
		if err == nil {
			q.loop()
		}
	})
	if err := <-found; err != nil {
		q.end()
		return fmt.Errorf("queue: %w", err)
	}
	q.own.Go("queue journal", func(context.Context) { q.syncJournal() })
	return nil
}

// Stop begins no more attempts, lets the running ones end until ctx does, and
// cuts off the rest: their recipients are tried again after the next Start.
func (q *Queue) Stop(ctx context.Context) error {
	if !q.started.Load() {
		q.end()
		return nil
	}
	q.do(func() { q.stopping = true })
	waited := q.jobs.Wait(ctx)
	err := soon(ctx, q.jobs.Stop)
	q.end()
	if waited != nil && err == nil {
		q.cfg.Log.Warn("deliveries cut off", "reason", "stop")
	}
	return errors.Join(err, soon(ctx, q.own.Stop))
}

// soon gives stop a second even when ctx is over: what was cut off needs a
// moment to notice.
func soon(ctx context.Context, stop func(context.Context) error) error {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return stop(last)
}

func (q *Queue) end() { q.ending.Do(func() { close(q.quit) }) }

// do has the owner run f and waits until it has. It reports false if the queue
// has ended.
func (q *Queue) do(f func()) bool {
	if !q.started.Load() {
		return false
	}
	ran := make(chan struct{})
	select {
	case q.ops <- func() { f(); close(ran) }:
		<-ran
		return true
	case <-q.quit:
		return false
	}
}

// Add takes over a message that is durable in the spool. Before Start and
// after Stop it does nothing: the next Start finds the message.
func (q *Queue) Add(id envelope.ID, env envelope.Envelope) {
	env.ID = id
	if q.do(func() { q.add(id, &env, q.isHeld(id)) }) {
		q.Counters.Queued.Inc()
	}
}

// AddHeld takes over a message that waits for an operator from the beginning.
// The caller has written so into the journal, before the message was durable.
func (q *Queue) AddHeld(id envelope.ID, env envelope.Envelope) {
	env.ID = id
	if q.do(func() { q.add(id, &env, true) }) {
		q.Counters.Queued.Inc()
	}
}

// Len is how many messages are in the queue.
func (q *Queue) Len() int { return int(q.count.Load()) }

// Full reports that no new mail should be taken (452 4.3.1). What is added all
// the same is delivered all the same.
func (q *Queue) Full() bool { return q.Len() >= q.cfg.MaxMessages }

// SetHold changes the mode: on, nothing goes out but by configured routes.
func (q *Queue) SetHold(on bool) {
	q.do(func() {
		q.hold = on
		q.unpark()
	})
}

// syncJournal makes states durable soon after they were appended, many at a
// time: losing some costs second deliveries, never a message.
func (q *Queue) syncJournal() {
	const gather, rest = 50 * time.Millisecond, 10 * time.Second
	pause := gather
	for {
		select {
		case <-q.dirty:
		case <-q.quit:
			q.syncOnce()
			return
		}
		select {
		case <-time.After(pause):
		case <-q.quit:
		}
		pause = gather
		if !q.syncOnce() {
			pause = rest
			q.touch()
		}
	}
}

func (q *Queue) syncOnce() bool {
	err := q.cfg.Spool.Journal().Sync()
	if err != nil {
		q.journalFault(err)
	}
	return err == nil
}

func (q *Queue) touch() {
	select {
	case q.dirty <- struct{}{}:
	default:
	}
}

// record appends states to the journal. The queue goes on without it.
func (q *Queue) record(states ...spool.State) {
	if err := q.cfg.Spool.Journal().Append(states...); err != nil {
		q.journalFault(err)
	}
	q.touch()
}

func (q *Queue) journalFault(err error) {
	q.Counters.JournalFaults.Inc()
	q.cfg.Log.Error("journal not written: a restart may deliver some messages twice", "reason", "journal-write", "err", err)
}
