package xfr

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
	"postern/internal/metrics"
)

// Config is what an Out needs.
type Config struct {
	Source  Source
	Rules   func() *Rules // who may have what, now; nil, or what it returns is: nobody
	Max     int           // transfers at one time; 0: 20
	PerPeer int           // of one peer; 0: 4
	Longest time.Duration // of one transfer; then it is broken off; 0: 2 h
	// Left returns how long a zone that is fed by transfers is still good; false
	// for one that is our own. nil: all are.
	Left    func(zone name.Name, view string) (time.Duration, bool)
	Packing int          // transfers that make a message at one time, others wait; 0: half of the cores, at least one
	Log     *slog.Logger // nil: silent
}

// Counters counts transfers.
type Counters struct {
	Full        metrics.Counter // whole zones sent
	Incremental metrics.Counter // differences sent
	Current     metrics.Counter // answered with the SOA alone
	Datagrams   metrics.Counter // answers by UDP
	Messages    metrics.Counter // of transfers by TCP and TLS
	Octets      metrics.Counter // of those messages
	Refused     metrics.Counter // requests of nobody's peer, or of one that came otherwise than it must; REFUSED
	Insecure    metrics.Counter // of these, requests of a peer, but not within TLS, or without its certificate
	OverTotal   metrics.Counter // requests over the common bound; SERVFAIL
	OverPeer    metrics.Counter // requests over the peer's own bound; SERVFAIL
	Empty       metrics.Counter // requests for a zone without a good state; SERVFAIL
	Broken      metrics.Counter // transfers that did not end: the client went away or was too slow, or we stop
	Failed      metrics.Counter // transfers that could not be made; SERVFAIL
}

// Out gives zones to peers. A nil one gives nothing to anybody.
type Out struct {
	Counters Counters

	config  Config
	packing chan struct{}
	packers sync.Pool // *packer

	mu    sync.Mutex // guards what follows
	open  int
	peers map[string]int // name of a peer -> its open transfers
}

// New returns an Out.
func New(c Config) *Out {
	c.Max = cmp.Or(c.Max, 20)
	c.PerPeer = cmp.Or(c.PerPeer, 4)
	c.Longest = cmp.Or(c.Longest, 2*time.Hour)
	c.Packing = cmp.Or(c.Packing, max(1, runtime.GOMAXPROCS(0)/2))
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Out{config: c, packing: make(chan struct{}, c.Packing), peers: map[string]int{}}
}

func (o *Out) rules() *Rules {
	if o == nil || o.config.Rules == nil {
		return nil
	}
	return o.config.Rules()
}

// Grant returns what the asker may have of a zone; see Rules.Find.
func (o *Out) Grant(zone name.Name, a Asker) (Grant, bool) { return o.rules().Find(zone, a) }

// Doubt says why the asker may not; see Rules.Doubt.
func (o *Out) Doubt(zone name.Name, a Asker) (Doubt, *Peer) { return o.rules().Doubt(zone, a) }

// Open reports whether requests without a signature may find something.
func (o *Out) Open() bool {
	r := o.rules()
	return r != nil && r.open
}

// Running returns how many transfers are open.
func (o *Out) Running() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.open
}

// Begin takes a place among the transfers at one time; false: there is none,
// and the client gets SERVFAIL, which makes it try again, as BIND has it. To
// REFUSED some secondaries listen for good. The caller calls end once.
func (o *Out) Begin(g Grant) (end func(), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	peer := g.Peer.Name
	switch {
	case o.open >= o.config.Max:
		o.Counters.OverTotal.Inc()
		return nil, false
	case o.peers[peer] >= o.config.PerPeer:
		o.Counters.OverPeer.Inc()
		return nil, false
	}
	o.open++
	o.peers[peer]++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.open--
		if o.peers[peer]--; o.peers[peer] == 0 {
			delete(o.peers, peer)
		}
	}, true
}

// Expire returns what is told of a zone to those who ask for how long it is good,
// in seconds (RFC 7314, Section 3): what is left where we have it from others,
// so that a chain of secondaries does not make it longer; else what the SOA says.
func (o *Out) Expire(zone name.Name, view string) (uint32, bool) {
	if o == nil {
		return 0, false
	}
	z, _ := o.config.Source.Content(zone, view)
	if z == nil {
		return 0, false
	}
	if o.config.Left != nil {
		if left, fed := o.config.Left(zone, view); fed {
			return uint32(min(max(left, 0)/time.Second, math.MaxUint32)), true
		}
	}
	return z.SOA().Expire, true
}

// Datagram returns the reply to IXFR by UDP, and its rcode where that is an
// error and the reply is none.
func (o *Out) Datagram(q *wire.Query, opts *wire.Options, g Grant) (reply []byte, rcode int) {
	serial, ok := Serial(q)
	if !ok {
		return nil, wire.FormErrCode
	}
	z, history := o.config.Source.Content(g.Zone, g.View)
	if z == nil {
		o.Counters.Empty.Inc()
		return nil, wire.ServFail
	}
	p := o.packer()
	defer o.put(p)
	reply, _, err := p.datagram(q, opts, z, serial, history)
	if err != nil {
		o.failed(g, err)
		return nil, wire.ServFail
	}
	o.Counters.Datagrams.Inc()
	return reply, wire.NoError
}

