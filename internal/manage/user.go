package manage

import (
	"context"
	"errors"
	"fmt"

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

func (d *Desk) userDisable(ctx context.Context, a UserArgs) (User, error) {
	return d.change(ctx, a.Login, func(k *account.Keeper) error { return k.Disable(ctx, a.Login) })
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
	case errors.Is(err, account.ErrShort):
		e.Hint = "accounts.min_length sets the least"
	}
	return e
}
