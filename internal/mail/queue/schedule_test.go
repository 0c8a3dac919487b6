package queue

import (
	"net/netip"
	"testing"
	"time"

	"postern/internal/mail/route"
)

func TestSchedule(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Unix(1e9, 0)
	for _, c := range []struct {
		name   string
		tries  int
		age    time.Duration
		chance float64
		want   time.Duration // 0: give up
	}{
		{"too old", 3, 5 * day, 0.5, 0},
		{"far too old", 3, 500 * day, 0.5, 0},
		{"no try counted", 0, 0, 0.5, time.Minute},
		{"negative", -5, 0, 0.5, time.Minute},
		{"first", 1, 0, 0.5, time.Minute},
		{"second", 2, 0, 0.5, 2 * time.Minute},
		{"third", 3, 0, 0.5, 5 * time.Minute},
		{"fourth", 4, 0, 0.5, 15 * time.Minute},
		{"fifth", 5, 0, 0.5, 30 * time.Minute},
		{"sixth", 6, 0, 0.5, time.Hour},
		{"seventh", 7, 0, 0.5, 2 * time.Hour},
		{"eighth", 8, 0, 0.5, 4 * time.Hour},
		{"cap", 1000, day, 0.5, 4 * time.Hour},
		{"early", 8, day, 0, 216 * time.Minute},
		{"late", 8, day, 0.999999999, 264 * time.Minute},
		{"a last try at the end", 20, 5*day - time.Hour, 0.5, time.Hour},
		{"a clock set back", 1, -day, 0.5, time.Minute},
	} {
		next, giveUp := Schedule(c.tries, c.age, 5*day, now, c.chance)
		if got := next.Sub(now).Round(time.Second); giveUp != (c.want == 0) || !giveUp && got != c.want {
			t.Errorf("%s: %v, give up %v; want %v", c.name, got, giveUp, c.want)
		}
	}
}

func TestSites(t *testing.T) {
	t.Parallel()
	a, b := netip.MustParseAddrPort("192.0.2.1:25"), netip.MustParseAddrPort("192.0.2.2:25")
	s := sites{dead: map[netip.AddrPort]site{}}
	now := time.Unix(0, 0)
	hops := []route.Hop{{Host: "h", Addrs: []netip.AddrPort{a, b}}, {Host: "k", Addrs: []netip.AddrPort{b}}}
	s.mark([]netip.AddrPort{a, a}, now)
	out, _ := s.alive(hops, now)
	if len(out) != 2 || len(out[0].Addrs) != 1 || out[0].Addrs[0] != b || len(hops[0].Addrs) != 2 {
		t.Errorf("%+v from %+v", out, hops)
	}
	s.mark([]netip.AddrPort{b}, now.Add(time.Second))
	if out, until := s.alive(hops, now.Add(time.Second)); len(out) != 0 || !until.Equal(now.Add(firstRest)) {
		t.Errorf("%+v until %v", out, until)
	}
	if out, _ := s.alive([]route.Hop{{Protocol: route.Maildir, Path: "/x"}}, now); len(out) != 1 {
		t.Error("a maildir rests")
	}
	// The rests grow to their cap, and one answer ends them.
	s.dead = map[netip.AddrPort]site{}
	at, last := now, time.Duration(0)
	for range 100 {
		s.mark([]netip.AddrPort{a, b}, at)
		_, until := s.alive(hops[:1], at)
		if until.Sub(at) < last || until.Sub(at) > longRest {
			t.Fatalf("rest of %v after %v", until.Sub(at), last)
		}
		at, last = until, until.Sub(at)
	}
	s.mark([]netip.AddrPort{a, b}, at)
	s.clear(a)
	if out, _ := s.alive(hops[:1], at); len(out) != 1 || last != longRest {
		t.Errorf("%+v, last rest %v", out, last)
	}
	// Bounded.
	refused := 0
	for i := range maxSites + 100 {
		refused += s.mark([]netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, byte(i >> 16), byte(i >> 8), byte(i)}), 25)}, at)
	}
	if len(s.dead) > maxSites || refused < 100 {
		t.Errorf("%d remembered, %d refused", len(s.dead), refused)
	}
}
