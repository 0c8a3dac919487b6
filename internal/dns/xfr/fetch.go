package xfr

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
)

// wanted is what is asked of a primary.
type wanted struct {
	have  *dns.SOA // nil: nothing is there
	whole bool     // no differences
	any   bool     // any serial, also an older one or the same
}

// fetched is what came of it.
type fetched struct {
	Incoming
	current bool // it has what we have
	expire  uint32
	expires bool // expire was given (RFC 7314)
	records int
	octets  int64
	fell    error // why there were no differences, though asked for
}

// fetch transfers a zone: as differences where there is something that they
// could be applied to, else whole. Where differences come to nothing for any
// reason that the whole zone may not share, that is asked for, once.
func (c *client) fetch(ctx context.Context, in *Inbound, t target, w wanted) (*fetched, error) {
	d := demand{zone: in.Zone, kind: dns.TypeIXFR, have: w.have}
	if w.have == nil || w.whole || w.any {
		d.kind = dns.TypeAXFR
	}
	var fell error
	for {
		got, err := c.transfer(ctx, in, t, d, w)
		switch {
		case err == nil:
			got.fell = fell
			return got, nil
		case !d.plain && strange(err):
			d.plain = true // RFC 6891, Section 7: a server of before EDNS
		case d.kind == dns.TypeIXFR && retryWhole(err) && ctx.Err() == nil:
			d.kind, fell = dns.TypeAXFR, err
		default:
			return nil, err
		}
	}
}

// strange reports whether a server may have taken offence at EDNS.
func strange(err error) bool {
	var rcode errRcode
	return errors.As(err, &rcode) && slices.Contains([]errRcode{dns.RcodeFormatError, dns.RcodeNotImplemented}, rcode)
}

// errLone says that a server gives no differences.
var errLone = errors.New("it has no differences for us")

// retryWhole reports whether the whole zone is worth asking for after
// differences came to nothing: not where nobody answers, where nothing is
// proven, or where the version itself is not wanted.
func retryWhole(err error) bool {
	switch reasonOf(err) {
	case Silent, TooSlow, TooLong, TLSFailed, Unsigned, BadSignature, BadTime, KeyRefused, Older:
		return false
	}
	return true
}

// transfer makes one request on a connection that nobody else uses meanwhile, so
// that nothing of another answer can come between.
func (c *client) transfer(ctx context.Context, in *Inbound, t target, d demand, w wanted) (*fetched, error) {
	var r *reading
	err := c.talk(ctx, t, func(s *stream) error {
		a, err := c.ask(d, t)
		if err != nil {
			return err
		}
		if err := s.send(a.wire, c.wait); err != nil {
			return err
		}
		r = newReading(in, a.id, a.kind, a.replies(), form{have: w.have, steps: d.kind == dns.TypeIXFR, any: w.any})
		return c.gather(ctx, s, r)
	})
	if err != nil {
		return nil, err
	}
	got := &fetched{current: r.form.current, expire: r.expire, expires: r.expires, records: r.count, octets: r.octets}
	got.Incoming = Incoming{SOA: r.form.first, Full: r.form.full, Deltas: r.form.deltas, From: t.addr, Primary: t.Name}
	return got, nil
}

// gather reads messages until the transfer is whole.
func (c *client) gather(ctx context.Context, s *stream, r *reading) error {
	for {
		within := c.wait
		if r.form.lone() {
			within = min(within, loneTime)
		}
		msg, err := s.next(ctx, within)
		if err != nil {
			if r.form.lone() && ctx.Err() == nil {
				return &Fault{Misfit, errLone}
			}
			return err
		}
		c.messages(len(msg))
		done, err := r.take(msg, c.now())
		switch {
		case err != nil:
			return err
		case !done:
			continue
		// Nothing more was asked for: what came already belongs to this answer,
		// so its end was none.
		case s.read.Buffered() > 0 && !r.form.current:
			return fault(AfterEnd, "%d octets", s.read.Buffered())
		}
		return nil
	}
}

// polled is what a primary says of its version.
type polled struct {
	serial  uint32
	expire  uint32
	expires bool
}

// poll asks for the SOA of a zone: by UDP, then by TCP; within TLS where the
// primary is asked so.
func (c *client) poll(ctx context.Context, in *Inbound, t target) (polled, error) {
	d := demand{zone: in.Zone, kind: dns.TypeSOA}
	for {
		got, err := c.pollOnce(ctx, in, t, d)
		if err != nil && !d.plain && strange(err) {
			d.plain = true
			continue
		}
		return got, err
	}
}

func (c *client) pollOnce(ctx context.Context, in *Inbound, t target, d demand) (polled, error) {
	if t.TLS == nil {
		for try := range 2 {
			got, again, err := c.pollUDP(ctx, in, t, d, firstTry<<try)
			switch {
			case !again:
				return got, err
			case t.bad && err == nil:
				return polled{}, fault(Silent, "%s does not answer", t.addr)
			}
		}
	}
	var got polled
	err := c.talk(ctx, t, func(s *stream) error {
		a, err := c.ask(d, t)
		if err != nil {
			return err
		}
		if err := s.send(a.wire, pollTime); err != nil {
			return err
		}
		msg, err := s.next(ctx, pollTime)
		if err != nil {
			return err
		}
		got, _, err = c.readSOA(in, a, msg)
		return err
	})
	return got, err
}

// pollUDP asks once by UDP; again says that the answer is still to be had.
func (c *client) pollUDP(ctx context.Context, in *Inbound, t target, d demand, within time.Duration) (got polled, again bool, err error) {
	a, err := c.ask(d, t)
	if err != nil {
		return polled{}, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	reply, err := c.exchange(ctx, sourceFor(t.Source, t.addr.Addr()), t.addr, a.wire)
	if err != nil {
		return polled{}, true, nil // TCP tells more
	}
	got, cut, err := c.readSOA(in, a, reply)
	// What proves nothing may be anybody's by UDP: TCP is asked before it is
	// believed.
	final := reasonOf(err) == Refused && !in.Catalog || reasonOf(err) == NotAuthority || reasonOf(err) == KeyRefused
	return got, cut || err != nil && !final, err
}

// readSOA reads the answer to the question for the SOA; cut says that it was
// too long for UDP.
func (c *client) readSOA(in *Inbound, a *asked, reply []byte) (got polled, cut bool, err error) {
	r := newReading(in, a.id, a.kind, a.replies(), form{})
	r.messages = 1
	if len(reply) >= wire.HeaderLen && reply[2]&byte(wire.TC>>8) != 0 {
		return got, true, fault(Malformed, "cut off, though not by UDP")
	}
	if err := r.header(reply, c.now()); err != nil {
		return got, false, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		return got, false, &Fault{Malformed, err}
	}
	if _, err := r.question(reply); err != nil {
		return got, false, err
	}
	for _, rr := range m.Answer {
		soa, ok := rr.(*dns.SOA)
		if !ok || !sameName(soa.Hdr.Name, in.Zone) {
			continue
		}
		got.serial = soa.Serial
		if o := m.IsEdns0(); o != nil {
			for _, option := range o.Option {
				if e, ok := option.(*dns.EDNS0_EXPIRE); ok && !e.Empty {
					got.expire, got.expires = e.Expire, true
				}
			}
		}
		return got, false, nil
	}
	return got, false, &Fault{Reason: NotAuthority}
}
