package app

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/dns/serve"
)

// TestRememberedOnce: what a process left is taken by one process alone, so that
// a crash leaves nothing that is not whole.
func TestRememberedOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := &remembering{filepath.Join(t.TempDir(), "updates.json"), serve.New(serve.Config{}), slog.New(slog.NewTextHandler(&log, nil))}
	gone := func() bool { _, err := os.Stat(r.path); return errors.Is(err, fs.ErrNotExist) }
	if err := r.Start(t.Context()); err != nil || log.Len() > 0 {
		t.Errorf("nothing is there: %v, %s", err, &log)
	}
	if err := r.Stop(t.Context()); err != nil || gone() {
		t.Errorf("nothing is left: %v", err)
	}
	if text, err := os.ReadFile(r.path); err != nil || string(text) != `{"version":1,"updates":[]}` {
		t.Errorf("%v: %s", err, text)
	}
	if err := r.Start(t.Context()); err != nil || log.Len() > 0 || !gone() {
		t.Errorf("it is not taken: %v, %s", err, &log)
	}
	if err := os.WriteFile(r.path, []byte(`{"version":9}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err != nil || !strings.Contains(log.String(), "another version") || !gone() {
		t.Errorf("of another version: %v, %s", err, &log)
	}
	r.path = filepath.Join(t.TempDir(), "none", "updates.json")
	if err := r.Stop(t.Context()); err == nil {
		t.Error("it was written nowhere")
	}
}
