package recipient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
	"postern/internal/mail/smtpline"
)

// inner is a next hop.
type inner struct {
	mu       sync.Mutex // guards what follows
	names    map[string]deliver.Answer
	anything bool
	evasive  *deliver.Answer // to all
	down     bool
	rude     bool          // hangs up after each answer
	slow     time.Duration // before each answer
	calls    int           // begun
	open     int
	most     int // open at once
	asked    []string
}

var errDown = errors.New("connection refused")

func (n *inner) call(context.Context, string) (Call, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	if n.down {
		return nil, errDown
	}
	n.open++
	n.most = max(n.most, n.open)
	return &line{n: n}, nil
}

// line is one conversation with inner.
type line struct {
	n    *inner
	said int
}

func (l *line) Close() {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.n.open--
}

func (l *line) Ask(to address.Address) (deliver.Answer, error) {
	l.n.mu.Lock()
	slow := l.n.slow
	l.n.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow) // of the synctest bubble
	}
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.said++; l.n.down || l.n.rude && l.said > 1 {
		return deliver.Answer{}, errDown
	}
	l.n.asked = append(l.n.asked, to.Local)
	if l.n.evasive != nil {
		return *l.n.evasive, nil
	}
	if a, ok := l.n.names[to.Local]; ok {
		return a, nil
	}
	if l.n.anything {
		return deliver.Answer{Code: 250}, nil
	}
	return deliver.Answer{Code: 550, Enhanced: "5.1.1", Text: "no such user"}, nil
}

func (n *inner) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// times is how often a name was asked for; with a "*" at its end, all that
// begin so.
func (n *inner) times(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	prefix, all := strings.CutSuffix(name, "*")
	count := 0
	for _, a := range n.asked {
		if a == name || all && strings.HasPrefix(a, prefix) {
			count++
		}
	}
	return count
}

func (n *inner) called() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls
}

func people(names ...string) map[string]deliver.Answer {
	m := map[string]deliver.Answer{}
	for _, name := range names {
		m[name] = deliver.Answer{Code: 250, Enhanced: "2.1.5"}
	}
	return m
}

func keeper(t *testing.T, n *inner, d ...Domain) *Keeper {
	t.Helper()
	k, err := New(Config{Call: n.call})
	if err != nil {
		t.Fatal(err)
	}
	follow(t, k, d...)
	return k
}

func follow(t *testing.T, k *Keeper, d ...Domain) {
	t.Helper()
	p, err := k.Prepare(d)
	if err != nil {
		t.Fatal(err)
	}
	k.Follow(p)
}

func reasonOf(r *smtpline.Reply) string {
	if r == nil {
		return ""
	}
	return r.Reason
}

var verified = Domain{Name: "city.example", Mode: Verify, Hops: "smtp://10.0.0.5:25"}

// telephone runs a test in a bubble of time with a Keeper that asks n.
func telephone(t *testing.T, n *inner, f func(t *testing.T, k *Keeper)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := keeper(t, n, verified)
		if err := k.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f(t, k)
		if err := k.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if n.open != 0 {
			t.Errorf("%d conversations left open", n.open)
		}
	})
}

func find(t *testing.T, k *Keeper, local, reason string) {
	t.Helper()
	to := address.Address{Local: local, Domain: "city.example"}
	targets, r := k.Find(t.Context(), to)
	if got := reasonOf(r); got != reason {
		t.Errorf("%s: %q, want %q", local, got, reason)
	}
	if r == nil && (len(targets) != 1 || targets[0] != to) {
		t.Errorf("%s goes to %v", local, targets)
	}
}

