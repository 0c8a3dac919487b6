package recipient

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
	"postern/internal/mail/smtpline"
)

// How long answers are good.
const (
	knownFresh  = time.Hour           // of who exists, from a next hop; then it is asked again
	listedFresh = 10 * time.Minute    // from a directory, which is there to be asked: so long mail is taken for who was removed
	knownLong   = 31 * 24 * time.Hour // while nobody answers
	absentFresh = 10 * time.Minute    // a new user need not wait longer
)

// Bounds of what one domain's next hop is asked, and of what is remembered.
const (
	maxKnown     = 100_000
	maxAbsent    = 20_000
	maxCalls     = 4   // conversations at once
	maxQuestions = 200 // waiting to be asked
	perSecond    = 20  // questions, in the long run
	atOnce       = 60  // in a burst
)

// patience is how long a client waits at RCPT.
const patience = 20 * time.Second

// Rests after a next hop that did not answer: doubling.
const (
	restFirst = 5 * time.Second
	restLong  = time.Minute
)

// Times between names made up by chance: to see whether the next hop takes
// anything, and to see it soon when it was not there.
const (
	probeEvery = time.Hour
	probeAgain = time.Minute
)

// verifier asks the next hop of one domain, or its directory.
type verifier struct {
	keeper    *Keeper
	domain    string
	mode      Mode // Verify or Directory
	questions chan *question

	mu       sync.Mutex // guards what follows
	known    map[string]time.Time
	absent   map[string]time.Time
	open     map[string]*question // asked, or waiting to be
	calls    int                  // conversations: goroutines of converse
	fresh    allowance            // for names that are not known
	again    allowance            // for names that are, lest a flood of the others keep those who have left
	said     string               // the words of the last fault that was told
	faults   int                  // calls in a row that came to nothing
	rest     time.Time            // not asked until then
	heard    bool                 // a made-up name was answered, one way or the other
	anything bool                 // and taken
	evasive  bool                 // neither, when asked for one last
	learnt   uint64               // changes of known
	probing  bool
	probeAt  time.Time
}

// question is one recipient that is asked for; done is closed when ruling is
// final.
type question struct {
	to     address.Address
	made   bool // up, by chance: the answer says nothing about a recipient
	done   chan struct{}
	ruling ruling
}

// ruling is what an answer means.
type ruling uint8

const (
	noAnswer ruling = iota
	exists
	absentFor
	closedFor
	fullFor
)

func newVerifier(k *Keeper, domain string, m Mode) *verifier {
	return &verifier{
		keeper: k, domain: domain, mode: m, questions: make(chan *question, maxQuestions), fresh: allowance{left: atOnce}, again: allowance{left: atOnce},
		known: map[string]time.Time{}, absent: map[string]time.Time{}, open: map[string]*question{},
	}
}

// find is nil for a recipient that exists, else the refusal.
func (v *verifier) find(ctx context.Context, to address.Address) *smtpline.Reply {
	r, q := v.begin(to)
	if q != nil {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		select {
		case <-q.done:
			r = q.ruling
		case <-ctx.Done():
		}
	}
	switch r {
	case exists:
		return nil
	case absentFor:
		return unknown
	case closedFor:
		return closed
	case fullFor:
		return full
	}
	if v.existed(to) {
		v.keeper.Counters.TakenUnsure.Inc()
		return nil
	}
	return unsure
}

// keyOf is by what somebody is known: the letter case of a local part is not
// looked at. Whoever wrote one name in all the ways there are would else fill the
// memory, and drive out those who exist. Who is absent is so as written alone: a
// server that tells Ann from ann (RFC 5321, Section 2.4, lets it) and has no ANN
// must not have Ann refused.
func keyOf(a address.Address) string {
	a.Local = strings.ToLower(a.Local)
	return a.Key()
}

// begin answers from memory, or returns the question to wait for; neither where
// it cannot be asked now.
func (v *verifier) begin(to address.Address) (ruling, *question) {
	now := v.keeper.cfg.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.anything {
		return exists, nil
	}
	at, known := v.known[keyOf(to)]
	if known && now.Sub(at) < v.mode.freshFor() {
		v.keeper.Counters.Remembered.Inc()
		return exists, nil
	}
	if at, ok := v.absent[to.Key()]; ok && now.Sub(at) < absentFresh {
		v.keeper.Counters.Remembered.Inc()
		return absentFor, nil
	}
	if q := v.open[to.Key()]; q != nil {
		return noAnswer, q
	}
	from := &v.fresh
	if known {
		from = &v.again
	}
	if now.Before(v.rest) || !from.spend(now) {
		if !now.Before(v.rest) {
			v.keeper.Counters.Busy.Inc()
		}
		return noAnswer, nil
	}
	return noAnswer, v.putLocked(&question{to: to})
}

// putLocked has a question asked; nil if there is no room.
func (v *verifier) putLocked(q *question) *question {
	q.done = make(chan struct{})
	select {
	case v.questions <- q:
	default:
		v.keeper.Counters.Busy.Inc()
		return nil
	}
	// One conversation serves for many questions; another is begun only when
	// they pile up.
	if v.calls == 0 || v.calls < maxCalls && len(v.questions) > 2*v.calls {
		v.calls++
		if !v.keeper.jobs.Go("recipient call", v.converse) {
			v.calls--
			return nil // stopping: nobody will ask
		}
	}
	v.open[q.to.Key()] = q
	return q
}

// freshFor is how long an answer that somebody exists is good.
func (m Mode) freshFor() time.Duration {
	if m == Directory {
		return listedFresh
	}
	return knownFresh
}

