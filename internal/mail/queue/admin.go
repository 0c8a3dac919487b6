package queue

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/spool"
)

// Filter picks messages. Empty fields pick all.
type Filter struct {
	From    string // sender address, or "@domain"; "<>" the null sender
	Domain  string // of a recipient that is still open
	Account string // who logged in, or the relay's name
	Reason  string // why it is held
	Kept    bool   // held for a reason of Postern's own: the quarantine
	Limit   int    // 0: all
}

// Recipient is one recipient of an Entry.
type Recipient struct {
	Address address.Address
	spool.State
}

// Entry is one message as an operator sees it.
type Entry struct {
	ID         envelope.ID
	Phase      string // waiting, active, held, parked (mode hold)
	Reason     string // why it is held; "": an operator said so
	Next       time.Time
	Size       int64
	Envelope   envelope.Envelope
	Recipients []Recipient
}

// glimpse is what the owner knows of an item.
type glimpse struct {
	id    envelope.ID
	phase phase
	next  time.Time
}

// List returns the messages that the filter picks, oldest first.
func (q *Queue) List(f Filter) ([]Entry, error) {
	var seen []glimpse
	if !q.do(func() {
		for _, it := range q.items {
			seen = append(seen, glimpse{it.id, it.phase, it.next})
		}
	}) {
		return nil, ErrStopped
	}
	slices.SortFunc(seen, func(a, b glimpse) int { return strings.Compare(string(a.id), string(b.id)) })
	var out []Entry
	for _, g := range seen {
		e, err := q.entry(g)
		if errors.Is(err, spool.ErrNotFound) {
			continue // it was finished meanwhile
		}
		if err != nil {
			return nil, err
		}
		if f.picks(e) {
			out = append(out, e)
		}
		if f.Limit > 0 && len(out) >= f.Limit {
			break
		}
	}
	return out, nil
}

// Show returns one message.
func (q *Queue) Show(id envelope.ID) (Entry, error) {
	var g glimpse
	if !q.do(func() {
		if it := q.items[id]; it != nil {
			g = glimpse{it.id, it.phase, it.next}
		}
	}) {
		return Entry{}, ErrStopped
	}
	if g.id == "" {
		return Entry{}, fmt.Errorf("%q: %w", id, ErrUnknown)
	}
	e, err := q.entry(g)
	if errors.Is(err, spool.ErrNotFound) {
		err = fmt.Errorf("%q: %w", id, ErrUnknown)
	}
	return e, err
}

func (q *Queue) entry(g glimpse) (Entry, error) {
	m, err := q.cfg.Spool.Load(g.id)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{ID: g.id, Phase: g.phase.String(), Size: m.Size(), Envelope: m.Envelope()}
	if g.phase == waiting {
		e.Next = g.next
	}
	if g.phase == held {
		st, _ := heldIn(q.cfg.Spool.Journal().States(g.id))
		e.Reason = st.Text
	}
	for i, st := range statesOf(q.cfg.Spool, &e.Envelope) {
		e.Recipients = append(e.Recipients, Recipient{e.Envelope.To[i], st})
	}
	return e, m.Close()
}

func (f Filter) picks(e Entry) bool {
	if f.Account != "" && e.Envelope.Account != f.Account {
		return false
	}
	if f.Reason != "" && e.Reason != f.Reason || f.Kept && e.Reason == "" {
		return false
	}
	return f.picksSender(e.Envelope.From) && f.picksRecipient(e)
}

func (f Filter) picksSender(from address.Address) bool {
	domain, all := strings.CutPrefix(f.From, "@")
	switch {
	case f.From == "":
		return true
	case f.From == "<>":
		return from.IsZero()
	case all:
		return strings.EqualFold(from.Domain, domain)
	}
	want, err := address.Parse(f.From)
	return err == nil && want.Equal(from)
}

func (f Filter) picksRecipient(e Entry) bool {
	return f.Domain == "" || slices.ContainsFunc(e.Recipients, func(r Recipient) bool {
		return !r.Status.Final() && strings.EqualFold(r.Address.Domain, f.Domain)
	})
}

// Retry makes all open recipients of the messages due now, hosts that rest
// included. Held messages stay held, and mode hold stays in force.
func (q *Queue) Retry(ids ...envelope.ID) error {
	return q.each(ids, func(it *item) {
		it.force = true
		if it.phase == waiting {
			it.next = q.cfg.Now()
			heap.Fix(q.line(it), it.index)
		}
	})
}

// Drop takes the messages out without telling anybody. An attempt under way is
// cut off; what it had already delivered stays delivered.
func (q *Queue) Drop(ids ...envelope.ID) error {
	return q.each(ids, func(it *item) {
		it.drop = true
		if it.phase == active {
			it.cancel()
			return // gone when its jobs have ended
		}
		if it.phase == waiting {
			heap.Remove(q.line(it), it.index)
		}
		if it.env != nil || q.readEnvelope(it, q.cfg.Now()) {
			q.dropRecipients(q.recipients(it))
			q.remove(it)
		}
	})
}

func (q *Queue) dropRecipients(states []spool.State) {
	var dropped []spool.State
	for _, st := range states {
		if !st.Status.Final() {
			st.Status, st.Next, st.At = spool.Dropped, time.Time{}, q.cfg.Now()
			dropped = append(dropped, st)
		}
	}
	if len(dropped) == 0 {
		return
	}
	q.record(dropped...)
	q.Counters.Dropped.Add(uint64(len(dropped)))
	q.cfg.Log.Info("dropped", "queue_id", dropped[0].ID, "reason", "operator", "rcpts", len(dropped))
}

// Hold keeps the messages until Release; an attempt under way is finished.
func (q *Queue) Hold(ids ...envelope.ID) error {
	return q.each(ids, func(it *item) {
		it.hold = true
		q.record(spool.State{ID: it.id, Rcpt: spool.Whole, Status: spool.Held, At: q.cfg.Now()})
		switch it.phase {
		case waiting:
			heap.Remove(q.line(it), it.index)
			it.phase, it.env = held, nil
		case parked:
			it.phase = held
		}
	})
}

// Release lets held messages go on.
func (q *Queue) Release(ids ...envelope.ID) error {
	return q.each(ids, func(it *item) {
		if !it.hold {
			return
		}
		it.hold = false
		q.reopen(it.id)
		q.record(spool.State{ID: it.id, Rcpt: spool.Whole, Status: spool.Released, At: q.cfg.Now()})
		if it.phase == held {
			q.wait(it, q.cfg.Now())
		}
	})
}

// each has the owner do f for every message; unknown ones are an error, and do
// not stop the others.
func (q *Queue) each(ids []envelope.ID, f func(*item)) error {
	var errs []error
	if !q.do(func() {
		for _, id := range ids {
			if it := q.items[id]; it != nil && !it.drop {
				f(it)
			} else {
				errs = append(errs, fmt.Errorf("%q: %w", id, ErrUnknown))
			}
		}
	}) {
		return ErrStopped
	}
	return errors.Join(errs...)
}
