package resolver

import (
	"sync"
	"time"

	"postern/internal/dns/name"
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