// allowance is how many questions may be asked.
type allowance struct {
	left float64
	at   time.Time // when it was counted last
}

// spend takes one: so many may be asked in a second.
func (a *allowance) spend(now time.Time) bool {
	if since := now.Sub(a.at); since > 0 {
		a.left = min(a.left+since.Seconds()*perSecond, atOnce)
	}
	a.at = now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

// existed reports a recipient that was there, if not lately.
func (v *verifier) existed(to address.Address) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	at, ok := v.known[keyOf(to)]
	return ok && v.keeper.cfg.Now().Sub(at) < knownLong
}

// settleLocked gives a question its answer and remembers it.
func (v *verifier) settleLocked(q *question, r ruling) {
	q.ruling = r
	key, now := q.to.Key(), v.keeper.cfg.Now()
	delete(v.open, key)
	if !q.made {
		switch r {
		case exists:
			delete(v.absent, key)
			v.learnt++
			v.remember(v.known, keyOf(q.to), now, maxKnown, knownLong)
		case absentFor:
			delete(v.known, key) // not what was known in another case
			if v.mode == Directory {
				delete(v.known, keyOf(q.to)) // which a directory does not tell apart
			}
			v.learnt++ // that somebody has left
			v.remember(v.absent, key, now, maxAbsent, absentFresh)
		}
	}
	close(q.done)
}

// remember writes an answer down and makes room for it. Who asks for ever new
// names fills the memory of the absent alone.
func (v *verifier) remember(m map[string]time.Time, key string, now time.Time, most int, good time.Duration) {
	if _, have := m[key]; !have && len(m) >= most {
		v.sweep(m, now, most, good)
	}
	m[key] = now
}

// sweep drops what is no longer good; if that is not much, every tenth: first
// those with a detail, of which anybody can make up more, then in no order.
func (v *verifier) sweep(m map[string]time.Time, now time.Time, most int, good time.Duration) {
	before := len(m)
	for key, at := range m {
		if now.Sub(at) >= good {
			delete(m, key)
		}
	}
	for _, detailed := range []bool{true, false} {
		for key := range m {
			if len(m) <= most-most/10 {
				break
			}
			if strings.Contains(key, "+") == detailed {
				delete(m, key)
			}
		}
	}
	v.keeper.Counters.Forgotten.Add(uint64(before - len(m)))
}

func (v *verifier) standing() (State, int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.anything:
		return Anything, 0
	case v.faults > 0:
		return Silent, len(v.known)
	case v.evasive:
		return Evasive, len(v.known)
	case v.heard:
		return Fine, len(v.known)
	}
	return Unproven, len(v.known)
}

// judge reads the reply to RCPT. A refusal that is about us or the session, and
// not about the recipient, says nothing: whoever configured the next hop wrong
// would else lose all mail at once.
func judge(a deliver.Answer) ruling {
	switch {
	case a.Code/100 == 2:
		return exists
	case a.Enhanced == "5.2.2", a.Enhanced == "4.2.2", a.Code == 552:
		return fullFor
	case a.Code != 550 && a.Code != 551 && a.Code != 553:
		return noAnswer
	case strings.HasPrefix(a.Enhanced, "5.7."):
		return closedFor
	}
	return absentFor
}

// evadedLocked takes an answer to a name made up that says neither yes nor no. A
// next hop that does not answer at all is told of already.
func (v *verifier) evadedLocked() {
	if v.faults > 0 || v.evasive {
		return
	}
	v.evasive = true
	v.keeper.cfg.Log.Warn(v.mode.whom()+" says neither yes nor no of a name made up by chance; known recipients are taken, others put off as it puts them off",
		"domain", v.domain, "reason", "verify-evasive")
}

// wake has who was left alone asked again at once: what made it silent may have
// been set right.
func (v *verifier) wake() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.faults > 0 || !v.heard {
		v.rest, v.probeAt = time.Time{}, time.Time{}
	}
}

// probeIfDue asks for a name made up by chance.
func (v *verifier) probeIfDue() {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.keeper.cfg.Now()
	if v.probing || now.Before(v.probeAt) || now.Before(v.rest) {
		return
	}
	var octets [10]byte
	_, _ = rand.Read(octets[:]) // it never fails
	to := address.Address{Local: "postern-" + hex.EncodeToString(octets[:]), Domain: v.domain}
	q := v.putLocked(&question{to: to, made: true})
	v.probeAt = now.Add(probeAgain)
	if q == nil {
		return
	}
	v.probing = true
	if !v.keeper.jobs.Go("recipient probe", func(ctx context.Context) { v.probe(ctx, q) }) {
		v.probing = false
	}
}

// probe waits for the answer and takes it.
func (v *verifier) probe(ctx context.Context, q *question) {
	select {
	case <-q.done:
	case <-ctx.Done():
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.probing = false
	if ctx.Err() != nil {
		return
	}
	if q.ruling == noAnswer {
		v.evadedLocked()
		return
	}
	v.evasive = false
	now, was, first := v.keeper.cfg.Now(), v.anything, !v.heard
	v.heard, v.anything, v.probeAt = true, q.ruling == exists, now.Add(probeEvery)
	log := v.keeper.cfg.Log
	switch {
	case v.anything && (first || !was):
		v.learnt++
		clear(v.known) // learnt of a server that says yes to all
		log.Error("recipients cannot be verified: "+v.mode.whom()+" knows a name made up by chance. Every recipient is taken until it refuses such names",
			"domain", v.domain, "reason", "accepts-anything", "name", q.to.String())
	case !v.anything && (first || was):
		log.Info("recipients are verified with "+v.mode.whom(), "domain", v.domain)
	}
}
