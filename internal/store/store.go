// Package store is the one embedded database of Postern: SQLite, opened so that
// a commit survives a power cut. It holds what operators change (accounts
// today), never anything that a DNS answer, port 25 or an accepted message
// waits for.
//
// It knows the schema's versions and no meaning of a row: the keepers above it
// own their tables. It starts no goroutine of its own.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// What Open's callers branch on.
var (
	ErrCorrupt = errors.New("database is damaged")
	ErrForeign = errors.New("not a Postern database")
	ErrNewer   = errors.New("written by a newer Postern")
)

// applicationID marks our files (PRAGMA application_id): "PSTN".
const applicationID = 0x5053544e

// Store is the open database. It is safe for concurrent use.
type Store struct {
	db *sql.DB
}

// Config says where the database lies.
type Config struct {
	Path string           // made with mode 0600 if absent; its directory must exist
	Busy time.Duration    // how long a statement waits for a lock; 0: 5 s
	Now  func() time.Time // nil: time.Now
}

// Open opens or makes the database, checks it and brings its schema up to date.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Busy == 0 {
		c.Busy = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := claim(path); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	db, err := sql.Open("sqlite", source(path, c.Busy))
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	// WAL lets readers run beside the one writer; more connections than a few
	// would only hold memory.
	db.SetMaxOpenConns(4)
	s := &Store{db}
	if err := s.ready(ctx, c.Now()); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
	}
	return s, nil
}

// claim makes the file with the right mode before SQLite would make it with
// another, and takes rights away from others where they had some. The -wal and
// -shm files inherit the mode.
func claim(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return os.Chmod(path, 0o600)
	}
	return nil
}

// source is the driver's name for the file. synchronous=FULL makes WAL commits
// durable; with NORMAL the last ones would be lost in a power cut.
func source(path string, busy time.Duration) string {
	q := url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()),
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"foreign_keys(ON)",
		"trusted_schema(OFF)",
	}, "_txlock": {"immediate"}}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

func (s *Store) ready(ctx context.Context, now time.Time) error {
	var verdict string
	if err := s.db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", ErrCorrupt, verdict)
	}
	return s.migrate(ctx, now)
}

// DB is the database itself, for the keepers that own tables in it.
func (s *Store) DB() *sql.DB { return s.db }

// Close closes the database.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}
