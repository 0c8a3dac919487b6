package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
	"postern/internal/mail/dsn"
	"postern/internal/mail/envelope"
	"postern/internal/mail/route"
	"postern/internal/mail/spool"
)

// world is a queue with everything around it faked but the spool.
type world struct {
	t     *testing.T
	spool *spool.Spool
	queue *Queue
	dir   string

	mu      sync.Mutex
	tries   []try
	asked   []string // domains routed
	bounces []dsn.Message
	running map[string]int
	most    map[string]int // at once, by domain; "" all

	deliver func(ctx context.Context, domain string, r *deliver.Result) // decides one recipient; nil: delivered
	bounce  func(m dsn.Message) error
	route   func(domain string) (route.Plan, error)
	fault   func(spool.Step) error
}

// get and set reach the hooks while the queue runs.
func get[T any](w *world, hook *T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *hook
}

func set[T any](w *world, hook *T, to T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*hook = to
}

type try struct {
	at time.Duration // since the start of the test
	to string        // recipients
}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of a test bubble

// inWorld runs f in virtual time around a queue that is not started.
func inWorld(t *testing.T, change func(*Config, *world), f func(w *world)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spool")
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, running: map[string]int{}, most: map[string]int{}}
		w.open(change)
		f(w)
		w.stop()
	})
}

