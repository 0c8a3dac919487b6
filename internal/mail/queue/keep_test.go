package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/deliver"
	"postern/internal/mail/dsn"
	"postern/internal/mail/envelope"
	"postern/internal/mail/spool"
)

// unvouched is a message from the world for whose sender nothing vouches.
func unvouched(e *envelope.Envelope) { e.Origin, e.NoBounce = envelope.MX, true }

func (w *world) only() Entry {
	w.t.Helper()
	all, err := w.queue.List(Filter{})
	if err != nil || len(all) != 1 {
		w.t.Fatalf("queue %+v, %v; want one message", all, err)
	}
	return all[0]
}

// TestUnvouchedSenderIsNotTold: the message is held for an operator, and
// postmaster is told what the sender must not be.
func TestUnvouchedSenderIsNotTold(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = func(_ context.Context, _ string, r *deliver.Result) {
			r.Outcome, r.Code, r.Enhanced, r.Text, r.Host = deliver.Failed, 550, "5.7.1", "this is spam", "mail.inner"
		}
		w.start()
		w.put(unvouched, "a@one.inner")
		synctest.Wait()
		e := w.only()
		if e.Phase != "held" || e.Reason != ReasonUnvouched || e.Recipients[0].Status != spool.Held || e.Recipients[0].Code != 550 {
			t.Errorf("entry %+v", e)
		}
		if len(w.bounces) != 1 {
			t.Fatalf("%d notices", len(w.bounces))
		}
		m := w.bounces[0]
		if m.To.String() != "postmaster@one.inner" {
			t.Errorf("told %s", m.To)
		}
		for _, want := range []string{string(e.ID), "<sender@example.test>", "<a@one.inner>", "mail.inner said: 550 5.7.1 this is spam"} {
			if !strings.Contains(string(m.Body), want) {
				t.Errorf("no %q in\n%s", want, m.Body)
			}
		}
		if strings.Contains(string(m.Body), "Subject") {
			t.Errorf("holds the message:\n%s", m.Body)
		}
		wait(10 * 24 * time.Hour)
		if w.log() != "0s a@one.inner" {
			t.Errorf("tried %s", w.log())
		}
		set(w, &w.deliver, nil)
		if err := w.queue.Release(e.ID); err != nil {
			t.Fatal(err)
		}
		w.wantEmpty()
		if n := w.queue.Counters.Delivered.Value(); n != 1 {
			t.Errorf("%d delivered after the release", n)
		}
	})
}

// TestKeptBesideOthers: recipients that can be delivered are, before the rest is
// held; an operator can throw it away.
func TestKeptBesideOthers(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		first := true
		w.deliver = func(_ context.Context, domain string, r *deliver.Result) {
			switch {
			case strings.HasPrefix(r.Recipient.Local, "bad"):
				r.Outcome, r.Code = deliver.Failed, 550
			case first:
				r.Outcome, first = deliver.Deferred, false
			}
		}
		w.start()
		w.put(unvouched, "bad1@one.inner", "good@one.inner", "bad2@one.inner")
		synctest.Wait()
		if e := w.only(); e.Phase != "waiting" {
			t.Errorf("phase %s while one recipient is still tried", e.Phase)
		}
		wait(2 * time.Minute)
		e := w.only()
		if e.Phase != "held" || e.Recipients[1].Status != spool.Delivered || e.Recipients[2].Status != spool.Held {
			t.Errorf("entry %+v", e)
		}
		if w.log() != "0s bad1@one.inner good@one.inner bad2@one.inner; 1m0s good@one.inner" {
			t.Errorf("tried %s", w.log())
		}
		if err := w.queue.Drop(e.ID); err != nil {
			t.Fatal(err)
		}
		w.wantEmpty()
		if len(w.queue.kept.ids) != 0 {
			t.Error("room not given back")
		}
	})
}

// TestKeptSurvivesARestart, also where only the recipients were written down.
func TestKeptSurvivesARestart(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = never
		w.start()
		w.put(unvouched, "a@one.inner")
		synctest.Wait()
		id := w.only().ID
		for _, whole := range []spool.Status{spool.Held, spool.Released} {
			if err := w.spool.Journal().Append(spool.State{ID: id, Rcpt: spool.Whole, Status: whole, Text: ReasonUnvouched}); err != nil {
				t.Fatal(err)
			}
			w.stop()
			w.open(nil)
			w.start()
			wait(time.Hour)
			if e := w.only(); e.Phase != "held" || e.Reason != ReasonUnvouched {
				t.Errorf("journal says %s: entry %+v", whole, e)
			}
		}
		if w.log() != "0s a@one.inner" || len(w.queue.kept.ids) != 1 {
			t.Errorf("tried %s, %d kept", w.log(), len(w.queue.kept.ids))
		}
	})
}

