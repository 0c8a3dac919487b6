package gate

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func limiter(rate int, exempt ...string) *RRL {
	l := new(RRL)
	var prefixes []netip.Prefix
	for _, p := range exempt {
		prefixes = append(prefixes, netip.MustParsePrefix(p))
	}
	l.Set(rate, 0, prefixes)
	return l
}

// send counts what becomes of n replies spread evenly over the time from at.
func send(l *RRL, client string, kind Kind, of string, n int, at, over time.Duration) (got [3]int) {
	for i := range n {
		got[l.Rule(addr(client), kind, []byte(of), at+over*time.Duration(i)/time.Duration(n))]++
	}
	return got
}

func TestTheTableIsBounded(t *testing.T) {
	t.Parallel()
	if size := rrlSlots * unsafe.Sizeof(uint64(0)); size > 16_000_000 {
		t.Errorf("%d octets", size)
	}
}

func TestRule(t *testing.T) {
	t.Parallel()
	const at = 77 * time.Second
	for _, c := range []struct {
		name     string
		rate, n  int
		over     time.Duration
		low, top int // of the replies that pass
	}{
		{"off", 0, 5000, time.Second, 5000, 5000},
		{"a burst", 50, 1000, time.Millisecond, 50, 50},
		{"just below the rate", 50, 490, 10 * time.Second, 490, 490},
		{"a steady flood gets its burst and no more", 50, 60 * 200, time.Minute, 50, 70},
		{"one a second", 1, 100, time.Second, 1, 1},
		{"above the highest rate", 1 << 40, 100, time.Millisecond, 100, 100},
	} {
		got := send(limiter(c.rate), "192.0.2.1", Answer, "a", c.n, at, c.over)
		over := c.n - got[Pass]
		if got[Pass] < c.low || got[Pass] > c.top || got[Slip] != (over+1)/2 || got[Drop] != over/2 {
			t.Errorf("%s: passed, slipped, dropped %v", c.name, got)
		}
	}
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, client string
		kind         Kind
		of           string
		shared       bool
	}{
		{"the same", "192.0.2.1", Answer, "a", true},
		{"the same /24", "192.0.2.255", Answer, "a", true},
		{"IPv4-mapped", "::ffff:192.0.2.7", Answer, "a", true},
		{"another /24", "192.0.3.1", Answer, "a", false},
		{"another name", "192.0.2.1", Answer, "b", false},
		{"another kind", "192.0.2.1", Denial, "a", false},
		{"IPv6 with the same bits", "::c000:200", Answer, "a", false},
	} {
		l := limiter(50)
		send(l, "192.0.2.1", Answer, "a", 50, 0, 0)
		if got := l.Rule(addr(c.client), c.kind, []byte(c.of), 0); (got != Pass) != c.shared {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	l := limiter(50)
	send(l, "2001:db8:0:0100::1", Answer, "a", 50, 0, 0)
	if l.Rule(addr("2001:db8:0:01ff::1"), Answer, []byte("a"), 0) == Pass || l.Rule(addr("2001:db8:0:0200::1"), Answer, []byte("a"), 0) != Pass {
		t.Error("the prefix of IPv6 is a /56")
	}
}

func TestExemptPrefixes(t *testing.T) {
	t.Parallel()
	l := limiter(1, "192.0.2.0/28", "::ffff:198.51.100.0/120", "fe80::/10")
	for client, want := range map[string]bool{"192.0.2.1": true, "::ffff:192.0.2.1": true, "198.51.100.9": true, "fe80::1%eth0": true, "192.0.2.16": false} {
		if got := send(l, client, Answer, "a", 100, 0, 0); (got[Pass] == 100) != want {
			t.Errorf("%s: %v", client, got)
		}
	}
}

func TestAFloodIsForgotten(t *testing.T) {
	t.Parallel()
	l := limiter(50)
	send(l, "192.0.2.1", Answer, "a", 100000, 0, 10*time.Second)
	if got := send(l, "192.0.2.1", Answer, "a", 50, 10*time.Second+rrlWindow, time.Second); got[Pass] != 50 {
		t.Errorf("after the window: %v", got)
	}
	// The clock of a slot wraps around; what is older than the window is nothing.
	for _, later := range []time.Duration{time.Hour, 156 * time.Hour, 157 * time.Hour, 312 * time.Hour, 1000 * time.Hour} {
		send(l, "192.0.2.1", Answer, "a", 5000, 0, time.Second)
		if got := send(l, "192.0.2.1", Answer, "a", 50, later, time.Second); got[Pass] != 50 {
			t.Errorf("%v later: %v", later, got)
		}
	}
}

func TestSetKeepsWhatWasCounted(t *testing.T) {
	t.Parallel()
	l := limiter(50)
	send(l, "192.0.2.1", Answer, "a", 5000, 0, time.Second)
	l.Set(20, 0, nil)
	if l.Rule(addr("192.0.2.1"), Answer, []byte("a"), time.Second) == Pass {
		t.Error("a reload forgave a flood")
	}
	l.Set(0, 200, nil)
	if l.On() || l.Rule(addr("192.0.2.1"), Answer, []byte("a"), time.Second) != Pass {
		t.Error("off")
	}
}

// A victim under flood keeps its bucket, however many others come by.
func TestManyPrefixesDoNotFreeAVictim(t *testing.T) {
	t.Parallel()
	const slots = 1 << 12
	l := limiter(50)
	l.set.Load().table = make([]atomic.Uint64, slots)
	send(l, "192.0.2.1", Answer, "a", 1000, 0, time.Second)
	now := time.Second
	for i := range uint32(10 * slots) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], i<<8)
		l.Rule(netip.AddrFrom4(a), Answer, []byte("b"), now)
		now += time.Microsecond
	}
	if l.Rule(addr("192.0.2.1"), Answer, []byte("a"), now) == Pass {
		t.Error("the flooded bucket gave way")
	}
	if l.Counters.Evicted.Value() == 0 {
		t.Error("evictions are not counted")
	}
}

