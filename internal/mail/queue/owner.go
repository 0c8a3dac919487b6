package queue

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"time"

	"postern/internal/mail/envelope"
	"postern/internal/mail/spool"
)

// phase is where a message stands.
type phase uint8

const (
	waiting phase = iota
	active
	held
	parked
)

func (p phase) String() string {
	return [...]string{"waiting", "active", "held", "parked"}[p&3]
}

// item is one message.
type item struct {
	id    envelope.ID
	phase phase
	next  time.Time // when waiting
	index int       // in the heap, when waiting

	force  bool               // an operator asked: all open recipients are due
	hold   bool               // an operator asked: held once no attempt runs
	drop   bool               // an operator asked: gone once no attempt runs
	broken error              // its file is not what was committed: aside once no attempt runs
	env    *envelope.Envelope // while active, or fresh from Add
	later  time.Time          // some recipients found no room until then, or until awaits has some
	busy   int                // how often in a row
	awaits *destination       // whose line was full

	foreign bool // as far as known, no recipient has a configured route
	counted bool // in state.foreign

	jobs   int             // queued or running, when active
	ctx    context.Context // of its attempts
	cancel context.CancelFunc
}

// job is one attempt for some recipients of one message.
type job struct {
	item  *item
	ctx   context.Context
	env   *envelope.Envelope
	dest  *destination
	rcpts []int
	force bool
}

// destination is a domain with work to do.
type destination struct {
	domain  string
	static  bool  // has a configured route
	jobs    []job // not begun
	running int
	ready   bool // stands in state.ready

	turned []*item // found the line full, in turn; each stands in one such list at most
}

// state is what the owner alone may touch.
type state struct {
	items    map[envelope.ID]*item
	due      byTime // the waiting ones that are not foreign
	abroad   byTime // the waiting ones that are
	dests    map[string]*destination
	ready    []*destination // have jobs and room, in turn
	active   int
	foreign  int // of them, with jobs outside
	running  int
	outside  int // of them, without a configured route
	hold     bool
	stopping bool
}

func newState(hold bool) state {
	return state{items: make(map[envelope.ID]*item), dests: make(map[string]*destination), hold: hold}
}

// recover lists what lies in the spool. When each message is really due shows
// once its envelope is read; until then they are spread a little.
func (q *Queue) recover() error {
	ids, err := q.cfg.Spool.IDs()
	if err != nil {
		return err
	}
	now := q.cfg.Now()
	q.pullIn(ids, now)
	spread := min(time.Duration(len(ids))*10*time.Millisecond, time.Minute)
	for _, id := range ids {
		it := &item{id: id, next: now.Add(time.Duration(q.cfg.Chance() * float64(spread)))}
		q.items[id] = it
		if st, isHeld := heldIn(q.cfg.Spool.Journal().States(id)); isHeld {
			it.phase, it.hold = held, true
			if st.Text == ReasonUnvouched {
				at := st.At
				if at.IsZero() || at.After(now) {
					at = now // not said, or by a clock that was ahead
				}
				q.kept.restore(id, at)
			}
			continue
		}
		heap.Push(&q.due, it)
	}
	q.kept.recovered()
	q.count.Store(int64(len(q.items)))
	if len(ids) > 0 {
		q.cfg.Log.Info("queue taken up", "messages", len(ids))
	}
	return nil
}

// pullIn corrects what a clock that was wrong has left in the journal: no time
// to try again lies further ahead than one that is set now.
func (q *Queue) pullIn(ids []envelope.ID, now time.Time) {
	last, messages := now.Add(longest), 0
	for _, id := range ids {
		var late []spool.State
		for _, st := range q.cfg.Spool.Journal().States(id) {
			if st.Next.After(last) {
				st.Next = last
				late = append(late, st)
			}
		}
		if len(late) > 0 {
			q.record(late...)
			messages++
		}
	}
	if messages > 0 {
		q.cfg.Log.Warn("messages were put off by a clock that was ahead: pulled in", "reason", "clock", "messages", messages)
	}
}

