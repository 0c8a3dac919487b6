package queue

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
	"postern/internal/mail/envelope"
	"postern/internal/mail/spool"
)

func TestListFilters(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = func(ctx context.Context, d string, r *deliver.Result) {
			if d != "done.example" {
				later(ctx, d, r)
			}
		}
		w.start()
		w.put(func(e *envelope.Envelope) { e.Account = "u@example.test" }, "a@one.example", "b@done.example")
		wait(time.Second)
		w.put(func(e *envelope.Envelope) { e.From = address.Address{} }, "c@two.example")
		synctest.Wait()
		for _, c := range []struct {
			f    Filter
			want int
		}{
			{Filter{}, 2}, {Filter{Limit: 1}, 1},
			{Filter{From: "<>"}, 1}, {Filter{From: "sender@EXAMPLE.test"}, 1}, {Filter{From: "@Example.Test"}, 1}, {Filter{From: "@"}, 1}, {Filter{From: "not an address"}, 0},
			{Filter{Domain: "One.example"}, 1}, {Filter{Domain: "done.example"}, 0}, {Filter{Domain: "x.example"}, 0},
			{Filter{Account: "u@example.test"}, 1}, {Filter{Account: "x"}, 0},
		} {
			if got, err := w.queue.List(c.f); err != nil || len(got) != c.want {
				t.Errorf("%+v: %d messages (%v), want %d", c.f, len(got), err, c.want)
			}
		}
		all, err := w.queue.List(Filter{})
		if err != nil || all[0].Recipients[1].Status != spool.Delivered || all[0].Recipients[0].Text != "greylisted" || all[0].Recipients[0].Tries != 1 || all[0].Size == 0 || all[0].ID > all[1].ID {
			t.Errorf("%+v, %v", all, err)
		}
	})
}

func TestUnknownIDs(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = later
		w.start()
		id := w.put(nil, "a@one.example")
		synctest.Wait()
		for name, do := range map[string]func(...envelope.ID) error{"retry": w.queue.Retry, "hold": w.queue.Hold, "release": w.queue.Release, "drop": w.queue.Drop} {
			if err := do("nope"); !errors.Is(err, ErrUnknown) {
				t.Errorf("%s: %v", name, err)
			}
			if err := do(); err != nil {
				t.Errorf("%s of nothing: %v", name, err)
			}
		}
		// The known one is done all the same.
		if err := w.queue.Drop("nope", id); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		w.wantEmpty()
		if _, err := w.queue.Show("nope"); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
	})
}

// TestDrop tells nobody, at whatever the message is.
func TestDrop(t *testing.T) {
	t.Parallel()
	hold := func(c *Config, _ *world) { c.Hold = true }
	inWorld(t, hold, func(w *world) {
		w.deliver = func(ctx context.Context, d string, r *deliver.Result) {
			if d == "hang.inner" {
				<-ctx.Done()
			}
			later(ctx, d, r)
		}
		w.start()
		waits, runs, parks, holds := w.put(nil, "a@x.inner"), w.put(nil, "b@hang.inner"), w.put(nil, "c@out.example"), w.put(nil, "d@x.inner")
		if err := w.queue.Hold(holds); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		for id, want := range map[envelope.ID]string{waits: "waiting", runs: "active", parks: "parked", holds: "held"} {
			if e, err := w.queue.Show(id); err != nil || e.Phase != want {
				t.Errorf("%s: %s, %v, want %s", id, e.Phase, err, want)
			}
		}
		if err := w.queue.Drop(waits, runs, parks, holds); err != nil {
			t.Error(err)
		}
		w.wantEmpty()
		if len(w.bounces) != 0 || w.queue.Counters.Dropped.Value() != 4 {
			t.Errorf("%d bounces, %d dropped", len(w.bounces), w.queue.Counters.Dropped.Value())
		}
	})
}

func TestHoldAndRelease(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = later
		w.start()
		id := w.put(nil, "a@one.example")
		synctest.Wait()
		if err := errors.Join(w.queue.Hold(id), w.queue.Hold(id), w.queue.Retry(id)); err != nil {
			t.Error(err)
		}
		wait(24 * time.Hour)
		if e, err := w.queue.Show(id); err != nil || e.Phase != "held" || w.log() != "0s a@one.example" {
			t.Errorf("%+v, %v, tried %s", e, err, w.log())
		}
		set(w, &w.deliver, nil)
		if err := w.queue.Release(id); err != nil {
			t.Error(err)
		}
		w.wantEmpty()
	})
}

// TestAddHeld: what is in quarantine from the start is not tried, not even when
// a door that knows nothing of it adds it, and not after a restart.
func TestAddHeld(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.start()
		var ids []envelope.ID
		for _, add := range []func(envelope.ID, envelope.Envelope){w.queue.AddHeld, w.queue.Add} {
			d, err := w.spool.Create()
			if err != nil {
				t.Fatal(err)
			}
			if err := w.spool.Journal().Append(spool.State{ID: d.ID(), Rcpt: spool.Whole, Status: spool.Held, Text: "dmarc"}); err != nil {
				t.Fatal(err)
			}
			env := envelope.Envelope{To: []address.Address{addr("a@one.example")}}
			id, err := d.Commit(context.Background(), env, []byte("A: 1\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			add(id, env)
			ids = append(ids, id)
		}
		wait(time.Hour)
		w.stop()
		w.open(nil)
		w.start()
		wait(time.Hour)
		for _, id := range ids {
			if e, err := w.queue.Show(id); err != nil || e.Phase != "held" || e.Reason != "dmarc" {
				t.Errorf("%+v, %v", e, err)
			}
		}
		if w.log() != "" {
			t.Errorf("tried %s", w.log())
		}
		if err := w.queue.Release(ids...); err != nil {
			t.Error(err)
		}
		w.wantEmpty()
	})
}

