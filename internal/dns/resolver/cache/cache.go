// Package cache keeps what the resolver learned: RRsets, denials, zone cuts
// and recent failures, for as long as their TTLs say and within a bound of
// bytes.
//
// It believes what it is given (iterate scrubs before), except that it ranks:
// less trusted data never replaces more trusted data that still lives (RFC
// 2181, Section 5.4.1). A zone cut lives until the parent's word ends and
// nothing prolongs it. It keeps records packed, so that no caller can change
// what another will read and so that its size is known. It has no goroutine
// and no clock: now is an argument.
//
// RFC 1035 (Section 7.4), 2181, 2308, 9520.
package cache

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
	"postern/internal/metrics"
)

// Space separates what may not be mixed: "" is the world; a view's name holds
// what was learned below a delegation that only this view can see.
type Space string

const (
	shardCount = 64
	overhead   = 160 // octets an entry costs besides its key and records, estimated
)

// Config is what a Cache needs.
type Config struct {
	Bytes int64 // bound on keys, records and their overhead (256 MiB)
}

// Counters are what a Cache counts.
type Counters struct {
	Hits     metrics.Counter // an answer was there
	Misses   metrics.Counter // no answer was there
	Stored   metrics.Counter // sets and cuts put in
	Evicted  metrics.Counter // dropped alive, to make room
	Expired  metrics.Counter // dropped dead
	Outrank  metrics.Counter // not stored: something more trusted was there
	TooLarge metrics.Counter // not stored: larger than any entry may be
}

// Cache is safe for concurrent use.
type Cache struct {
	Counters Counters

	seed   maphash.Seed
	bytes  atomic.Int64
	count  atomic.Int64
	shards [shardCount]shard
}

// New returns an empty cache.
func New(cfg Config) *Cache {
	if cfg.Bytes <= 0 {
		cfg.Bytes = 256 << 20
	}
	c := &Cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].init(c, cfg.Bytes/shardCount)
	}
	return c
}

// Bytes returns the memory in use, as it is counted against the bound.
func (c *Cache) Bytes() int64 { return c.bytes.Load() }

// Entries returns how many entries there are, dead ones included.
func (c *Cache) Entries() int64 { return c.count.Load() }

// Put keeps a set. One without a TTL, or denied by rank, is not kept.
func (c *Cache) Put(space Space, s iterate.Set, now time.Time) {
	if s.TTL == 0 || s.Kind == iterate.None {
		return
	}
	packed, ok := pack(s.RRs)
	if !ok {
		c.Counters.TooLarge.Inc()
		return
	}
	k := key{space: space, name: s.Name, rtype: s.Type, what: data}
	if s.Kind == iterate.NXDomain {
		k.rtype = anyType
	}
	e := &entry{key: k, kind: s.Kind, rank: s.Rank, packed: packed, expires: now.Add(time.Duration(s.TTL) * time.Second)}
	if !c.shard(k).put(e, now) {
		return
	}
	if s.Kind != iterate.NXDomain {
		// The name turned out to exist.
		nx := key{space: space, name: s.Name, rtype: anyType, what: data}
		c.shard(nx).dropBelow(nx, s.Rank)
	}
}

// Get returns what is known of the name: the RRset or denial of the type, else
// a CNAME at the name, else that the name does not exist. TTLs are what is
// left of them.
func (c *Cache) Get(space Space, q iterate.Question, now time.Time) (iterate.Set, bool) {
	for _, rtype := range []uint16{q.Type, cnameType, anyType} {
		k := key{space: space, name: q.Name, rtype: rtype, what: data}
		e, ok := c.shard(k).get(k, now)
		if !ok || (rtype == cnameType && q.Type != cnameType && e.kind != iterate.Positive) {
			continue
		}
		if s, ok := e.set(now); ok {
			c.Counters.Hits.Inc()
			return s, true
		}
	}
	c.Counters.Misses.Inc()
	return iterate.Set{}, false
}

// PutCut keeps a delegation until its own end.
func (c *Cache) PutCut(space Space, d iterate.Delegation, now time.Time) {
	if d.Until.IsZero() || !d.Until.After(now) {
		return
	}
	k := key{space: space, name: d.Zone, what: cut}
	c.shard(k).put(&entry{key: k, cut: &d, expires: d.Until}, now)
}

// Cut returns the deepest known delegation at or above n that is not above
// top.
func (c *Cache) Cut(space Space, n, top name.Name, now time.Time) (iterate.Delegation, bool) {
	for n.IsBelow(top) && n != name.Root {
		k := key{space: space, name: n, what: cut}
		if e, ok := c.shard(k).get(k, now); ok {
			return *e.cut, true
		}
		n = n.Parent()
	}
	return iterate.Delegation{}, false
}

// Fail remembers that a question can not be answered now (RFC 9520).
func (c *Cache) Fail(space Space, q iterate.Question, lasts time.Duration, now time.Time) {
	k := key{space: space, name: q.Name, rtype: q.Type, what: failure}
	c.shard(k).put(&entry{key: k, expires: now.Add(lasts)}, now)
}

// Failed reports whether the question failed a moment ago.
func (c *Cache) Failed(space Space, q iterate.Question, now time.Time) bool {
	k := key{space: space, name: q.Name, rtype: q.Type, what: failure}
	_, ok := c.shard(k).get(k, now)
	return ok
}

// Flush drops all that is kept at n, or with tree at and below it, in every
// space, and says how many entries that were.
func (c *Cache) Flush(n name.Name, tree bool) int {
	dropped := 0
	for i := range c.shards {
		dropped += c.shards[i].flush(func(k key) bool {
			return k.name == n || tree && k.name.IsBelow(n)
		})
	}
	return dropped
}

func (c *Cache) shard(k key) *shard {
	var h maphash.Hash
	h.SetSeed(c.seed)
	_, _ = h.WriteString(string(k.name)) // never fails
	_, _ = h.WriteString(string(k.space))
	return &c.shards[(h.Sum64()^uint64(k.rtype))%shardCount]
}
