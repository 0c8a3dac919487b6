package app

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/account"
	"postern/internal/mail/envelope"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
	"postern/internal/mail/submission"
)

func newDoor(t *testing.T, sp *spool.Spool) *submission.Door {
	t.Helper()
	d, err := submission.New(submission.Config{
		Spool: sp, Log: slog.New(slog.DiscardHandler),
		Accept: func(context.Context, *smtpd.Conn, *spool.Draft, envelope.Envelope, account.Account) *smtpline.Reply {
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDayCountsAreWritten at the start where there were some, every minute if
// they have changed, and at the end.
func TestDayCountsAreWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sp, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		door := newDoor(t, sp)
		d := &dayCounts{path: filepath.Join(dir, "days.json"), door: func() *submission.Door { return door }, now: time.Now, log: slog.New(slog.NewTextHandler(&log, nil))}
		written := func() string {
			text, err := os.ReadFile(d.path)
			if err != nil {
				return ""
			}
			if err := os.Remove(d.path); err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		if err := d.Start(t.Context()); err != nil || log.Len() > 0 || written() != "" {
			t.Errorf("nothing is there: %v, %s", err, &log)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		first := written() // the day has begun
		if time.Sleep(5 * time.Minute); written() != "" {
			t.Error("written without a change")
		}
		door.Forgive(7)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if text := written(); text == first || !strings.Contains(text, `"id":7`) || !strings.Contains(text, `"whole":false`) {
			t.Errorf("after a change: %s", text)
		}
		if err := d.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(d.path)
		if err != nil || !strings.Contains(string(text), `"whole":true`) || !strings.Contains(string(text), `"id":7`) {
			t.Errorf("at the end: %s, %v", text, err)
		}
		door = newDoor(t, sp) // the next process
		if err := d.Start(t.Context()); err != nil || log.Len() > 0 {
			t.Errorf("%v, %s", err, &log)
		}
		if text := written(); !strings.Contains(text, `"whole":false`) || !strings.Contains(text, `"id":7`) {
			t.Errorf("after the start: %s", text)
		}
		if err := d.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(d.path, []byte(`{"version":9}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.Start(t.Context()); err != nil || !strings.Contains(log.String(), "another version") {
			t.Errorf("of another version: %v, %s", err, &log)
		}
		if err := d.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
