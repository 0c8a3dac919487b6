package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/internal/mail/sasl"
)

// App is one app password, without its secrets.
type App struct {
	Name    string
	Created time.Time
	Used    time.Time // to the hour; zero: never
}

const (
	maxApps     = 20   // of an account; a login by SCRAM is held against each
	appOctets   = 16   // 128 random bits
	appLen      = 26   // those in base32
	iterations  = 4096 // RFC 7677, Section 4; more would guard what cannot be guessed
	usedEvery   = time.Hour
	saltSecret  = "scram-salt" // in table secrets
	maxAppName  = 64
	appAlphabet = "abcdefghijklmnopqrstuvwxyz234567"
)

// apps is what the Keeper knows of all app passwords.
type apps struct {
	secret []byte       // makes salts
	count  atomic.Int64 // of all accounts
}

// openApps reads the secret of the salts, or makes it once, and counts.
func (k *Keeper) openApps(ctx context.Context) error {
	fresh := make([]byte, sha256.Size)
	if _, err := io.ReadFull(k.c.Rand, fresh); err != nil {
		return fmt.Errorf("make the secret of salts: %w", err)
	}
	err := k.change(ctx, "open app passwords", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO secrets (name, value) VALUES (?, ?)", saltSecret, fresh); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT value FROM secrets WHERE name = ?", saltSecret).Scan(&k.apps.secret)
	})
	if err != nil {
		return err
	}
	return k.countApps(ctx)
}

func (k *Keeper) countApps(ctx context.Context) error {
	var n int64
	if err := k.db.QueryRowContext(ctx, "SELECT count(*) FROM app_passwords").Scan(&n); err != nil {
		return fmt.Errorf("count app passwords: %w", err)
	}
	k.apps.count.Store(n)
	return nil
}

// HasApps reports whether anybody has an app password.
func (k *Keeper) HasApps() bool { return k.apps.count.Load() > 0 }

// salt is the one of a login, whether there is such an account or not: nobody
// can tell from it, today or after the account was made (RFC 5802, Section 9,
// leaves open what an unknown user is told).
func (k *Keeper) salt(name string) []byte {
	h := hmac.New(sha256.New, k.apps.secret)
	h.Write([]byte(name))
	return h.Sum(nil)[:saltLen]
}

// AddApp makes an app password and returns it: it is shown once and kept nowhere.
func (k *Keeper) AddApp(ctx context.Context, login, app string) (string, error) {
	if !utf8.ValidString(app) || app == "" || utf8.RuneCountInString(app) > maxAppName || strings.ContainsFunc(app, unicode.IsControl) {
		return "", ErrAppName
	}
	name, err := Normalise(login)
	if err != nil {
		return "", err
	}
	random := make([]byte, appOctets)
	if _, err := io.ReadFull(k.c.Rand, random); err != nil {
		return "", fmt.Errorf("make an app password: %w", err)
	}
	password := base32.NewEncoding(appAlphabet).WithPadding(base32.NoPadding).EncodeToString(random)
	keys, err := sasl.Derive(password, k.salt(name), iterations)
	if err != nil {
		return "", err
	}
	err = k.change(ctx, "make app password of "+name, func(tx *sql.Tx) error {
		id, err := idOf(ctx, tx, name)
		if err != nil {
			return err
		}
		var all, same int
		if err := tx.QueryRowContext(ctx, "SELECT count(*), count(CASE name WHEN ? THEN 1 END) FROM app_passwords WHERE account = ?", app, id).Scan(&all, &same); err != nil {
			return err
		}
		switch {
		case same > 0:
			return ErrAppExists
		case all >= maxApps:
			return ErrAppMany
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO app_passwords (account, name, stored, server, created) VALUES (?, ?, ?, ?, ?)",
			id, app, keys.Stored[:], keys.Server[:], k.c.Now().Unix())
		return err
	})
	if err != nil {
		return "", err
	}
	return password, k.countApps(ctx)
}