// open opens the spool and makes a queue over it.
func (w *world) open(change func(*Config, *world)) {
	w.t.Helper()
	var err error
	w.spool, err = spool.Open(spool.Config{Dir: w.dir, MinFree: -1, Fault: func(s spool.Step) error {
		if fault := get(w, &w.fault); fault != nil {
			return fault(s)
		}
		return nil
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := Config{Spool: w.spool, Router: w, Deliverer: w, Hostname: "edge.example.test", Chance: func() float64 { return 0.5 }}
	cfg.Bounce = func(_ context.Context, m dsn.Message) error {
		if bounce := get(w, &w.bounce); bounce != nil {
			if err := bounce(m); err != nil {
				return err
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.bounces = append(w.bounces, m)
		return nil
	}
	if change != nil {
		change(&cfg, w)
	}
	if w.queue, err = New(cfg); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) start() {
	w.t.Helper()
	if err := w.queue.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stop() {
	w.t.Helper()
	if err := w.queue.Stop(context.Background()); err != nil {
		w.t.Error(err)
	}
	if err := w.spool.Close(); err != nil && w.fault == nil {
		w.t.Error(err)
	}
}

// Static implements Router: the inner world has routes.
func (w *world) Static(domain string) bool { return strings.HasSuffix(domain, ".inner") }

// Route implements Router.
func (w *world) Route(_ context.Context, domain string) (route.Plan, error) {
	w.mu.Lock()
	w.asked = append(w.asked, domain)
	w.mu.Unlock()
	if route := get(w, &w.route); route != nil {
		return route(domain)
	}
	addr := netip.MustParseAddrPort("192.0.2.1:25")
	return route.Plan{Static: w.Static(domain), Hops: []route.Hop{{Protocol: route.SMTP, Host: "mx." + domain, Addrs: []netip.AddrPort{addr}, Static: w.Static(domain)}}}, nil
}

// Deliver implements Deliverer.
func (w *world) Deliver(ctx context.Context, j deliver.Job) deliver.Report {
	var to []string
	var report deliver.Report
	for _, i := range j.Rcpts {
		to = append(to, j.Envelope.To[i].String())
	}
	domain := j.Envelope.To[j.Rcpts[0]].Domain
	w.mu.Lock()
	w.tries = append(w.tries, try{time.Since(epoch), strings.Join(to, " ")})
	for _, k := range []string{"", domain} {
		w.running[k]++
		w.most[k] = max(w.most[k], w.running[k])
	}
	w.mu.Unlock()
	for _, i := range j.Rcpts {
		r := deliver.Result{Rcpt: i, Recipient: j.Envelope.To[i], Outcome: deliver.Delivered, Code: 250, Enhanced: "2.0.0", Text: "ok", Reason: "delivered", Host: j.Hops[0].Host, Static: j.Hops[0].Static}
		if decide := get(w, &w.deliver); decide != nil {
			decide(ctx, domain, &r)
		}
		report.Results = append(report.Results, r)
		if r.Reason == "connect" {
			report.Dead = j.Hops[0].Addrs
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[""]--
	w.running[domain]--
	return report
}

// later and never are what a server says.
func later(_ context.Context, _ string, r *deliver.Result) {
	r.Outcome, r.Code, r.Enhanced, r.Text, r.Reason = deliver.Deferred, 451, "4.7.1", "greylisted", "rcpt-refused"
}

func never(_ context.Context, _ string, r *deliver.Result) {
	r.Outcome, r.Code, r.Enhanced, r.Text, r.Reason = deliver.Failed, 550, "5.1.1", "no such user at secret.inner", "rcpt-refused"
}

// put commits a message and adds it.
func (w *world) put(change func(*envelope.Envelope), to ...string) envelope.ID {
	w.t.Helper()
	env := envelope.Envelope{From: addr("sender@example.test"), Origin: envelope.Submission, Received: time.Now()}
	for _, s := range to {
		env.To = append(env.To, addr(s))
	}
	if change != nil {
		change(&env)
	}
	d, err := w.spool.Create()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(d, "Subject: x\r\n\r\nbody\r\n"); err != nil {
		w.t.Fatal(err)
	}
	id, err := d.Commit(context.Background(), env, d.Header())
	if err != nil {
		w.t.Fatal(err)
	}
	w.queue.Add(id, env)
	return id
}

func addr(s string) address.Address {
	a, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

// log shows the tries so far: "0s a@b; 1m0s a@b".
func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, t := range w.tries {
		out = append(out, fmt.Sprintf("%v %s", t.at, t.to))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

// wait lets virtual time pass until nothing more happens within d.
func wait(d time.Duration) {
	time.Sleep(d) // virtual: inside a bubble only
	synctest.Wait()
}

func (w *world) wantEmpty() {
	w.t.Helper()
	synctest.Wait()
	ids, err := w.spool.IDs()
	if w.queue.Len() != 0 || len(ids) != 0 || err != nil {
		w.t.Errorf("%d in the queue, in the spool %v (%v)", w.queue.Len(), ids, err)
	}
}

func TestDelivered(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.start()
		w.put(nil, "a@one.example", "b@two.example", "c@one.example")
		w.wantEmpty()
		if got, want := w.log(), "0s a@one.example c@one.example; 0s b@two.example"; got != want {
			t.Errorf("tried %s, want %s", got, want)
		}
		if c := &w.queue.Counters; c.Delivered.Value() != 3 || c.Queued.Value() != 1 || c.Attempts.Value() != 2 || len(w.bounces) != 0 {
			t.Error("counted wrongly")
		}
	})
}

// TestGivesUp watches five days of a server that says later.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = later
		w.start()
		w.put(nil, "a@one.example")
		wait(6 * 24 * time.Hour)
		w.wantEmpty()
		want := "0s 1m0s 3m0s 8m0s 23m0s 53m0s 1h53m0s 3h53m0s 7h53m0s"
		var got []string
		for _, try := range w.tries {
			got = append(got, try.at.String())
		}
		if !strings.HasPrefix(strings.Join(got, " "), want) || got[len(got)-1] != "120h0m0s" || len(got) != 9+29 {
			t.Errorf("tried at %v", got)
		}
		if len(w.bounces) != 1 {
			t.Fatalf("%d bounces", len(w.bounces))
		}
		for _, want := range []string{"Action: failed", "Status: 4.7.1", "smtp; 451 4.7.1 greylisted", "tried for 5 days"} {
			if !strings.Contains(string(w.bounces[0].Body), want) {
				t.Errorf("%q is not in\n%s", want, w.bounces[0].Body)
			}
		}
	})
}

// TestTellsFirst: the notification is durable before the failure is written
// down; and while it cannot be, nothing is written off.
func TestTellsFirst(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = never
		calls := 0
		w.bounce = func(m dsn.Message) error {
			calls++
			ids, err := w.spool.IDs()
			if err != nil || len(ids) != 1 {
				t.Error(ids, err)
			}
			for _, st := range w.spool.Journal().States(ids[0]) {
				if st.Status.Final() {
					t.Errorf("written off before the sender was told: %+v", st)
				}
			}
			if calls < 3 {
				return spool.ErrFull
			}
			if m.To != addr("sender@example.test") {
				t.Errorf("told %v", m.To)
			}
			return nil
		}
		w.start()
		w.put(nil, "a@one.example")
		synctest.Wait()
		if w.queue.Len() != 1 || w.queue.Counters.BounceFaults.Value() != 1 {
			t.Error("gone though nobody was told")
		}
		wait(time.Hour)
		w.wantEmpty()
		if calls != 3 || len(w.bounces) != 1 || w.log() != "0s a@one.example; 10m0s a@one.example; 5m0s a@one.example" {
			t.Errorf("%d calls, tried %s", calls, w.log())
		}
	})
}

// TestOneNotificationForEachRecipient: those that fail in one attempt are told of
// together (RFC 3464, Section 2.3), those that deferred or were not to be told of
// left out.
func TestOneNotificationForEachRecipient(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = func(ctx context.Context, domain string, r *deliver.Result) {
			if r.Rcpt == 1 {
				later(ctx, domain, r)
			} else {
				never(ctx, domain, r)
			}
		}
		w.start()
		w.put(func(e *envelope.Envelope) { e.Notify = []envelope.Notify{0, 0, 0, envelope.Never, 0} },
			"a@one.example", "b@one.example", "c@one.example", "d@one.example", "e@two.example")
		synctest.Wait()
		var groups []int
		for _, m := range w.bounces {
			groups = append(groups, strings.Count(string(m.Body), "\r\nFinal-Recipient: "))
			if strings.Contains(string(m.Body), "Final-Recipient: rfc822; b@") || strings.Contains(string(m.Body), "Final-Recipient: rfc822; d@") {
				t.Errorf("tells of others:\n%s", m.Body)
			}
		}
		slices.Sort(groups)
		if !slices.Equal(groups, []int{1, 2}) {
			t.Errorf("notifications with %v recipients, want one a destination, with 1 and 2", groups)
		}
		set(w, &w.deliver, nil)
		wait(time.Hour)
		w.wantEmpty()
	})
}

// TestNobodyToTell: no bounce of a bounce, none where none was wanted.
func TestNobodyToTell(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*envelope.Envelope){
		"RFC 5321, 6.1: null sender": func(e *envelope.Envelope) { e.From = address.Address{} },
		"RFC 3461: NOTIFY=NEVER":     func(e *envelope.Envelope) { e.Notify = []envelope.Notify{envelope.Never} },
		"NOTIFY=DELAY":               func(e *envelope.Envelope) { e.Notify = []envelope.Notify{envelope.Delay} },
	} {
		inWorld(t, nil, func(w *world) {
			w.deliver = never
			w.start()
			w.put(change, "a@one.example")
			w.wantEmpty()
			if len(w.bounces) != 0 || w.queue.Counters.Failed.Value() != 1 {
				t.Errorf("%s: %d bounces", name, len(w.bounces))
			}
			if n := w.queue.Counters.DoubleBounces.Value(); (n == 1) != strings.Contains(name, "null") {
				t.Errorf("%s: %d double bounces", name, n)
			}
		})
	}
}

