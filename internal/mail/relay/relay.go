// Package relay is the session of the third door: named hosts that cannot log in
// (the inner server, printers). It is closed twice: by the client's address,
// before the greeting, or by the certificate that it shows under TLS, before
// MAIL, or by both; and by the sender it uses; optionally by recipient. No client
// that is not named gets further than a refusal.
//
// A Door is shared by all connections; a session belongs to its connection's
// goroutine. It starts no goroutine.
package relay

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
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
	Name       string              // for the log and the envelope's Account
	Clients    []netip.Prefix      // empty, with Cert only: any address
	Cert       []*x509.Certificate // it shows one of these, or one that one of these has issued
	CertName   string              // that must stand in it; "": any
	Senders    []string            // "@example.test", "user@example.test", "<>"
	Recipients []string            // the same forms without "<>"; empty: anyone
	// Rewrite makes a sender of ours of one that is not in Senders: what the host
	// forwards. nil: such a one is refused.
	Rewrite func(address.Address) (address.Address, error)
	PerHour int // recipients an hour; 0: 20000
}

// Accept decides over a message that has arrived whole, and commits the draft or
// does not. Nil is 250.
type Accept func(ctx context.Context, c *smtpd.Conn, draft *spool.Draft, env envelope.Envelope, host string) *smtpline.Reply

// Config is what a Door needs; every field but Find, Refuse and Now is required.
type Config struct {
	Hosts      []Host // the first counts whose Clients hold the address and whose Cert was shown
	Postmaster string // the domain of a bare <postmaster>
	// Find says where mail for an address of our own domains goes, or that nobody
	// is there. nil: all exist.
	Find func(ctx context.Context, to address.Address) ([]address.Address, *smtpline.Reply)
	// Refuse says what the next hop of a recipient would not take; nil: it takes
	// all.
	Refuse func(to address.Address, p smtpd.MailParams) *smtpline.Reply
	Spool  smtpd.Spool
	Accept Accept
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger
}

// Counters are what a Door counts.
type Counters struct {
	Strangers    metrics.Counter // clients that no host names
	BadCert      metrics.Counter // clients that showed none of the certificates, or a wrong one
	BadSender    metrics.Counter
	Rewritten    metrics.Counter // senders made ours, for what a host forwards
	BadRecipient metrics.Counter
	OverRate     metrics.Counter // recipients beyond a host's hourly rate
	HopRefuses   metrics.Counter // recipients that the next hop would not take
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
	holder     *holder // nil: known by address alone
}

