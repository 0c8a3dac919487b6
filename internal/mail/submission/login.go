package submission

import (
	"context"
	"errors"

	"postern/internal/account"
	"postern/internal/mail/sasl"
	"postern/internal/mail/smtpline"
)

// Auth implements smtpd.Authenticator. The engine calls it under TLS alone.
func (s *session) Auth(ctx context.Context, identity, password string) *smtpline.Reply {
	acc, err := s.door.c.Accounts.Verify(ctx, identity, password, s.conn.Remote.Addr())
	if err != nil {
		return s.loginRefused(identity, err, "by", "password")
	}
	return s.enter(ctx, acc, "password")
}

// enter is the end of a login. The account is looked at once more when its
// session is known to those who change accounts: a change in between ended none.
func (s *session) enter(ctx context.Context, acc account.Account, by string) *smtpline.Reply {
	s.acc, s.in = acc, true
	s.door.live.enter(s)
	if r := s.still(ctx); r != nil {
		return r
	}
	if acc.App != 0 {
		by += " of an app"
	}
	s.door.c.Log.Info("login", "conn", s.conn.ID, "account", acc.Login, "client", s.conn.Remote.Addr().String(), "by", by)
	return nil
}

// OffersScram implements smtpd.ScramAuthenticator.
func (s *session) OffersScram() bool { return s.door.c.Accounts.HasApps() }

// Scram implements smtpd.ScramAuthenticator.
func (s *session) Scram(ctx context.Context, identity string) (sasl.Stored, *smtpline.Reply) {
	var err error
	if s.proof, err = s.door.c.Accounts.Scram(ctx, identity, s.conn.Remote.Addr()); err != nil {
		return sasl.Stored{}, s.loginRefused(identity, err, "by", "proof")
	}
	return s.proof.Stored, nil
}

// ScramDone implements smtpd.ScramAuthenticator.
func (s *session) ScramDone(ctx context.Context, identity string, which int) *smtpline.Reply {
	acc, err := s.door.c.Accounts.Prove(ctx, s.proof, which, s.conn.Remote.Addr())
	if err != nil {
		r := s.loginRefused(identity, err, "by", "proof", "app_passwords", len(s.proof.Stored.Keys))
		if errors.Is(err, account.ErrDenied) { // the same for whoever there is and is not
			r.Text += " (SCRAM takes app passwords alone, PLAIN and LOGIN also your own)"
		}
		return r
	}
	return s.enter(ctx, acc, "proof")
}

func (s *session) loginRefused(identity string, err error, more ...any) *smtpline.Reply {
	r := *denied
	switch {
	case errors.Is(err, account.ErrDenied):
	case errors.Is(err, account.ErrLocked):
		r = *locked
	case errors.Is(err, account.ErrExpired):
		r = *expired
	case errors.Is(err, account.ErrBusy):
		r = *busy
	default:
		r = smtpline.Reply{Code: 454, Enhanced: "4.3.0", Reason: "login-fault", Text: "login is not possible at this time, try again later"}
	}
	r.Cause = err
	s.door.c.Log.Warn("login refused", append([]any{
		"conn", s.conn.ID, "account", identity[:min(len(identity), 320)], "client", s.conn.Remote.Addr().String(), "reason", r.Reason,
	}, more...)...)
	return &r
}