// TestBounceGoesThroughTheQueue: a notification that cannot be delivered ends
// there.
func TestBounceGoesThroughTheQueue(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = never
		w.bounce = func(m dsn.Message) error {
			w.put(func(e *envelope.Envelope) { e.From, e.Origin = address.Address{}, envelope.Bounce }, m.To.String())
			return nil
		}
		w.start()
		w.put(nil, "a@one.example")
		w.wantEmpty()
		if w.log() != "0s a@one.example; 0s sender@example.test" || w.queue.Counters.DoubleBounces.Value() != 1 {
			t.Errorf("tried %s", w.log())
		}
	})
}

// TestInsideStaysInside: what a configured host says is for our own users.
func TestInsideStaysInside(t *testing.T) {
	t.Parallel()
	for origin, told := range map[envelope.Origin]bool{envelope.MX: false, envelope.Relay: false, envelope.Submission: true} {
		inWorld(t, nil, func(w *world) {
			w.deliver = never
			w.start()
			w.put(func(e *envelope.Envelope) { e.Origin = origin }, "a@x.inner")
			w.wantEmpty()
			body := string(w.bounces[0].Body)
			if strings.Contains(body, "secret.inner") != told || strings.Contains(body, "mx.x.inner") != told || !strings.Contains(body, "Status: 5.1.1") {
				t.Errorf("%s:\n%s", origin, body)
			}
		})
	}
}

