package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"postern/internal/account"
)

// accounts is the keeper, or why there is none.
func (d *Desk) accounts() (*account.Keeper, error) {
	if d.cfg.Accounts == nil {
		return nil, &Error{Reason: ReasonNotThere, Text: "the account database cannot be used", Hint: "postern status shows why"}
	}
	return d.cfg.Accounts, nil
}

// change does something to an account and returns how it stands then.
func (d *Desk) change(ctx context.Context, login string, do func(*account.Keeper) error) (User, error) {
	k, err := d.accounts()
	if err != nil {
		return User{}, err
	}
	if err := do(k); err != nil {
		return User{}, userError(login, err)
	}
	acc, err := k.Get(ctx, login)
	if err != nil {
		return User{}, userError(login, err)
	}
	return userOf(acc), nil
}

func userOf(a account.Account) User {
	return User{Login: a.Login, Senders: a.Senders, Disabled: a.Disabled, Created: a.Created}
}

func (d *Desk) userAdd(ctx context.Context, a UserArgs) (User, error) {
	return d.change(ctx, a.Login, func(k *account.Keeper) error {
		var senders []string // none: the login itself
		if len(a.Senders) > 0 {
			senders = append([]string{a.Login}, a.Senders...)
		}
		_, err := k.Create(ctx, a.Login, a.Password, senders)
		return err
	})
}

func (d *Desk) userPasswd(ctx context.Context, a UserArgs) (User, error) {
	return d.change(ctx, a.Login, func(k *account.Keeper) error { return k.Passwd(ctx, a.Login, a.Password) })
}

// userDisable stops an account first and looks at its queue then, once what it was
// handing over has been refused or has got there.
func (d *Desk) userDisable(ctx context.Context, a UserArgs) (User, error) {
	var id int64
	u, err := d.change(ctx, a.Login, func(k *account.Keeper) error {
		acc, err := k.Get(ctx, a.Login)
		if err == nil {
			id, err = acc.ID, k.Disable(ctx, a.Login)
		}
		return err
	})
	if err != nil || !a.DropQueue {
		return u, err
	}
	settled := d.cfg.Settle == nil || d.cfg.Settle(ctx, id)
	done, err := d.queueDo(d.cfg.Queue.Drop)(ctx, QueueArgs{Account: u.Login})
	u.Dropped = len(done.IDs)
	if err == nil && !settled {
		err = &Error{
			Reason: ReasonFailed, Text: fmt.Sprintf("user %s is disabled and its queue was dropped, but a message of it is still being taken", u.Login),
			Hint: "postern queue drop --account " + u.Login + ", in a minute",
		}
	}
	return u, err
}

func (d *Desk) userEnable(ctx context.Context, a UserArgs) (User, error) {
	return d.change(ctx, a.Login, func(k *account.Keeper) error { return k.Enable(ctx, a.Login) })
}

func (d *Desk) userRemove(ctx context.Context, a UserArgs) (User, error) {
	k, err := d.accounts()
	if err != nil {
		return User{}, err
	}
	acc, err := k.Get(ctx, a.Login)
	if err == nil {
		err = k.Remove(ctx, a.Login)
	}
	if err != nil {
		return User{}, userError(a.Login, err)
	}
	return userOf(acc), nil
}

func (d *Desk) userList(ctx context.Context, _ none) ([]User, error) {
	k, err := d.accounts()
	if err != nil {
		return nil, err
	}
	all, err := k.List(ctx)
	if err != nil {
		return nil, err
	}
	users := []User{}
	for _, a := range all {
		users = append(users, userOf(a))
	}
	return users, nil
}

func (d *Desk) userUnlock(ctx context.Context, a UserArgs) (User, error) {
	return d.change(ctx, a.Login, func(k *account.Keeper) error {
		acc, err := k.Get(ctx, a.Login)
		if err != nil {
			return err
		}
		if d.cfg.Forgive != nil {
			d.cfg.Forgive(acc.ID)
		}
		return k.Unlock(a.Login)
	})
}