func (q *Queue) isHeld(id envelope.ID) bool {
	_, held := heldIn(q.cfg.Spool.Journal().States(id))
	return held
}

// heldIn finds in a message's states whether it is held, with the reason given.
func heldIn(states []spool.State) (st spool.State, held bool) {
	for _, st := range states {
		if st.Rcpt == spool.Whole && st.Status == spool.Held {
			return st, true
		}
	}
	return spool.State{}, false
}

// loop is the owner.
func (q *Queue) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		q.turn()
		if wait, ok := q.sleep(); ok {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case f := <-q.ops:
			f()
		case <-timer.C:
		case <-q.quit:
			return
		}
	}
}

// sleep is how long until the next message is due that may then be taken up, or
// that is kept no longer.
func (q *Queue) sleep() (time.Duration, bool) {
	line := q.nextLine()
	end, kept := q.kept.end()
	if line == nil && !kept || q.stopping {
		return 0, false
	}
	if line != nil {
		next := (*line)[0].next
		if !kept || next.Before(end) {
			end = next
		}
	}
	// The cap lets a clock that was set forward be noticed.
	return min(max(end.Sub(q.cfg.Now()), 0), time.Minute), true
}

// perTurn is how many messages are taken up before others may speak: each may
// cost a look at the disk.
const perTurn = 100

// turn takes up what is due and begins what there is room for.
func (q *Queue) turn() {
	now := q.cfg.Now()
	if !q.stopping {
		q.expire(now)
	}
	for range perTurn {
		line := q.nextLine()
		if q.stopping || line == nil || (*line)[0].next.After(now) {
			break
		}
		q.activate(heap.Pop(line).(*item), now)
	}
	for _, line := range [...]*byTime{&q.due, &q.abroad} {
		if len(*line) > 0 && !(*line)[0].next.After(now) && q.full(line) {
			q.Counters.Busy.Inc()
		}
	}
	for !q.stopping && q.running < q.cfg.Workers {
		d := q.nextReady()
		if d == nil {
			break
		}
		q.begin(d)
	}
}

// nextReady takes out the destination whose turn it is. The last tenth of the
// room belongs to configured routes: strangers whose servers are slow on
// purpose, to which bounces may lead, must not stop the mail to our own.
func (q *Queue) nextReady() *destination {
	full := q.outside >= q.cfg.Workers-q.cfg.Workers/10
	i := slices.IndexFunc(q.ready, func(d *destination) bool { return d.static || !full })
	if i < 0 {
		return nil
	}
	d := q.ready[i]
	q.ready = slices.Delete(q.ready, i, i+1)
	d.ready = false
	return d
}

func (q *Queue) add(id envelope.ID, env *envelope.Envelope, hold bool) {
	if q.items[id] != nil {
		return
	}
	it := &item{id: id, next: q.cfg.Now(), hold: hold, foreign: q.isForeign(env)}
	q.items[id] = it
	q.count.Add(1)
	q.cfg.Log.Info("message queued", "queue_id", id, "from", env.From.String(), "rcpts", len(env.To), "origin", env.Origin.String(), "held", hold)
	if hold {
		it.phase = held
		return
	}
	heap.Push(q.line(it), it)
	// Beyond the bound it waits on disk; and without a time of receipt, too: the
	// spool knows it, and an age is counted from it.
	if len(q.due)+len(q.abroad) <= q.cfg.Active && !env.Received.IsZero() {
		it.env = env
	}
}