// TestPostmasterIsToldOnceAnHour, however many there are.
func TestPostmasterIsToldOnceAnHour(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = never
		w.start()
		for range 5 {
			w.put(unvouched, "a@one.inner")
			synctest.Wait()
		}
		if len(w.bounces) != 1 {
			t.Fatalf("%d notices of 5 messages", len(w.bounces))
		}
		wait(noticeEvery)
		w.put(unvouched, "a@one.inner")
		synctest.Wait()
		if len(w.bounces) != 2 || !strings.Contains(string(w.bounces[1].Body), "\r\n4 more were held") {
			t.Errorf("%d notices, the last\n%s", len(w.bounces), w.bounces[len(w.bounces)-1].Body)
		}
	})
}

// keptBefore fills the queue's memory with messages that are not there.
func (w *world) keptBefore(n int, at time.Time) {
	for i := range n {
		w.queue.kept.room(envelope.ID(fmt.Sprintf("0-%d", i)), at)
	}
}

// TestTooManyKept: the oldest goes out for what is new, whatever was kept of it,
// and postmaster hears of it.
func TestTooManyKept(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = func(_ context.Context, _ string, r *deliver.Result) {
			if r.Outcome = deliver.Failed; r.Recipient.Local == "later" {
				r.Outcome = deliver.Deferred
			}
		}
		w.start()
		w.put(unvouched, "a@one.inner")
		synctest.Wait()
		w.put(unvouched, "a@one.inner", "later@one.inner") // goes on
		synctest.Wait()
		all, err := w.queue.List(Filter{})
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		oldest, partly := all[0].ID, all[1].ID
		if all[0].Phase != "held" {
			oldest, partly = partly, oldest
		}
		w.keptBefore(maxKept-2, w.queue.cfg.Now())
		wait(noticeEvery)
		for range 2 {
			w.put(unvouched, "b@one.inner")
			synctest.Wait()
		}
		if _, err := w.queue.Show(oldest); !errors.Is(err, ErrUnknown) {
			t.Errorf("the oldest is still there: %v", err)
		}
		e, err := w.queue.Show(partly)
		if err != nil || e.Recipients[0].Status != spool.Dropped || e.Recipients[1].Status.Final() || e.Phase != "waiting" {
			t.Errorf("the second, of which one recipient is still tried: %+v, %v", e, err)
		}
		if n := w.queue.Counters.KeptPushed.Value(); n != 2 || len(w.queue.kept.ids) != maxKept || w.queue.Len() != 3 {
			t.Errorf("%d pushed out, %d kept, %d queued", n, len(w.queue.kept.ids), w.queue.Len())
		}
		wait(noticeEvery)
		w.put(unvouched, "c@one.inner")
		synctest.Wait()
		if last := string(w.bounces[len(w.bounces)-1].Body); !strings.Contains(last, "\r\n2 that were held before have been dropped") {
			t.Errorf("the notice:\n%s", last)
		}
	})
}

// TestKeptGrowsOld: nobody decides, and the time runs out, a restart between or
// not; what was released is not touched.
func TestKeptGrowsOld(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = never
		w.start()
		w.put(unvouched, "a@one.inner")
		synctest.Wait()
		wait(keptAge / 2)
		w.stop()
		w.open(nil)
		w.start()
		w.put(unvouched, "b@one.inner")
		synctest.Wait()
		wait(keptAge/2 - time.Minute)
		if n := w.queue.Len(); n != 2 {
			t.Fatalf("%d messages before the time", n)
		}
		wait(2 * time.Minute)
		if e := w.only(); e.Envelope.To[0].Local != "b" || w.queue.Counters.KeptExpired.Value() != 1 {
			t.Errorf("left %+v, %d expired", e, w.queue.Counters.KeptExpired.Value())
		}
		e := w.only()
		w.deliver = nil
		if err := w.queue.Release(e.ID); err != nil {
			t.Fatal(err)
		}
		w.wantEmpty()
		wait(keptAge)
		if n := w.queue.Counters.KeptExpired.Value(); n != 1 || len(w.queue.kept.ids) != 0 {
			t.Errorf("%d expired, %d kept", n, len(w.queue.kept.ids))
		}
	})
}

// TestNoticeFails: that postmaster cannot be told is no reason to lose mail.
func TestNoticeFails(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = never
		w.bounce = func(dsn.Message) error { return errors.New("disk full") }
		w.start()
		w.put(unvouched, "a@one.inner")
		synctest.Wait()
		if e := w.only(); e.Phase != "held" || w.queue.Counters.BounceFaults.Value() != 1 {
			t.Errorf("entry %+v", e)
		}
	})
}
