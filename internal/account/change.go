package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Create makes an account. Without senders it may send as its login alone.
func (k *Keeper) Create(ctx context.Context, login, password string, senders []string) (Account, error) {
	name, err := Normalise(login)
	if err != nil {
		return Account{}, err
	}
	if senders, err = normaliseSenders(name, senders); err != nil {
		return Account{}, err
	}
	if err := k.rules.Load().checkPassword(name, password); err != nil {
		return Account{}, err
	}
	hash, err := k.hash.hash(ctx, password)
	if err != nil {
		return Account{}, fmt.Errorf("create account %s: %w", name, err)
	}
	err = k.change(ctx, "create account "+name, func(tx *sql.Tx) error {
		var there int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM accounts WHERE login = ?", name).Scan(&there); err != nil {
			return err
		}
		if there > 0 {
			return ErrExists
		}
		now := k.c.Now().Unix()
		res, err := tx.ExecContext(ctx, "INSERT INTO accounts (login, hash, created, changed) VALUES (?, ?, ?, ?)", name, hash, now, now)
		if err != nil {
			return err
		}
		id, err := res.LastInsertId()
		if err != nil {
			return err
		}
		return putSenders(ctx, tx, id, senders)
	})
	if err != nil {
		return Account{}, err
	}
	acc, _, err := k.load(ctx, name)
	return acc, err
}

func putSenders(ctx context.Context, tx *sql.Tx, id int64, senders []string) error {
	for _, s := range senders {
		if _, err := tx.ExecContext(ctx, "INSERT INTO account_senders (account, sender) VALUES (?, ?)", id, s); err != nil {
			return err
		}
	}
	return nil
}