// activate reads the envelope and makes jobs for the recipients that are due.
// A message that only now turns out to be foreign may have to wait in its line.
func (q *Queue) activate(it *item, now time.Time) {
	if it.env == nil && !q.readEnvelope(it, now) {
		return
	}
	if it.foreign = q.isForeign(it.env); it.foreign && q.foreignFull() {
		it.env = nil
		q.wait(it, it.next)
		return
	}
	it.phase, it.later = active, time.Time{}
	q.active++
	it.ctx, it.cancel = context.WithCancel(q.jobs.Context())
	for domain, rcpts := range q.dueRecipients(it, now) {
		d := q.dests[domain]
		if d == nil {
			d = &destination{domain: domain, static: q.cfg.Router.Static(domain)}
		}
		// One slow domain must not fill all the room there is.
		full := len(d.jobs) >= q.lineLen()
		if full || !d.static && !q.countForeign(it) {
			if full && it.awaits == nil {
				it.awaits, d.turned = d, append(d.turned, it)
			}
			q.Counters.Busy.Inc()
			it.later = now.Add(min(busyFirst<<it.busy, busyLong))
			it.busy = min(it.busy+1, 10)
			continue
		}
		q.dests[domain] = d
		it.busy = 0
		if it.awaits == d {
			it.awaits = nil // its time came before it was called in
		}
		d.jobs = append(d.jobs, job{it, it.ctx, it.env, d, rcpts, it.force})
		it.jobs++
		q.makeReady(d)
	}
	it.force = false
	if it.jobs == 0 {
		q.rest(it)
	}
}

// lineLen is how many jobs may wait for one destination.
func (q *Queue) lineLen() int { return max(q.cfg.Active/4, 1) }

// callIn makes those due that found the destination's line full, once half of
// it is free: each costs a look at the disk, and one that must go again twice.
func (q *Queue) callIn(d *destination) {
	room := q.lineLen() - len(d.jobs)
	if len(d.turned) == 0 || room < (q.lineLen()+1)/2 {
		return
	}
	now := q.cfg.Now()
	for ; room > 0 && len(d.turned) > 0; room-- {
		it := d.turned[0]
		d.turned[0], d.turned = nil, d.turned[1:]
		if it.awaits != d {
			continue // it came in by itself
		}
		it.awaits, it.later = nil, time.Time{}
		if it.phase == waiting && q.items[it.id] == it && it.next.After(now) {
			it.next = now
			heap.Fix(q.line(it), it.index)
		}
	}
}

// A message that found its destination's line full waits so long, doubling,
// unless it is called in before.
const (
	busyFirst = 30 * time.Second
	busyLong  = 15 * time.Minute
)

// readEnvelope reports whether the item can be worked on.
func (q *Queue) readEnvelope(it *item, now time.Time) bool {
	m, err := q.cfg.Spool.Load(it.id)
	if err == nil {
		env := m.Envelope()
		it.env, err = &env, m.Close()
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, spool.ErrNotFound):
		q.cfg.Log.Warn("message vanished from the spool", "queue_id", it.id, "reason", "vanished")
		q.forget(it)
	case errors.Is(err, spool.ErrBroken):
		q.aside(it, err)
	default:
		q.cfg.Log.Error("message not readable", "queue_id", it.id, "reason", "spool-read", "err", err)
		q.wait(it, now.Add(5*time.Minute))
	}
	return false
}

// aside moves a broken message out of the queue, for a person to look at.
func (q *Queue) aside(it *item, why error) {
	if err := q.cfg.Spool.Quarantine(it.id, why); err != nil {
		q.cfg.Log.Error("broken message not moved aside", "queue_id", it.id, "err", err)
	}
	q.forget(it)
}

// dueRecipients groups the recipients to be tried now by domain.
func (q *Queue) dueRecipients(it *item, now time.Time) map[string][]int {
	groups := make(map[string][]int)
	for i, st := range q.recipients(it) {
		if st.Status.Final() || st.Status == spool.Held || st.Next.After(now) && !it.force {
			continue
		}
		domain := it.env.To[i].Domain
		if q.hold && !q.cfg.Router.Static(domain) {
			continue
		}
		groups[domain] = append(groups[domain], i)
	}
	return groups
}

// recipients returns the state of each recipient of a message whose envelope
// is at hand.
func (q *Queue) recipients(it *item) []spool.State {
	return statesOf(q.cfg.Spool, it.env)
}

