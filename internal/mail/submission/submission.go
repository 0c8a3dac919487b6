// Package submission is the session of ports 465 and 587: mail from our own
// users, to anywhere (RFC 6409, RFC 8314). Nothing is taken before a login, a
// login only over TLS, and an account sends only under its own addresses.
//
// A Door is shared by all connections; a session belongs to its connection's
// goroutine. It starts no goroutine. The day's counts live in memory; to whom an
// account has ever written is in the database.
package submission

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"postern/internal/account"
	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
	"postern/internal/metrics"
)

// Accounts is who may log in; *account.Keeper is it.
type Accounts interface {
	Verify(ctx context.Context, login, password string, from netip.Addr) (account.Account, error)
	Active(ctx context.Context, acc account.Account) error

	HasApps() bool
	Scram(ctx context.Context, login string, from netip.Addr) (*account.Proof, error)
	Prove(ctx context.Context, p *account.Proof, which int, from netip.Addr) (account.Account, error)

	Knows(ctx context.Context, id int64, a address.Address) (bool, error)
	Met(ctx context.Context, id int64, all []address.Address) error
	MetSince(ctx context.Context, id int64, since time.Time) (int, error)
}

// Accept decides over a message that has arrived whole, and commits the draft or
// does not. Nil is 250. It holds every From of the header against the
// account's senders.
type Accept func(ctx context.Context, c *smtpd.Conn, draft *spool.Draft, env envelope.Envelope, acc account.Account) *smtpline.Reply

// Config is what a Door needs.
type Config struct {
	Accounts Accounts // nil: no database; every connection is told 421
	Spool    smtpd.Spool
	Accept   Accept
	Day      Day // what an account may send in one
	// Find says where mail for an address of our own domains goes, or that nobody
	// is there. nil: all exist.
	Find func(ctx context.Context, to address.Address) ([]address.Address, *smtpline.Reply)
	// Refuse says what the next hop of a recipient would not take; nil: it takes
	// all.
	Refuse func(to address.Address, p smtpd.MailParams) *smtpline.Reply
	// Stopped is told, once a day and account, of one that has wanted more than a
	// limit: which one. nil: nobody is told.
	Stopped func(ctx context.Context, acc account.Account, limit string)
	// Late is told when an account that was being stopped has got one more message
	// into the queue meanwhile. nil: nobody is told.
	Late func(ctx context.Context, acc account.Account)
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger
}

// Counters are what a Door counts.
type Counters struct {
	SignedOut     metrics.Counter // sessions ended by a change of their account
	ForeignSender metrics.Counter // envelope senders that were not the account's
	OverLimit     metrics.Counter // recipients and messages beyond a limit of the day
	Stopped       metrics.Counter // accounts that were stopped by one
	HopRefuses    metrics.Counter // recipients that the next hop would not take
}

// Door makes the sessions.
type Door struct {
	Counters Counters

	c    Config
	days *tally
	live *live
}

// New checks the configuration.
func New(c Config) (*Door, error) {
	if c.Spool == nil || c.Accept == nil || c.Log == nil {
		return nil, errors.New("submission: spool, accept and log are required")
	}
	c.Day = c.Day.withDefaults()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Find == nil {
		c.Find = func(_ context.Context, to address.Address) ([]address.Address, *smtpline.Reply) {
			return []address.Address{to}, nil
		}
	}
	return &Door{c: c, days: newTally(c.Day), live: newLive()}, nil
}

// Renew returns a Door of a new configuration that goes on with d's counts and
// knows its sessions.
func (d *Door) Renew(c Config) (*Door, error) {
	next, err := New(c)
	if err != nil {
		return nil, err
	}
	d.days.setLimit(next.c.Day)
	next.days, next.live = d.days, d.live
	return next, nil
}

// Forgive lets an account that a limit of the day has stopped go on.
func (d *Door) Forgive(id int64) { d.days.forgive(id) }

