package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/lookup"
)

// Stub asks a recursive server that somebody names, for the commands that
// evaluate one case with given DNS: three times by UDP, and by TCP what is too
// long for it.
type Stub struct {
	Server  netip.AddrPort
	Timeout time.Duration // of one try; 0: 3 s
}

const stubTries = 3

// Query implements lookup.Resolver. What the server says about DNSSEC is not
// believed: the way to it may be anybody's.
func (s Stub) Query(ctx context.Context, text string, t lookup.Type) (lookup.Answer, error) {
	n, err := name.Parse(text)
	if err != nil {
		return lookup.Answer{}, &lookup.Error{Name: text, Type: t, Cause: err}
	}
	msg, err := s.ask(ctx, n.String(), uint16(t))
	if err != nil {
		return lookup.Answer{}, &lookup.Error{Name: text, Type: t, Temporary: true, Cause: err}
	}
	msg.AuthenticatedData = false
	out, err := answer(n, t, msg)
	if err != nil {
		return lookup.Answer{}, &lookup.Error{Name: text, Type: t, Cause: err}
	}
	return out, nil
}

func (s Stub) ask(ctx context.Context, qname string, qtype uint16) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(qname, qtype)
	q.SetEdns0(1232, false)
	client := &dns.Client{Timeout: s.Timeout}
	if client.Timeout <= 0 {
		client.Timeout = 3 * time.Second
	}
	var errs []error
	for range stubTries {
		msg, _, err := client.ExchangeContext(ctx, q, s.Server.String())
		if err == nil && msg.Truncated && client.Net == "" {
			client.Net = "tcp"
			continue
		}
		switch {
		case err != nil:
			errs = append(errs, err)
		case msg.Rcode == dns.RcodeSuccess, msg.Rcode == dns.RcodeNameError:
			return msg, nil
		default:
			return nil, fmt.Errorf("%s says %s", s.Server, dns.RcodeToString[msg.Rcode])
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(append(errs, fmt.Errorf("%s does not answer", s.Server))...)
}