func statesOf(s *spool.Spool, env *envelope.Envelope) []spool.State {
	out := make([]spool.State, len(env.To))
	for i := range out {
		out[i] = spool.State{ID: env.ID, Rcpt: i}
	}
	for _, st := range s.Journal().States(env.ID) {
		if st.Rcpt >= 0 && st.Rcpt < len(out) {
			out[st.Rcpt] = st
		}
	}
	return out
}

func (q *Queue) makeReady(d *destination) {
	if !d.ready && len(d.jobs) > 0 && d.running < q.cfg.PerDestination {
		d.ready = true
		q.ready = append(q.ready, d)
	}
}

// begin starts the next job of a destination.
func (q *Queue) begin(d *destination) {
	j := d.jobs[0]
	d.jobs = d.jobs[1:]
	if j.item.drop || j.item.hold {
		q.ended(j, false)
		return
	}
	q.occupy(d, 1)
	started := q.jobs.Go("delivery", func(context.Context) {
		q.attempt(j)
		// After the end nobody needs to know: the journal does.
		select {
		case q.ops <- func() { q.ended(j, true) }:
		case <-q.quit:
		}
	})
	if !started {
		q.ended(j, true)
		return
	}
	q.makeReady(d)
}

// occupy takes room for an attempt, or gives it back.
func (q *Queue) occupy(d *destination, n int) {
	d.running += n
	q.running += n
	if !d.static {
		q.outside += n
	}
}

// ended takes back the room of a job.
func (q *Queue) ended(j job, ran bool) {
	d := j.dest
	if ran {
		q.occupy(d, -1)
	}
	q.makeReady(d)
	q.callIn(d)
	if d.running == 0 && len(d.jobs) == 0 && len(d.turned) == 0 {
		delete(q.dests, d.domain)
	}
	if j.item.jobs--; j.item.jobs == 0 {
		q.rest(j.item)
	}
}

// rest decides what an active message without jobs does next.
func (q *Queue) rest(it *item) {
	it.cancel()
	it.ctx, it.cancel = nil, nil
	q.active--
	if it.counted {
		it.counted = false
		q.foreign--
	}
	states := q.recipients(it)
	if it.drop {
		q.dropRecipients(states)
		q.remove(it)
		return
	}
	if it.broken != nil {
		q.aside(it, it.broken)
		return
	}
	open, outside, kept, next := 0, 0, 0, time.Time{}
	for i, st := range states {
		if st.Status.Final() {
			continue
		}
		open++
		if st.Status == spool.Held {
			kept++
			continue
		}
		if q.hold && !q.cfg.Router.Static(it.env.To[i].Domain) {
			outside++
			continue
		}
		if next.IsZero() || st.Next.Before(next) {
			next = st.Next
		}
	}
	switch {
	case open == 0:
		q.remove(it)
	case it.hold:
		it.phase, it.env = held, nil
	case open == kept:
		q.restKept(it)
	case open == outside+kept:
		it.phase, it.env = parked, nil
	default:
		it.env = nil
		if it.force {
			next = q.cfg.Now() // asked for while the attempt ran
		}
		q.wait(it, latest(next, it.later))
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (q *Queue) wait(it *item, until time.Time) {
	it.phase, it.next = waiting, until
	heap.Push(q.line(it), it)
}

// remove takes a finished message out of the spool.
func (q *Queue) remove(it *item) {
	if err := q.cfg.Spool.Remove(it.id); err != nil {
		// Its recipients are final in the journal: it is only litter.
		q.cfg.Log.Error("finished message not removed", "queue_id", it.id, "reason", "spool-remove", "err", err)
	}
	q.cfg.Log.Info("message done", "queue_id", it.id)
	q.forget(it)
}

func (q *Queue) forget(it *item) {
	delete(q.items, it.id)
	q.kept.forget(it.id)
	q.count.Store(int64(len(q.items)))
}

// unpark takes up all parked messages anew.
func (q *Queue) unpark() {
	now := q.cfg.Now()
	for _, it := range q.items {
		if it.phase == parked {
			q.wait(it, now)
		}
	}
}
