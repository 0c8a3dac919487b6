package spool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"postern/internal/mail/envelope"
)

func reopen(t *testing.T, s *Spool) *Spool {
	t.Helper()
	cfg := s.cfg
	cfg.Fault = nil
	again, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	return again
}

func sample(id envelope.ID) []State {
	return []State{
		{ID: id, Rcpt: Whole, Status: Held},
		{ID: id, Rcpt: 0, Status: Delivered, At: time.Unix(100, 0).UTC(), Code: 250, Enhanced: "2.0.0", Text: "ok \"é\"\x01", Host: "mx", TLS: "TLS 1.3"},
		{ID: id, Rcpt: 1, Status: Waiting, Tries: 3, Next: time.Unix(1e9, 5000).UTC(), Code: 451},
	}
}

func TestJournalReplay(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	id, gone := commit(t, s, "A: 1\r\n\r\n"), commit(t, s, "A: 2\r\n\r\n")
	want := sample(id)
	older := slices.Clone(want)
	for i := range older {
		older[i].Status, older[i].Tries = Waiting, 1
	}
	for _, states := range [][]State{older, sample(gone), want} {
		if err := s.Journal().Append(states...); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Remove(gone); err != nil {
		t.Fatal(err)
	}
	// No Sync and no Close: what was appended survives the process.
	again := reopen(t, s)
	if got := again.Journal().States(id); !reflect.DeepEqual(got, want) {
		t.Errorf("states %+v, want %+v", got, want)
	}
	if got := again.Journal().States(gone); len(got) != 0 {
		t.Errorf("a removed message has states: %+v", got)
	}
	text, err := os.ReadFile(again.Journal().path)
	if err != nil || bytes.Count(text, []byte("\n")) != 1+len(want) {
		t.Errorf("journal after replay (%v):\n%s", err, text)
	}
}

// TestJournalBroken damages the journal: at most the damaged records are lost.
func TestJournalBroken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		left   int // of three records
	}{
		"torn":             {func(b []byte) []byte { return b[:len(b)-5] }, 2},
		"without last LF":  {func(b []byte) []byte { return b[:len(b)-1] }, 2},
		"flipped":          {func(b []byte) []byte { b[len(journalMagic)+20] ^= 1; return b }, 2},
		"garbage between":  {func(b []byte) []byte { return bytes.Replace(b, []byte("\n"), []byte("\n\x00\xff\n\n"), 2) }, 3},
		"zeros at the end": {func(b []byte) []byte { return append(b, make([]byte, 4096)...) }, 3},
		"empty":            {func([]byte) []byte { return nil }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, nil)
			id := commit(t, s, "A: 1\r\n\r\n")
			if err := s.Journal().Append(sample(id)...); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(s.Journal().path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.Journal().path, c.damage(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := reopen(t, s).Journal().States(id); len(got) != c.left {
				t.Errorf("%d records left, want %d: %+v", len(got), c.left, got)
			}
		})
	}
}

// TestJournalOfLaterVersion is left alone.
func TestJournalOfLaterVersion(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	later := "POSTERN-JOURNAL 2\nsomething\n"
	if err := os.WriteFile(s.Journal().path, []byte(later), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.cfg); err == nil {
		t.Error("opened")
	}
	if text, _ := os.ReadFile(s.Journal().path); string(text) != later {
		t.Errorf("changed to %q", text)
	}
}