func TestUnroutable(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.route = func(domain string) (route.Plan, error) {
			switch domain {
			case "null.example":
				return route.Plan{}, &route.Error{Code: 556, Enhanced: "5.1.10", Reason: "null-mx", Text: "The domain does not accept mail"}
			case "slow.example":
				return route.Plan{}, &route.Error{Temporary: true, Code: 451, Enhanced: "4.4.3", Reason: "dns-temporary", Text: "x", Cause: errors.New("y")}
			}
			return route.Plan{}, errors.New("of unknown kind")
		}
		w.start()
		id := w.put(nil, "a@null.example", "b@slow.example", "c@odd.example")
		synctest.Wait()
		e, err := w.queue.Show(id)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []spool.Status{spool.Failed, spool.Waiting, spool.Waiting} {
			if e.Recipients[i].Status != want {
				t.Errorf("%+v, want %s", e.Recipients[i], want)
			}
		}
		if e.Phase != "waiting" || !e.Next.Equal(epoch.Add(time.Minute)) || len(w.bounces) != 1 || !strings.Contains(string(w.bounces[0].Body), "5.1.10") {
			t.Errorf("%+v, %d bounces", e, len(w.bounces))
		}
	})
}

// TestBounds: so many at once in all, so many to one domain, all in the end.
func TestBounds(t *testing.T) {
	t.Parallel()
	bounds := func(c *Config, _ *world) { c.Workers, c.PerDestination, c.Active = 6, 2, 8 }
	inWorld(t, bounds, func(w *world) {
		w.deliver = func(context.Context, string, *deliver.Result) { time.Sleep(time.Second) } // a slow server, in virtual time
		w.start()
		for n := range 100 {
			w.put(nil, fmt.Sprintf("a@d%d.example", n%2), fmt.Sprintf("b@d%d.example", n%10))
		}
		wait(time.Hour)
		w.wantEmpty()
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.most[""] > 6 || w.most["d0.example"] > 2 || w.most[""] < 4 {
			t.Errorf("at once: %v", w.most)
		}
		if w.queue.Counters.Busy.Value() == 0 || w.queue.Counters.Delivered.Value() != 200 {
			t.Errorf("busy %d, delivered %d", w.queue.Counters.Busy.Value(), w.queue.Counters.Delivered.Value())
		}
	})
}

// TestManyToOneDomain: however many messages wait for one server, the next is
// tried as soon as there is room, and none waits for its time.
func TestManyToOneDomain(t *testing.T) {
	t.Parallel()
	bounds := func(c *Config, _ *world) { c.Workers, c.PerDestination, c.Active = 10, 2, 40 }
	inWorld(t, bounds, func(w *world) {
		w.deliver = func(context.Context, string, *deliver.Result) { time.Sleep(time.Millisecond) }
		w.start()
		for range 300 {
			w.put(nil, "a@one.example", "b@two.example")
		}
		wait(5 * time.Second)
		w.wantEmpty()
		w.mu.Lock()
		defer w.mu.Unlock()
		if last := w.tries[len(w.tries)-1].at; len(w.tries) != 600 || last > time.Second {
			t.Errorf("%d attempts, the last after %v", len(w.tries), last)
		}
		if w.queue.Counters.Busy.Value() == 0 {
			t.Error("none found the line full: the test shows nothing")
		}
	})
}

// TestSlowDomainLeavesRoom: mail to others overtakes a domain that hangs.
func TestSlowDomainLeavesRoom(t *testing.T) {
	t.Parallel()
	bounds := func(c *Config, _ *world) { c.Workers, c.PerDestination, c.Active = 4, 2, 20 }
	inWorld(t, bounds, func(w *world) {
		w.deliver = func(_ context.Context, domain string, _ *deliver.Result) {
			if domain == "slow.example" {
				time.Sleep(time.Hour) // virtual
			}
		}
		w.start()
		for range 50 {
			w.put(nil, "a@slow.example")
		}
		w.put(nil, "b@quick.example")
		wait(time.Minute)
		if !strings.Contains(w.log(), "b@quick.example") {
			t.Errorf("tried %s", w.log())
		}
		wait(48 * time.Hour)
		w.wantEmpty()
	})
}

// TestStrangersLeaveRoomForOurOwn has many foreign servers that hang, as those
// of forged senders would to whom bounces go: mail for a configured route must
// not wait for them.
func TestStrangersLeaveRoomForOurOwn(t *testing.T) {
	t.Parallel()
	bounds := func(c *Config, _ *world) { c.Workers, c.PerDestination = 10, 2 }
	inWorld(t, bounds, func(w *world) {
		set(w, &w.deliver, func(ctx context.Context, domain string, r *deliver.Result) {
			if !w.Static(domain) {
				<-ctx.Done()
				later(ctx, domain, r)
			}
		})
		w.start()
		for i := range 20 {
			w.put(nil, fmt.Sprintf("x@slow%d.example", i))
		}
		wait(time.Second)
		w.put(nil, "b@city.inner")
		wait(time.Second)
		if got := get(w, &w.most)["city.inner"]; got != 1 {
			t.Errorf("%d attempts for our own domain beside %d for strangers", got, get(w, &w.most)[""])
		}
	})
}