// Passwd sets a new password and ends the account's live sessions. It must not
// be one of the last, where Rules.Reuse says so.
func (k *Keeper) Passwd(ctx context.Context, login, password string) error {
	name, err := Normalise(login)
	if err != nil {
		return err
	}
	if err := k.rules.Load().checkPassword(name, password); err != nil {
		return err
	}
	if err := k.checkReuse(ctx, name, password); err != nil {
		return fmt.Errorf("set password of %s: %w", name, err)
	}
	hash, err := k.hash.hash(ctx, password)
	if err != nil {
		return fmt.Errorf("set password of %s: %w", name, err)
	}
	return k.end(ctx, "set password of "+name, name, func(tx *sql.Tx, id int64) error {
		for _, stmt := range []struct {
			text string
			args []any
		}{
			{"INSERT INTO old_passwords (account, hash) SELECT id, hash FROM accounts WHERE id = ?", []any{id}},
			{"UPDATE accounts SET hash = ?, changed = ?, warned = 0, generation = generation + 1 WHERE id = ?", []any{hash, k.c.Now().Unix(), id}},
			{"DELETE FROM old_passwords WHERE account = ? AND id NOT IN (SELECT id FROM old_passwords WHERE account = ? ORDER BY id DESC LIMIT ?)", []any{id, id, max(0, k.rules.Load().Reuse-1)}},
		} {
			if _, err := tx.ExecContext(ctx, stmt.text, stmt.args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// Disable stops logins and ends live sessions.
func (k *Keeper) Disable(ctx context.Context, login string) error {
	name, err := Normalise(login)
	if err != nil {
		return err
	}
	return k.end(ctx, "disable "+name, name, func(tx *sql.Tx, id int64) error {
		_, err := tx.ExecContext(ctx, "UPDATE accounts SET disabled = 1, generation = generation + 1 WHERE id = ?", id)
		return err
	})
}

// Enable allows logins again.
func (k *Keeper) Enable(ctx context.Context, login string) error {
	name, err := Normalise(login)
	if err != nil {
		return err
	}
	return k.change(ctx, "enable "+name, func(tx *sql.Tx) error {
		id, err := idOf(ctx, tx, name)
		if err == nil {
			_, err = tx.ExecContext(ctx, "UPDATE accounts SET disabled = 0 WHERE id = ?", id)
		}
		return err
	})
}

// Remove deletes the account and ends its live sessions.
func (k *Keeper) Remove(ctx context.Context, login string) error {
	name, err := Normalise(login)
	if err != nil {
		return err
	}
	err = k.end(ctx, "remove "+name, name, func(tx *sql.Tx, id int64) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM accounts WHERE id = ?", id)
		return err
	})
	if err != nil {
		return err
	}
	k.locks.forget(name) // who has the login next is known nowhere
	return k.countApps(ctx)
}

// SetSenders replaces the senders the account may use; none means its login
// alone. Live sessions end, so that none goes on with the old list.
func (k *Keeper) SetSenders(ctx context.Context, login string, senders []string) error {
	name, err := Normalise(login)
	if err != nil {
		return err
	}
	if senders, err = normaliseSenders(name, senders); err != nil {
		return err
	}
	return k.end(ctx, "set senders of "+name, name, func(tx *sql.Tx, id int64) error {
		if _, err := tx.ExecContext(ctx, "UPDATE accounts SET generation = generation + 1 WHERE id = ?", id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM account_senders WHERE account = ?", id); err != nil {
			return err
		}
		return putSenders(ctx, tx, id, senders)
	})
}

// end runs do in a transaction and then has sessions of the account end.
func (k *Keeper) end(ctx context.Context, what, name string, do func(tx *sql.Tx, id int64) error) error {
	var id int64
	err := k.change(ctx, what, func(tx *sql.Tx) (err error) {
		if id, err = idOf(ctx, tx, name); err != nil {
			return err
		}
		return do(tx, id)
	})
	if err == nil && k.c.Ended != nil {
		k.c.Ended(ctx, id)
	}
	return err
}

// change runs do in a transaction; what was committed is on disk.
func (k *Keeper) change(ctx context.Context, what string, do func(*sql.Tx) error) error {
	tx, err := k.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := do(tx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

const columns = "SELECT id, login, hash, disabled, generation, created, changed FROM accounts"

// List returns all accounts by login.
func (k *Keeper) List(ctx context.Context) ([]Account, error) {
	rows, err := k.db.QueryContext(ctx, columns+" ORDER BY login")
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	defer rows.Close()
	var out []Account
	byID := map[int64]int{}
	for rows.Next() {
		acc, _, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list accounts: %w", err)
		}
		byID[acc.ID] = len(out)
		out = append(out, acc)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	err = k.eachSender(ctx, "SELECT account, sender FROM account_senders ORDER BY sender", func(id int64, s string) {
		if i, ok := byID[id]; ok {
			out[i].Senders = append(out[i].Senders, s)
		}
	})
	return out, err
}

// Get returns one account.
func (k *Keeper) Get(ctx context.Context, login string) (Account, error) {
	name, err := Normalise(login)
	if err != nil {
		return Account{}, err
	}
	acc, _, err := k.load(ctx, name)
	return acc, err
}

// load returns an account and its stored hash by its folded login.
func (k *Keeper) load(ctx context.Context, name string) (Account, string, error) {
	acc, hash, err := scan(k.db.QueryRowContext(ctx, columns+" WHERE login = ?", name))
	if errors.Is(err, sql.ErrNoRows) {
		return Account{}, "", fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if err != nil {
		return Account{}, "", fmt.Errorf("load account %s: %w", name, err)
	}
	err = k.eachSender(ctx, "SELECT account, sender FROM account_senders WHERE account = ? ORDER BY sender",
		func(_ int64, s string) { acc.Senders = append(acc.Senders, s) }, acc.ID)
	return acc, hash, err
}

func scan(row interface{ Scan(...any) error }) (acc Account, hash string, err error) {
	var created, changed int64
	err = row.Scan(&acc.ID, &acc.Login, &hash, &acc.Disabled, &acc.Generation, &created, &changed)
	acc.Created, acc.Changed = time.Unix(created, 0).UTC(), time.Unix(changed, 0).UTC()
	return acc, hash, err
}

func (k *Keeper) eachSender(ctx context.Context, query string, do func(id int64, sender string), args ...any) error {
	rows, err := k.db.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("load senders: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var s string
		if err := rows.Scan(&id, &s); err != nil {
			return fmt.Errorf("load senders: %w", err)
		}
		do(id, s)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("load senders: %w", err)
	}
	return nil
}
