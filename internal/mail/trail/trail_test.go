package trail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func started(t *testing.T, cfg Config) (*Trail, *slog.Logger) {
	t.Helper()
	tr := New(cfg)
	if err := tr.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tr, slog.New(tr.Handler(slog.DiscardHandler))
}

func (f Found) texts() string {
	var all []string
	for _, l := range f.Lines {
		all = append(all, l.ID+":"+l.Text)
	}
	return strings.Join(all, " ")
}

func find(t *testing.T, tr *Trail, query string) Found {
	t.Helper()
	f, err := tr.Find(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFind(t *testing.T) {
	t.Parallel()
	tr, log := started(t, Config{Dir: t.TempDir()})
	log.Info("refused", "conn", "7", "command", "RCPT TO:<gone@city.example>", "reason", "unknown-recipient")
	log.Info("accepted", "queue_id", "Q1", "from", "ann@city.example", "to", "bob@other.example eve@third.example", "message_id", "<One@city.example>")
	log.Info("accepted", "queue_id", "Q2", "from", "ann@city.example", "to", "x@other.example", "message_id", "<two@city.example>")
	log.Warn("deferred", "queue_id", "Q1", "to", "bob@other.example", "reply", `450 "later" <x>`, "err", errors.New("time-out"), "next", time.Unix(0, 0))
	log.With("queue_id", "Q1").Info("delivered", "to", "bob@other.example", "code", 250)
	log.Info("zone served", "zone", "city.example", "from", "ann@city.example")
	log.Debug("chatter", "queue_id", "Q1")
	log.Info("done", "queue_id", "Q1")
	for query, want := range map[string]string{
		"nobody@city.example": "", "Q": "", "city.example": "", "": "", "450": "", "an@city.example": "",
		"Q1": "Q1:accepted Q1:deferred Q1:delivered Q1:done", "q1": "Q1:accepted Q1:deferred Q1:delivered Q1:done",
		"<one@CITY.example>":  "Q1:accepted Q1:deferred Q1:delivered Q1:done",
		"one@city.example":    "Q1:accepted Q1:deferred Q1:delivered Q1:done",
		"eve@third.example":   "Q1:accepted Q1:deferred Q1:delivered Q1:done",
		"Bob@Other.example":   "Q1:accepted Q1:deferred Q1:delivered Q1:done",
		"ann@city.example":    "Q1:accepted Q2:accepted Q1:deferred Q1:delivered Q1:done",
		"gone@city.example":   ":refused",
		"<gone@city.example>": ":refused",
		"x@other.example":     "Q2:accepted",
	} {
		if got := find(t, tr, query); got.texts() != want || got.More {
			t.Errorf("%q: %q, want %q", query, got.texts(), want)
		}
	}
	l := find(t, tr, "Q1").Lines[1]
	if l.Fields["reply"] != `450 "later" <x>` || l.Fields["err"] != "time-out" || l.Fields["level"] != "WARN" || l.At.IsZero() {
		t.Errorf("%+v", l)
	}
}

// TestNewestAreKept writes more than there is room for, over two starts, the
// first of which was cut off in a line.
func TestNewestAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "00000007.log"), []byte(magic+`{"time":"2026-08-01T12:00:00Z","msg":"accepted","queue_id":"old"}`+"\n"+`{"time":"2026-0`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tr, log := started(t, Config{Dir: dir, Size: 2000, Files: 3})
	log.Info("accepted", "queue_id", "first")
	if got := find(t, tr, "old").texts() + " " + find(t, tr, "first").texts(); got != "old:accepted first:accepted" {
		t.Errorf("after a start: %s", got)
	}
	for i := range 200 {
		log.Info("accepted", "queue_id", fmt.Sprint("n", i))
	}
	if got := find(t, tr, "old").texts() + find(t, tr, "first").texts(); got != "" {
		t.Errorf("what is old is still there: %s", got)
	}
	if got := find(t, tr, "n199").texts(); got != "n199:accepted" {
		t.Errorf("the newest: %s", got)
	}
	names, err := tr.names()
	if err != nil || len(names) != 3 || number(names[0]) < 8 {
		t.Errorf("%v %v", names, err)
	}
	total := int64(0)
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 3*2000 {
		t.Errorf("%d octets", total)
	}
	if _, err := os.Stat(filepath.Join(dir, "notes.txt")); err != nil {
		t.Error(err)
	}
}

// TestABusyLogWaitsForNoDisk has nobody write: lines are counted as lost.
func TestABusyLogWaitsForNoDisk(t *testing.T) {
	t.Parallel()
	tr := New(Config{Dir: t.TempDir()})
	log := slog.New(tr.Handler(slog.DiscardHandler))
	for range maxWaiting + 5 {
		log.Info("accepted", "queue_id", "Q")
	}
	log.Info("accepted", "queue_id", "Q", "reply", strings.Repeat("x", maxLine))
	if n := tr.Counters.Lost.Value(); n != 6 {
		t.Errorf("lost %d, want 6", n)
	}
	if err := tr.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := tr.Find(t.Context(), "Q")
	if err != nil || len(f.Lines) != maxFound || !f.More {
		t.Errorf("%d lines, more %v, %v", len(f.Lines), f.More, err)
	}
	if err := tr.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestDiskFails takes the folder away.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "trail")
	tr, log := started(t, Config{Dir: dir, Size: 500, Files: 2})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		log.Info("accepted", "queue_id", "Q")
	}
	if _, err := tr.Find(t.Context(), "Q"); err == nil {
		t.Error("found something in a folder that is gone")
	}
	if tr.Counters.Faults.Value() == 0 {
		t.Error("not counted")
	}
}

func FuzzSearch(f *testing.F) {
	f.Add(`{"msg":"x","queue_id":"Q1","from":"a@b"}`+"\n", "Q1")
	f.Fuzz(func(t *testing.T, log, query string) {
		_, _ = Search(query, func(each func(io.Reader) error) error { return each(strings.NewReader(log)) })
	})
}
