package resolver

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/miekg/dns"

	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/outbound"
)

// flight is one question being worked on for all who ask it meanwhile. msg and
// err may be read after done.
type flight struct {
	done chan struct{}
	msg  *dns.Msg
	err  error
}

// flights bounds the questions worked on and the clients that wait for them.
type flights struct {
	maxFlights, maxWaiting int

	mu      sync.Mutex // guards all below
	m       map[Question]*flight
	waiting int
}

func (f *flights) init(maxFlights, maxWaiting int) {
	f.maxFlights, f.maxWaiting, f.m = maxFlights, maxWaiting, make(map[Question]*flight)
}

// Resolve answers a question. On success the message has Rcode NOERROR or
// NXDOMAIN (or YXDOMAIN), Answer with the alias chain in order, and Ns with
// the SOA of a denial; AA only where all of it is our own. It belongs to the
// caller. An error is always a *Failure. Whoever asks what is being worked on
// already shares that work, which goes on when ctx ends.
func (r *Resolver) Resolve(ctx context.Context, q Question) (*dns.Msg, error) {
	r.Counters.Questions.Inc()
	msg, err := r.resolve(ctx, q)
	if err != nil {
		r.Counters.Failed.Inc()
		return nil, failure(err)
	}
	return msg, nil
}

func (r *Resolver) resolve(ctx context.Context, q Question) (*dns.Msg, error) {
	if q.Class == 0 {
		q.Class = dns.ClassINET
	}
	if q.Class != dns.ClassINET {
		return nil, ErrClass
	}
	if meta(q.Type) {
		return nil, ErrMetaType
	}
	iq := iterate.Question{Name: q.Name, Type: q.Type}
	res, err := r.newWalk(q.View, true).resolve(ctx, iq, "")
	if err == nil {
		r.Counters.Local.Inc()
		return message(q, res), nil
	}
	if !errors.Is(err, errNeedsNetwork) {
		return nil, err
	}
	f, err := r.join(q)
	if err != nil {
		return nil, err
	}
	defer r.leave()
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", iq, ctx.Err())
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.msg.Copy(), nil
}

// join counts the caller as waiting and returns the flight for q, a new one if
// there is none.
func (r *Resolver) join(q Question) (*flight, error) {
	fs := &r.flights
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f, flying := fs.m[q]
	if fs.waiting >= fs.maxWaiting || !flying && len(fs.m) >= fs.maxFlights {
		r.Counters.Refused.Inc()
		return nil, ErrBusy
	}
	if flying {
		r.Counters.Shared.Inc()
		fs.waiting++
		return f, nil
	}
	f = &flight{done: make(chan struct{})}
	fs.m[q] = f
	if !r.workers.Go("question", func(ctx context.Context) { r.fly(ctx, q, f) }) {
		delete(fs.m, q)
		return nil, ErrStopped
	}
	fs.waiting++
	return f, nil
}

func (r *Resolver) leave() {
	r.flights.mu.Lock()
	defer r.flights.mu.Unlock()
	r.flights.waiting--
}

// fly does the work and tells those who wait.
func (r *Resolver) fly(ctx context.Context, q Question, f *flight) {
	r.Counters.Iterated.Inc()
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Wall)
	defer cancel()
	defer func() {
		r.flights.mu.Lock()
		delete(r.flights.m, q)
		r.flights.mu.Unlock()
		close(f.done)
	}()
	res, err := r.newWalk(q.View, false).resolve(ctx, iterate.Question{Name: q.Name, Type: q.Type}, "")
	if err != nil {
		if iterate.Exhausted(err) || errors.Is(err, context.DeadlineExceeded) {
			r.Counters.Exhausted.Inc()
		}
		r.log.Debug("question failed", "name", q.Name.String(), "type", dns.Type(q.Type).String(), "view", q.View, "err", err)
		f.err = err
		return
	}
	f.msg = message(q, res)
}

func message(q Question, res iterate.Result) *dns.Msg {
	m := new(dns.Msg)
	m.Response, m.RecursionAvailable, m.Authoritative = true, true, res.Own
	m.Rcode = res.Rcode
	m.Question = []dns.Question{{Name: q.Name.String(), Qtype: q.Type, Qclass: dns.ClassINET}}
	m.Answer, m.Ns = res.Answer, res.Authority
	return m.Copy() // records of our own zones are not the caller's to change
}

// meta reports types that name no data: OPT, and RFC 6895, Section 3.1 but for
// ANY.
func meta(t uint16) bool {
	return t == 0 || t == dns.TypeOPT || t >= 128 && t <= 254
}

// RFC 8914, Section 4.
const (
	edeOther          = 0
	edeCachedError    = 13
	edeNotReady       = 14
	edeNotSupported   = 21
	edeNoReachable    = 22
	edeNetworkError   = 23
	edeInvalidData    = 24
	edeWorkLimit      = edeOther // no code says it better
	rcodeWhenUnable   = dns.RcodeServerFailure
	rcodeWhenUnwanted = dns.RcodeRefused
)

// failure turns whatever ended a question into what its client is told.
func failure(err error) *Failure {
	f := &Failure{Rcode: rcodeWhenUnable, EDE: edeOther, Temporary: true, Cause: err}
	switch {
	case errors.Is(err, ErrClass):
		f.Rcode, f.EDE, f.Temporary = rcodeWhenUnwanted, edeNotSupported, false
	case errors.Is(err, ErrMetaType):
		f.Rcode, f.EDE, f.Temporary = dns.RcodeNotImplemented, edeNotSupported, false
	case errors.Is(err, iterate.ErrLongName):
		f.Rcode = dns.RcodeYXDomain // RFC 6672, Section 2.2
	case errors.Is(err, ErrRecent):
		f.EDE = edeCachedError
	case errors.Is(err, ErrStopped), errors.Is(err, outbound.ErrStopped), errors.Is(err, ErrBusy), errors.Is(err, iterate.ErrOwn):
		f.EDE = edeNotReady
	case iterate.Exhausted(err):
		f.EDE = edeWorkLimit
	case errors.Is(err, iterate.ErrNoAddress):
		f.EDE = edeNoReachable
	case errors.Is(err, iterate.ErrNoServer), errors.Is(err, context.DeadlineExceeded):
		f.EDE = edeNetworkError
	case errors.Is(err, iterate.ErrLoop):
		f.EDE = edeInvalidData
	}
	return f
}
