package app

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/account"
	"postern/internal/mail/accept"
	"postern/internal/store"
)

// Whoever has an old password is told once, at the address of the account; one
// who could not be told is told the next time.
func TestUsersAreWarned(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k, err := account.New(account.Config{
		Store: db, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }, Rules: account.Rules{MaxAge: 70 * 24 * time.Hour},
		Cost: account.Cost{Memory: 16, Passes: 1, Threads: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Create(t.Context(), "anna@example.test", "correct horse battery", nil); err != nil {
		t.Fatal(err)
	}
	var told []accept.Notice
	full := errors.New("disk full")
	u := &users{accounts: k, now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler), notify: func(_ context.Context, n accept.Notice) error {
		if full != nil {
			return full
		}
		told = append(told, n)
		return nil
	}}
	now = now.AddDate(0, 0, 61)
	if err := u.warn(t.Context()); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	full = nil
	for range 2 {
		if err := u.warn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) != 1 || told[0].To.String() != "anna@example.test" || told[0].Subject != "Your mail password ends on 12 March 2026" {
		t.Fatalf("%+v", told)
	}
	now = now.AddDate(0, 0, 10)
	if err := u.warn(t.Context()); err != nil || len(told) != 2 || told[1].Subject != "Your mail password has ended" || !strings.Contains(told[1].Text, "is not taken any more") {
		t.Errorf("%+v, %v", told, err)
	}
}
