package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"time"

	"postern/internal/mail/address"
)

// maxPeople bounds whom an account is remembered to have written to; those it
// has met first are forgotten first.
const maxPeople = 20_000

// person is what is kept of somebody an account has written to: enough to know
// the address again, and no list of addresses for whoever steals the database
// without its secret. The account counts in, so that two do not compare.
func (k *Keeper) person(id int64, a address.Address) []byte {
	h := hmac.New(sha256.New, k.apps.secret)
	fmt.Fprintf(h, "person\x00%d\x00%s", id, fold(a))
	return h.Sum(nil)[:16]
}

// Knows reports whether the account has written to an address before.
func (k *Keeper) Knows(ctx context.Context, id int64, a address.Address) (bool, error) {
	var n int
	err := k.db.QueryRowContext(ctx, "SELECT count(*) FROM account_people WHERE account = ? AND person = ?", id, k.person(id, a)).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for a recipient: %w", err)
	}
	return n > 0, nil
}

// Met remembers to whom an account has written for the first time.
func (k *Keeper) Met(ctx context.Context, id int64, all []address.Address) error {
	if len(all) == 0 {
		return nil
	}
	now := k.c.Now().Unix()
	return k.change(ctx, "remember recipients", func(tx *sql.Tx) error {
		for _, a := range all {
			if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO account_people (account, person, met) VALUES (?, ?, ?)", id, k.person(id, a), now); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM account_people WHERE account = ?1 AND person IN
			(SELECT person FROM account_people WHERE account = ?1 ORDER BY met DESC LIMIT -1 OFFSET ?2)`, id, maxPeople)
		return err
	})
}

// MetSince counts whom an account has met since then.
func (k *Keeper) MetSince(ctx context.Context, id int64, since time.Time) (int, error) {
	var n int
	if err := k.db.QueryRowContext(ctx, "SELECT count(*) FROM account_people WHERE account = ? AND met >= ?", id, since.Unix()).Scan(&n); err != nil {
		return 0, fmt.Errorf("count recipients: %w", err)
	}
	return n, nil
}
