package deliver

import (
	"context"
	"errors"
	"fmt"

	"postern/internal/mail/address"
	"postern/internal/mail/route"
)

// Call is a conversation in which a next hop is asked who exists, and no
// message is sent. It belongs to one goroutine.
type Call struct {
	session *session
	begun   bool // a transaction is open there
}

// Answer is what the next hop said to RCPT.
type Answer struct {
	Code     int
	Enhanced string // RFC 3463; "" if none
	Text     string // one line, printable; not for outsiders
}

// Call connects to the first address of the hops that is ready for questions,
// in TLS and logged in as the hop demands. The conversation ends with ctx at
// the latest.
func (c *Client) Call(ctx context.Context, hops []route.Hop) (*Call, error) {
	last := errors.New("no host could be asked")
	tried := 0
	for _, p := range peers(hops) {
		if tried++; tried > maxAddrs || ctx.Err() != nil {
			break
		}
		s, t := c.connect(ctx, p, p.hop.TLS.Mode != route.Required)
		if t == nil {
			return &Call{session: s}, nil
		}
		last = t.asError(p)
	}
	return nil, last
}

// peers are the addresses of the hops that can be spoken to.
func peers(hops []route.Hop) []peer {
	var all []peer
	for _, h := range hops {
		switch {
		case h.Protocol == route.Maildir:
		case h.Path != "":
			all = append(all, peer{hop: h, network: "unix", addr: h.Path})
		default:
			for _, addr := range h.Addrs {
				all = append(all, peer{hop: h, network: "tcp", addr: addr.String(), ip: addr})
			}
		}
	}
	return all
}

func (t *trouble) asError(p peer) error {
	if t.code != 0 {
		return fmt.Errorf("%s: %s: %d %s", p, t.reason, t.code, t.text)
	}
	return fmt.Errorf("%s: %s: %s", p, t.reason, t.text)
}

// Ask asks for one recipient, as a notification would come: from nobody. Each
// question is a transaction of its own, since some servers let a notification
// have one recipient only. After an error the Call is of no more use.
func (k *Call) Ask(to address.Address) (Answer, error) {
	mail := "MAIL FROM:<>"
	if !to.IsASCII() {
		if !k.session.has("SMTPUTF8") {
			return Answer{Code: 553, Enhanced: "5.6.7", Text: "the server does not take internationalised mail"}, nil
		}
		mail += " SMTPUTF8"
	}
	commands := []string{"RSET", mail, "RCPT TO:" + to.Path()}
	if !k.begun {
		commands = commands[1:]
		k.begun = true
	}
	replies, t := k.session.askAll(commands)
	if t != nil {
		return Answer{}, t.asError(k.session.peer)
	}
	r := replies[len(replies)-1]
	for i, earlier := range replies[:len(replies)-1] {
		if !earlier.ok() {
			return Answer{}, fmt.Errorf("%s: %s refused: %d %s", k.session.peer, commands[i], earlier.code, earlier.text())
		}
	}
	return Answer{Code: r.code, Enhanced: r.enhanced, Text: r.text()}, nil
}

// askAll sends commands and reads their replies, together where the server
// takes them so (RFC 2920).
func (s *session) askAll(commands []string) ([]reply, *trouble) {
	limit, while := s.timeouts().Rcpt, "asking for a recipient"
	var replies []reply
	if !s.has("PIPELINING") {
		for _, c := range commands {
			r, t := s.ask(c, limit, while)
			if t != nil {
				return nil, t
			}
			if replies = append(replies, r); !r.ok() {
				break
			}
		}
		return padded(replies, len(commands)), nil
	}
	var all []byte
	for _, c := range commands {
		all = append(append(all, c...), "\r\n"...)
	}
	if t := s.send(all, limit, while); t != nil {
		return nil, t
	}
	for range commands {
		r, t := s.read(limit, while)
		if t != nil {
			return nil, t
		}
		replies = append(replies, r)
	}
	return replies, nil
}

// padded fills in for commands that a refusal before them kept back.
func padded(replies []reply, n int) []reply {
	for len(replies) < n {
		replies = append(replies, replies[len(replies)-1])
	}
	return replies
}

// Close ends the conversation.
func (k *Call) Close() {
	k.session.quit()
	k.session.close()
}