// TestJudge: only a refusal of the recipient is one.
func TestJudge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code     int
		enhanced string
		want     ruling
	}{
		{550, "5.1.1", absentFor},
		{550, "", absentFor},
		{550, "5.2.1", absentFor}, // switched off
		{551, "5.1.6", absentFor},
		{553, "5.1.3", absentFor},
		{550, "5.7.1", closedFor}, // of a list that is for those inside
		{552, "5.2.2", fullFor},
		{552, "", fullFor},
		{452, "4.2.2", fullFor},
		{554, "5.7.1", noAnswer}, // relay access denied: about us
		{530, "5.7.0", noAnswer},
		{503, "5.5.1", noAnswer},
		{450, "4.2.0", noAnswer},
		{451, "4.3.0", noAnswer},
		{354, "", noAnswer},
		{250, "2.1.5", exists},
		{251, "", exists},
	} {
		if got := judge(deliver.Answer{Code: c.code, Enhanced: c.enhanced}); got != c.want {
			t.Errorf("%d %s: %d, want %d", c.code, c.enhanced, got, c.want)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann")}
	n.names["staff"] = deliver.Answer{Code: 550, Enhanced: "5.7.1"}
	n.names["fat"] = deliver.Answer{Code: 552, Enhanced: "5.2.2"}
	n.names["later"] = deliver.Answer{Code: 451}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		for range 3 {
			find(t, k, "ann", "")
			find(t, k, "nobody", "user-unknown")
			find(t, k, "staff", "user-closed")
			find(t, k, "fat", "user-full")
			find(t, k, "later", "user-unsure")
			find(t, k, "postmaster", "")
			find(t, k, "Abuse", "")
		}
		for name, want := range map[string]int{"ann": 1, "nobody": 1, "staff": 3, "fat": 3, "later": 3, "postmaster": 0, "Abuse": 0, "postern-*": 1} {
			if got := n.times(name); got != want {
				t.Errorf("%s was asked for %d times, want %d", name, got, want)
			}
		}
		if s := k.Standings()[0]; s.State != Fine || s.Known != 1 {
			t.Errorf("standing %+v", s)
		}
		time.Sleep(absentFresh)
		n.set(func() { n.names["nobody"] = deliver.Answer{Code: 250} })
		find(t, k, "nobody", "") // was hired
		time.Sleep(knownFresh)
		n.set(func() { delete(n.names, "ann") })
		find(t, k, "ann", "user-unknown") // has left
	})
}

// TestOneCallForMany: questions follow each other in one conversation, which
// ends before a server would lose patience, and when nothing is asked.
func TestOneCallForMany(t *testing.T) {
	t.Parallel()
	n := &inner{names: people()}
	for i := range 30 {
		n.names[fmt.Sprint("u", i)] = deliver.Answer{Code: 250}
	}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		for i := range 30 {
			find(t, k, fmt.Sprint("u", i), "")
		}
		if n.called() != 1 {
			t.Errorf("%d calls for 30 questions", n.called())
		}
		time.Sleep(callIdle + time.Second)
		synctest.Wait()
		if n.open != 0 {
			t.Error("an idle conversation stays open")
		}
		for i := range 3 * callRefusals {
			find(t, k, fmt.Sprint("x", i), "user-unknown")
		}
		if n.called() != 4 {
			t.Errorf("%d calls, want 1 and 3 with %d refusals each", n.called(), callRefusals)
		}
	})
}

// TestRudeServer: one that hangs up after each answer is called again.
func TestRudeServer(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann", "bob"), rude: true}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		find(t, k, "ann", "")
		find(t, k, "bob", "")
		find(t, k, "carl", "user-unknown")
	})
}

// TestNextHopDown: who is known is taken, of others nothing is said, and the
// next hop is left alone.
func TestNextHopDown(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann", "bob")}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		find(t, k, "ann", "")
		find(t, k, "gone", "user-unknown")
		time.Sleep(callIdle + time.Second)
		n.set(func() { n.down = true })
		before := n.called()
		for range 50 {
			find(t, k, "ann", "")
			find(t, k, "gone", "user-unknown") // still fresh
			find(t, k, "bob", "user-unsure")
		}
		for name, want := range map[string]bool{"bob": true, "gone": false} { // our own are not put off
			if _, refusal := k.FindForOurs(t.Context(), address.Address{Local: name, Domain: "city.example"}); (refusal == nil) != want {
				t.Errorf("%s: %v for our own", name, refusal)
			}
		}
		if got := n.called() - before; got != 1 {
			t.Errorf("called %d times at once", got)
		}
		if s := k.Standings()[0]; s.State != Silent {
			t.Errorf("standing %+v", s)
		}
		time.Sleep(knownFresh)
		find(t, k, "ann", "") // not fresh, but known
		find(t, k, "gone", "user-unsure")
		before = n.called()
		for range 60 {
			find(t, k, "bob", "user-unsure")
			time.Sleep(time.Minute)
		}
		if got := n.called() - before; got > 130 { // ours and the made-up name's
			t.Errorf("called %d times in an hour", got)
		}
		if k.Counters.TakenUnsure.Value() == 0 {
			t.Error("nothing counted")
		}
		n.set(func() { n.down = false })
		time.Sleep(restLong + fileLook)
		synctest.Wait()
		find(t, k, "bob", "")
		find(t, k, "gone", "user-unknown")
		if s := k.Standings()[0]; s.State != Fine {
			t.Errorf("standing %+v", s)
		}
		n.set(func() { n.down = true })
		v := k.all()[0].asked
		v.mu.Lock()
		v.known["ann@city.example"] = time.Now().Add(-knownLong)
		v.mu.Unlock()
		find(t, k, "ann", "user-unsure")
	})
}

