package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"postern/internal/account"
	"postern/internal/lifecycle"
	"postern/internal/mail/accept"
	"postern/internal/mail/address"
)

// usersLook is how often what happened to accounts is written down, and it is
// seen whose password grows old.
const usersLook = time.Minute

// users does what accounts need done without anybody logging in.
type users struct {
	accounts *account.Keeper
	notify   func(ctx context.Context, n accept.Notice) error
	now      func() time.Time
	log      *slog.Logger

	workers lifecycle.Workers
}

// buildUsers returns nil where the database cannot be used.
func (a *App) buildUsers() lifecycle.Part {
	if a.accounts == nil {
		return nil
	}
	return &users{accounts: a.accounts, now: a.now, log: a.log, notify: func(ctx context.Context, n accept.Notice) error {
		return a.mail.Load().acceptor.Notify(ctx, n)
	}}
}

// Start begins to look.
func (u *users) Start(context.Context) error {
	u.workers.Go("users", func(ctx context.Context) {
		again := time.NewTicker(usersLook)
		defer again.Stop()
		for {
			if err := errors.Join(u.accounts.Flush(ctx), u.warn(ctx)); err != nil && ctx.Err() == nil {
				u.log.Error("accounts", "reason", "accounts-unusable", "err", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-again.C:
			}
		}
	})
	return nil
}

// Stop writes down the rest.
func (u *users) Stop(ctx context.Context) error {
	return errors.Join(u.workers.Stop(ctx), u.accounts.Flush(ctx))
}

// warn tells everybody whose password will not be taken much longer.
func (u *users) warn(ctx context.Context) error {
	all, err := u.accounts.Warnings(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, w := range all {
		err := u.notify(ctx, warningOf(w, u.now()))
		if err == nil {
			err = u.accounts.Warned(ctx, w)
			u.log.Info("password grows old", "account", w.Account.Login, "ends", w.Ends.Format(time.DateOnly))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func warningOf(w account.Warning, now time.Time) accept.Notice {
	n := accept.Notice{Subject: "Your mail password ends on " + w.Ends.Format("2 January 2006")}
	n.To, _ = address.Parse(w.Account.Login) // a login is an address
	will := "will not be taken any more from " + w.Ends.Format("Monday, 2 January 2006, 15:04 MST") + " on"
	if !w.Ends.After(now) {
		n.Subject = "Your mail password has ended"
		will = "is too old and is not taken any more"
	}
	n.Text = fmt.Sprintf(`The password of your mail account %s
%s.

Please have a new one set: whoever runs your mail can do it. Passwords
that were made for single programs are not meant; they go on working.

Nobody will ask you for a password in reply to this message, and it
holds no link to follow.
`, w.Account.Login, will)
	return n
}
