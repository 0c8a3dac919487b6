package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/cache"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/outbound"
)

// failureLasts is how long a question that could not be answered is not tried
// again (RFC 9520, Section 3.2: at least one second, at most five minutes).
const failureLasts = 5 * time.Second

// errNeedsNetwork ends a walk that may not send packets.
var errNeedsNetwork = errors.New("not known yet")

// walk is the work for one question of a client: a tree of machines that share
// one budget. It belongs to one goroutine.
type walk struct {
	r       *Resolver
	view    string
	offline bool // only own zones, special-use names and the cache
	budget  *iterate.Budget
	stack   []iterate.Question // questions being followed, the client's first

	accept   func(*dns.Msg) error // of a question with DO: whether the message validates
	rejected int                  // messages that did not
}

func (r *Resolver) newWalk(view string, offline bool) *walk {
	return &walk{r: r, view: view, offline: offline, budget: iterate.NewBudget(r.cfg.Limits)}
}

// step is the work for one question of the tree.
type step struct {
	*walk
	space cache.Space // where what is learned now belongs
	// above is the zone whose own server is looked for: the way to it must
	// begin further up.
	above name.Name
}

// resolve follows one question to its end, beginning above a zone if one is
// given.
func (w *walk) resolve(ctx context.Context, q iterate.Question, above name.Name) (iterate.Result, error) {
	w.stack = append(w.stack, q)
	defer func() { w.stack = w.stack[:len(w.stack)-1] }()
	s := step{walk: w, above: above}
	m := iterate.New(q, w.r.cfg.Minimise, w.budget)
	for e := iterate.Event(iterate.Begin{}); ; {
		act := m.Step(e, w.r.cfg.Now())
		s.learn(act)
		if act.Act == iterate.Done && q.DO {
			if err := w.take(act.Result.Msg); err != nil {
				e = iterate.Rejected{Err: err}
				continue
			}
		}
		if err := ctx.Err(); err != nil && act.Act != iterate.Done {
			act = m.Step(iterate.Stop{Err: err}, w.r.cfg.Now())
		}
		switch act.Act {
		case iterate.Done:
			return act.Result, nil
		case iterate.Seek:
			e = s.seek(act.Question)
		case iterate.Ask:
			e = s.ask(ctx, act)
		case iterate.Address:
			e = s.address(ctx, act)
		default:
			return iterate.Result{}, s.failed(q, act)
		}
	}
}

// maxRejected is how many servers may say what does not validate before the
// last of them is taken at its word.
const maxRejected = 3

// take shows a message to the validator. Another server is asked in place of
// one that does not validate: it may be stale, or another's forgery.
func (w *walk) take(msg *dns.Msg) error {
	if msg == nil {
		return errNoMessage
	}
	err := w.accept(msg)
	if err == nil {
		return nil
	}
	w.r.Counters.Rejected.Inc()
	if w.rejected++; w.rejected >= maxRejected {
		return nil
	}
	return err
}

var errNoMessage = errors.New("no message to validate")

func (s *step) learn(a iterate.Action) {
	now := s.r.cfg.Now()
	for _, set := range a.Learned {
		s.r.cache.Put(s.space, set, now)
	}
	if a.Cut != nil {
		s.r.cache.PutCut(s.space, *a.Cut, now)
	}
}

// seek looks for a name where no packet is needed, own zones first: neither a
// cached nor a foreign answer ever outranks them.
func (s *step) seek(q iterate.Question) iterate.Event {
	now, top := s.r.cfg.Now(), name.Root
	s.space = ""
	if q.DO { // what its zone's servers say, not we and not the cache
		if s.r.cache.Failed(unvalidated, q, now) {
			s.r.Counters.Recent.Inc()
			return iterate.Stop{Err: ErrRecent}
		}
		return s.start(q, nil, top, now)
	}
	var own *dns.Msg
	if s.r.cfg.Local != nil {
		if msg, ok := s.r.cfg.Local(s.view, q.Name, q.Type); ok {
			zone, refers := iterate.OwnReferral(msg, q)
			if !refers {
				return iterate.Own{Msg: msg}
			}
			// What stands below this cut is seen by this view alone.
			own, top, s.space = msg, zone, cache.Space(s.view)
		}
	}
	if own == nil {
		if msg, ok := s.r.answerSpecial(q); ok {
			return iterate.Own{Msg: msg}
		}
	}
	if s.r.cache.Failed(s.space, q, now) {
		s.r.Counters.Recent.Inc()
		return iterate.Stop{Err: ErrRecent}
	}
	if set, ok := s.r.cache.Get(s.space, q, now); ok {
		return iterate.Known{Set: set}
	}
	return s.start(q, own, top, now)
}

