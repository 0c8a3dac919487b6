package manage

import (
	"context"
	"errors"
	"fmt"

	"postern/internal/mail/envelope"
	"postern/internal/mail/queue"
)

func (a QueueArgs) filter() queue.Filter {
	return queue.Filter{From: a.From, Domain: a.Domain, Account: a.Account, Reason: a.Reason, Kept: a.Quarantine}
}

func (d *Desk) queueList(_ context.Context, a QueueArgs) ([]Message, error) {
	entries, err := d.cfg.Queue.List(a.filter())
	if err != nil {
		return nil, err
	}
	messages := []Message{}
	for _, e := range entries {
		messages = append(messages, messageOf(e))
	}
	return messages, nil
}

func (d *Desk) queueShow(_ context.Context, a QueueArgs) (Message, error) {
	if len(a.IDs) != 1 {
		return Message{}, &Error{Reason: ReasonUsage, Text: "show one message at a time"}
	}
	e, err := d.one(a.IDs[0], a.Quarantine)
	return messageOf(e), err
}

// queueDo acts on the messages that the arguments choose. Messages named by id
// must all be there; nothing is done if one is not.
func (d *Desk) queueDo(act func(...envelope.ID) error) func(context.Context, QueueArgs) (Done, error) {
	return func(_ context.Context, a QueueArgs) (Done, error) {
		ids, err := d.choose(a)
		if err != nil || len(ids) == 0 {
			return Done{IDs: []string{}}, err
		}
		err = act(ids...)
		if err != nil && (len(a.IDs) > 0 || !errors.Is(err, queue.ErrUnknown)) { // what a selector chose may have gone out since
			return Done{}, queueError(err)
		}
		done := Done{IDs: []string{}}
		for _, id := range ids {
			done.IDs = append(done.IDs, string(id))
		}
		return done, nil
	}
}

// one is a message of the queue, or of the quarantine alone.
func (d *Desk) one(id string, quarantine bool) (queue.Entry, error) {
	e, err := d.cfg.Queue.Show(envelope.ID(id))
	switch {
	case err != nil:
		return queue.Entry{}, queueError(err)
	case quarantine && e.Reason == "":
		return queue.Entry{}, &Error{Reason: ReasonUnknown, Text: fmt.Sprintf("%q: is in the queue, not in the quarantine", id), Hint: "postern queue show tells more"}
	}
	return e, nil
}

func (d *Desk) choose(a QueueArgs) ([]envelope.ID, error) {
	if len(a.IDs) > 0 && (a.All || a.filter() != (queue.Filter{Kept: a.Quarantine})) {
		return nil, &Error{Reason: ReasonUsage, Text: "ids, or a selector, not both", Hint: "an id is one message, whatever else is said"}
	}
	var ids []envelope.ID
	for _, id := range a.IDs {
		if _, err := d.one(id, a.Quarantine); err != nil {
			return nil, err
		}
		ids = append(ids, envelope.ID(id))
	}
	if len(ids) > 0 {
		return ids, nil
	}
	if !a.All && a.filter() == (queue.Filter{Kept: a.Quarantine}) {
		return nil, &Error{Reason: ReasonUsage, Text: "say which messages: ids, a selector, or all"}
	}
	entries, err := d.cfg.Queue.List(a.filter())
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return ids, nil
}

func messageOf(e queue.Entry) Message {
	m := Message{
		ID: string(e.ID), From: e.Envelope.From.String(), Account: e.Envelope.Account,
		Received: e.Envelope.Received, Size: e.Size, State: e.Phase, Reason: e.Reason, Next: e.Next, Recipients: []Recipient{},
	}
	for _, r := range e.Recipients {
		row := Recipient{Address: r.Address.String(), State: r.Status.String(), Tries: r.Tries}
		if r.Text != "" {
			row.Last = r.Text
			if r.Code != 0 {
				row.Last = fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text)
			}
			if r.Host != "" {
				row.Last = r.Host + ": " + row.Last
			}
		}
		m.Recipients = append(m.Recipients, row)
	}
	return m
}

func queueError(err error) error {
	if errors.Is(err, queue.ErrUnknown) {
		return &Error{Reason: ReasonUnknown, Text: err.Error(), Hint: "postern queue list shows the queue"}
	}
	return err
}