// New checks the configuration. A client range that is everybody is an error.
func New(c Config) (*Door, error) {
	if c.Spool == nil || c.Accept == nil || c.Log == nil || c.Postmaster == "" {
		return nil, errors.New("relay: postmaster, spool, accept and log are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Find == nil {
		c.Find = func(_ context.Context, to address.Address) ([]address.Address, *smtpline.Reply) {
			return []address.Address{to}, nil
		}
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
	if len(h.Clients)+len(h.Cert) == 0 || len(h.Senders) == 0 {
		return nil, errors.New("clients or a certificate, and senders, are required")
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
	return &host{h, senders, recipients, newRate(h.PerHour, now), newHolder(h.Cert, h.CertName)}, nil
}

var (
	notNamed   = smtpline.Reply{Code: 554, Enhanced: "5.7.1", Reason: "not-a-relay-client", Text: "no SMTP service for you here", Close: true}
	needsCert  = smtpline.Refuse(530, "5.7.0", "needs-client-cert", "STARTTLS with your certificate first")
	badCert    = smtpline.Refuse(550, "5.7.1", "client-cert", "your certificate does not open this door")
	badSender  = smtpline.Refuse(550, "5.7.1", "relay-sender", "this host may not send under that address")
	longSender = smtpline.Refuse(553, "5.1.7", "srs-sender", "that sender cannot be rewritten")
	badRcpt    = smtpline.Refuse(550, "5.7.1", "relay-recipient", "this host may not send to that address")
	routed     = smtpline.Refuse(550, "5.7.1", "relay-denied", "recipients with a route in them are not taken")
	tooFast    = smtpline.Refuse(450, "4.7.1", "relay-rate", "the hourly rate of this host is used up, try again later")
)

// Session is the engine's NewSession.
func (d *Door) Session(_ context.Context, c *smtpd.Conn) (smtpd.Session, *smtpline.Reply) {
	addr := c.Remote.Addr().Unmap().WithZone("")
	s := &session{door: d, conn: c}
	for _, h := range d.hosts {
		if h.at(addr) {
			s.may = append(s.may, h)
		}
	}
	if len(s.may) == 0 {
		d.Counters.Strangers.Inc()
		r := notNamed
		return nil, &r
	}
	return s, nil
}

// at reports whether the host may come from there.
func (h *host) at(addr netip.Addr) bool {
	return len(h.Clients) == 0 || slices.ContainsFunc(h.Clients, func(p netip.Prefix) bool { return p.Contains(addr) })
}

type session struct {
	door *Door
	conn *smtpd.Conn
	may  []*host // by the address
	host *host   // nil until MAIL: before it the certificate may be still to come
	tx   smtpd.Transaction
}

// choose finds out which host this is.
func (s *session) choose() *smtpline.Reply {
	var cause error
	for _, h := range s.may {
		if h.holder != nil {
			if err := h.holder.judge(s.conn.TLS, s.door.c.Now()); err != nil {
				cause = err
				continue
			}
		}
		s.host = h
		return nil
	}
	s.door.Counters.BadCert.Inc()
	r := *badCert
	if s.conn.TLS == nil || len(s.conn.TLS.PeerCertificates) == 0 {
		r = *needsCert
	}
	r.Cause = cause
	return &r
}

func (s *session) Mail(_ context.Context, from address.Address, p smtpd.MailParams) *smtpline.Reply {
	if r := s.choose(); r != nil {
		return r
	}
	if !s.host.senders.has(from) {
		mine, r := s.rewrite(from)
		if r != nil {
			s.door.Counters.BadSender.Inc()
			return r
		}
		from = mine
	}
	s.tx.Begin(from, p)
	return nil
}

// rewrite is for senders that the host has no right to.
func (s *session) rewrite(from address.Address) (address.Address, *smtpline.Reply) {
	if s.host.Rewrite == nil || from.IsZero() {
		return from, badSender
	}
	mine, err := s.host.Rewrite(from)
	if err != nil {
		r := *longSender
		r.Cause = err
		return from, &r
	}
	s.door.Counters.Rewritten.Inc()
	s.door.c.Log.Info("sender rewritten", "conn", s.conn.ID, "host", s.host.Name, "from", from.String(), "to", mine.String())
	return mine, nil
}

func (s *session) Rcpt(ctx context.Context, to address.Address, p smtpd.RcptParams) *smtpline.Reply {
	if to.Domain == "" {
		to.Domain = strings.ToLower(s.door.c.Postmaster)
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
	targets, refusal := s.door.c.Find(ctx, to)
	if refusal == nil {
		refusal = s.door.refuse(targets, s.tx.Params())
	}
	if refusal == nil {
		refusal = s.tx.Room(s.conn, len(targets))
	}
	if refusal != nil {
		return refusal
	}
	for _, target := range targets {
		s.tx.Add(target, p)
	}
	return nil
}

// refuse says what the next hop of one of them would not take.
func (d *Door) refuse(targets []address.Address, p smtpd.MailParams) *smtpline.Reply {
	if d.c.Refuse == nil {
		return nil
	}
	for _, to := range targets {
		if r := d.c.Refuse(to, p); r != nil {
			d.Counters.HopRefuses.Inc()
			return r
		}
	}
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