// start finds where to begin asking.
func (s *step) start(q iterate.Question, own *dns.Msg, top name.Name, now time.Time) iterate.Event {
	from := q.Name
	if q.Type == dns.TypeDS {
		from = from.Parent() // RFC 4035, Section 3.1.4.1: the parent's side answers
	}
	if s.above != "" && from.IsBelow(s.above) {
		from = s.above.Parent()
	}
	cut, ok := s.r.cache.Cut(s.space, from, top, now)
	switch {
	case ok && s.r.cache.Failed(s.space, iterate.Question{Name: cut.Zone}, now):
		s.r.Counters.Recent.Inc()
		return iterate.Stop{Err: ErrRecent}
	case ok:
		return iterate.Cut{Delegation: cut}
	case own != nil:
		return iterate.Own{Msg: own}
	}
	return iterate.Cut{Delegation: s.r.root}
}

// ask makes one exchange with the best of the servers.
func (s *step) ask(ctx context.Context, a iterate.Action) iterate.Event {
	if s.offline {
		return iterate.Stop{Err: errNeedsNetwork}
	}
	for _, addr := range a.Servers {
		if !s.r.out.Usable(addr, a.Inside) {
			return iterate.Silent{From: addr, Dead: true}
		}
	}
	server := s.r.out.Pick(a.Servers)
	msg, sent, err := s.r.out.Exchange(ctx, server, a.Question, a.Inside)
	s.budget.Spend(sent)
	switch {
	case err == nil:
		return iterate.Got{From: server, Msg: msg}
	case errors.Is(err, outbound.ErrBusy), errors.Is(err, outbound.ErrStopped), ctx.Err() != nil:
		return iterate.Stop{Err: err}
	}
	return iterate.Silent{From: server, Dead: errors.Is(err, outbound.ErrUnreachable)}
}

// address resolves a server's name, within the same budget.
func (s *step) address(ctx context.Context, a iterate.Action) iterate.Event {
	if s.offline {
		return iterate.Stop{Err: errNeedsNetwork}
	}
	out := iterate.Addresses{Name: a.Name, Absent: true}
	if len(s.stack) > s.budget.Limits.Depth {
		out.Absent = false // another server name may need less
		return out
	}
	var above name.Name
	if a.Name.IsBelow(a.Zone) {
		above = a.Zone // the parent left out the glue: it is asked for it
	}
	for _, rtype := range s.r.addressTypes() {
		q := iterate.Question{Name: a.Name, Type: rtype}
		if slices.Contains(s.stack, q) {
			s.r.Counters.Cycles.Inc()
			out.Absent = false
			continue
		}
		res, err := s.resolve(ctx, q, above)
		if err != nil {
			if ctx.Err() != nil || iterate.Exhausted(err) || unasked(err) {
				return iterate.Stop{Err: err}
			}
			out.Absent = false
			continue
		}
		for _, rr := range res.Answer {
			if addr, ok := iterate.Addr(rr); ok && s.r.out.Usable(addr, a.Inside) {
				out.Addrs = append(out.Addrs, addr)
			}
		}
		if len(out.Addrs) > 0 {
			out.Absent = false
			break
		}
	}
	out.Spare = s.glue(a)
	return out
}

// glue returns what the parent of the zone that holds the server's name said
// of its address. It may still work where the zone's own word does not.
func (s *step) glue(a iterate.Action) []netip.Addr {
	var out []netip.Addr
	cut, _ := s.r.cache.Cut(s.space, a.Name, name.Root, s.r.cfg.Now())
	for _, server := range cut.Servers {
		for _, addr := range server.Addrs {
			if server.Name == a.Name && s.r.out.Usable(addr, a.Inside) {
				out = append(out, addr)
			}
		}
	}
	return out
}

func (r *Resolver) addressTypes() []uint16 {
	switch {
	case !r.cfg.IPv6:
		return []uint16{dns.TypeA}
	case !r.cfg.IPv4:
		return []uint16{dns.TypeAAAA}
	}
	return []uint16{dns.TypeA, dns.TypeAAAA} // the second only where the first brings none
}

// failed remembers a failure for a while, where it is one of the question and
// not of its place in the tree: a server name that failed as part of a cycle,
// or for want of budget, may well be found by itself.
func (s *step) failed(q iterate.Question, a iterate.Action) error {
	err := fmt.Errorf("%s: %w", q, a.Err)
	ours := errors.Is(a.Err, errNeedsNetwork) || errors.Is(a.Err, ErrRecent) || errors.Is(a.Err, iterate.ErrOwn) ||
		unasked(a.Err) || errors.Is(a.Err, context.Canceled)
	if ours || len(s.stack) > 1 {
		return err
	}
	now := s.r.cfg.Now()
	if errors.Is(a.Err, iterate.ErrNoAddress) && a.Zone != name.Root {
		// No packet was sent: whatever is asked below, none ever will be.
		s.r.cache.Fail(s.space, iterate.Question{Name: a.Zone}, failureLasts, now)
	}
	space := s.space
	if q.DO {
		space = unvalidated
	}
	s.r.cache.Fail(space, q, failureLasts, now)
	return err
}

// unvalidated is where failures of questions with DO are remembered: that
// there is nothing to validate says nothing to those who do not ask for it.
// No view has this name.
const unvalidated = cache.Space(" do")

// unasked reports that we had no room, which says nothing about any server.
func unasked(err error) bool {
	return errors.Is(err, outbound.ErrBusy) || errors.Is(err, outbound.ErrStopped)
}