// TestStrangersFilledTheActiveMessages has more mail for hanging strangers than
// may be active, whether it came now or lay in the spool at the start: mail for
// a configured route is taken up all the same, alone or beside a stranger.
func TestStrangersFilledTheActiveMessages(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		bounds := func(c *Config, _ *world) { c.Workers, c.Active, c.AttemptTime = 10, 20, 10*time.Minute }
		inWorld(t, bounds, func(w *world) {
			set(w, &w.deliver, func(ctx context.Context, domain string, r *deliver.Result) {
				if !w.Static(domain) {
					<-ctx.Done()
					later(ctx, domain, r)
				}
			})
			if !restart {
				w.start()
			}
			for i := range 200 {
				w.put(nil, fmt.Sprintf("x@slow%d.example", i))
			}
			if restart {
				w.start()
			}
			wait(2 * time.Minute) // all are due
			w.put(nil, "a@town.inner")
			w.put(nil, "b@city.inner", "y@stranger.example")
			synctest.Wait()
			for _, domain := range []string{"town.inner", "city.inner"} {
				if get(w, &w.most)[domain] != 1 {
					t.Errorf("restart %v: mail for %s was not tried beside %d strangers", restart, domain, get(w, &w.most)[""])
				}
			}
			w.queue.do(func() {
				if w.queue.foreign > 18 || w.queue.active > 20 || len(w.queue.dests) > 20 {
					t.Errorf("restart %v: %d foreign of %d active, %d destinations", restart, w.queue.foreign, w.queue.active, len(w.queue.dests))
				}
			})
			set(w, &w.deliver, nil)
			wait(24 * time.Hour)
			w.wantEmpty()
			if w.queue.foreign != 0 || w.queue.active != 0 {
				t.Errorf("restart %v: %d foreign, %d active at the end", restart, w.queue.foreign, w.queue.active)
			}
		})
	}
}

// TestHoldMode: nothing goes out, not even a question about where to.
func TestHoldMode(t *testing.T) {
	t.Parallel()
	hold := func(c *Config, _ *world) { c.Hold = true }
	inWorld(t, hold, func(w *world) {
		w.start()
		id := w.put(nil, "a@out.example", "b@x.inner")
		w.put(nil, "c@x.inner")
		wait(30 * 24 * time.Hour)
		if w.log() != "0s b@x.inner; 0s c@x.inner" || slices.Contains(w.asked, "out.example") {
			t.Errorf("tried %s, asked %v", w.log(), w.asked)
		}
		if err := w.queue.Retry(id); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if e, err := w.queue.Show(id); err != nil || e.Phase != "parked" || slices.Contains(w.asked, "out.example") {
			t.Errorf("%+v, %v, asked %v", e, err, w.asked)
		}
		w.queue.SetHold(false)
		w.wantEmpty()
		if !strings.Contains(w.log(), "a@out.example") {
			t.Errorf("tried %s", w.log())
		}
	})
}

// TestDeadHostRests: one message finds out, the others wait without trying.
func TestDeadHostRests(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = func(_ context.Context, _ string, r *deliver.Result) {
			r.Outcome, r.Code, r.Enhanced, r.Reason = deliver.Deferred, 0, "4.4.1", "connect"
		}
		w.start()
		w.put(nil, "a@one.example")
		wait(time.Second)
		id := w.put(nil, "b@one.example")
		synctest.Wait()
		if w.log() != "0s a@one.example" {
			t.Errorf("tried %s", w.log())
		}
		e, err := w.queue.Show(id)
		if err != nil || e.Recipients[0].Tries != 0 || e.Next.Sub(epoch) > 30*time.Second {
			t.Errorf("%+v, %v", e, err)
		}
		// An operator who knows better is believed.
		set(w, &w.deliver, nil)
		if err := w.queue.Retry(id); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if w.log() != "0s a@one.example; 1s b@one.example" {
			t.Errorf("tried %s", w.log())
		}
		wait(2 * time.Minute)
		w.wantEmpty()
	})
}

