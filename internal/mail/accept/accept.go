// Package accept is the one door for messages: whatever came in whole, by port
// 25, from a user, from a named host, or made here as a bounce, is decided on,
// gets its trace and signature, and is committed to the spool, in that order;
// only then is 250 said. All edits are whole fields of the header; the body is
// never touched.
//
// It holds no sockets and starts no goroutine; calls run in their caller's and
// may be concurrent. Its only state is which domains' DNS has been failing
// since when. RFC 5321, Sections 4.4 and 6; RFC 6409; RFC 8601.
package accept

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/message"
	"postern/internal/mail/scan"
	"postern/internal/mail/seal"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
	"postern/internal/mail/verdict"
	"postern/internal/metrics"
)

// Queue takes over what is durable; *queue.Queue is one.
type Queue interface {
	Add(id envelope.ID, env envelope.Envelope)
}

// Holder is a Queue that can take over a message without trying it: one whose
// journal says Held. With a Queue that is none, a held message stays on disk
// and is taken up, as held, at the next start.
type Holder interface {
	AddHeld(id envelope.ID, env envelope.Envelope)
}

// Keys finds what signs for a domain; *selector.Ring is one.
type Keys interface {
	Keys(ctx context.Context, domain string) []seal.Key
}

// Quarantining says what quarantine means. The zero value is to hold.
type Quarantining uint8

// The ways.
const (
	Hold Quarantining = iota // keep for an operator
	Tag                      // deliver with a mark
)

// Mark is the field that tells the inner server of a message that was tagged.
const Mark = message.OwnPrefix + "Verdict"

// Marks is the field that tells it what was odd about a message.
const Marks = message.OwnPrefix + "Marks"

// Config says what Postern does with messages.
type Config struct {
	Spool      *spool.Spool
	Queue      Queue
	Keys       Keys // nil: nothing is signed
	Scanners   scan.Scanners
	Hostname   string   // our public name: Received by, authserv-id
	Domains    []string // mail.domains
	DMARC      verdict.Mode
	Lists      []string            // domains of mailing lists let past DMARC
	Forwarders []verdict.Forwarder // let past DMARC and block lists
	Quarantine Quarantining
	Patience   time.Duration // how long a domain's mail is deferred while its DNS fails; 0: 4 h
	Now        func() time.Time
	Log        *slog.Logger // the mail log
}

// Counters are what an Acceptor counts.
type Counters struct {
	Inbound     metrics.Counter // accepted from the world
	Submitted   metrics.Counter // accepted from users
	Relayed     metrics.Counter // accepted from named hosts
	Bounces     metrics.Counter // notifications of our own
	Rejected    metrics.Counter // refused for good
	Deferred    metrics.Counter // refused for now
	Held        metrics.Counter // quarantined to the hold
	Tagged      metrics.Counter // quarantined by a mark
	Suspect     metrics.Counter // accepted, but nothing vouches for the sender: it would not be told of a failure
	Forged      metrics.Counter // fields removed that claimed to be ours
	Signed      metrics.Counter // messages signed
	Unsigned    metrics.Counter // messages of our domains for which no key was published
	Faults      metrics.Counter // messages that disk or signing failed
	Forgetful   metrics.Counter // failing domains that could not be remembered
	LoopsBroken metrics.Counter // messages with too many hops
}

// Acceptor is the door. It is safe for concurrent use.
type Acceptor struct {
	Counters Counters

	cfg     Config
	failing *failing
}

