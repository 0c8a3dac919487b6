package smtpd

import (
	"errors"
	"io"
	"strings"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
)

// Transaction gathers what MAIL and RCPT have said, for a Session that has
// admitted it.
type Transaction struct {
	From   address.Address
	To     []address.Address
	params MailParams
	notify []envelope.Notify
	orcpt  []string
}

// Begin starts over with a sender.
func (t *Transaction) Begin(from address.Address, p MailParams) {
	*t = Transaction{From: from, params: p}
}

// Params are those of MAIL.
func (t *Transaction) Params() MailParams { return t.params }

// Add takes a recipient; one that is there already is not taken twice.
func (t *Transaction) Add(to address.Address, p RcptParams) {
	for _, have := range t.To {
		if have.Equal(to) {
			return
		}
	}
	t.To = append(t.To, to)
	t.notify = append(t.notify, p.Notify)
	t.orcpt = append(t.orcpt, p.ORcpt)
}

// Room refuses a recipient that leads to so many addresses that the message
// would have more than a message may: an alias must not make of a thousand
// recipients a hundred thousand. The first always fits, as it could not come
// alone later.
func (t *Transaction) Room(c *Conn, addresses int) *smtpline.Reply {
	if c.Recipients == 0 || len(t.To) == 0 || len(t.To)+addresses <= c.Recipients {
		return nil
	}
	return tooManyRcpts
}

// Envelope is the transaction as it is stored.
func (t *Transaction) Envelope(c *Conn, o envelope.Origin, account string, now time.Time) envelope.Envelope {
	env := envelope.Envelope{
		From: t.From, To: t.To, Received: now, Client: c.Remote.Addr(), Helo: c.Helo, Account: account,
		Origin: o, TLS: c.TLS != nil, UTF8: t.params.UTF8, RequireTLS: t.params.RequireTLS, Body8Bit: t.params.Body == smtpline.Body8Bit,
		Ret: t.params.Ret, EnvID: t.params.EnvID,
	}
	for i := range t.To {
		if t.notify[i] != 0 || t.orcpt[i] != "" {
			env.Notify, env.ORcpt = t.notify, t.orcpt
			break
		}
	}
	return env
}

// Spool is where a message is written while it comes in.
type Spool interface {
	Create() (*spool.Draft, error)
}

// Receive streams a message into a new draft, which the caller must commit or
// abort. Nothing is promised yet. A refusal comes with no draft.
func Receive(s Spool, r io.Reader) (*spool.Draft, *smtpline.Reply) {
	draft, err := s.Create()
	if err != nil {
		return nil, spoolReply(err)
	}
	if _, err := io.Copy(draft, r); err != nil {
		draft.Abort()
		return nil, spoolReply(err)
	}
	return draft, nil
}

// spoolReply tells the client what the spool could not do. For an error of the
// reader the engine says its own.
func spoolReply(err error) *smtpline.Reply {
	r := *internal
	switch {
	case errors.Is(err, spool.ErrFull):
		r = smtpline.Reply{Code: 452, Enhanced: "4.3.1", Reason: "disk-full", Text: "no room for the message, try again later"}
	case errors.Is(err, spool.ErrHeaderTooLarge):
		r = smtpline.Reply{Code: 552, Enhanced: "5.3.4", Reason: "header-too-large", Text: "the message header is too large"}
	}
	r.Cause = err
	return &r
}

// Routed reports a local part that says more than a mailbox: a way on to another
// host (the percent hack, bang paths, an address in quotes), or bytes that a
// later reader may take for the end of the address. Such an address is how an
// open relay is looked for behind a closed one.
func Routed(a address.Address) bool {
	return strings.ContainsAny(a.Local, "%!") || Ambiguous(a)
}

// Ambiguous reports a quoted local part that a later reader could cut
// differently.
func Ambiguous(a address.Address) bool {
	return strings.ContainsAny(a.Local, "@<> \t\"\\,;:()[]")
}
