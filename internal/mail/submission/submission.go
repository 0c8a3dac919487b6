// Package submission is the session of ports 465 and 587: mail from our own
// users, to anywhere (RFC 6409, RFC 8314). Nothing is taken before a login, a
// login only over TLS, and an account sends only under its own addresses.
//
// A Door is shared by all connections; a session belongs to its connection's
// goroutine. It starts no goroutine. The day's counts live in memory.
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
	PerDay   int              // recipients of an account in a day (UTC); 0: 1000
	Now      func() time.Time // nil: time.Now
	Log      *slog.Logger
}

// Counters are what a Door counts.
type Counters struct {
	SignedOut     metrics.Counter // sessions ended by a change of their account
	ForeignSender metrics.Counter // envelope senders that were not the account's
	OverLimit     metrics.Counter // recipients and messages beyond the day's limit
}

// Door makes the sessions.
type Door struct {
	Counters Counters

	c    Config
	days *tally
}

// New checks the configuration.
func New(c Config) (*Door, error) {
	if c.Spool == nil || c.Accept == nil || c.Log == nil {
		return nil, errors.New("submission: spool, accept and log are required")
	}
	if c.PerDay == 0 {
		c.PerDay = 1000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Door{c: c, days: newTally(c.PerDay)}, nil
}

// Renew returns a Door of a new configuration that goes on with d's counts.
func (d *Door) Renew(c Config) (*Door, error) {
	next, err := New(c)
	if err != nil {
		return nil, err
	}
	d.days.setLimit(next.c.PerDay)
	next.days = d.days
	return next, nil
}

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
	overQuota  = smtpline.Refuse(450, "4.7.1", "daily-limit", "the day's limit of recipients is reached, try again tomorrow")
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
}

// Mail asks anew whether the login still holds, so that disabling an account
// ends its live sessions too.
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
	s.tx.Begin(from, p)
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

func (s *session) Rcpt(_ context.Context, to address.Address, p smtpd.RcptParams) *smtpline.Reply {
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
	if !s.door.days.room(s.acc.ID, len(s.tx.To)+1, s.door.c.Now()) {
		s.door.Counters.OverLimit.Inc()
		return overQuota
	}
	s.tx.Add(to, p)
	return nil
}

// Data takes the recipients off the day's limit first and gives them back when
// the message was not accepted.
func (s *session) Data(ctx context.Context, r io.Reader) *smtpline.Reply {
	now := s.door.c.Now()
	if !s.door.days.take(s.acc.ID, len(s.tx.To), now) {
		s.door.Counters.OverLimit.Inc()
		return overQuota
	}
	reply := s.data(ctx, r, now)
	if !reply.Positive() {
		s.door.days.giveBack(s.acc.ID, len(s.tx.To), now)
	}
	return reply
}

func (s *session) data(ctx context.Context, r io.Reader, now time.Time) *smtpline.Reply {
	draft, refusal := smtpd.Receive(s.door.c.Spool, r)
	if refusal != nil {
		return refusal
	}
	defer draft.Abort()
	if r := s.still(ctx); r != nil { // a message can take long to send
		return r
	}
	env := s.tx.Envelope(s.conn, envelope.Submission, s.acc.Login, now)
	return s.door.c.Accept(ctx, s.conn, draft, env, s.acc)
}

func (s *session) Reset() { s.tx = smtpd.Transaction{} }

func (s *session) Close() {}