func TestConcurrentRules(t *testing.T) {
	t.Parallel()
	l := limiter(50)
	var wg sync.WaitGroup
	var mu sync.Mutex
	passed := 0
	for range 4 {
		wg.Go(func() {
			got := send(l, "192.0.2.1", Answer, "a", 10000, 0, 0)
			mu.Lock()
			defer mu.Unlock()
			passed += got[Pass]
		})
	}
	wg.Wait()
	if passed != 50 {
		t.Errorf("%d passed", passed)
	}
}

func TestRuleDoesNotAllocate(t *testing.T) {
	l, of := limiter(50, "10.0.0.0/8"), []byte("\x03www\x07example\x00")
	client, now := addr("192.0.2.1"), time.Duration(0)
	if n := testing.AllocsPerRun(1000, func() { now += time.Millisecond; l.Rule(client, Answer, of, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRule(b *testing.B) {
	l, of := limiter(50), []byte("\x05h1234\x07example\x04test\x00")
	b.ReportAllocs()
	var i uint32
	for b.Loop() {
		i++
		l.Rule(netip.AddrFrom4([4]byte{192, byte(i >> 8), byte(i), 1}), Answer, of, time.Duration(i)*1000)
	}
}

func BenchmarkCheck(b *testing.B) {
	s, client := Secrets{Current: Secret{1, 2, 3}}, addr("192.0.2.1")
	var cookie [24]byte
	s.Make(&cookie, []byte("clientxx"), client, 1000)
	b.ReportAllocs()
	for b.Loop() {
		s.Check(cookie[:], client, 1001)
	}
}

// Whoever asks for many names, each below its rate, is bounded by the total.
func TestTheTotalOfAPrefix(t *testing.T) {
	t.Parallel()
	flood := func(l *RRL, client string, names, n int, at, over time.Duration) (got [3]int) {
		var of [4]byte
		for i := range n {
			binary.BigEndian.PutUint32(of[:], uint32(i%names))
			got[l.Rule(addr(client), Kind(i%2), of[:], at+over*time.Duration(i)/time.Duration(n))]++
		}
		return got
	}
	for _, c := range []struct {
		name     string
		total, n int
		over     time.Duration
		low, top int // of the replies that pass
	}{
		{"none", 0, 5000, time.Second, 5000, 5000},
		{"a burst", 200, 5000, time.Millisecond, 200, 200},
		{"just below", 200, 1990, 10 * time.Second, 1990, 1990},
		{"a steady flood gets its burst and no more", 200, 60 * 2000, time.Minute, 200, 230},
	} {
		l := new(RRL)
		l.Set(50, c.total, nil)
		got := flood(l, "192.0.2.1", 1000, c.n, 0, c.over)
		over := c.n - got[Pass]
		if got[Pass] < c.low || got[Pass] > c.top || got[Slip] != (over+1)/2 || int(l.Counters.Network.Value()) != over {
			t.Errorf("%s: passed, slipped, dropped %v, %d by the total", c.name, got, l.Counters.Network.Value())
		}
		if got := l.Rule(addr("192.0.3.1"), Answer, []byte("a"), 0); got != Pass {
			t.Errorf("%s: a neighbour: %v", c.name, got)
		}
	}
	// Over both rates half is said nothing to, not more: a real client must
	// hear that TCP is open.
	l := new(RRL)
	l.Set(50, 200, nil)
	flood(l, "192.0.2.1", 1000, 5001, 0, time.Second)
	if got := send(l, "192.0.2.77", Answer, "a", 1000, time.Second, time.Second); got[Slip] < 450 {
		t.Errorf("over both: %v", got)
	}
}
