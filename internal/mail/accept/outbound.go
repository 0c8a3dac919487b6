package accept

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"postern/internal/mail/address"
	"postern/internal/mail/dsn"
	"postern/internal/mail/envelope"
	"postern/internal/mail/message"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
	"postern/internal/mail/verdict"
)

// ForeignFrom says what a named host may send whose author is none of ours:
// what it forwards. The zero value is to refuse.
type ForeignFrom uint8

// The choices.
const (
	RefuseForeign ForeignFrom = iota
	KeepForeign               // let it pass as it is, unsigned
)

// RelayPolicy is what is asked of a named host's messages.
type RelayPolicy struct{ ForeignFrom ForeignFrom }

// Submitted takes a message from a user. Every address in From, Sender and
// those of who has resent it must be one that permits lets the account use: a signature of ours says that the
// author is who the header says. It ends the draft.
func (a *Acceptor) Submitted(ctx context.Context, draft *spool.Draft, env envelope.Envelope, permits func(address.Address) bool) *smtpline.Reply {
	return a.outbound(ctx, draft, env, func(h *message.Header, authors []address.Address) *smtpline.Reply {
		senders, err := h.Senders()
		if err != nil {
			return because(err, 550, "5.6.0", "sender-syntax", "a Sender, Resent-From or Resent-Sender field of the message is malformed")
		}
		named, err := h.Named()
		if err != nil {
			return because(err, 550, "5.6.0", "sender-syntax", "the From or a Sender field of the message is malformed")
		}
		for _, who := range slices.Concat(authors, senders, named) {
			if !permits(who) {
				return smtpline.Refuse(550, "5.7.1", "foreign-from",
					fmt.Sprintf("the message names %s as its sender, which is not an address of this account", who.Path()))
			}
		}
		return nil
	})
}

// Relayed takes a message from a named host. Its own notifications, with the
// null sender, pass like the rest. It ends the draft.
func (a *Acceptor) Relayed(ctx context.Context, draft *spool.Draft, env envelope.Envelope, p RelayPolicy) *smtpline.Reply {
	return a.outbound(ctx, draft, env, func(_ *message.Header, authors []address.Address) *smtpline.Reply {
		for _, who := range authors {
			if _, ours := a.ours(who.Domain); !ours && p.ForeignFrom == RefuseForeign {
				return smtpline.Refuse(550, "5.7.1", "foreign-from",
					fmt.Sprintf("the From of the message, %s, is not of a domain of ours", who.Path()))
			}
		}
		return nil
	})
}

// outbound is the way of both: who wrote it, whether they may, what is missing,
// trace, signature, commit.
func (a *Acceptor) outbound(ctx context.Context, draft *spool.Draft, env envelope.Envelope,
	may func(*message.Header, []address.Address) *smtpline.Reply,
) *smtpline.Reply {
	defer draft.Abort()
	if env.Received.IsZero() {
		env.Received = a.cfg.Now()
	}
	h, bad := a.read(draft)
	if bad != nil {
		return a.refuse(draft, &env, h, bad)
	}
	authors, bad := author(h)
	if bad == nil {
		bad = may(h, authors)
	}
	if bad != nil {
		return a.refuse(draft, &env, h, bad)
	}
	d, found := a.scan(ctx, draft, &env, "", verdict.Decision{Action: verdict.Accept})
	if d.Reply != nil {
		return a.refuse(draft, &env, h, d.Reply, found...)
	}
	held := "" // a mark is for our own readers: what goes out with one is held in any case
	if d.Action == verdict.Quarantine {
		held = d.Reason
		a.Counters.Held.Inc()
	}
	header, err := a.finish(ctx, draft, &env, h, authors)
	if err != nil {
		return a.refuse(draft, &env, h, a.fault(err), found...)
	}
	reply := a.commit(ctx, draft, env, header, held)
	if !reply.Positive() {
		return a.refuse(draft, &env, h, reply, found...)
	}
	if env.Origin == envelope.Submission {
		a.Counters.Submitted.Inc()
	} else {
		a.Counters.Relayed.Inc()
	}
	a.cfg.Log.Info("message accepted", append(told(draft, &env, h, "author", authors[0].Domain, "held", held != ""), found...)...)
	return reply
}

// author returns the addresses of the one From field; there must be one (RFC
// 5322, Section 3.6).
func author(h *message.Header) ([]address.Address, *smtpline.Reply) {
	authors, err := h.Authors()
	switch {
	case errors.Is(err, message.ErrManyFrom):
		return nil, because(err, 550, "5.6.0", "several-from", "message has more than one From field")
	case errors.Is(err, message.ErrNoFrom), err == nil && len(authors) == 0:
		return nil, because(err, 550, "5.6.0", "no-from", "message has no From address")
	case err != nil:
		return nil, because(err, 550, "5.6.0", "from-syntax", "the From field of the message is malformed")
	}
	return authors, nil
}

// finish writes the header of a message of ours as it goes out. The trace
// field does not say where the user sits: address and HELO name stay in the
// log. What is only forwarded gets no fields of an author's.
func (a *Acceptor) finish(ctx context.Context, draft *spool.Draft, env *envelope.Envelope, h *message.Header, authors []address.Address) ([]byte, error) {
	out := a.strip(h)
	if _, ours := a.ours(authors[0].Domain); ours || env.Origin == envelope.Submission {
		var err error
		if out, err = out.Complete(env.Received, string(draft.ID()), authors[0].Domain); err != nil {
			return nil, err
		}
	}
	out, err := out.Prepend(a.received(draft, env, "").Field())
	if err != nil {
		return nil, err
	}
	domains := make([]string, 0, len(authors))
	for _, who := range authors {
		domains = append(domains, who.Domain)
	}
	return a.sign(ctx, draft, out, domains)
}

// Bounce makes a notification of our own durable and queues it, with the null
// reverse-path (RFC 3461, Section 6.1).
func (a *Acceptor) Bounce(ctx context.Context, m dsn.Message) error {
	draft, err := a.cfg.Spool.Create()
	if err != nil {
		return fmt.Errorf("bounce: %w", err)
	}
	defer draft.Abort()
	for _, part := range [][]byte{m.Header, []byte("\r\n"), m.Body} {
		if _, err := draft.Write(part); err != nil {
			return fmt.Errorf("bounce: %w", err)
		}
	}
	h, err := message.Parse(draft.Header())
	if err != nil {
		return fmt.Errorf("bounce: %w", err)
	}
	authors, bad := author(h)
	if bad != nil {
		return fmt.Errorf("bounce: %s", bad)
	}
	env := envelope.Envelope{
		To: []address.Address{m.To}, Received: a.cfg.Now(), Origin: envelope.Bounce,
		UTF8: m.UTF8, Body8Bit: m.Body8Bit,
	}
	header, err := a.sign(ctx, draft, h, []string{authors[0].Domain})
	if err != nil {
		a.Counters.Faults.Inc()
		return fmt.Errorf("bounce: %w", err)
	}
	if r := a.commit(ctx, draft, env, header, ""); !r.Positive() {
		return fmt.Errorf("bounce: %s: %w", r, r.Cause)
	}
	a.Counters.Bounces.Inc()
	a.cfg.Log.Info("bounce queued", "queue_id", string(draft.ID()), "to", m.To.String())
	return nil
}
