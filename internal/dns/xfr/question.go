package xfr

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/contrast"
	"postern/internal/dns/name"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
	"postern/internal/metrics"
)

// inquiry is a zone that is asked for set by set.
type inquiry struct {
	client  *client
	target  target
	counted *metrics.Counter
	deaf    atomic.Int32 // questions by UDP without an answer, on end

	mu     sync.Mutex // guards what follows
	gather *contrast.Gather
	silent int // questions without an answer
}

// whole asks for all that the zone may have elsewhere.
func (q *inquiry) whole(ctx context.Context, z *zone.Zone, refused error) (*contrast.Seen, error) {
	asks, all := contrast.Questions(z)
	if all > inquiryQuestions {
		return nil, fmt.Errorf("it gives no transfer (%w), and there are %d sets to ask for: more than %d", refused, all, inquiryQuestions)
	}
	soa, err := q.soa(ctx, z.Origin())
	if err != nil {
		return nil, err
	}
	q.gather = contrast.NewGather(z.Origin(), soa, refused)
	within, stop := context.WithCancel(ctx)
	defer stop()
	work := make(chan contrast.Question)
	var askers sync.WaitGroup
	for range inquiryAtOnce {
		askers.Go(func() {
			for one := range work {
				if q.name(within, one) {
					stop()
				}
			}
		})
	}
	for _, one := range asks {
		select {
		case work <- one:
		case <-within.Done():
		}
	}
	close(work)
	askers.Wait()
	seen := &q.gather.Seen
	switch {
	case ctx.Err() != nil:
		return nil, fault(TooLong, "%d of %d questions were answered", seen.Asked-len(seen.Open), all)
	case within.Err() != nil:
		return nil, fault(Silent, "%d of %d questions were answered, and then no more", seen.Asked-len(seen.Open), all)
	}
	return seen, nil
}

// soa asks whether the server answers for the zone at all.
func (q *inquiry) soa(ctx context.Context, origin name.Name) (*dns.SOA, error) {
	a := q.one(ctx, origin, dns.TypeSOA)
	if a.Err != nil {
		return nil, a.Err
	}
	for _, rr := range a.Answer {
		if soa, ok := rr.(*dns.SOA); ok && a.Authority && sameName(soa.Hdr.Name, origin) {
			return soa, nil
		}
	}
	return nil, &Fault{Reason: NotAuthority}
}

// name asks for the types of one name; after NXDOMAIN there is no need for more.
// It reports whether there is no use in going on.
func (q *inquiry) name(ctx context.Context, ask contrast.Question) (lost bool) {
	var a contrast.Answer
	for _, kind := range ask.Types {
		if a.Rcode != dns.RcodeNameError || !a.Authority {
			a = q.one(ctx, ask.Name, kind)
		}
		if ctx.Err() != nil {
			return false // it was not asked to its end
		}
		if q.take(ask.Name, kind, a) {
			return true
		}
	}
	return false
}

func (q *inquiry) take(n name.Name, kind uint16, a contrast.Answer) (lost bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gather.Take(n, kind, a)
	if a.Err != nil {
		switch reasonOf(a.Err) {
		case Silent, TooSlow, CutShort:
			q.silent++
		}
	}
	return q.silent >= inquirySilent
}

// one asks for one set.
func (q *inquiry) one(ctx context.Context, n name.Name, kind uint16) contrast.Answer {
	q.counted.Inc()
	d := demand{zone: n, kind: kind}
	a, err := q.ask(ctx, d)
	if err == nil && (a.Rcode == dns.RcodeFormatError || a.Rcode == dns.RcodeNotImplemented) {
		d.plain = true // RFC 6891, Section 7
		a, err = q.ask(ctx, d)
	}
	switch {
	case err != nil:
		a.Err = err
	case a.Rcode != dns.RcodeSuccess && a.Rcode != dns.RcodeNameError:
		a.Err = refusal(a.Rcode)
	}
	return a
}

// ask asks by UDP, and by TCP where that brings no whole answer: one that may be
// anybody's, none, or one that was cut off.
func (q *inquiry) ask(ctx context.Context, d demand) (contrast.Answer, error) {
	if q.deaf.Load() < inquiryDeaf {
		got, err := q.byUDP(ctx, d)
		if err == nil {
			q.deaf.Store(0)
			return got, nil
		}
		if errors.Is(err, errSilence) {
			q.deaf.Add(1)
		}
	}
	var got contrast.Answer
	err := q.client.talk(ctx, q.target, func(s *stream) error {
		a, err := q.client.ask(d, q.target)
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
		got, err = a.answer(d, msg, q.client.now())
		return err
	})
	return got, err
}

// errSilence is a question by UDP that nobody answered.
var errSilence = errors.New("no answer by UDP")

func (q *inquiry) byUDP(ctx context.Context, d demand) (contrast.Answer, error) {
	a, err := q.client.ask(d, q.target)
	if err != nil {
		return contrast.Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, firstTry)
	defer cancel()
	reply, err := q.client.exchange(ctx, sourceFor(q.target.Source, q.target.addr.Addr()), q.target.addr, a.wire)
	if err != nil {
		return contrast.Answer{}, fmt.Errorf("%w: %w", errSilence, err)
	}
	return a.answer(d, reply, q.client.now())
}

// answer reads what answers a question about one set. What cannot be a record of
// a zone is an error: nothing could be said of the set.
func (a *asked) answer(d demand, reply []byte, now time.Time) (contrast.Answer, error) {
	var got contrast.Answer
	r := newReading(&Inbound{Zone: d.zone}, a.id, a.kind, a.replies(), form{})
	r.messages = 1
	if err := r.proven(reply, now); err != nil && !saidSo(err) {
		return got, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		return got, &Fault{Malformed, err}
	}
	if reply[2]&byte(wire.TC>>8) != 0 {
		return got, fault(Malformed, "cut off")
	}
	if len(m.Question) > 0 || m.Rcode == dns.RcodeSuccess { // an error may come without
		if _, err := r.question(reply); err != nil {
			return got, err
		}
	}
	got.Rcode, got.Authority = m.Rcode, m.Authoritative
	for _, section := range []struct {
		from []dns.RR
		to   *[]dns.RR
	}{{m.Answer, &got.Answer}, {m.Ns, &got.Ns}, {m.Extra, &got.Extra}} {
		for _, rr := range section.from {
			if t := rr.Header().Rrtype; t == dns.TypeOPT || t == dns.TypeTSIG {
				continue
			}
			clean, _, err := zone.Normalise(rr)
			if err != nil {
				return got, fault(UnfitRecord, "%s: %w", title(rr), err)
			}
			*section.to = append(*section.to, clean)
		}
	}
	return got, nil
}

// saidSo reports whether the server itself said no: proven, where there is a key.
func saidSo(err error) bool {
	var f *Fault
	if !errors.As(err, &f) {
		return false
	}
	_, plain := f.Cause.(errRcode)
	return plain
}
