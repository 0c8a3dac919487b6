// Package mx is the session of port 25: mail from anybody, for our own domains
// and no others. Its type has no way to relay: a recipient of another domain,
// or one whose local part points further, is refused at RCPT, and no setting
// changes that; an alias that led to another domain would be refused, too. What
// bounces to a sender that was rewritten here goes on to that sender: from the
// null sender alone, and by an address of our own making.
//
// It looks nothing up itself. Who exists is asked at RCPT of Config's Find. What is to be known about a sender is asked for
// when the client connects and awaited after the message's final dot, both by
// the Inspection that is begun for it; no look-up delays 220, MAIL or RCPT, but Find.
//
// A Door is shared by all connections and immutable; a session belongs to its
// connection's goroutine. It starts no goroutine.
package mx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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

// Inspection is what goes on about one connection beside the dialogue, and what
// takes its messages; mail/accept's Arrival is it. Its calls come from the
// connection's goroutine and must not wait, but Inbound.
type Inspection interface {
	Hello(name string)
	Mail(from address.Address)
	// Inbound awaits the checks, decides, and commits the draft or does not.
	// Nil is 250; the caller aborts the draft, which does nothing once it is
	// committed.
	Inbound(ctx context.Context, draft *spool.Draft, env envelope.Envelope) *smtpline.Reply
	Close()
}

// Config is what a Door needs; every field but Now is required.
type Config struct {
	Domains []string // ours; the first gets mail for the bare <postmaster>
	Spool   smtpd.Spool
	// Begin is called when a client connects. The context ends with the
	// connection.
	Begin func(ctx context.Context, c *smtpd.Conn) Inspection
	// Return finds whom a rewritten sender stands for; ours is false for any other
	// address. nil: none was rewritten.
	Return func(to address.Address) (back address.Address, ours bool, err error)
	// Find says where mail for an address of our domains goes, or refuses it. It
	// may wait for the next hop, which alone knows who exists. nil: all exist.
	Find func(ctx context.Context, to address.Address) ([]address.Address, *smtpline.Reply)
	// Refuse says what the next hop of a recipient would not take; nil: it takes
	// all.
	Refuse func(to address.Address, n Needs) *smtpline.Reply
	// Group names what a message is judged by at its end for one recipient, of what
	// differs between them. Recipients of one message are of one group, so that
	// each gets the answer that is his; the client brings it to others in its next
	// message (RFC 5321, Section 4.5.3.1.10). nil: nothing differs.
	Group func(to address.Address, n Needs) string
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger
}

// Needs are what a message asks of the host that it goes to.
type Needs struct {
	UTF8       bool  // SMTPUTF8 (RFC 6531)
	RequireTLS bool  // REQUIRETLS (RFC 8689)
	Size       int64 // octets; 0: not known yet
}

// Counters are what a Door counts.
type Counters struct {
	NextGroup   metrics.Counter // recipients whom the client is to bring the message to by itself
	HopRefuses  metrics.Counter // recipients and messages that the next hop would not take
	RelayDenied metrics.Counter // recipients that were not ours, or pointed further
}

// Door makes the sessions.
type Door struct {
	Counters Counters

	c          Config
	domains    map[string]bool
	postmaster string // the domain of a bare <postmaster>
}

