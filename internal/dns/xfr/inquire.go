package xfr

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"postern/internal/dns/contrast"
	"postern/internal/dns/tsig"
	"postern/internal/dns/zone"
	"postern/internal/metrics"
)

// ErrBusy says that an inquiry is under way: there is one at a time, since each
// has a whole zone in memory.
var ErrBusy = errors.New("another zone is being compared just now")

// The bounds of one inquiry.
const (
	inquiryRecords   = 1_000_000        // of a transfer
	inquiryOctets    = 256 << 20        // likewise
	inquiryQuestions = 20_000           // to whom gives no transfer
	inquirySilent    = 20               // of those, without an answer: then it is given up
	inquiryAtOnce    = 8                // questions
	inquiryDeaf      = 8                // of those by UDP without an answer, on end: then it is TCP alone
	inquiryTime      = 4 * time.Minute  // in all: less than an operator's call may take
	inquiryIdle      = 30 * time.Second // within a transfer
)

// InquirerConfig is what an Inquirer needs.
type InquirerConfig struct {
	Keys     func() *tsig.Keys // with those that a Primary may name
	Exchange Exchange          // nil: by UDP
	Dial     Dial              // nil: by TCP
	Now      func() time.Time  // nil: time.Now
	Rand     io.Reader         // ids; nil: crypto/rand
}

// InquirerCounters counts inquiries.
type InquirerCounters struct {
	Made      metrics.Counter // inquiries begun
	Refused   metrics.Counter // begun while another was under way
	Questions metrics.Counter // asked where there was no transfer
}

// Inquirer finds out what another server has of a zone, once: nothing follows
// from it. It starts goroutines that end within the call.
type Inquirer struct {
	Counters InquirerCounters
	client   client
	busy     chan struct{} // holds one while an inquiry is under way
}

// NewInquirer returns an Inquirer.
func NewInquirer(c InquirerConfig) *Inquirer {
	if c.Exchange == nil {
		c.Exchange = exchangeUDP
	}
	if c.Dial == nil {
		c.Dial = dialTCP
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	i := &Inquirer{busy: make(chan struct{}, 1)}
	i.client = client{keys: c.Keys, exchange: c.Exchange, dial: c.Dial, wait: inquiryIdle, idle: new(idle), reused: func() {}, now: c.Now, rand: c.Rand, messages: func(int) {}}
	return i
}

// See finds out what a server has of the zone z: by a transfer, or, if it gives
// none and ask allows that, by questions.
func (i *Inquirer) See(ctx context.Context, z *zone.Zone, p *Primary, ask bool) (*contrast.Seen, error) {
	select {
	case i.busy <- struct{}{}:
		defer func() { <-i.busy }()
	default:
		i.Counters.Refused.Inc()
		return nil, ErrBusy
	}
	i.Counters.Made.Inc()
	ctx, cancel := context.WithTimeout(ctx, inquiryTime)
	defer cancel()
	in := &Inbound{Zone: z.Origin(), Primaries: []*Primary{p}, MaxRecords: inquiryRecords, MaxOctets: inquiryOctets}
	t := target{Primary: p, addr: p.Addr[0]}
	got, err := i.client.fetch(ctx, in, t, wanted{whole: true, any: true})
	switch {
	case err == nil:
		return &contrast.Seen{SOA: got.SOA, Records: got.Full}, nil
	case !ask || final(err) || ctx.Err() != nil:
		return nil, fmt.Errorf("transfer: %w", err)
	}
	q := &inquiry{client: &i.client, target: t, counted: &i.Counters.Questions}
	return q.whole(ctx, z, err)
}

// final reports whether questions would fare no better than the transfer did: a
// key that does not work, or a zone that is too large for us.
func final(err error) bool {
	switch reasonOf(err) {
	case Unsigned, BadSignature, BadTime, KeyRefused, TooManyRecords, TooManyOctets, TooLong:
		return true
	}
	return false
}
