package deliver

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/mail/envelope"
	"postern/internal/mail/route"
)

// pipelined is how many commands go out before their replies are read. Their
// replies must fit into the buffers of both kernels, or both sides would wait
// for each other (RFC 2920, Section 3.1).
const pipelined = 50

// transaction sends the message to some of the open recipients, given by their
// positions. A recipient that was accepted or refused for good is settled; one
// that was deferred stays open with its result noted. Trouble concerns the
// whole server.
func (a *attempt) transaction(s *session, rcpts []int) *trouble {
	if a.job.Envelope.RequireTLS && !s.keepsTLS() {
		t := leavesTLS
		return &t
	}
	rcpts, utf8 := a.internationalise(s, rcpts)
	if len(rcpts) == 0 {
		return nil
	}
	if t := a.tooLarge(s); t != nil {
		a.refuse(s, rcpts, t)
		return nil
	}
	accepted, t := a.envelope(s, a.mailCommand(s, utf8), rcpts)
	if t != nil {
		return t
	}
	if len(accepted) == 0 {
		return a.reset(s)
	}
	return a.data(s, accepted)
}

// reset ends a transaction that came to nothing, so that another may follow.
func (a *attempt) reset(s *session) *trouble {
	_, t := s.ask("RSET", s.timeouts().Mail, "resetting")
	return t
}

// internationalise decides by content whether SMTPUTF8 is needed, and refuses
// the recipients for whom it is but cannot be had (RFC 6531, Sections 3.2 and
// 3.5). Eight-bit headers of a sender that did not ask for it stay what they
// were.
func (a *attempt) internationalise(s *session, rcpts []int) (rest []int, utf8 bool) {
	env := &a.job.Envelope
	all := !env.From.IsASCII() || env.UTF8 && a.content.header8
	needs := func(i int) bool { return all || !a.report.Results[i].Recipient.IsASCII() }
	if s.has("SMTPUTF8") {
		return rcpts, slices.ContainsFunc(rcpts, needs)
	}
	for _, i := range rcpts {
		if !needs(i) {
			rest = append(rest, i)
			continue
		}
		a.refuse(s, []int{i}, &trouble{enhanced: "5.6.7", text: "the server does not take internationalised mail", reason: "no-smtputf8", permanent: true})
	}
	return rest, false
}

// tooLarge spares both sides a message the server said it would refuse (RFC
// 1870, Section 6.1).
func (a *attempt) tooLarge(s *session) *trouble {
	limit, err := strconv.ParseInt(s.ext["SIZE"], 10, 64)
	if err != nil || limit <= 0 || a.job.Message.Size() <= limit {
		return nil
	}
	return &trouble{enhanced: "5.3.4", text: fmt.Sprintf("the message is larger than the %d octets the server takes", limit), reason: "too-large", permanent: true}
}

// refuse gives one outcome to several recipients.
func (a *attempt) refuse(s *session, rcpts []int, t *trouble) {
	for _, i := range rcpts {
		a.note(i, s.peer, s.version, t)
		if t.permanent || t.stop {
			a.settle(i)
		}
	}
}

// mailCommand writes MAIL with the parameters that the message needs and the
// server knows.
func (a *attempt) mailCommand(s *session, utf8 bool) string {
	env := &a.job.Envelope
	var b strings.Builder
	b.WriteString("MAIL FROM:" + env.From.Path())
	if s.has("SIZE") {
		fmt.Fprintf(&b, " SIZE=%d", a.job.Message.Size())
	}
	// Without 8BITMIME the octets go as they are: departs from RFC 6152, Section
	// 3, because recoding would break signatures and nearly all servers that
	// forget to announce it take them.
	if (a.content.body8 || a.content.header8) && s.has("8BITMIME") {
		b.WriteString(" BODY=8BITMIME")
	}
	if utf8 {
		b.WriteString(" SMTPUTF8")
	}
	if env.RequireTLS { // only a server that knows it gets here
		b.WriteString(" REQUIRETLS")
	}
	if s.has("DSN") {
		addParam(&b, "RET", env.Ret)
		addParam(&b, "ENVID", env.EnvID)
	}
	return b.String()
}

func (a *attempt) rcptCommand(s *session, i int) string {
	var b strings.Builder
	b.WriteString("RCPT TO:" + a.report.Results[i].Recipient.Path())
	if s.has("DSN") {
		env := &a.job.Envelope
		n := a.job.Rcpts[i]
		if asked := env.NotifyOf(n); asked != 0 {
			addParam(&b, "NOTIFY", asked.String())
		} else if env.Origin == envelope.Bounce {
			addParam(&b, "NOTIFY", "NEVER") // RFC 3461, Section 6.1
		}
		addParam(&b, "ORCPT", env.ORcptOf(n))
	}
	return b.String()
}

// addParam adds an ESMTP parameter unless it is empty or holds what no value
// may hold (RFC 5321, Section 4.1.2: esmtp-value).
func addParam(b *strings.Builder, name, value string) {
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' || r == '=' }) {
		return
	}
	b.WriteString(" " + name + "=" + value)
}

