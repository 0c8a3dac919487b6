// Package relay is the session of the third door: named hosts that cannot log in
// (the inner server, printers). It is closed twice: by the client's address,
// before the greeting, and by the sender it uses; optionally by recipient. No
// client that is not named gets further than a refusal.
//
// A Door is shared by all connections; a session belongs to its connection's
// goroutine. It starts no goroutine.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
	"postern/internal/metrics"
)

// Host is one entry of the configuration: hosts of a kind and what they may do.
type Host struct {
	Name       string         // for the log and the envelope's Account
	Clients    []netip.Prefix // never empty
	Senders    []string       // "@example.test", "user@example.test", "<>"
	Recipients []string       // the same forms without "<>"; empty: anyone
	PerHour    int            // recipients an hour; 0: 20000
}

// Accept decides over a message that has arrived whole, and commits the draft or
// does not. Nil is 250.
type Accept func(ctx context.Context, c *smtpd.Conn, draft *spool.Draft, env envelope.Envelope, host string) *smtpline.Reply

// Config is what a Door needs; every field but Now is required.
type Config struct {
	Hosts    []Host // the first whose Clients hold the address counts
	Hostname string // the domain of a bare <postmaster>
	Spool    smtpd.Spool
	Accept   Accept
	Now      func() time.Time // nil: time.Now
	Log      *slog.Logger
}

// Counters are what a Door counts.
type Counters struct {
	Strangers    metrics.Counter // clients that no host names
	BadSender    metrics.Counter
	BadRecipient metrics.Counter
	OverRate     metrics.Counter // recipients beyond a host's hourly rate
}

// Door makes the sessions.
type Door struct {
	Counters Counters

	c     Config
	hosts []*host
}

// host is a Host made ready.
type host struct {
	Host
	senders    matcher
	recipients matcher
	rate       *rate
}

// New checks the configuration. A client range that is everybody is an error.
func New(c Config) (*Door, error) {
	if c.Spool == nil || c.Accept == nil || c.Log == nil || c.Hostname == "" {
		return nil, errors.New("relay: hostname, spool, accept and log are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	d := &Door{c: c}
	for _, h := range c.Hosts {
		ready, err := prepare(h, c.Now())
		if err != nil {
			return nil, fmt.Errorf("relay %s: %w", h.Name, err)
		}
		d.hosts = append(d.hosts, ready)
	}
	return d, nil
}

func prepare(h Host, now time.Time) (*host, error) {
	if len(h.Clients) == 0 || len(h.Senders) == 0 {
		return nil, errors.New("clients and senders are required")
	}
	for _, p := range h.Clients {
		if !p.IsValid() || p.Bits() == 0 {
			return nil, fmt.Errorf("client range %s is everybody", p)
		}
	}
	if h.PerHour == 0 {
		h.PerHour = 20000
	}
	senders, err := newMatcher(h.Senders)
	if err != nil {
		return nil, fmt.Errorf("senders: %w", err)
	}
	recipients, err := newMatcher(h.Recipients)
	if err != nil {
		return nil, fmt.Errorf("recipients: %w", err)
	}
	return &host{h, senders, recipients, newRate(h.PerHour, now)}, nil
}

var (
	notNamed  = smtpline.Reply{Code: 554, Enhanced: "5.7.1", Reason: "not-a-relay-client", Text: "no SMTP service for you here", Close: true}
	badSender = smtpline.Refuse(550, "5.7.1", "relay-sender", "this host may not send under that address")
	badRcpt   = smtpline.Refuse(550, "5.7.1", "relay-recipient", "this host may not send to that address")
	routed    = smtpline.Refuse(550, "5.7.1", "relay-denied", "recipients with a route in them are not taken")
	tooFast   = smtpline.Refuse(450, "4.7.1", "relay-rate", "the hourly rate of this host is used up, try again later")
)

// Session is the engine's NewSession.
func (d *Door) Session(_ context.Context, c *smtpd.Conn) (smtpd.Session, *smtpline.Reply) {
	addr := c.Remote.Addr().Unmap().WithZone("")
	for _, h := range d.hosts {
		for _, p := range h.Clients {
			if p.Contains(addr) {
				return &session{door: d, conn: c, host: h}, nil
			}
		}
	}
	d.Counters.Strangers.Inc()
	r := notNamed
	return nil, &r
}

type session struct {
	door *Door
	conn *smtpd.Conn
	host *host
	tx   smtpd.Transaction
}

func (s *session) Mail(_ context.Context, from address.Address, p smtpd.MailParams) *smtpline.Reply {
	if !s.host.senders.has(from) {
		s.door.Counters.BadSender.Inc()
		return badSender
	}
	s.tx.Begin(from, p)
	return nil
}

func (s *session) Rcpt(_ context.Context, to address.Address, p smtpd.RcptParams) *smtpline.Reply {
	if to.Domain == "" {
		to.Domain = strings.ToLower(s.door.c.Hostname)
	}
	if smtpd.Routed(to) {
		s.door.Counters.BadRecipient.Inc()
		return routed
	}
	if len(s.host.Recipients) > 0 && !s.host.recipients.has(to) {
		s.door.Counters.BadRecipient.Inc()
		return badRcpt
	}
	if !s.host.rate.take(s.door.c.Now()) {
		s.door.Counters.OverRate.Inc()
		return tooFast
	}
	s.tx.Add(to, p)
	return nil
}

func (s *session) Data(ctx context.Context, r io.Reader) *smtpline.Reply {
	draft, refusal := smtpd.Receive(s.door.c.Spool, r)
	if refusal != nil {
		return refusal
	}
	defer draft.Abort()
	env := s.tx.Envelope(s.conn, envelope.Relay, s.host.Name, s.door.c.Now())
	return s.door.c.Accept(ctx, s.conn, draft, env, s.host.Name)
}

func (s *session) Reset() { s.tx = smtpd.Transaction{} }

func (s *session) Close() {}
