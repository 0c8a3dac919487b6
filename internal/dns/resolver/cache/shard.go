package cache

import (
	"container/list"
	"sync"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/resolver/iterate"
)

// what an entry is about.
type what uint8

const (
	data what = iota + 1
	cut
	failure
)

const (
	anyType   = 0 // the key of NXDOMAIN, which holds for all types
	cnameType = dns.TypeCNAME
)

type key struct {
	space Space
	name  name.Name
	rtype uint16
	what  what
}

// entry never changes once it is in a shard.
type entry struct {
	key     key
	kind    iterate.Kind
	rank    iterate.Rank
	packed  []byte              // data: the records, one after the other, names uncompressed
	cut     *iterate.Delegation // cut
	expires time.Time
}

func (e *entry) size() int64 {
	n := overhead + len(e.key.space) + len(e.key.name) + len(e.packed)
	if e.cut != nil {
		for _, s := range e.cut.Servers {
			n += 64 + len(s.Name) + 24*len(s.Addrs)
		}
	}
	return int64(n)
}

// set unpacks the records with what is left of their TTL.
func (e *entry) set(now time.Time) (iterate.Set, bool) {
	left := e.expires.Sub(now) / time.Second
	if left <= 0 {
		return iterate.Set{}, false
	}
	s := iterate.Set{Name: e.key.name, Type: e.key.rtype, Kind: e.kind, Rank: e.rank, TTL: uint32(left)}
	for off := 0; off < len(e.packed); {
		rr, next, err := dns.UnpackRR(e.packed, off)
		if err != nil {
			return iterate.Set{}, false
		}
		rr.Header().Ttl = s.TTL
		s.RRs, off = append(s.RRs, rr), next
	}
	return s, true
}

func pack(rrs []dns.RR) ([]byte, bool) {
	size := 0
	for _, rr := range rrs {
		size += dns.Len(rr) + 16
	}
	if size > maxPacked {
		return nil, false
	}
	buf, off := make([]byte, size), 0
	for _, rr := range rrs {
		next, err := dns.PackRR(rr, buf, off, nil, false)
		if err != nil {
			return nil, false
		}
		off = next
	}
	return append([]byte(nil), buf[:off]...), true
}

const maxPacked = 1 << 16 // no RRset that came in one message is larger

// shard is one part of the cache, in order of use: the front was used last.
type shard struct {
	cache *Cache
	bound int64

	mu      sync.Mutex // guards all below
	entries map[key]*list.Element
	order   *list.List // of *entry
	bytes   int64
}

func (s *shard) init(c *Cache, bound int64) {
	s.cache, s.bound = c, bound
	s.entries, s.order = make(map[key]*list.Element), list.New()
}

func (s *shard) get(k key, now time.Time) (*entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	el, ok := s.entries[k]
	if !ok {
		return nil, false
	}
	e := el.Value.(*entry)
	if !e.expires.After(now) {
		s.removeLocked(el)
		s.cache.Counters.Expired.Inc()
		return nil, false
	}
	s.order.MoveToFront(el)
	return e, true
}

// put reports false where it did not keep e.
func (s *shard) put(e *entry, now time.Time) bool {
	// One entry may not push out a whole shard.
	if e.size() > s.bound/2 {
		s.cache.Counters.TooLarge.Inc()
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if el, ok := s.entries[e.key]; ok {
		old := el.Value.(*entry)
		if old.rank > e.rank && old.expires.After(now) {
			s.cache.Counters.Outrank.Inc()
			return false
		}
		s.removeLocked(el)
	}
	s.entries[e.key] = s.order.PushFront(e)
	s.addLocked(e.size(), 1)
	s.cache.Counters.Stored.Inc()
	for s.bytes > s.bound {
		el := s.order.Back()
		if el.Value.(*entry).expires.After(now) {
			s.cache.Counters.Evicted.Inc()
		} else {
			s.cache.Counters.Expired.Inc()
		}
		s.removeLocked(el)
	}
	return true
}

// dropBelow drops the entry unless it is more trusted than rank.
func (s *shard) dropBelow(k key, rank iterate.Rank) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if el, ok := s.entries[k]; ok && el.Value.(*entry).rank <= rank {
		s.removeLocked(el)
	}
}

func (s *shard) flush(hit func(key) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	dropped := 0
	for k, el := range s.entries {
		if hit(k) {
			s.removeLocked(el)
			dropped++
		}
	}
	return dropped
}

func (s *shard) removeLocked(el *list.Element) {
	e := s.order.Remove(el).(*entry)
	delete(s.entries, e.key)
	s.addLocked(-e.size(), -1)
}

func (s *shard) addLocked(bytes, count int64) {
	s.bytes += bytes
	s.cache.bytes.Add(bytes)
	s.cache.count.Add(count)
}
