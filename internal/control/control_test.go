package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/manage"
)

// echo answers a verb with its arguments, and breaks on demand.
type echo struct{ entered chan struct{} }

func (e echo) Do(ctx context.Context, by manage.Caller, verb string, args json.RawMessage) (any, error) {
	switch verb {
	case "refuse":
		return nil, &manage.Error{Reason: manage.ReasonUnknown, Text: "no such thing", Hint: "try another"}
	case "break":
		panic("broken verb")
	case "wait":
		close(e.entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return map[string]any{"verb": verb, "args": args, "uid": by.UID}, nil
}

func start(t *testing.T, desk Desk) (*Server, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "run", "control.sock")
	s := NewServer(Config{Path: path, Desk: desk, Log: slog.New(slog.DiscardHandler)})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s, path
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestCallsCarryArgumentsResultsAndErrors(t *testing.T) {
	t.Parallel()
	_, path := start(t, echo{})
	c := dial(t, path)
	var got struct {
		Verb string
		Args struct{ A int }
		UID  int
	}
	if err := c.Call(t.Context(), "greet", map[string]int{"a": 7}, &got); err != nil {
		t.Fatal(err)
	}
	if got.Verb != "greet" || got.Args.A != 7 || got.UID != os.Getuid() {
		t.Errorf("got %+v", got)
	}
	var e *manage.Error
	if err := c.Call(t.Context(), "refuse", nil, nil); !errors.As(err, &e) || e.Reason != manage.ReasonUnknown || e.Hint == "" {
		t.Errorf("refuse: %v", err)
	}
	if err := c.Call(t.Context(), "break", nil, nil); !errors.As(err, &e) || e.Reason != manage.ReasonFailed {
		t.Errorf("break: %v", err)
	}
	if err := c.Call(t.Context(), "greet", nil, nil); err != nil {
		t.Errorf("after a broken verb: %v", err)
	}
}

func TestTooLongARequestEndsTheConnectionOnly(t *testing.T) {
	t.Parallel()
	_, path := start(t, echo{})
	if err := dial(t, path).Call(t.Context(), "greet", strings.Repeat("x", MaxRequest), nil); err == nil {
		t.Error("taken")
	}
	if err := dial(t, path).Call(t.Context(), "greet", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestStopCutsARunningCallAndRemovesTheSocket(t *testing.T) {
	t.Parallel()
	desk := echo{entered: make(chan struct{})}
	s, path := start(t, desk)
	c := dial(t, path)
	ended := make(chan error, 1)
	go func() { ended <- c.Call(t.Context(), "wait", nil, nil) }()
	<-desk.entered
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the cut call reported success")
	}
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after Stop: %v", err)
	}
}

func TestSocketAndItsDirectoryAreClosedToOthers(t *testing.T) {
	t.Parallel()
	_, path := start(t, echo{})
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

func TestStartRefusesToReplaceAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := NewServer(Config{Path: path, Log: slog.New(slog.DiscardHandler)}).Start(t.Context()); err == nil {
		t.Error("a file was replaced by a socket")
	}
}
