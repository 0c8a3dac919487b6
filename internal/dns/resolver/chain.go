package resolver

import (
	"context"
	"sync"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/dns/resolver/validate"
	"postern/internal/metrics"
)

const (
	// fresh is how long what a parent said is told again to those who ask for
	// just that: they wait to see it change.
	fresh = time.Minute
	// onTheWay is the longest that a zone above is not validated again.
	onTheWay = time.Hour
)

// ChainCounters are what the walks from a trust anchor count.
type ChainCounters struct {
	Walks    metrics.Counter // asked for what a parent says
	Known    metrics.Counter // steps of them that needed no packet
	Steps    metrics.Counter // steps of them that did
	Secure   metrics.Counter // ended Secure
	Insecure metrics.Counter // ended Insecure
	Bogus    metrics.Counter // ended Bogus
	Unknown  metrics.Counter // ended without a verdict
	Dropped  metrics.Counter // links forgotten before their time, to make room
	Checked  metrics.Counter // signatures checked
	Hashed   metrics.Counter // NSEC3 hashes made
	Costly   metrics.Counter // walks ended because they cost too much
	Notified metrics.Counter // parents that took a NOTIFY
	Unheard  metrics.Counter // parents with an endpoint that did not
}

func (c *ChainCounters) count(s Security, why validate.Reason) {
	if why == validate.WorkLimit {
		c.Costly.Inc()
	}
	switch s {
	case Secure:
		c.Secure.Inc()
	case Insecure:
		c.Insecure.Inc()
	case Bogus:
		c.Bogus.Inc()
	default:
		c.Unknown.Inc()
	}
}

// chain is what was validated, by name, and the bound on those who validate.
type chain struct {
	Counters ChainCounters

	max   int
	walks chan struct{} // one place for each walk

	mu      sync.Mutex // guards below
	links   map[name.Name]link
	anchors map[name.Name]link // of the anchors' zones, of which only keys are known
}

// link is one name on the way down: what its parent says of it and, where that
// is a signed delegation, the zone's keys.
type link struct {
	cut   validate.Cut
	at    time.Time // when the parent's servers said so
	until time.Time // when cut has to be asked for again
	keys  validate.Keys
	wrong validate.Verdict // what was wrong with the keys, until then
	again time.Time
}

func (c *chain) init(walks, links int) {
	c.max, c.walks = links, make(chan struct{}, walks)
	c.links, c.anchors = make(map[name.Name]link), make(map[name.Name]link)
}

// Chain is what the walks from a trust anchor count.
func (r *Resolver) Chain() *ChainCounters { return &r.chain.Counters }

// Links returns how many names have a remembered standing.
func (r *Resolver) Links() int {
	r.chain.mu.Lock()
	defer r.chain.mu.Unlock()
	return len(r.chain.links)
}

func (c *chain) get(n name.Name, now time.Time) (link, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.links[n]
	return l, ok && now.Before(l.until)
}

// put remembers a link. When all places are taken, the dead ones are cleared,
// else any one of the living.
func (c *chain) put(n name.Name, l link, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.links[n]; !ok && len(c.links) >= c.max {
		for other, old := range c.links {
			if !now.Before(old.until) {
				delete(c.links, other)
			}
		}
		for other := range c.links {
			if len(c.links) < c.max {
				break
			}
			delete(c.links, other)
			c.Counters.Dropped.Inc()
		}
	}
	c.links[n] = l
}

// keep remembers the keys of a link: of an anchor's zone apart from what its
// parent says of it, which vouches for other keys perhaps.
func (c *chain) keep(l link, anchored bool, now time.Time) {
	if !anchored {
		c.put(l.cut.Name, l, now)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.anchors[l.cut.Name] = l // as many as are configured
}

func (c *chain) anchor(zone name.Name) link {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok := c.anchors[zone]; ok {
		return l
	}
	return link{cut: validate.Cut{Verdict: validate.Verdict{Security: Secure, Reason: validate.Validated}, Name: zone, Parent: zone}}
}

// forget drops what is remembered at n, or at and below it.
func (c *chain) forget(n name.Name, tree bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.links)
	for at := range c.links {
		if at == n || tree && at.IsBelow(n) {
			delete(c.links, at)
		}
	}
	clear(c.anchors)
	return before - len(c.links)
}

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
	anchor := r.anchorAbove(zone)
	keys, l, err := d.keys(ctx, r.chain.anchor(anchor.Zone), anchor.Trust(), true)
	if err != nil || l.cut.Security != Secure {
		return l, err
	}
	for at := range downTo(anchor.Zone, zone) {
		if l, err = d.step(ctx, keys, at, at == zone); err != nil {
			return l, err
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
				return l, err
			}
		case validate.Unsigned, validate.OptedOut:
			l.cut.Security = Insecure
			return l, nil
		case validate.Nowhere: // nor is there anything below it
			return l, nil
		}
	}
	if visit != nil && l.cut.Security == Secure {
		err = visit(ctx, d, keys)
	}
	return l, err
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