// RemoveApp takes an app password away; sessions that it opened end.
func (k *Keeper) RemoveApp(ctx context.Context, login, app string) error {
	name, err := Normalise(login)
	if err != nil {
		return err
	}
	err = k.end(ctx, "remove app password of "+name, name, func(tx *sql.Tx, id int64) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM app_passwords WHERE account = ? AND name = ?", id, app)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(ErrAppUnknown, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return k.countApps(ctx)
}

func idOf(ctx context.Context, tx *sql.Tx, name string) (id int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT id FROM accounts WHERE login = ?", name).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return id, err
}

// Apps lists the app passwords of an account, oldest first.
func (k *Keeper) Apps(ctx context.Context, acc Account) ([]App, error) {
	rows, err := k.db.QueryContext(ctx, "SELECT name, created, used FROM app_passwords WHERE account = ? ORDER BY id", acc.ID)
	if err != nil {
		return nil, fmt.Errorf("list app passwords: %w", err)
	}
	defer rows.Close()
	var out []App
	for rows.Next() {
		var a App
		var created, used int64
		if err := rows.Scan(&a.Name, &created, &used); err != nil {
			return nil, fmt.Errorf("list app passwords: %w", err)
		}
		a.Created = time.Unix(created, 0).UTC()
		if used > 0 {
			a.Used = time.Unix(used, 0).UTC()
		}
		out = append(out, a)
	}
	return out, rows.Err()
}

// keysOf returns the keys of an account and, beside each, its app password.
func (k *Keeper) keysOf(ctx context.Context, id int64) (keys []sasl.Keys, apps []int64, err error) {
	rows, err := k.db.QueryContext(ctx, "SELECT id, stored, server FROM app_passwords WHERE account = ? ORDER BY id", id)
	if err != nil {
		return nil, nil, fmt.Errorf("load app passwords: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var app int64
		var stored, server []byte
		if err := rows.Scan(&app, &stored, &server); err != nil {
			return nil, nil, fmt.Errorf("load app passwords: %w", err)
		}
		var one sasl.Keys
		if copy(one.Stored[:], stored) != len(one.Stored) || copy(one.Server[:], server) != len(one.Server) {
			return nil, nil, fmt.Errorf("app password %d: %w", app, ErrBadHash)
		}
		keys, apps = append(keys, one), append(apps, app)
	}
	return keys, apps, rows.Err()
}

// isApp reports what could be an app password by its form.
func isApp(password string) bool {
	return len(password) == appLen && strings.Trim(password, appAlphabet) == ""
}

// appOf returns the app password that was given in the clear, by PLAIN or LOGIN;
// 0 for none. What cannot be one costs nothing; what can costs the same for
// accounts that are there and that are not.
func (k *Keeper) appOf(ctx context.Context, id int64, name, password string) (int64, error) {
	if !isApp(password) {
		return 0, nil
	}
	given, err := sasl.Derive(password, k.salt(name), iterations)
	if err != nil {
		return 0, err
	}
	keys, apps, err := k.keysOf(ctx, id)
	if err != nil {
		return 0, err
	}
	var found int64
	for i := range keys {
		if keys[i].Equal(given) {
			found = apps[i]
		}
	}
	return found, nil
}

// usedApp writes down when an app password was used, once an hour at most.
func (k *Keeper) usedApp(ctx context.Context, app int64, now time.Time) error {
	if app == 0 {
		return nil
	}
	var used int64
	err := k.db.QueryRowContext(ctx, "SELECT used FROM app_passwords WHERE id = ?", app).Scan(&used)
	if err == nil && now.Sub(time.Unix(used, 0)) >= usedEvery {
		_, err = k.db.ExecContext(ctx, "UPDATE app_passwords SET used = ? WHERE id = ?", now.Unix(), app)
	}
	if err != nil {
		return fmt.Errorf("write down the use of an app password: %w", err)
	}
	return nil
}

// appThere returns ErrSignedOut for an app password that was taken away.
func (k *Keeper) appThere(ctx context.Context, app int64) error {
	var n int
	if err := k.db.QueryRowContext(ctx, "SELECT count(*) FROM app_passwords WHERE id = ?", app).Scan(&n); err != nil {
		return fmt.Errorf("load app password: %w", err)
	}
	if n == 0 {
		return ErrSignedOut
	}
	return nil
}
