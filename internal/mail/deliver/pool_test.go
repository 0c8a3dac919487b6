package deliver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pooled is a client that keeps conversations.
func pooled(w world, most int) (*Client, *Pool) {
	p := NewPool(0, most)
	return New(Config{Hostname: "edge.example.test", Dial: w.dial, Pool: p}), p
}

func send(t *testing.T, c *Client, j Job, want Outcome) Result {
	t.Helper()
	r := c.Deliver(context.Background(), j).Results[0]
	if r.Outcome != want {
		t.Errorf("%+v, want %s", r, want)
	}
	return r
}

func (o *Pool) stop() { _ = o.Stop(context.Background()) } // cannot fail

func hellos(s *server) int { return strings.Count(s.told(), "EHLO") }

// TestConversationCarriesMany: as many as may, then a new one; it ends politely
// when nothing follows.
func TestConversationCarriesMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		c, pool := pooled(world{first: s}, 0)
		for range maxUses + 1 {
			send(t, c, job(1, "b@example.net"), Delivered)
		}
		if len(s.got()) != maxUses+1 || hellos(s) != 2 || pool.Waiting() != 1 || pool.Counters.Reused.Value() != maxUses-1 {
			t.Errorf("%d messages in %d conversations, %d wait, %d reused", len(s.got()), hellos(s), pool.Waiting(), pool.Counters.Reused.Value())
		}
		time.Sleep(DefaultIdle + time.Second)
		synctest.Wait()
		if pool.Waiting() != 0 || !strings.HasSuffix(s.told(), "QUIT") {
			t.Errorf("%d wait after %s", pool.Waiting(), s.told()[len(s.told())-40:])
		}
	})
}

// TestOldConversationIsNotReused: it would hold on to what a name was.
func TestOldConversationIsNotReused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		pool := NewPool(10*time.Second, 0)
		c := New(Config{Hostname: "edge.example.test", Dial: world{first: s}.dial, Pool: pool})
		for begin := time.Now(); time.Since(begin) <= maxAge+20*time.Second; time.Sleep(8 * time.Second) {
			send(t, c, job(1, "b@example.net"), Delivered)
		}
		pool.stop()
		if hellos(s) != 2 {
			t.Errorf("%d conversations", hellos(s))
		}
	})
}

// TestServerEndedConversation: whatever way, before it said anything about the
// message: nothing is lost, nothing deferred, nothing sent twice.
func TestServerEndedConversation(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{closes, "421 4.4.2 idle for too long"} {
		t.Run(reply, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{ext: []string{"PIPELINING"}}
				w := world{first: s}
				c, pool := pooled(w, 0)
				send(t, c, job(1, "b@example.net"), Delivered)
				s.say = map[string]string{"mail": reply} // of the conversation that waits: a new one asks another server
				w[first] = &server{}
				if r := send(t, c, job(1, "b@example.net"), Delivered); len(w[first].got()) != 1 || pool.Counters.Stale.Value() != 1 {
					t.Errorf("%+v, %d stale", r, pool.Counters.Stale.Value())
				}
				pool.stop()
			})
		})
	}
}

// TestTroubleInReusedConversation: what the server said counts, and a new
// connection is no second try; it carries no other message.
func TestTroubleInReusedConversation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stage, reply string
		want         Outcome
		reason       string
		keeps        int // conversations that wait after it
	}{
		{"rcpt", closes, Deferred, "lost", 0},
		{"rcpt", "550 5.1.1 nobody", Failed, "rcpt-refused", 1},
		{"mail", "451 4.3.0 later", Deferred, "mail-refused", 0},
		{"mail", "550 5.7.1 not you", Failed, "mail-refused", 1},
		{"mail", hangs, Deferred, "timeout", 0},
		{"data", "452 4.3.1 full", Deferred, "data-refused", 1},
		{"message", "554 5.6.0 no", Failed, "message-refused", 1},
		{"message", closes, Deferred, "lost", 0},
		{"rcpt", "250 2.1.5 ok\r\n354 go\r\n250 2.0.0 taken", Deferred, "protocol", 0},
	} {
		t.Run(fmt.Sprintf("%s %.3s", c.stage, c.reply), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{}
				cl, pool := pooled(world{first: s}, 0)
				send(t, cl, job(1, "b@example.net"), Delivered)
				s.say = map[string]string{c.stage: c.reply}
				r := send(t, cl, job(1, "b@example.net"), c.want)
				if r.Reason != c.reason || hellos(s) != 1 || pool.Waiting() != c.keeps || len(s.got()) > 2 {
					t.Errorf("%+v in %d conversations, %d wait: %s", r, hellos(s), pool.Waiting(), s.told())
				}
				pool.stop()
			})
		})
	}
}

// TestConversationsAreNotMixed: another login, name, authority or host is
// another conversation.
func TestConversationsAreNotMixed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		c, pool := pooled(world{first: s}, 0)
		send(t, c, job(1, "b@example.net"), Delivered)
		other := job(1, "b@example.net")
		other.Hops[0].Host = "other.example"
		send(t, c, other, Delivered)
		if hellos(s) != 2 || pool.Waiting() != 2 {
			t.Errorf("%d conversations, %d wait", hellos(s), pool.Waiting())
		}
		pool.stop()
	})
}

// TestPoolIsBounded: beyond it, and after Stop, conversations end at once.
func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := &server{}, &server{}
		c, pool := pooled(world{first: a, second: b}, 1)
		send(t, c, job(1, "b@example.net"), Delivered)
		j := job(2, "b@example.net")
		j.Hops = j.Hops[1:]
		send(t, c, j, Delivered)
		if pool.Waiting() != 1 || pool.Counters.Full.Value() != 1 || !strings.HasSuffix(b.told(), "QUIT") {
			t.Errorf("%d wait, %d full: %s", pool.Waiting(), pool.Counters.Full.Value(), b.told())
		}
		pool.stop()
		send(t, c, job(1, "b@example.net"), Delivered)
		if pool.Waiting() != 0 || !strings.HasSuffix(a.told(), "QUIT") {
			t.Errorf("%d wait: %s", pool.Waiting(), a.told())
		}
	})
}

// TestAttemptThatEndsLeavesNothing: its context takes the conversation with it.
func TestAttemptThatEndsLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		c, pool := pooled(world{first: s}, 0)
		ctx, cancel := context.WithCancel(context.Background())
		if r := c.Deliver(ctx, job(1, "b@example.net")).Results[0]; r.Outcome != Delivered {
			t.Fatalf("%+v", r)
		}
		cancel() // the conversation is no longer its own
		send(t, c, job(1, "b@example.net"), Delivered)
		if hellos(s) != 1 {
			t.Errorf("%d conversations", hellos(s))
		}
		pool.stop()
	})
}

// TestStopWaitsForNoGoodbye: a server that does not answer QUIT holds up no stop.
func TestStopWaitsForNoGoodbye(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{say: map[string]string{"quit": hangs}}
		c, pool := pooled(world{first: s}, 0)
		send(t, c, job(1, "b@example.net"), Delivered)
		time.Sleep(DefaultIdle + time.Second) // of the bubble
		synctest.Wait()
		begin := time.Now()
		if err := pool.Stop(context.Background()); err != nil || time.Since(begin) > 0 || !strings.HasSuffix(s.told(), "QUIT") {
			t.Errorf("%v after %s: %s", err, time.Since(begin), s.told())
		}
	})
}