// TestHoldWhileRunning finishes the attempt and holds what is left.
func TestHoldWhileRunning(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = func(ctx context.Context, d string, r *deliver.Result) {
			time.Sleep(time.Second) // virtual
			if d == "two.example" {
				later(ctx, d, r)
			}
		}
		w.start()
		id := w.put(nil, "a@one.example", "b@two.example")
		synctest.Wait()
		if err := w.queue.Hold(id); err != nil {
			t.Error(err)
		}
		wait(24 * time.Hour)
		e, err := w.queue.Show(id)
		if err != nil || e.Phase != "held" || e.Recipients[0].Status != spool.Delivered || e.Recipients[1].Tries != 1 {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// TestBrokenMessage goes to quarantine, a vanished one is forgotten; the rest
// of the queue goes on.
func TestBrokenMessage(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = later
		w.start()
		broken, vanished, sound := w.put(nil, "a@one.example"), w.put(nil, "b@one.example"), w.put(nil, "c@one.example")
		synctest.Wait()
		if err := os.Truncate(filepath.Join(w.dir, "msg", string(broken)), 40); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(w.dir, "msg", string(vanished))); err != nil {
			t.Fatal(err)
		}
		wait(10 * time.Minute)
		if _, err := os.Stat(filepath.Join(w.dir, "quarantine", string(broken))); err != nil {
			t.Error(err)
		}
		if _, err := w.queue.Show(sound); err != nil || w.queue.Len() != 1 {
			t.Errorf("%d left, %v", w.queue.Len(), err)
		}
	})
}

// TestDamagedMessage: one whose file is not what was committed is moved aside and
// not sent, or sent no further: the disk may have lost its end meanwhile.
func TestDamagedMessage(t *testing.T) {
	t.Parallel()
	aside := func(w *world, id envelope.ID) {
		w.t.Helper()
		if _, err := os.Stat(filepath.Join(w.dir, "quarantine", string(id))); err != nil {
			w.t.Error(err)
		}
		if _, err := w.queue.Show(id); !errors.Is(err, ErrUnknown) || w.queue.Len() != 0 || w.spool.Counters.Quarantined.Value() != 1 {
			w.t.Errorf("%v, %d left, %d moved aside", err, w.queue.Len(), w.spool.Counters.Quarantined.Value())
		}
	}
	inWorld(t, nil, func(w *world) { // an octet of the body has changed
		id := w.put(nil, "a@one.example", "b@two.example")
		path := filepath.Join(w.dir, "msg", string(id))
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text[20] ^= 1
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		w.start()
		wait(time.Minute)
		if len(w.tries) > 0 || len(w.bounces) > 0 {
			t.Errorf("tried %v, told %d", w.tries, len(w.bounces))
		}
		aside(w, id)
	})
	inWorld(t, nil, func(w *world) { // it is cut short while it is sent
		var path string
		set(w, &w.deliver, func(_ context.Context, domain string, r *deliver.Result) {
			r.Outcome = deliver.Delivered
			if domain == "one.example" {
				if err := os.Truncate(path, 25); err != nil {
					t.Error(err)
				}
				r.Outcome, r.Reason = deliver.Deferred, deliver.ReasonBroken
			}
		})
		id := w.put(nil, "a@one.example")
		path = filepath.Join(w.dir, "msg", string(id))
		w.start()
		wait(time.Minute)
		aside(w, id)
		if len(w.tries) != 1 {
			t.Errorf("tried %v", w.tries)
		}
	})
	inWorld(t, nil, func(w *world) { // it only looked so: the file is sound
		tries := 0
		set(w, &w.deliver, func(_ context.Context, _ string, r *deliver.Result) {
			if tries++; tries == 1 {
				r.Outcome, r.Reason = deliver.Deferred, deliver.ReasonBroken
			} else {
				r.Outcome = deliver.Delivered
			}
		})
		w.put(nil, "a@one.example")
		w.start()
		wait(time.Hour)
		if tries != 2 || w.queue.Len() != 0 || w.spool.Counters.Quarantined.Value() != 0 {
			t.Errorf("%d tries, %d left, %d moved aside", tries, w.queue.Len(), w.spool.Counters.Quarantined.Value())
		}
	})
}

func TestFull(t *testing.T) {
	t.Parallel()
	small := func(c *Config, _ *world) { c.MaxMessages = 2 }
	inWorld(t, small, func(w *world) {
		w.deliver = later
		w.start()
		w.put(nil, "a@one.example")
		if w.queue.Full() {
			t.Error("full with one of two")
		}
		id := w.put(nil, "b@one.example")
		if !w.queue.Full() {
			t.Error("not full")
		}
		synctest.Wait()
		if err := w.queue.Drop(id); err != nil || w.queue.Full() {
			t.Error("still full", err)
		}
	})
}

func TestNewNeedsItsParts(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil {
		t.Error("made of nothing")
	}
	q, err := New(Config{Spool: &spool.Spool{}, Router: &world{}, Deliverer: &world{}, Bounce: nil})
	if err == nil {
		t.Error("made without bounce", q)
	}
}