// Limits are the engine's limits for users: their programs can keep to the line
// length of RFC 5322, Section 2.1.1.
func Limits() smtpd.Limits { return smtpd.Limits{DataLine: 998} }

var (
	closed     = smtpline.Reply{Code: 421, Enhanced: "4.3.0", Reason: "no-accounts", Text: "logins are not possible at this time", Close: true}
	loginFirst = smtpline.Refuse(530, "5.7.0", "needs-login", "log in first")
	signedOut  = smtpline.Reply{Code: 421, Enhanced: "4.7.0", Reason: "signed-out", Text: "your account has changed, log in again", Close: true}
	denied     = smtpline.Refuse(535, "5.7.8", "bad-login", "wrong login or password")
	locked     = smtpline.Refuse(454, "4.7.0", "locked-out", "too many failed logins, try again later")
	expired    = smtpline.Refuse(535, "5.7.8", "password-expired", "your password is too old to be taken any longer: have a new one set")
	busy       = smtpline.Refuse(454, "4.7.0", "login-busy", "too many logins at this time, try again later")
	badRcpt    = smtpline.Refuse(553, "5.1.3", "ambiguous-recipient", "recipients with such characters are not taken")
	noDomain   = smtpline.Refuse(550, "5.1.2", "no-domain", "give the recipient's domain")
	overQuota  = smtpline.Refuse(450, "4.7.1", "daily-limit", "a limit of the day is reached, try again tomorrow")
	fault      = smtpline.Refuse(451, "4.3.0", "accounts-unusable", "local error, try again later")
)

// Session is the engine's NewSession.
func (d *Door) Session(_ context.Context, c *smtpd.Conn) (smtpd.Session, *smtpline.Reply) {
	if d.c.Accounts == nil {
		r := closed
		return nil, &r
	}
	return &session{door: d, conn: c}, nil
}

type session struct {
	door  *Door
	conn  *smtpd.Conn
	proof *account.Proof // of a login by SCRAM under way
	acc   account.Account
	in    bool // logged in
	tx    smtpd.Transaction
	fresh []address.Address // of tx.To, to whom the account has never written
}

// Mail asks anew whether the login still holds: SignOut ends sessions that wait,
// and this one may have had its next command in hand.
func (s *session) Mail(ctx context.Context, from address.Address, p smtpd.MailParams) *smtpline.Reply {
	if !s.in {
		return loginFirst
	}
	if r := s.still(ctx); r != nil {
		return r
	}
	// The null reverse-path passes: receipts are sent with it (RFC 8098,
	// Section 3), and the header's From is held against the account anyway.
	if !from.IsZero() && !s.acc.Permits(from) {
		s.door.Counters.ForeignSender.Inc()
		return smtpline.Refuse(553, "5.7.1", "foreign-sender", "you may not send as "+from.Path()+", but as "+s.own())
	}
	if r := s.room(ctx, use{messages: 1}); r != nil {
		return r
	}
	s.tx.Begin(from, p)
	s.fresh = nil
	return nil
}

// still asks whether the login holds.
func (s *session) still(ctx context.Context) *smtpline.Reply {
	err := s.door.c.Accounts.Active(ctx, s.acc)
	if err == nil {
		return nil
	}
	r := signedOut
	if errors.Is(err, account.ErrSignedOut) {
		s.door.Counters.SignedOut.Inc()
	} else {
		r = closed
	}
	r.Cause = err
	return &r
}

// own lists the account's senders for its owner, who alone reads it.
func (s *session) own() string {
	const most = 5
	list := s.acc.Senders
	text := strings.Join(list[:min(len(list), most)], ", ")
	if len(list) > most {
		text += " and others"
	}
	return text
}

