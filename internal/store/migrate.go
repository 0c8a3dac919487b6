package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// migration is one step of the schema. A step that has been released is never
// changed; the next one is appended.
type migration struct {
	name string
	sql  string
}

// migrations is the schema's history, oldest first. It is only read.
var migrations = []migration{
	{"accounts", `
CREATE TABLE accounts (
	id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again after removal
	login      TEXT    NOT NULL UNIQUE,           -- address, folded
	hash       TEXT    NOT NULL,                  -- PHC string
	disabled   INTEGER NOT NULL DEFAULT 0,
	generation INTEGER NOT NULL DEFAULT 1,        -- grows when live sessions must end
	created    INTEGER NOT NULL,                  -- Unix seconds
	changed    INTEGER NOT NULL                   -- the password, Unix seconds
) STRICT;
CREATE TABLE account_senders (
	account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	sender  TEXT    NOT NULL,                     -- address, or "@domain"
	PRIMARY KEY (account, sender)
) STRICT, WITHOUT ROWID;`},
	{"app passwords", `
CREATE TABLE app_passwords (
	id      INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again after removal
	account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	name    TEXT    NOT NULL,
	stored  BLOB    NOT NULL,                  -- SCRAM-SHA-256 StoredKey
	server  BLOB    NOT NULL,                  -- and ServerKey, with the account's salt
	created INTEGER NOT NULL,                  -- Unix seconds
	used    INTEGER NOT NULL DEFAULT 0,        -- Unix seconds, 0: never
	UNIQUE (account, name)
) STRICT;
CREATE TABLE secrets (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;`},
	{"logins and old passwords", `
ALTER TABLE accounts ADD COLUMN login_at   INTEGER NOT NULL DEFAULT 0;  -- Unix seconds, 0: never
ALTER TABLE accounts ADD COLUMN login_from TEXT    NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN failures   INTEGER NOT NULL DEFAULT 0;  -- in all
ALTER TABLE accounts ADD COLUMN failed_at  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN failed_from TEXT   NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN warned     INTEGER NOT NULL DEFAULT 0;  -- that the password grows old
CREATE TABLE account_networks (
	account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	network TEXT    NOT NULL,                     -- a prefix from which it has logged in
	seen    INTEGER NOT NULL,                     -- Unix seconds, to the day
	PRIMARY KEY (account, network)
) STRICT, WITHOUT ROWID;
CREATE TABLE old_passwords (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	hash    TEXT    NOT NULL
) STRICT;
CREATE INDEX old_passwords_account ON old_passwords (account, id);`},
	{"people that accounts write to", `
CREATE TABLE account_people (
	account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	person  BLOB    NOT NULL,                     -- keyed hash of an address
	met     INTEGER NOT NULL,                     -- Unix seconds
	PRIMARY KEY (account, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX account_people_met ON account_people (account, met);`},
}

// migrate applies the steps that the file has not seen, all in one
// transaction.
func (s *Store) migrate(ctx context.Context, now time.Time) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := mark(ctx, tx); err != nil {
		return err
	}
	var done int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM migrations").Scan(&done); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if done > len(migrations) {
		return fmt.Errorf("%w: schema %d, known up to %d", ErrNewer, done, len(migrations))
	}
	for i, m := range migrations[done:] {
		if _, err := tx.ExecContext(ctx, m.sql); err != nil {
			return fmt.Errorf("migrate %s: %w", m.name, err)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO migrations (version, name, applied) VALUES (?, ?, ?)",
			done+i+1, m.name, now.Unix()); err != nil {
			return fmt.Errorf("migrate %s: %w", m.name, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// mark makes an empty file ours and refuses one that belongs to another
// program.
func mark(ctx context.Context, tx *sql.Tx) error {
	var id, tables int64
	if err := tx.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if id == applicationID {
		return nil
	}
	if id != 0 || tables > 0 {
		return ErrForeign
	}
	for _, stmt := range []string{
		fmt.Sprintf("PRAGMA application_id = %d", applicationID),
		"CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied INTEGER NOT NULL) STRICT",
	} {
		if _, err := tx.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("mark: %w", err)
		}
	}
	return nil
}
