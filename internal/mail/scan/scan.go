// Package scan asks scanners about a message: clamd, by its INSTREAM command over
// a unix socket or TCP, and rspamd, by HTTP. It says what they found; what is done
// about it mail/verdict decides.
//
// The message is streamed from where it lies and never held in memory. A scanner
// gets so many messages at once and so long for each; one that does not answer
// is a fact like any other. It keeps nothing, starts no goroutine that outlives
// a scan, but net/http's, and opens a connection for each message.
package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"postern/internal/mail/envelope"
	"postern/internal/mail/verdict"
	"postern/internal/metrics"
)

// Kind is a scanner's protocol. The zero value is none.
type Kind uint8

// The kinds.
const (
	Clamd Kind = iota + 1
	Rspamd
)

// String is the kind as postern.toml has it.
func (k Kind) String() string { return [...]string{"none", "clamd", "rspamd", "none"}[k&3] }

// atOnce is how many messages one scanner gets at once. clamd has ten threads
// unless it is told otherwise.
const atOnce = 20

// Config is one scanner.
type Config struct {
	Kind    Kind
	Network string            // "unix", "tcp"
	Address string            // path, or address and port
	Open    bool              // what it cannot scan is taken
	Timeout time.Duration     // of one message; 0: 30 s
	Doors   []envelope.Origin // whose messages it scans
	Count   *Counters         // of its kind; nil: counted by itself
	Log     *slog.Logger      // nil: nothing is logged

	// Dial connects; nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Counters are what the scanners of one kind count.
type Counters struct {
	Clean        metrics.Counter
	Viruses      metrics.Counter
	Spam         metrics.Counter
	Later        metrics.Counter
	Suspects     metrics.Counter
	Failed       metrics.Counter // no answer, or no useful one
	TooLarge     metrics.Counter // for the scanner
	Milliseconds metrics.Counter // spent waiting, in all
}

func (c *Counters) of(o verdict.ScanOutcome) *metrics.Counter {
	switch o {
	case verdict.ScanClean:
		return &c.Clean
	case verdict.ScanVirus:
		return &c.Viruses
	case verdict.ScanSpam:
		return &c.Spam
	case verdict.ScanLater:
		return &c.Later
	case verdict.ScanSuspect:
		return &c.Suspects
	case verdict.ScanTooLarge:
		return &c.TooLarge
	}
	return &c.Failed
}

// Message is what is scanned, and what is known of it.
type Message struct {
	ID       envelope.ID
	Envelope *envelope.Envelope
	Reverse  string           // the client's confirmed name, or ""
	Size     int64            // of what Open reads
	Open     func() io.Reader // all of it, from the start
}

// Scanners are asked in turn. The zero value asks nobody.
type Scanners []*Scanner

// Scanner is one. It is safe for concurrent use.
type Scanner struct {
	cfg   Config
	slots chan struct{}
	ask   func(ctx context.Context, m Message) (finding, error)
}

// finding is what a scanner said.
type finding struct {
	outcome verdict.ScanOutcome
	name    string
}

// What a scanner may do wrong.
var (
	errAnswer   = errors.New("an answer that means nothing")
	errTooLarge = errors.New("larger than the scanner takes")
	errBusy     = errors.New("too many messages at the scanner")
)

// New checks the configuration.
func New(cfg Config) (*Scanner, error) {
	if cfg.Network == "" || cfg.Address == "" {
		return nil, errors.New("scan: an address is needed")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Count == nil {
		cfg.Count = &Counters{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	s := &Scanner{cfg: cfg, slots: make(chan struct{}, atOnce)}
	switch cfg.Kind {
	case Clamd:
		s.ask = s.clamd
	case Rspamd:
		s.ask = s.rspamd
	default:
		return nil, fmt.Errorf("scan: no such kind %d", cfg.Kind)
	}
	return s, nil
}

// Scan asks the scanners of the message's door in turn, until one has it refused.
func (all Scanners) Scan(ctx context.Context, m Message) []verdict.Scan {
	var out []verdict.Scan
	for _, s := range all {
		if !s.serves(m.Envelope.Origin) {
			continue
		}
		found := s.scan(ctx, m)
		out = append(out, found)
		if verdict.Weigh(verdict.Decision{Action: verdict.Accept}, out).Reply != nil {
			break
		}
	}
	return out
}

func (s *Scanner) serves(door envelope.Origin) bool {
	for _, d := range s.cfg.Doors {
		if d == door {
			return true
		}
	}
	return false
}

// scan asks one scanner and counts.
func (s *Scanner) scan(ctx context.Context, m Message) verdict.Scan {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	f, err := s.inTurn(ctx, m)
	out := verdict.Scan{
		Scanner: s.cfg.Kind.String(), Outcome: f.outcome, Name: f.name, Open: s.cfg.Open, Took: time.Since(began), Err: err,
	}
	switch {
	case errors.Is(err, errTooLarge):
		out.Outcome = verdict.ScanTooLarge
	case err != nil:
		out.Outcome = verdict.ScanFailed
	}
	s.cfg.Count.of(out.Outcome).Inc()
	s.cfg.Count.Milliseconds.Add(uint64(out.Took.Milliseconds()))
	if err != nil {
		s.cfg.Log.Warn("message not scanned", "queue_id", string(m.ID), "scanner", out.Scanner, "reason", "scan-"+out.Outcome.String(),
			"taken", s.cfg.Open, "took", out.Took, "err", err)
	}
	return out
}

func (s *Scanner) inTurn(ctx context.Context, m Message) (finding, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return finding{}, fmt.Errorf("%w: %w", errBusy, ctx.Err())
	}
	return s.ask(ctx, m)
}

// printable makes a scanner's words fit for a log line.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return strings.TrimSpace(text[:min(len(text), 200)])
}
