package app

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStateServesOneProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	first, err := openState(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openState(dir, false); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process: %v", err)
	}
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	again, err := openState(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.close()
}

func TestStateThatCannotBeUsedIsSaidWithAHint(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := openState(dir, false); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "(hint: ") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestStatesOfTestsAndOfServiceDoNotMix(t *testing.T) {
	t.Parallel()
	test, service := filepath.Join(t.TempDir(), "t"), filepath.Join(t.TempDir(), "s")
	for dir, knobs := range map[string]bool{test: true, service: false} {
		s, err := openState(dir, knobs)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.close()
		if _, err := openState(dir, !knobs); err == nil || !strings.Contains(err.Error(), "--test-knobs") {
			t.Errorf("%s: %v", dir, err)
		}
		if s, err = openState(dir, knobs); err != nil {
			t.Errorf("%s again: %v", dir, err)
		} else {
			_ = s.close()
		}
	}
}

func TestClockFollowsItsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "clock")
	if _, err := openTestClock(path); err == nil {
		t.Error("a missing file was taken")
	}
	write := func(s string, at time.Time) {
		if err := errors.Join(os.WriteFile(path, []byte(s), 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	base := time.Now()
	write("1000\n", base)
	c, err := openTestClock(path)
	if err != nil || c.Now().Unix() != 1000 {
		t.Fatalf("%v, %v", c, err)
	}
	write("", base.Add(time.Second))
	if c.Now().Unix() != 1000 {
		t.Error("a half-written file changed the time")
	}
	write("2000", base.Add(2*time.Second))
	if c.Now().Unix() != 2000 {
		t.Error("the new time was not seen")
	}
}

func TestFailuresKeepTheNewest(t *testing.T) {
	t.Parallel()
	var f failures
	log := slog.New(f.remember(slog.DiscardHandler)).With("zone", "example.test")
	log.Info("fine")
	for i := range maxFailures + 3 {
		log.Warn("bad", "n", i)
	}
	got := f.list()
	if len(got) != maxFailures || got[0].Text != "bad zone=example.test n=3" || got[0].Level != "warn" {
		t.Errorf("%d kept, first %+v", len(got), got[0])
	}
}