// TestRestart: what is done stays done, what waits waits on.
func TestRestart(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = func(ctx context.Context, domain string, r *deliver.Result) {
			if domain == "two.example" {
				later(ctx, domain, r)
			}
		}
		w.start()
		w.put(nil, "a@one.example", "b@two.example")
		held := w.put(nil, "c@two.example")
		synctest.Wait()
		if err := w.queue.Hold(held); err != nil {
			t.Error(err)
		}
		w.stop()

		time.Sleep(10 * time.Second) // virtual
		w.open(nil)
		unseen := w.put(nil, "d@one.example") // before Start: it does nothing
		if w.queue.Len() != 0 {
			t.Error("added before Start")
		}
		w.start()
		wait(30 * time.Second)
		if want := "0s a@one.example; 0s b@two.example; 0s c@two.example; 10.015s d@one.example"; w.log() != want {
			t.Errorf("tried %s, want %s", w.log(), want)
		}
		set(w, &w.deliver, nil)
		wait(time.Minute)
		if !strings.Contains(w.log(), "1m0s b@two.example") || w.queue.Len() != 1 {
			t.Errorf("tried %s, %d left", w.log(), w.queue.Len())
		}
		if _, err := w.queue.Show(unseen); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		if e, err := w.queue.Show(held); err != nil || e.Phase != "held" {
			t.Errorf("%+v, %v", e, err)
		}
		if err := w.queue.Release(held); err != nil {
			t.Error(err)
		}
		wait(time.Hour)
		w.wantEmpty()
	})
}

// TestClockThatWasAheadDelayedForDays restarts after a clock wrote times into
// the journal that lie far ahead.
func TestClockThatWasAheadDelayedForDays(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = later
		w.start()
		id := w.put(nil, "a@one.example", "b@two.example")
		synctest.Wait()
		w.stop()
		w.open(nil)
		states := w.spool.Journal().States(id)
		states[0].Next = time.Now().Add(30 * 24 * time.Hour)
		if err := w.spool.Journal().Append(states[0]); err != nil {
			t.Fatal(err)
		}
		set(w, &w.deliver, nil)
		w.start()
		wait(time.Hour)
		if w.queue.Len() != 1 || !strings.HasSuffix(w.log(), "; 1m0s b@two.example") {
			t.Errorf("tried %s", w.log())
		}
		wait(longest)
		w.wantEmpty()
	})
}

// TestStopDrains waits for what runs, and begins nothing.
func TestStopDrains(t *testing.T) {
	t.Parallel()
	one := func(c *Config, _ *world) { c.Workers = 1 }
	inWorld(t, one, func(w *world) {
		w.deliver = func(context.Context, string, *deliver.Result) { time.Sleep(3 * time.Second) } // virtual
		w.start()
		w.put(nil, "a@one.example")
		w.put(nil, "b@one.example")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := w.queue.Stop(ctx); err != nil {
			t.Error(err)
		}
		if w.log() != "0s a@one.example" || time.Since(epoch) != 3*time.Second {
			t.Errorf("tried %s, stopped after %v", w.log(), time.Since(epoch))
		}
		if ids, err := w.spool.IDs(); len(ids) != 1 || err != nil {
			t.Errorf("left %v, %v", ids, err)
		}
		w.queue.Add("x", envelope.Envelope{}) // must not wait for anybody
		if _, err := w.queue.List(Filter{}); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
	})
}

// TestStopCuts what does not end by itself; it is tried again, uncounted.
func TestStopCuts(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = func(ctx context.Context, d string, r *deliver.Result) { <-ctx.Done(); later(ctx, d, r) }
		w.start()
		id := w.put(nil, "a@one.example")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := w.queue.Stop(ctx); err != nil || time.Since(epoch) > 6*time.Second {
			t.Errorf("%v after %v", err, time.Since(epoch))
		}
		if st := w.spool.Journal().States(id); len(st) != 0 {
			t.Errorf("counted: %+v", st)
		}
	})
}

// TestJournalFault: a full disk stops no delivery.
func TestJournalFault(t *testing.T) {
	t.Parallel()
	inWorld(t, nil, func(w *world) {
		w.deliver = later
		w.start()
		w.put(nil, "a@one.example")
		synctest.Wait()
		set(w, &w.fault, func(s spool.Step) error {
			if strings.HasPrefix(string(s), "journal") {
				return spool.ErrFull
			}
			return nil
		})
		set(w, &w.deliver, nil)
		wait(5 * time.Minute)
		w.wantEmpty()
		if w.queue.Counters.JournalFaults.Value() == 0 {
			t.Error("not counted")
		}
		set(w, &w.fault, nil)
		wait(time.Minute)
	})
}
