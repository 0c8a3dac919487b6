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
	"postern/internal/mail/envelope"
	"postern/internal/mail/queue"
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

// signOut ends the sessions of an account that has changed.
func (a *App) signOut(ctx context.Context, id int64) {
	if world := a.mail.Load(); world != nil { // nil: nothing runs yet
		world.submission.SignOut(ctx, id)
	}
}

// tellOfGuesses tells the owner of an account that logins fail often, and the
// postmaster where nothing locks them out.
func (a *App) tellOfGuesses(ctx context.Context, acc account.Account, g account.Guesses) {
	world := a.mail.Load()
	if world == nil { // nothing runs yet
		return
	}
	owner := accept.Notice{Subject: "Many failed logins to your mail account"}
	owner.To, _ = address.Parse(acc.Login) // a login is an address
	owner.Text = fmt.Sprintf(`Today %d logins to your mail account %s have failed,
the last from %s.

If one of your programs still has an old password, give it the new one.
If not, somebody tries to guess it: there is nothing that you must do if
it is long and used nowhere else.

Nobody will ask you for a password in reply to this message, and it
holds no link to follow.
`, g.Failures, acc.Login, g.From)
	all := []accept.Notice{owner}
	if operator := world.acceptor.Postmaster(); g.Known && !operator.IsZero() {
		all = append(all, accept.Notice{To: operator, Subject: "Many failed logins to account " + acc.Login, Text: fmt.Sprintf(`Today %d logins to %s have failed, the last from %s.
The account is known in that network, so they lock nobody out: what bounds
them are limits.errors_per_minute and limits.network_errors_per_minute.

To see from where it is used:
  postern user show %[2]s
`, g.Failures, acc.Login, g.From)})
	}
	for _, n := range all {
		if err := world.acceptor.Notify(ctx, n); err != nil {
			a.log.Error("nobody is told of failed logins", "account", acc.Login, "err", err)
		}
	}
}

// stopAccount is what happens to an account that has wanted more than a limit of
// the day: what it has in the queue is held, and its owner and the postmaster are
// told. The door takes nothing more from it today.
func (a *App) stopAccount(ctx context.Context, acc account.Account, limit string) {
	held, err := a.holdQueue(acc.Login)
	door := a.mail.Load().acceptor
	owner := accept.Notice{Subject: "Your mail account was stopped for today"}
	owner.To, _ = address.Parse(acc.Login) // a login is an address
	owner.Text = fmt.Sprintf(`Your mail account %s has tried to send more than it may in a day
(%s). It can send nothing more today, and %d of its messages are held back.

If that was not you, somebody else has your password: tell whoever runs
your mail at once. If it was, they can let the messages go.
`, acc.Login, limit, held)
	operator := accept.Notice{To: door.Postmaster(), Subject: "Account " + acc.Login + " was stopped for today"}
	operator.Text = fmt.Sprintf(`The account %[1]s has tried to send more than it may in a day
(%[2]s). It can send nothing more today, and %[3]d of its messages are held.

To let it go on:
  postern user unlock %[1]s
  postern queue release --account %[1]s
To stop it for good, and throw away what it has in the queue:
  postern user disable %[1]s --drop-queue
`, acc.Login, limit, held)
	errs := []error{err, door.Notify(ctx, owner)}
	if !operator.To.IsZero() {
		errs = append(errs, door.Notify(ctx, operator))
	}
	if err := errors.Join(errs...); err != nil {
		a.log.Error("account was stopped, but not all of what follows was done", "account", acc.Login, "err", err)
	}
}

// holdLate holds what a stopped account was handing over while its queue was held.
func (a *App) holdLate(_ context.Context, acc account.Account) {
	if _, err := a.holdQueue(acc.Login); err != nil {
		a.log.Error("account was stopped, but not all of its queue is held", "account", acc.Login, "err", err)
	}
}

// holdQueue holds what a login has in the queue, and returns how much.
func (a *App) holdQueue(login string) (int, error) {
	entries, err := a.queue.List(queue.Filter{Account: login})
	if err != nil {
		return 0, err
	}
	ids := make([]envelope.ID, 0, len(entries))
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	err = a.queue.Hold(ids...)
	if errors.Is(err, queue.ErrUnknown) {
		err = nil // gone out meanwhile
	}
	return len(ids), err
}