func (s *session) Rcpt(ctx context.Context, to address.Address, p smtpd.RcptParams) *smtpline.Reply {
	if to.Domain == "" { // <postmaster>: the one of the user's own domain
		own, err := address.Parse(s.acc.Login)
		if err != nil {
			return noDomain
		}
		to.Domain = own.Domain
	}
	if smtpd.Ambiguous(to) {
		return badRcpt
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
	known, err := s.door.c.Accounts.Knows(ctx, s.acc.ID, to)
	if err != nil {
		r := *fault
		r.Cause = err
		return &r
	}
	more := use{recipients: len(s.tx.To) + len(targets), fresh: len(s.fresh)}
	if !known {
		more.fresh++
	}
	if r := s.room(ctx, more); r != nil {
		return r
	}
	before := len(s.tx.To)
	for _, target := range targets {
		s.tx.Add(target, p)
	}
	if !known && len(s.tx.To) > before {
		s.fresh = append(s.fresh, to)
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

// room refuses what would be more than a limit of the day.
func (s *session) room(ctx context.Context, more use) *smtpline.Reply {
	now := s.door.c.Now()
	if !s.door.days.begun(s.acc.ID, now) {
		fresh, err := s.door.c.Accounts.MetSince(ctx, s.acc.ID, now.UTC().Truncate(24*time.Hour))
		if err != nil {
			r := *fault
			r.Cause = err
			return &r
		}
		s.door.days.begin(s.acc.ID, fresh, now)
	}
	return s.within(ctx, s.door.days.room(s.acc.ID, more, now))
}

// within is the refusal where there is one, and tells of the first.
func (s *session) within(ctx context.Context, o over) *smtpline.Reply {
	if o.limit == "" {
		return nil
	}
	s.door.Counters.OverLimit.Inc()
	if o.first {
		s.door.Counters.Stopped.Inc()
		s.door.c.Log.Warn("account stopped for today", "account", s.acc.Login, "client", s.conn.Remote.Addr().String(), "reason", overQuota.Reason, "limit", o.limit)
		if s.door.c.Stopped != nil {
			s.door.c.Stopped(ctx, s.acc, o.limit)
		}
	}
	return overQuota
}

// Data takes the message off the day's limits first and gives it back when it
// was not accepted. Whom it was for is remembered after it: a crash in between
// costs the account a new recipient more.
func (s *session) Data(ctx context.Context, r io.Reader) *smtpline.Reply {
	now := s.door.c.Now()
	took := use{recipients: len(s.tx.To), messages: 1, fresh: len(s.fresh)}
	if r := s.within(ctx, s.door.days.take(s.acc.ID, took, now)); r != nil {
		return r
	}
	reply := s.data(ctx, r, now)
	if !reply.Positive() {
		s.door.days.giveBack(s.acc.ID, took, now)
		return reply
	}
	if err := s.door.c.Accounts.Met(ctx, s.acc.ID, s.fresh); err != nil { // it is on disk already, and goes
		s.door.c.Log.Error("new recipients are not remembered", "account", s.acc.Login, "err", err)
	}
	return reply
}

func (s *session) data(ctx context.Context, r io.Reader, now time.Time) *smtpline.Reply {
	draft, refusal := smtpd.Receive(s.door.c.Spool, r)
	if refusal != nil {
		return refusal
	}
	defer draft.Abort()
	defer s.door.live.begin(s)()
	if r := s.still(ctx); r != nil { // a message can take long to send
		return r
	}
	if s.door.days.isStopped(s.acc.ID, s.door.c.Now()) { // by another session
		s.door.Counters.OverLimit.Inc()
		return overQuota
	}
	env := s.tx.Envelope(s.conn, envelope.Submission, s.acc.Login, now)
	reply := s.door.c.Accept(ctx, s.conn, draft, env, s.acc)
	// Asked once more: whoever has stopped the account in between has looked at the
	// queue before this came there.
	if reply.Positive() && s.door.days.isStopped(s.acc.ID, s.door.c.Now()) && s.door.c.Late != nil {
		s.door.c.Late(ctx, s.acc)
	}
	return reply
}

func (s *session) Reset() { s.tx, s.fresh = smtpd.Transaction{}, nil }

func (s *session) Close() {
	if s.in {
		s.door.live.leave(s)
	}
}
