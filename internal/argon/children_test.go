package argon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// TestMain is the child too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 {
		switch os.Args[1] {
		case "hash":
			if Serve(os.Stdin, os.Stdout) != nil {
				os.Exit(1)
			}
			os.Exit(0)
		case "hang": // says nothing, until its input ends
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

func children(t *testing.T, c Config) *Children {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if c.Command == nil {
		c.Command = []string{exe, "hash"}
	} else if c.Command[0] == "" {
		c.Command[0] = exe
	}
	c.Log = slog.New(slog.DiscardHandler)
	k := New(c)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := k.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return k
}

func ask(password string) Ask {
	return Ask{Password: []byte(password), Salt: []byte("0123456789abcdef"), Passes: 1, Memory: 64, Threads: 1, Length: 32}
}

// right has a hash made and holds it against one made here.
func right(t *testing.T, k *Children, password string) {
	t.Helper()
	if key, err := k.Key(ask(password)); err != nil || !bytes.Equal(key, ask(password).Key()) {
		t.Errorf("%x, %v", key, err)
	}
}

// TestOneAfterTheOther: one child makes them all.
func TestOneAfterTheOther(t *testing.T) {
	t.Parallel()
	k := children(t, Config{})
	for _, password := range []string{"", "a", strings.Repeat("long", 256), "a"} {
		right(t, k, password)
	}
	if s, m := k.Counters.Started.Value(), k.Counters.Made.Value(); s != 1 || m != 4 {
		t.Errorf("%d children made %d", s, m)
	}
}

// TestAtOnce: as many children as hashes at once, and no more.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	k := children(t, Config{})
	var all sync.WaitGroup
	for _, password := range []string{"a", "b", "c"} {
		all.Go(func() {
			for range 5 {
				right(t, k, password)
			}
		})
	}
	all.Wait()
	if s := k.Counters.Started.Value(); s < 1 || s > 3 || len(k.idle) != int(s) {
		t.Errorf("%d children, %d without work", s, len(k.idle))
	}
}

// TestIdleEnds: a child that nobody wants ends by itself, and the next is new.
func TestIdleEnds(t *testing.T) {
	t.Parallel()
	k := children(t, Config{Idle: time.Nanosecond})
	for i := range uint64(3) {
		right(t, k, "a")
		k.living.Wait()
		if n := k.Counters.Started.Value(); n != i+1 || len(k.idle) != 0 {
			t.Errorf("%d children, %d without work", n, len(k.idle))
		}
	}
}

// TestKilled: a child that dies fails the hash, none is tried for a while, and
// then a new one.
func TestKilled(t *testing.T) {
	t.Parallel()
	k := children(t, Config{Again: time.Hour})
	right(t, k, "a")
	if err := k.idle[0].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if key, err := k.Key(ask("a")); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("%x, %v of a dead child", key, err)
	}
	k.living.Wait()
	if _, err := k.Key(ask("a")); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	k.not = time.Now()
	right(t, k, "a")
	if s, f := k.Counters.Started.Value(), k.Counters.Failed.Value(); s != 2 || f != 1 {
		t.Errorf("%d children, %d failures", s, f)
	}
}

// TestTooLong: a child that says nothing is killed.
func TestTooLong(t *testing.T) {
	t.Parallel()
	k := children(t, Config{Command: []string{"", "hang"}, Patience: 10 * time.Millisecond, Again: time.Hour})
	if key, err := k.Key(ask("a")); err == nil {
		t.Errorf("%x of a child that says nothing", key)
	}
	k.living.Wait()
}

// TestCannotStart: what cannot be started is said, and not tried each time.
func TestCannotStart(t *testing.T) {
	t.Parallel()
	k := children(t, Config{Command: []string{"/nowhere/postern"}})
	if _, err := k.Key(ask("a")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := k.Key(ask("a")); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}

// TestStopEndsAll: at work or not.
func TestStopEndsAll(t *testing.T) {
	t.Parallel()
	k := children(t, Config{Command: []string{"", "hang"}})
	failed := make(chan error, 1)
	go func() {
		_, err := k.Key(ask("a"))
		failed <- err
	}()
	for k.Counters.Started.Value() == 0 {
		select {
		case err := <-failed:
			t.Fatal(err)
		default:
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := k.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("a hash of a child that says nothing")
	}
	if _, err := k.Key(ask("a")); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}

// TestServe: the child ends with its input, and says when that is no question.
func TestServe(t *testing.T) {
	t.Parallel()
	if err := Serve(strings.NewReader(""), io.Discard); err != nil {
		t.Error(err)
	}
	if err := Serve(strings.NewReader("junk"), io.Discard); err == nil {
		t.Error("junk is hashed")
	}
}