func TestGoldenJournal(t *testing.T) {
	t.Parallel()
	want := sample(goldenID)
	text := []byte(journalMagic)
	for _, st := range want {
		var err error
		if text, err = appendRecord(text, st); err != nil {
			t.Fatal(err)
		}
	}
	golden := filepath.Join(goldenDir, "journal")
	if *update {
		if err := os.MkdirAll(goldenDir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(kept) != string(text) {
		t.Errorf("written:\n%s\nkept:\n%s", text, kept)
	}
	got, broken, err := parseJournal(kept)
	if err != nil || broken != 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %d broken, %v", got, broken, err)
	}
}

// TestJournalWriteFault loses nothing while the process lives, and writes all
// of it once it can.
func TestJournalWriteFault(t *testing.T) {
	t.Parallel()
	var bad Step
	s := open(t, func(c *Config) {
		c.Fault = func(at Step) error {
			if at == bad {
				return syscall.ENOSPC
			}
			return nil
		}
	})
	id := commit(t, s, "A: 1\r\n\r\n")
	want := sample(id)
	bad = StepJournalWrite
	if err := s.Journal().Append(want[:2]...); !errors.Is(err, ErrFull) {
		t.Errorf("append: %v", err)
	}
	if err := s.Journal().Sync(); err == nil {
		t.Error("synced")
	}
	bad = ""
	if err := s.Journal().Append(want[2]); err != nil {
		t.Error(err)
	}
	if err := s.Journal().Sync(); err != nil {
		t.Error(err)
	}
	if got := reopen(t, s).Journal().States(id); !reflect.DeepEqual(got, want) {
		t.Errorf("states %+v, want %+v", got, want)
	}
}

// TestJournalSyncFault never syncs the same file again.
func TestJournalSyncFault(t *testing.T) {
	t.Parallel()
	bad, syncs := false, 0
	s := open(t, func(c *Config) {
		c.Fault = func(at Step) error {
			if at != StepJournalSync {
				return nil
			}
			if syncs++; bad {
				return syscall.EIO
			}
			return nil
		}
	})
	id := commit(t, s, "A: 1\r\n\r\n")
	before, err := os.Stat(s.Journal().path)
	if err != nil {
		t.Fatal(err)
	}
	bad = true
	if err := s.Journal().Append(sample(id)...); err != nil {
		t.Fatal(err)
	}
	if err := s.Journal().Sync(); err == nil {
		t.Fatal("synced")
	}
	if err := s.Journal().Sync(); err != nil || syncs != 1 {
		t.Errorf("second sync: %v, %d syncs of the old file", err, syncs)
	}
	after, err := os.Stat(s.Journal().path)
	if err != nil || os.SameFile(before, after) {
		t.Errorf("the file is the same (%v)", err)
	}
	if got := reopen(t, s).Journal().States(id); len(got) != 3 {
		t.Errorf("states %+v", got)
	}
}

// TestJournalCompacts keeps the file bounded by what is alive.
func TestJournalCompacts(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	id := commit(t, s, "A: 1\r\n\r\n")
	for n := range 3 * compactAbove {
		if err := s.Journal().Append(State{ID: id, Rcpt: n % 2, Tries: n}); err != nil {
			t.Fatal(err)
		}
		if n%100 == 0 {
			if err := s.Journal().Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	text, err := os.ReadFile(s.Journal().path)
	if n := bytes.Count(text, []byte("\n")); err != nil || n > compactAbove+200 {
		t.Errorf("%d lines (%v)", n, err)
	}
	if got := s.Journal().States(id); len(got) != 2 || got[1].Tries != 3*compactAbove-1 {
		t.Errorf("states %+v", got)
	}
}

func TestJournalTextIsBounded(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	id := commit(t, s, "A: 1\r\n\r\n")
	if err := s.Journal().Append(State{ID: id, Text: strings.Repeat("é", 10_000)}); err != nil {
		t.Fatal(err)
	}
	if text := s.Journal().States(id)[0].Text; len(text) > maxText || !utf8.ValidString(text) || len(text) < maxText-4 {
		t.Errorf("%d octets kept", len(text))
	}
}

// FuzzJournal feeds journals to the reader: what it reads, it writes back the
// same.
func FuzzJournal(f *testing.F) {
	line, _ := appendRecord(nil, sample(goldenID)[1])
	f.Add([]byte(journalMagic + string(line)))
	f.Add([]byte(journalMagic + "00000000 {}\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		states, broken, err := parseJournal(b)
		if err != nil {
			return
		}
		if lines := bytes.Count(b, []byte("\n")); len(states)+broken > lines {
			t.Fatal("more records than lines")
		}
		for _, st := range states {
			line, err := appendRecord(nil, st)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := parseRecord(bytes.TrimSuffix(line, []byte("\n"))); err != nil || !reflect.DeepEqual(back, st) {
				t.Fatalf("%+v came back as %+v, %v", st, back, err)
			}
		}
	})
}

// TestDestroyedJournalStopsNothing: what is no journal is kept for a person,
// and the messages go on; a journal of a later format is not touched.
func TestDestroyedJournalStopsNothing(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"zeros": "\x00\x00\x00\x00", "first octet": "XOSTERN-JOURNAL 1\n"} {
		s := open(t, nil)
		id := commit(t, s, "A: 1\r\n\r\nsome body\r\n")
		if err := os.WriteFile(s.journal.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Open(s.cfg)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if ids, err := again.IDs(); err != nil || len(ids) != 1 || ids[0] != id {
			t.Errorf("%s: messages %v, %v", name, ids, err)
		}
		kept, err := filepath.Glob(filepath.Join(s.cfg.Dir, "quarantine", "journal.*"))
		if err != nil || len(kept) != 1 {
			t.Errorf("%s: kept %v, %v", name, kept, err)
		}
	}
	s := open(t, nil)
	later := []byte("POSTERN-JOURNAL 2\n...")
	if err := os.WriteFile(s.journal.path, later, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.cfg); !errors.Is(err, errJournalVersion) {
		t.Errorf("a later format: %v", err)
	}
	if now, err := os.ReadFile(s.journal.path); err != nil || string(now) != string(later) {
		t.Errorf("a later format was changed: %q, %v", now, err)
	}
}
