package resolver

import (
	"context"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/validate"
)

// descent is one walk from an anchor down.
type descent struct {
	*walk
	judge *validate.Judge
}

// down walks to a zone's delegation. With visit, it shows the parent's keys
// before it returns, for whoever has another question for the parent.
func (r *Resolver) down(ctx context.Context, zone name.Name, visit func(context.Context, *descent, validate.Keys) error) (link, error) {
	if v, ok := r.outOfTrust(zone); !ok {
		return link{cut: validate.Cut{Verdict: v, Name: zone}}, nil
	}
	select {
	case r.chain.walks <- struct{}{}:
		defer func() { <-r.chain.walks }()
	case <-ctx.Done():
		return link{}, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Wall)
	defer cancel()
	d := &descent{walk: r.newWalk(r.cfg.Outside, false), judge: validate.New(r.cfg.Validate)}
	d.budget.Limits.Queries *= 2 // one walk is many questions, each from the nearest known cut
	d.budget.Limits.Referrals *= 5
	defer func() {
		r.chain.Counters.Checked.Add(uint64(d.judge.Signatures))
		r.chain.Counters.Hashed.Add(uint64(d.judge.Hashes))
	}()
	keys, l, err := d.follow(ctx, zone, r.anchorAbove(zone))
	if err == nil && visit != nil && l.cut.Name == zone && l.cut.Security == Secure {
		err = visit(ctx, d, keys)
	}
	return l, err
}

// follow goes from the anchor down to what is said of the zone, or to where
// nobody can say any more. The keys are those that judged it.
func (d *descent) follow(ctx context.Context, zone name.Name, anchor validate.Anchor) (validate.Keys, link, error) {
	keys, l, err := d.keys(ctx, d.r.chain.anchor(anchor.Zone), anchor.Trust(), true)
	if err != nil || l.cut.Security != Secure {
		return keys, l, err
	}
	for at := range downTo(anchor.Zone, zone) {
		if l, err = d.step(ctx, keys, at, at == zone); err != nil {
			return keys, l, err
		}
		if at != zone && l.cut.Reason == validate.ProofMissing {
			// Some servers can not deny an empty non-terminal above unsigned
			// delegations. What the same keys prove of a name below is as good.
			continue
		}
		if at == zone || l.cut.Security != Secure {
			break
		}
		switch l.cut.Standing {
		case validate.Signed:
			if keys, l, err = d.keys(ctx, l, l.cut.Trust(), false); err != nil || l.cut.Security != Secure {
				return keys, l, err
			}
		case validate.Unsigned, validate.OptedOut:
			l.cut.Security = Insecure
			return keys, l, nil
		case validate.Nowhere: // nor is there anything below it
			return keys, l, nil
		}
	}
	return keys, l, nil
}

// downTo yields the names below from down to to, highest first.
func downTo(from, to name.Name) func(func(name.Name) bool) {
	return func(yield func(name.Name) bool) {
		for labels := from.Labels() + 1; labels <= to.Labels(); labels++ {
			at := to
			for at.Labels() > labels {
				at = at.Parent()
			}
			if !yield(at) {
				return
			}
		}
	}
}

// outOfTrust reports false where no anchor, or a negative one, is above the
// delegation of the zone.
func (r *Resolver) outOfTrust(zone name.Name) (validate.Verdict, bool) {
	for _, n := range r.cfg.Negative {
		if zone.IsBelow(n) {
			return validate.Verdict{Security: Insecure, Reason: validate.NegativeAnchor}, false // RFC 7646
		}
	}
	if r.anchorAbove(zone).Zone == "" {
		return validate.Verdict{Security: Unknown, Reason: validate.NoAnchor}, false
	}
	return validate.Verdict{}, true
}

// anchorAbove returns the nearest anchor above the zone: its own says nothing
// about what the parent says.
func (r *Resolver) anchorAbove(zone name.Name) validate.Anchor {
	var best validate.Anchor
	for _, a := range r.cfg.Anchors {
		if zone.Parent().IsBelow(a.Zone) && (best.Zone == "" || a.Zone.IsBelow(best.Zone)) {
			best = a
		}
	}
	return best
}

// step finds what the zone of the keys says of a name below it.
func (d *descent) step(ctx context.Context, keys validate.Keys, at name.Name, wanted bool) (link, error) {
	now := d.r.cfg.Now()
	l, ok := d.r.chain.get(at, now)
	if ok && l.cut.Parent == keys.Zone() && (!wanted || now.Sub(l.at) < fresh) {
		d.r.chain.Counters.Known.Inc()
		return l, nil
	}
	var cut validate.Cut
	err := d.message(ctx, iterate.Question{Name: at, Type: dns.TypeDS}, func(msg *dns.Msg) error {
		cut = d.judge.DS(keys, at, msg, d.r.cfg.Now())
		return failed(cut.Verdict)
	})
	if err != nil {
		return link{cut: validate.Cut{Name: at, Parent: keys.Zone()}}, err
	}
	now = d.r.cfg.Now()
	l = link{cut: cut, at: now, until: remember(cut.Security, cut.Until, now)}
	d.r.chain.put(at, l, now)
	return l, nil
}

// remember says how long a verdict is kept: what is wrong is tried again soon.
func remember(s Security, until, now time.Time) time.Time {
	latest := now.Add(onTheWay)
	if s == Bogus || s == Unknown {
		latest = now.Add(failureLasts)
	}
	if !until.IsZero() && until.Before(latest) {
		return until
	}
	return latest
}

// keys returns the keys of the link's zone that trust vouches for. The link
// that comes back says what went wrong where it is not Secure.
func (d *descent) keys(ctx context.Context, l link, trust validate.Trust, anchored bool) (validate.Keys, link, error) {
	now := d.r.cfg.Now()
	switch {
	case now.Before(l.keys.Until()):
		d.r.chain.Counters.Known.Inc()
		return l.keys, l, nil
	case now.Before(l.again):
		d.r.chain.Counters.Known.Inc()
		l.cut.Verdict = l.wrong
		return validate.Keys{}, l, nil
	}
	verdict := trust.Usable()
	if verdict.Security == Secure {
		err := d.message(ctx, iterate.Question{Name: l.cut.Name, Type: dns.TypeDNSKEY}, func(msg *dns.Msg) error {
			l.keys, verdict = d.judge.Keys(trust, msg, d.r.cfg.Now())
			return failed(verdict)
		})
		if err != nil {
			return validate.Keys{}, link{cut: validate.Cut{Name: l.cut.Name, Parent: l.cut.Name}}, err
		}
	}
	now = d.r.cfg.Now()
	if verdict.Security != Secure {
		l.wrong, l.again = verdict, remember(verdict.Security, time.Time{}, now)
	}
	d.r.chain.keep(l, anchored, now)
	if verdict.Security != Secure {
		l.cut.Verdict, l.cut.Parent = verdict, l.cut.Name
	}
	return l.keys, l, nil
}

// failed turns a verdict that another server might better into an error.
func failed(v validate.Verdict) error {
	if v.Security != Bogus {
		return nil
	}
	return v.Err
}

// message asks the servers of the zone that holds the answer until one gives a
// message that accept takes, or as many as may be asked have given none.
func (d *descent) message(ctx context.Context, q iterate.Question, accept func(*dns.Msg) error) error {
	d.r.chain.Counters.Steps.Inc()
	q.DO = true
	d.accept, d.rejected = accept, 0
	judged := false
	d.accept = func(msg *dns.Msg) error {
		judged = true
		return accept(msg)
	}
	_, err := d.resolve(ctx, q, "")
	if judged {
		return nil // the last message has its verdict
	}
	return err
}