// TestAcceptsAnything: a server that takes a name made up by chance is found at
// the start and within the hour, and asked no more; and within the hour again
// when it has learnt.
func TestAcceptsAnything(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann"), anything: true}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		find(t, k, "nobody", "")
		if n.times("nobody") != 0 || n.times("postern-*") != 1 {
			t.Errorf("asked for %v", n.asked)
		}
		if s := k.Standings()[0]; s.State != Anything {
			t.Errorf("standing %+v", s)
		}
		n.set(func() { n.anything = false })
		time.Sleep(probeEvery + fileLook)
		synctest.Wait()
		find(t, k, "nobody", "user-unknown")
		find(t, k, "ann", "")
		n.set(func() { n.anything = true })
		time.Sleep(probeEvery + fileLook)
		synctest.Wait()
		find(t, k, "nobody2", "")
		if s := k.Standings()[0]; s.State != Anything {
			t.Errorf("standing %+v", s)
		}
	})
}

// TestFloodOfNames: many clients who ask for many names get few conversations
// and so many questions a second, and drive out nobody who is known.
func TestFloodOfNames(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann"), slow: 100 * time.Millisecond}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		find(t, k, "ann", "")
		var clients sync.WaitGroup
		for c := range 50 {
			clients.Go(func() {
				for i := range 20 {
					_, r := k.Find(t.Context(), address.Address{Local: fmt.Sprintf("x%d-%d", c, i), Domain: "city.example"})
					if reason := reasonOf(r); reason != "user-unknown" && reason != "user-unsure" {
						t.Errorf("a made-up name: %q", reason)
					}
				}
			})
		}
		began := time.Now()
		clients.Wait()
		took := time.Since(began)
		if most := perSecond*int(took.Seconds()+1) + atOnce; n.times("x*") > most {
			t.Errorf("%d questions in %s", n.times("x*"), took)
		}
		if n.most > maxCalls {
			t.Errorf("%d conversations at once", n.most)
		}
		if k.Counters.Busy.Value() == 0 {
			t.Error("nothing counted as too much")
		}
		find(t, k, "ann", "")
	})
}

// TestSameNameAtOnce is one question.
func TestSameNameAtOnce(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann"), slow: time.Second}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		time.Sleep(time.Minute)
		var clients sync.WaitGroup
		for range 20 {
			clients.Go(func() { find(t, k, "ann", "") })
		}
		clients.Wait()
		if n.times("ann") != 1 {
			t.Errorf("asked for %d times", n.times("ann"))
		}
	})
}

// TestClientIsNotKept: a server that is slow to answer does not keep clients
// for ever.
func TestClientIsNotKept(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann"), slow: time.Minute}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		began := time.Now()
		find(t, k, "ann", "user-unsure")
		if took := time.Since(began); took > patience {
			t.Errorf("waited %s", took)
		}
	})
}

// TestReloadKeepsWhatIsKnown of the same next hop, and of no other.
func TestReloadKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	n := &inner{names: people("ann")}
	telephone(t, n, func(t *testing.T, k *Keeper) {
		find(t, k, "ann", "")
		follow(t, k, verified, Domain{Name: "town.example"})
		find(t, k, "ann", "")
		if n.times("ann") != 1 {
			t.Error("a reload forgets who exists")
		}
		other := verified
		other.Hops = "smtp://10.0.0.6:25"
		follow(t, k, other)
		find(t, k, "ann", "")
		if n.times("ann") != 2 {
			t.Error("what one server knows is believed of another")
		}
	})
}

// TestMemoryIsBounded: names of nobody drive out each other, and are counted.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	k := keeper(t, &inner{}, verified)
	v := k.all()[0].asked
	now := time.Now()
	v.remember(v.known, "ann", now, maxKnown, knownLong)
	for i := range maxAbsent + 10 {
		v.remember(v.absent, fmt.Sprint(i), now, maxAbsent, absentFresh)
	}
	if len(v.absent) > maxAbsent || len(v.absent) < maxAbsent/2 || len(v.known) != 1 {
		t.Errorf("%d absent, %d known", len(v.absent), len(v.known))
	}
	if n := k.Counters.Forgotten.Value(); n != uint64(maxAbsent+10-len(v.absent)) {
		t.Errorf("%d forgotten", n)
	}
}