// New checks the configuration.
func New(c Config) (*Door, error) {
	if len(c.Domains) == 0 || c.Spool == nil || c.Begin == nil || c.Log == nil {
		return nil, errors.New("mx: domains, spool, inspection and log are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Find == nil {
		c.Find = func(_ context.Context, to address.Address) ([]address.Address, *smtpline.Reply) {
			return []address.Address{to}, nil
		}
	}
	d := &Door{c: c, domains: make(map[string]bool, len(c.Domains))}
	for _, name := range c.Domains {
		canonical, err := address.ParseDomain(name)
		if err != nil {
			return nil, fmt.Errorf("mx: %w", err)
		}
		if d.postmaster == "" {
			d.postmaster = canonical
		}
		d.domains[canonical] = true
	}
	return d, nil
}

// Limits are the engine's limits where strangers connect: long lines are taken
// as they are.
func Limits() smtpd.Limits { return smtpd.Limits{DataLine: 1 << 16} }

// Session is the engine's NewSession.
func (d *Door) Session(ctx context.Context, c *smtpd.Conn) (smtpd.Session, *smtpline.Reply) {
	return &session{door: d, conn: c, inspection: d.c.Begin(ctx, c)}, nil
}

type session struct {
	door       *Door
	conn       *smtpd.Conn
	inspection Inspection
	tx         smtpd.Transaction
	group      string // of its recipients
}

// Hello implements smtpd.Greeter.
func (s *session) Hello(_ context.Context, name string) { s.inspection.Hello(name) }

func (s *session) Mail(_ context.Context, from address.Address, p smtpd.MailParams) *smtpline.Reply {
	s.tx.Begin(from, p)
	s.inspection.Mail(from)
	return nil
}

var relayDenied = smtpline.Refuse(550, "5.7.1", "relay-denied", "we do not relay: not an address of ours")

// Rcpt admits addresses of our domains that exist, and nothing else.
func (s *session) Rcpt(ctx context.Context, to address.Address, p smtpd.RcptParams) *smtpline.Reply {
	if to.Domain == "" { // RFC 5321, Section 4.5.1: <postmaster> is always taken
		to.Domain = s.door.postmaster
	}
	if s.door.c.Return != nil {
		if back, ours, err := s.door.c.Return(to); ours {
			return s.sendBack(back, err, p)
		}
	}
	if !s.door.admits(to) {
		return relayDenied
	}
	targets, refusal := s.door.c.Find(ctx, to)
	if refusal != nil {
		return refusal
	}
	for _, target := range targets {
		if !s.door.admits(target) {
			return relayDenied
		}
		n := s.needs()
		n.UTF8 = !s.tx.From.IsASCII() || !target.IsASCII()
		if refusal := s.door.refuse(target, n); refusal != nil {
			return refusal
		}
	}
	if refusal := s.tx.Room(s.conn, len(targets)); refusal != nil {
		return refusal
	}
	if group := s.groupOf(to, targets); len(s.tx.To) == 0 {
		s.group = group
	} else if group != s.group {
		s.door.Counters.NextGroup.Inc()
		return nextGroup
	}
	for _, target := range targets {
		s.tx.Add(target, p)
	}
	return nil
}

var nextGroup = smtpline.Refuse(452, "4.5.3", "next-group", "what holds for this recipient differs from the others: send it the message by itself")

// groupOf is the group of a recipient whose mail goes to the targets.
func (s *session) groupOf(to address.Address, targets []address.Address) string {
	if s.door.c.Group == nil {
		return ""
	}
	n := s.needs()
	n.UTF8 = s.tx.Params().UTF8
	groups := []string{s.door.c.Group(to, n)}
	for _, target := range targets {
		groups = append(groups, s.door.c.Group(target, n))
	}
	slices.Sort(groups[1:])
	return strings.Join(slices.Compact(groups), " ")
}

var (
	badReturn  = smtpline.Refuse(550, "5.7.1", "srs-forged", "no bounce of ours: the address is not of our making, or too old")
	onlyBounce = smtpline.Refuse(550, "5.7.1", "srs-sender", "only bounces go there")
)

// sendBack takes a bounce for whom a rewritten sender stands for.
func (s *session) sendBack(back address.Address, err error, p smtpd.RcptParams) *smtpline.Reply {
	switch {
	case err != nil:
		s.door.Counters.RelayDenied.Inc()
		r := *badReturn
		r.Cause = err
		return &r
	case !s.tx.From.IsZero():
		s.door.Counters.RelayDenied.Inc()
		return onlyBounce
	}
	s.tx.Add(back, p)
	return nil
}

// admits reports an address of ours that points no further.
func (d *Door) admits(to address.Address) bool {
	if d.domains[to.Domain] && !smtpd.Routed(to) {
		return true
	}
	d.Counters.RelayDenied.Inc()
	return false
}

func (s *session) Data(ctx context.Context, r io.Reader) *smtpline.Reply {
	draft, refusal := smtpd.Receive(s.door.c.Spool, r)
	if refusal != nil {
		return refusal
	}
	defer draft.Abort()
	if refusal := s.tooMuch(draft); refusal != nil {
		return refusal
	}
	env := s.tx.Envelope(s.conn, envelope.MX, "", s.door.c.Now())
	return s.inspection.Inbound(ctx, draft, env)
}

// needs are those that MAIL has told.
func (s *session) needs() Needs {
	p := s.tx.Params()
	return Needs{RequireTLS: p.RequireTLS, Size: p.Size}
}

func (d *Door) refuse(to address.Address, n Needs) *smtpline.Reply {
	if d.c.Refuse == nil {
		return nil
	}
	r := d.c.Refuse(to, n)
	if r != nil {
		d.Counters.HopRefuses.Inc()
	}
	return r
}

// tooMuch looks at what only the message itself tells. Recipients of one group
// fare alike; where the next hop of one would take it all the same, for an alias
// leads to several or a hop has said something else meanwhile, it is taken, and
// the others are told by the queue.
func (s *session) tooMuch(draft *spool.Draft) *smtpline.Reply {
	n := s.needs()
	n.Size = draft.Size()
	n.UTF8 = s.tx.Params().UTF8 && slices.ContainsFunc(draft.Header(), func(b byte) bool { return b >= 0x80 })
	var last *smtpline.Reply
	for _, to := range s.tx.To {
		if last = s.door.refuse(to, n); last == nil {
			return nil
		}
	}
	return last
}

func (s *session) Reset() { s.tx, s.group = smtpd.Transaction{}, "" }

func (s *session) Close() { s.inspection.Close() }
