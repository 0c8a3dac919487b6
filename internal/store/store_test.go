package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want error
	}{
		"garbage": {func(t *testing.T, path string) {
			write(t, path, []byte("this is no database, and longer than a header of one hundred octets would be: "+
				"so it goes on for a while until it is."))
		}, ErrCorrupt},
		"another program's": {func(t *testing.T, path string) { runSQL(t, path, "CREATE TABLE other (x)") }, ErrForeign},
		"another mark":      {func(t *testing.T, path string) { runSQL(t, path, "PRAGMA application_id = 7") }, ErrForeign},
		"a newer schema": {func(t *testing.T, path string) {
			closed(t, open(t, path))
			runSQL(t, path, "INSERT INTO migrations VALUES (1000, 'later', 0)")
		}, ErrNewer},
		"a torn page": {func(t *testing.T, path string) {
			closed(t, open(t, path))
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := 4096; i < len(b); i++ {
				b[i] = 0x5a
			}
			write(t, path, b)
		}, ErrCorrupt},
		"a directory": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "postern.db")
			c.make(t, path)
			s, err := Open(t.Context(), Config{Path: path})
			if err == nil {
				closed(t, s)
				t.Fatal("opened")
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestOpenAgainKeepsRows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a ?&%41#.db") // a path is not a query
	s := open(t, path)
	if _, err := s.DB().Exec("INSERT INTO accounts (login, hash, created, changed) VALUES ('a', 'b', 1, 2)"); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	s = open(t, path)
	defer closed(t, s)
	var n int
	if err := s.DB().QueryRow("SELECT count(*) FROM accounts").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestModeIs0600(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.db")
	write(t, path, nil)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	defer closed(t, s)
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v %v: want the database and its log", files, err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
}

// Commits must survive a power cut, on every connection of the pool.
func TestEveryConnectionIsDurable(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "postern.db"))
	defer closed(t, s)
	var held []*sql.Conn
	for range 4 {
		c, err := s.DB().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "busy_timeout": "5000"} {
			var got string
			if err := c.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, %v; want %s", pragma, got, err, want)
			}
		}
	}
	for _, c := range held {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func runSQL(t *testing.T, path, stmt string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(context.WithoutCancel(t.Context()), stmt)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}