func (d *Desk) userShow(ctx context.Context, a UserArgs) (UserDetail, error) {
	k, err := d.accounts()
	if err != nil {
		return UserDetail{}, err
	}
	acc, err := k.Get(ctx, a.Login)
	if err != nil {
		return UserDetail{}, userError(a.Login, err)
	}
	apps, err := k.Apps(ctx, acc)
	if err != nil {
		return UserDetail{}, userError(a.Login, err)
	}
	l, err := k.Logins(ctx, acc)
	if err != nil {
		return UserDetail{}, userError(a.Login, err)
	}
	u := UserDetail{
		User: userOf(acc), Password: acc.Changed, Apps: []App{}, Networks: []string{}, LastLogin: l.Last, LoginFrom: l.From,
		Failures: l.Failures, LastFailed: l.LastFailed, FailedFrom: l.FailedFrom,
	}
	for _, n := range l.Networks {
		u.Networks = append(u.Networks, n.Prefix.String())
	}
	for _, app := range apps {
		u.Apps = append(u.Apps, App{Name: app.Name, Created: app.Created, Used: app.Used})
	}
	return u, nil
}

func (d *Desk) userAppAdd(ctx context.Context, a AppArgs) (AppPassword, error) {
	k, err := d.accounts()
	if err != nil {
		return AppPassword{}, err
	}
	if a.Name == "" {
		if a.Name, err = freeName(ctx, k, a.Login); err != nil {
			return AppPassword{}, userError(a.Login, err)
		}
	}
	password, err := k.AddApp(ctx, a.Login, a.Name)
	if err != nil {
		return AppPassword{}, userError(a.Login, err)
	}
	return AppPassword{Login: a.Login, Name: a.Name, Password: password}, nil
}

// freeName is the first of app-1, app-2 and so on that is not there yet.
func freeName(ctx context.Context, k *account.Keeper, login string) (string, error) {
	acc, err := k.Get(ctx, login)
	if err != nil {
		return "", err
	}
	apps, err := k.Apps(ctx, acc)
	if err != nil {
		return "", err
	}
	for i := 1; ; i++ {
		name := fmt.Sprintf("app-%d", i)
		if !slices.ContainsFunc(apps, func(app account.App) bool { return app.Name == name }) {
			return name, nil
		}
	}
}

func (d *Desk) userAppRemove(ctx context.Context, a AppArgs) (UserDetail, error) {
	k, err := d.accounts()
	if err != nil {
		return UserDetail{}, err
	}
	if err := k.RemoveApp(ctx, a.Login, a.Name); err != nil {
		return UserDetail{}, userError(a.Login, err)
	}
	return d.userShow(ctx, UserArgs{Login: a.Login})
}

// userError adds what to do about it.
func userError(login string, err error) error {
	e := &Error{Reason: ReasonFailed, Text: fmt.Sprintf("user %s: %v", login, err)}
	switch {
	case errors.Is(err, account.ErrNotFound):
		e.Reason, e.Hint = ReasonUnknown, "postern user list shows the accounts"
	case errors.Is(err, account.ErrExists):
		e.Hint = "postern user passwd sets its password"
	case errors.Is(err, account.ErrBadLogin), errors.Is(err, account.ErrBadSender):
		e.Reason, e.Hint = ReasonUsage, "an account's name is a mail address, such as anna@city.example"
	case errors.Is(err, account.ErrAppName):
		e.Reason = ReasonUsage
	case errors.Is(err, account.ErrAppUnknown), errors.Is(err, account.ErrAppExists), errors.Is(err, account.ErrAppMany):
		e.Hint = "postern user show lists the app passwords"
	case errors.Is(err, account.ErrReused):
		e.Hint = "accounts.reuse says how many of the last are refused"
	case errors.Is(err, account.ErrCommon):
		e.Hint = "a few words that belong together nowhere else make a good one"
	case errors.Is(err, account.ErrListed):
		e.Hint = "accounts.blocklist names the list"
	case errors.Is(err, account.ErrShort):
		e.Hint = "accounts.min_length sets the least"
	}
	return e
}
