package recipient

import (
	"context"
	"strings"
	"time"
)

// Bounds of one conversation. Mail servers slow down or hang up on clients who
// ask for many that do not exist; directories do not mind.
const (
	callQuestions = 40
	callRefusals  = 8
	callIdle      = 10 * time.Second // kept open for the next question
)

// conversation is one goroutine's side of a call.
type conversation struct {
	v        *verifier
	call     Call // nil: not begun
	asked    int
	refusals int
}

// converse asks questions until there are none for a while, or the next hop
// does not answer.
func (v *verifier) converse(ctx context.Context) {
	c := &conversation{v: v}
	defer c.hangUp()
	idle := time.NewTimer(callIdle)
	defer idle.Stop()
	for {
		select {
		case q := <-v.questions:
			if !c.answer(ctx, q) {
				return
			}
			idle.Reset(callIdle)
		case <-idle.C:
			if v.leave() {
				return
			}
			idle.Reset(callIdle)
		case <-ctx.Done():
			v.abandon(nil, ctx.Err())
			return
		}
	}
}

// answer asks one question. It reports false when the next hop does not answer
// and the conversation is over.
func (c *conversation) answer(ctx context.Context, q *question) bool {
	v := c.v
	reused := c.call != nil
	r, err := c.ask(ctx, q)
	if err != nil && reused && ctx.Err() == nil {
		// The server hung up on a call that was idle, as it may.
		r, err = c.ask(ctx, q)
	}
	if err != nil {
		v.keeper.Counters.CallFaults.Inc()
		v.abandon(q, err)
		return false
	}
	v.answered(q, r)
	return true
}

func (c *conversation) ask(ctx context.Context, q *question) (ruling, error) {
	if c.call == nil {
		c.v.keeper.Counters.Calls.Inc()
		call, err := c.v.keeper.cfg.Call(ctx, c.v.domain)
		if err != nil {
			return noAnswer, err
		}
		c.call, c.asked, c.refusals = call, 0, 0
	}
	c.v.keeper.Counters.Questions.Inc()
	a, err := c.call.Ask(q.to)
	if err != nil {
		c.hangUp()
		return noAnswer, err
	}
	c.asked++
	r := judge(a)
	if r != exists {
		c.refusals++
	}
	if c.v.mode == Verify && (c.asked >= callQuestions || c.refusals >= callRefusals) {
		c.hangUp()
	}
	return r, nil
}

func (c *conversation) hangUp() {
	if c.call != nil {
		c.call.Close()
		c.call = nil
	}
}

// answered takes an answer of a next hop that is there.
func (v *verifier) answered(q *question, r ruling) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.faults > 0 {
		v.keeper.cfg.Log.Info(v.mode.whom()+" answers again who exists", "domain", v.domain)
	}
	v.faults, v.rest = 0, time.Time{}
	v.settleLocked(q, r)
}

// leave ends a conversation with nothing to ask.
func (v *verifier) leave() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.questions) > 0 {
		return false
	}
	v.calls--
	return true
}

// wordsOf is an error without what differs at each try, as ports do.
func wordsOf(err error) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
}

// abandon ends a conversation, and all questions that wait, and lets the next
// hop rest.
func (v *verifier) abandon(q *question, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls--
	if said := wordsOf(err); v.faults == 0 || said != v.said {
		v.said = said
		v.keeper.cfg.Log.Warn(v.mode.whom()+" does not answer who exists; known recipients are taken, others put off",
			"domain", v.domain, "reason", "verify-silent", "err", err)
	}
	v.faults++
	v.rest = v.keeper.cfg.Now().Add(min(restFirst<<min(v.faults-1, 10), restLong))
	if q != nil {
		v.settleLocked(q, noAnswer)
	}
	for {
		select {
		case q := <-v.questions:
			v.settleLocked(q, noAnswer)
		default:
			return
		}
	}
}
