package accept

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"postern/internal/mail/envelope"
	"postern/internal/mail/message"
	"postern/internal/mail/seal"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
)

// sign returns the header with signatures in front for each domain of ours
// among the authors. A domain without a published key sends unsigned: mail
// flows, and the counter tells.
func (a *Acceptor) sign(ctx context.Context, draft *spool.Draft, h *message.Header, authors []string) ([]byte, error) {
	var keys []seal.Key
	seen := map[string]bool{}
	for _, author := range authors {
		// A host below our domain signs as the domain: DMARC's relaxed
		// alignment wants no more.
		domain, ours := a.ours(author)
		if !ours || seen[domain] || a.cfg.Keys == nil {
			continue
		}
		seen[domain] = true
		found := a.cfg.Keys.Keys(ctx, domain)
		if len(found) == 0 {
			a.Counters.Unsigned.Inc()
			a.cfg.Log.Warn("message goes out unsigned", "queue_id", string(draft.ID()), "domain", domain, "reason", "dkim-no-key")
		}
		keys = append(keys, found...)
	}
	if len(keys) == 0 {
		return h.Bytes(), nil
	}
	fields, err := seal.Sign(h.Bytes(), draft.Body(), keys)
	if err != nil {
		return nil, err
	}
	a.Counters.Signed.Inc()
	return bytes.Join([][]byte{fields, h.Bytes()}, nil), nil
}

// commit makes the message durable and hands it to the queue. The reply is 250
// with the queue id, or says what the disk could not do. held is the reason
// that keeps it from being tried, "" for none.
func (a *Acceptor) commit(ctx context.Context, draft *spool.Draft, env envelope.Envelope, header []byte, held string) *smtpline.Reply {
	if held != "" {
		// Before the message exists: a crash in between must not set it free.
		if err := a.recordHeld(draft.ID(), held); err != nil {
			return a.fault(err)
		}
	}
	id, err := draft.Commit(ctx, env, header)
	if err != nil {
		if held != "" {
			err = errors.Join(err, a.cfg.Spool.Remove(draft.ID())) // the state written above
		}
		return a.fault(err)
	}
	env.ID = id
	holder, canHold := a.cfg.Queue.(Holder)
	switch {
	case held == "":
		a.cfg.Queue.Add(id, env)
	case canHold:
		holder.AddHeld(id, env)
	default:
		a.cfg.Log.Warn("held message shows in the queue after the next start", "queue_id", string(id), "reason", held)
	}
	return &smtpline.Reply{Code: 250, Enhanced: "2.0.0", Text: "queued as " + string(id)}
}

func (a *Acceptor) recordHeld(id envelope.ID, reason string) error {
	journal := a.cfg.Spool.Journal()
	state := spool.State{ID: id, Rcpt: spool.Whole, Status: spool.Held, At: a.cfg.Now(), Text: reason}
	if err := errors.Join(journal.Append(state), journal.Sync()); err != nil {
		return errors.Join(fmt.Errorf("hold: %w", err), a.cfg.Spool.Remove(id))
	}
	return nil
}

// fault is the reply for what is our own fault: the sender keeps the message
// and comes again.
func (a *Acceptor) fault(err error) *smtpline.Reply {
	a.Counters.Faults.Inc()
	switch {
	case errors.Is(err, spool.ErrFull):
		return because(err, 452, "4.3.1", "disk-full", "no room for the message, try again later")
	case errors.Is(err, spool.ErrHeaderTooLarge), errors.Is(err, message.ErrTooLarge), errors.Is(err, message.ErrTooMany):
		return because(err, 552, "5.3.4", "header-too-large", "the message header is too large")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return because(err, 451, "4.3.2", "stopping", "going down, try again later")
	}
	return because(err, 451, "4.3.0", "spool-fault", "the message could not be stored, try again later")
}