// envelope says MAIL and RCPT. It returns the recipients the server takes.
func (a *attempt) envelope(s *session, mail string, rcpts []int) ([]int, *trouble) {
	commands := make([]string, 0, len(rcpts)+1)
	commands = append(commands, mail)
	for _, i := range rcpts {
		commands = append(commands, a.rcptCommand(s, i))
	}
	group := 1
	if s.has("PIPELINING") {
		group = pipelined
	}
	var accepted []int
	for at := 0; at < len(commands); at += group {
		batch := commands[at:min(at+group, len(commands))]
		if t := s.send([]byte(strings.Join(batch, "\r\n")+"\r\n"), s.timeouts().Mail, "sending the envelope"); t != nil {
			return nil, t
		}
		var mailRefused *trouble
		for k := range batch {
			t, rcptOK := a.envelopeReply(s, at+k, rcpts, mailRefused != nil)
			switch {
			case t != nil && (at+k > 0 || s.lost):
				return nil, t
			case t != nil:
				mailRefused = t // the replies to what was sent after it still come
			case rcptOK:
				accepted = append(accepted, rcpts[at+k-1])
			}
		}
		if mailRefused != nil {
			return nil, a.mailRefused(s, mailRefused)
		}
	}
	return accepted, nil
}

// envelopeReply reads the reply to command n: 0 is MAIL, the rest are rcpts.
func (a *attempt) envelopeReply(s *session, n int, rcpts []int, ignore bool) (t *trouble, accepted bool) {
	if n == 0 {
		r, t := s.read(s.timeouts().Mail, "waiting for the reply to MAIL")
		if t == nil && !r.ok() {
			t = refused(r, "mail-refused")
		}
		return t, false
	}
	r, t := s.read(s.timeouts().Rcpt, "waiting for the reply to RCPT")
	if t != nil || ignore {
		return t, false
	}
	if r.ok() {
		return nil, true
	}
	t = refused(r, "rcpt-refused")
	if r.code == 552 && (r.enhanced == "" || r.enhanced == "5.5.3") {
		t.permanent = false // too many recipients: RFC 5321, Section 4.5.3.1.10
	}
	a.refuse(s, rcpts[n-1:n], t)
	return nil, false
}

// mailRefused settles all recipients when the sender is refused for good;
// otherwise another host may be kinder.
func (a *attempt) mailRefused(s *session, t *trouble) *trouble {
	if !t.permanent {
		return t
	}
	a.refuse(s, slices.Clone(a.open), t)
	return nil
}

// data sends the message. DATA is never pipelined with what goes before it: a
// server that refused every recipient and says 354 all the same would be owed a
// message.
func (a *attempt) data(s *session, rcpts []int) *trouble {
	if t := s.quiet("to send DATA"); t != nil {
		return t
	}
	r, t := s.ask("DATA", s.timeouts().DataStart, "waiting for the reply to DATA")
	if t != nil {
		return t
	}
	if r.code != 354 {
		a.refuse(s, rcpts, refused(r, "data-refused"))
		return a.reset(s) // the transaction is still open there
	}
	if t := s.quiet("to send the message"); t != nil {
		return t // a reply to it that is there before it is none
	}
	w := &blockWriter{s: s, limit: s.timeouts().DataBlock}
	if err := stuff(w, a.read(), a.job.Message.Size()); err != nil {
		return a.dataBroken(s, rcpts, err)
	}
	if s.peer.hop.Protocol == route.LMTP {
		return a.finalLMTP(s, rcpts)
	}
	r, t = s.read(s.timeouts().DataEnd, "waiting for the reply to the message")
	if t != nil {
		return a.unsure(s, rcpts, t)
	}
	a.final(s, rcpts, r)
	return nil
}

// final gives the reply to the message to some recipients.
func (a *attempt) final(s *session, rcpts []int, r reply) {
	if !r.ok() {
		a.refuse(s, rcpts, refused(r, "message-refused"))
		return
	}
	for _, i := range rcpts {
		a.note(i, s.peer, s.version, &trouble{code: r.code, enhanced: r.enhanced, text: r.text(), reason: "delivered"})
		a.report.Results[i].Outcome, a.report.Results[i].Tells = Delivered, s.has("DSN")
		a.settle(i)
	}
}

// finalLMTP reads one reply for each recipient that was accepted, in their
// order (RFC 2033, Section 4.2).
func (a *attempt) finalLMTP(s *session, rcpts []int) *trouble {
	for k := range rcpts {
		r, t := s.read(s.timeouts().DataEnd, "waiting for the reply to the message")
		if t != nil {
			return a.unsure(s, rcpts[k:], t)
		}
		a.final(s, rcpts[k:k+1], r)
	}
	return nil
}

// unsure is a connection that broke after the final dot: the server may have
// the message. It is tried again, since losing it is worse than a second copy,
// but not at once with another host.
func (a *attempt) unsure(s *session, rcpts []int, t *trouble) *trouble {
	t.stop, t.permanent = true, false
	a.refuse(s, rcpts, t)
	return t
}

// dataBroken is a message that did not go out whole. The final dot was not
// sent, so the server must not take it. What it said while we were sending is
// worth more than the broken pipe.
func (a *attempt) dataBroken(s *session, rcpts []int, err error) *trouble {
	s.lost = true
	if _, ours := errors.AsType[*readError](err); ours {
		_ = s.conn.Close() // what went out is the beginning of a message without end
		a.client.cfg.Log.Error("message not sent to its end", "queue_id", a.job.Envelope.ID, "host", s.peer.String(), "err", err)
		t := contentTrouble(err)
		t.stop = true
		return t
	}
	if r, t := s.read(s.timeouts().Quit, "sending the message"); t == nil && r.code/100 == 5 {
		a.refuse(s, rcpts, refused(r, "message-refused"))
	}
	return broken(err, "sending the message")
}

// blockWriter gives every block its own deadline: what is slow but moves is not
// cut off.
type blockWriter struct {
	s     *session
	limit time.Duration
}

// Write sends one block.
func (w *blockWriter) Write(p []byte) (int, error) {
	if err := w.s.conn.SetDeadline(time.Now().Add(w.limit)); err != nil {
		return 0, err
	}
	return w.s.conn.Write(p)
}

var _ io.Writer = (*blockWriter)(nil)