// Transfer gives send the messages that answer AXFR or IXFR, each lent, with
// q.Tail octets to spare. It returns an rcode where the client is to hear of an
// error in one more message; send is not called by then, or all it was given
// stands. What send returns ends the transfer, and nothing more can be said.
func (o *Out) Transfer(ctx context.Context, q *wire.Query, opts *wire.Options, g Grant, send func(msg []byte) error) (rcode int, err error) {
	serial, ok := Serial(q)
	if q.Type == dns.TypeIXFR && !ok {
		return wire.FormErrCode, nil
	}
	z, history := o.config.Source.Content(g.Zone, g.View)
	if z == nil {
		o.Counters.Empty.Inc()
		return wire.ServFail, nil
	}
	if long, remembers := o.config.Source.(Historian); remembers && q.Type == dns.TypeIXFR &&
		zone.SerialLess(serial, z.Serial()) && chain(z, serial, history) == nil {
		if step, ok := long.Since(ctx, g.Zone, g.View, serial); ok {
			history = []zone.Delta{step} // of no use, and not used, if the zone has changed meanwhile
		}
	}
	// A version of the zone stays in memory as long as a transfer of it goes on.
	ctx, cancel := context.WithTimeout(ctx, o.config.Longest)
	defer cancel()
	p := o.packer()
	defer o.put(p)
	t := turn{Out: o, ctx: ctx, send: send, packer: p}
	if err := t.take(); err != nil {
		o.Counters.Broken.Inc()
		return 0, err
	}
	defer t.give()
	form := Whole
	if q.Type == dns.TypeIXFR {
		form, err = p.changes(q, opts, z, serial, history, q.Limit(false), t.emit)
	} else {
		err = p.full(q, opts, z, q.Limit(false), t.emit)
	}
	return o.ended(g, form, p.flushed, err, t.broken)
}

// ended counts what became of a transfer, and says what the client hears.
func (o *Out) ended(g Grant, form Form, messages int, err error, broken bool) (int, error) {
	switch {
	case broken:
		o.Counters.Broken.Inc()
		o.config.Log.Warn("transfer broken off", slog.String("zone", g.Zone.String()), slog.String("view", g.View),
			slog.String("peer", g.Peer.Name), slog.Int("messages", messages), slog.Any("cause", err))
		return 0, err
	case err != nil:
		o.failed(g, err)
		// RFC 5936, Section 2.2: an error in the middle is a message of its own,
		// and the last.
		return wire.ServFail, nil
	case form == Whole:
		o.Counters.Full.Inc()
	case form == Steps:
		o.Counters.Incremental.Inc()
	default:
		o.Counters.Current.Inc() // as often as the peer looks: not worth a line
		return wire.NoError, nil
	}
	o.config.Log.Info("transfer sent", slog.String("zone", g.Zone.String()), slog.String("view", g.View),
		slog.String("peer", g.Peer.Name), slog.String("form", form.String()), slog.Int("messages", messages))
	return wire.NoError, nil
}

func (o *Out) failed(g Grant, err error) {
	o.Counters.Failed.Inc()
	o.config.Log.Error("transfer cannot be made", slog.String("zone", g.Zone.String()), slog.String("view", g.View),
		slog.String("peer", g.Peer.Name), slog.Any("cause", err))
}

func (o *Out) packer() *packer {
	if p, ok := o.packers.Get().(*packer); ok {
		return p
	}
	return new(packer)
}

func (o *Out) put(p *packer) {
	p.query, p.options, p.emit = nil, nil, nil
	o.packers.Put(p)
}

// breath is how long a transfer stands back after each message.
const breath = 100 * time.Microsecond

// turn lets a transfer pack only while few others do, and lets go of the core
// after each message: a question never waits for more than one.
type turn struct {
	*Out
	ctx    context.Context
	packer *packer
	send   func([]byte) error
	held   bool
	broken bool // the client hears no more
}

func (t *turn) take() error {
	select {
	case t.packing <- struct{}{}:
		t.held = true
	case <-t.ctx.Done():
	}
	if err := t.ctx.Err(); err != nil {
		t.give()
		return fmt.Errorf("transfer: %w", err)
	}
	return nil
}

func (t *turn) give() {
	if t.held {
		t.held = false
		<-t.packing
	}
}

// emit sends a message, however long the client takes, without holding the turn.
func (t *turn) emit(msg []byte) error {
	t.give()
	t.Counters.Messages.Inc()
	t.Counters.Octets.Add(uint64(len(msg)))
	err := t.send(msg)
	if err == nil && !t.packer.ending {
		// Not Gosched: the runtime looks for questions that came when nothing
		// else wants to run.
		time.Sleep(breath)
		err = t.take()
	}
	t.broken = err != nil
	return err
}
