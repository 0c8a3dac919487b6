package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/dsync"
	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/outbound"
	"postern/internal/dns/resolver/validate"
)

// maxNotifyAddrs is how many addresses of an endpoint are tried.
const maxNotifyAddrs = 4

// Why a parent is not told.
var (
	ErrNoEndpoint  = errors.New("the parent publishes no place for such notifications")
	ErrNotValid    = errors.New("what the parent publishes is not validated")
	ErrNotHeard    = errors.New("no place of the parent took the notification")
	errNoAddresses = errors.New("no usable address")
)

// Endpoints is where a zone's parent wants to hear of changes.
type Endpoints struct {
	Parent name.Name
	At     name.Name // where it was published; "" where nothing was
	List   []dsync.Endpoint
}

// Endpoints finds the places of the zone's parent for notifications about a
// type, CDS or CSYNC. Only what the parent signed counts: departs from RFC
// 9859, Section 4.1, where validation is optional. Aliases are not followed.
func (r *Resolver) Endpoints(ctx context.Context, zone name.Name, about uint16) (Endpoints, error) {
	out := Endpoints{Parent: zone.Parent()}
	var found validate.Found
	l, err := r.down(ctx, zone, func(ctx context.Context, d *descent, keys validate.Keys) error {
		out.Parent = keys.Zone()
		for _, n := range dsync.Names(zone, keys.Zone()) {
			err := d.message(ctx, iterate.Question{Name: n, Type: dsync.Type}, func(msg *dns.Msg) error {
				found = d.judge.Set(keys, n, dsync.Type, msg, d.r.cfg.Now())
				return failed(found.Verdict)
			})
			if err != nil || found.Security == Bogus || len(found.RRs) > 0 {
				out.At = n
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return out, fmt.Errorf("endpoints of the parent of %s: %w", zone, err)
	case l.cut.Security != Secure:
		return out, fmt.Errorf("%w: the delegation of %s is %s", ErrNotValid, zone, l.cut.Verdict)
	case found.Security == Bogus:
		return out, fmt.Errorf("%w: %s is %s", ErrNotValid, out.At, found.Verdict)
	}
	if out.List = dsync.Endpoints(found.RRs, about); len(out.List) == 0 {
		return out, fmt.Errorf("%w: %s", ErrNoEndpoint, out.Parent)
	}
	return out, nil
}

// Told is what became of a notification.
type Told struct {
	Endpoint dsync.Endpoint
	Addr     netip.AddrPort
	Rcode    int
}

// NotifyParent tells the zone's parent that its records of a type, CDS or
// CSYNC, have changed: call it when every secondary serves them (RFC 9859,
// Section 4.2). One place that takes it is enough. Nothing depends on it: a
// parent that hears nothing finds out in its own time.
func (r *Resolver) NotifyParent(ctx context.Context, zone name.Name, about uint16) (Told, error) {
	places, err := r.Endpoints(ctx, zone, about)
	if err != nil {
		return Told{}, err
	}
	var errs []error
	for _, e := range places.List {
		told, err := r.tell(ctx, zone, about, e)
		if err == nil {
			r.chain.Counters.Notified.Inc()
			return told, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", e, err))
		if ctx.Err() != nil {
			break
		}
	}
	r.chain.Counters.Unheard.Inc()
	return Told{}, fmt.Errorf("%w: %w", ErrNotHeard, errors.Join(errs...))
}

// tell tries the addresses of one place.
func (r *Resolver) tell(ctx context.Context, zone name.Name, about uint16, e dsync.Endpoint) (Told, error) {
	addrs, err := r.addressesOf(ctx, e.Target)
	if err != nil {
		return Told{}, err
	}
	var errs []error
	for _, a := range addrs {
		told := Told{Endpoint: e, Addr: netip.AddrPortFrom(a, e.Port)}
		told.Rcode, err = r.client.Notify(ctx, told.Addr, zone, about)
		switch {
		case err == nil && told.Rcode == dns.RcodeSuccess:
			return told, nil
		case err == nil:
			err = fmt.Errorf("it answers %s", dns.RcodeToString[told.Rcode])
		}
		errs = append(errs, fmt.Errorf("%s: %w", told.Addr, err))
		if errors.Is(err, outbound.ErrStopped) || ctx.Err() != nil {
			break
		}
	}
	return Told{}, errors.Join(errs...)
}

// addressesOf resolves the name of a place, as outsiders see it.
func (r *Resolver) addressesOf(ctx context.Context, target name.Name) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, rtype := range r.addressTypes() {
		msg, err := r.Resolve(ctx, Question{Name: target, Type: rtype, View: r.cfg.Outside})
		if err != nil {
			return nil, err
		}
		for _, rr := range msg.Answer {
			a, ok := iterate.Addr(rr)
			if ok && len(out) < maxNotifyAddrs && !slices.Contains(out, a) && r.out.Usable(a, false) {
				out = append(out, a)
			}
		}
	}
	if len(out) == 0 {
		return nil, errNoAddresses
	}
	return out, nil
}