// New checks the configuration.
func New(cfg Config) (*Acceptor, error) {
	if cfg.Spool == nil || cfg.Queue == nil || cfg.Hostname == "" {
		return nil, errors.New("accept: spool, queue and hostname are needed")
	}
	domains := make([]string, 0, len(cfg.Domains))
	for _, d := range cfg.Domains {
		domain, err := address.ParseDomain(d)
		if err != nil {
			return nil, err
		}
		domains = append(domains, domain)
	}
	cfg.Domains = domains
	if cfg.Patience <= 0 {
		cfg.Patience = 4 * time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Acceptor{cfg: cfg, failing: &failing{since: make(map[string]span)}}, nil
}

// Renew returns an Acceptor of a new configuration that goes on with a's memory
// of failing domains, for a reload. It counts from zero.
func (a *Acceptor) Renew(cfg Config) (*Acceptor, error) {
	next, err := New(cfg)
	if err != nil {
		return nil, err
	}
	next.failing = a.failing
	return next, nil
}

// ours returns the mail domain that name is or lies below, the longest first.
func (a *Acceptor) ours(name string) (string, bool) {
	best := ""
	for _, d := range a.cfg.Domains {
		if (name == d || strings.HasSuffix(name, "."+d)) && len(d) > len(best) {
			best = d
		}
	}
	return best, best != ""
}

// claims tells whether an authserv-id is one that readers behind us would
// trust: our name, or any at or below our domains.
func (a *Acceptor) claims(id string) bool {
	_, ours := a.ours(id)
	return ours || strings.EqualFold(id, a.cfg.Hostname)
}

// read parses the header of a draft and does for every door what must be done:
// loops are broken, and forged trace goes.
func (a *Acceptor) read(draft *spool.Draft) (*message.Header, *smtpline.Reply) {
	h, err := message.Parse(draft.Header())
	switch {
	case errors.Is(err, message.ErrTooLarge), errors.Is(err, message.ErrTooMany):
		return nil, because(err, 552, "5.3.4", "header-too-large", "the message header is too large")
	case err != nil:
		return nil, because(err, 550, "5.6.0", "malformed-header", "the message has a "+err.Error())
	}
	if h.Hops() >= message.MaxHops {
		a.Counters.LoopsBroken.Inc()
		return nil, smtpline.Refuse(554, "5.4.6", "mail-loop", "too many hops, this message loops") // RFC 5321, Section 6.3
	}
	return h, nil
}

func (a *Acceptor) strip(h *message.Header) *message.Header {
	out, n := h.StripForged(a.claims)
	a.Counters.Forged.Add(uint64(n))
	return out
}

func because(cause error, code int, enhanced, reason, text string) *smtpline.Reply {
	r := smtpline.Refuse(code, enhanced, reason, text)
	r.Cause = cause
	return r
}

// received writes our trace field.
func (a *Acceptor) received(draft *spool.Draft, env *envelope.Envelope, with string) message.Trace {
	t := message.Trace{By: a.cfg.Hostname, With: with, ID: string(draft.ID()), Time: env.Received}
	if t.With == "" {
		t.With = message.Protocol(true, env.TLS, env.Origin == envelope.Submission, env.UTF8)
	}
	if len(env.To) == 1 { // several would tell each of the others (RFC 5321, Section 7.2)
		t.For = env.To[0]
	}
	return t
}

// maxTold is how many recipients a line about a message names.
const maxTold = 20

// some is the first recipients, apart by blanks.
func some(to []address.Address) string {
	var all []string
	for _, a := range to[:min(len(to), maxTold)] {
		all = append(all, a.String())
	}
	return strings.Join(all, " ")
}

// told puts the facts that every log line about a message has.
func told(draft *spool.Draft, env *envelope.Envelope, h *message.Header, more ...any) []any {
	out := []any{"queue_id", string(draft.ID()), "door", env.Origin.String(), "from", env.From.String(), "to", some(env.To), "rcpts", len(env.To), "size", draft.Size()}
	if env.Client.IsValid() {
		out = append(out, "client", env.Client.String())
	}
	if env.Account != "" {
		out = append(out, "account", env.Account)
	}
	if h != nil {
		out = append(out, "message_id", h.MessageID())
	}
	return slices.Concat(out, more)
}

// refuse counts and logs a refusal and returns it.
func (a *Acceptor) refuse(draft *spool.Draft, env *envelope.Envelope, h *message.Header, r *smtpline.Reply, more ...any) *smtpline.Reply {
	word := "message refused"
	if r.Temporary() {
		a.Counters.Deferred.Inc()
		word = "message deferred"
	} else {
		a.Counters.Rejected.Inc()
	}
	args := told(draft, env, h, "reason", r.Reason, "code", r.Code)
	if r.Cause != nil {
		args = append(args, "err", r.Cause)
	}
	a.cfg.Log.Info(word, append(args, more...)...)
	return r
}
