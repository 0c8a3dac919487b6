package xfr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

// TestRefresherFollows: the whole zone first, then differences when it is time
// or when told.
func TestRefresherFollows(t *testing.T) {
	t.Parallel()
	for _, keyed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r, s, origins := feedOf(t, keyed)
			o := origins[0]
			o.publish(zoneOf(t, 1, odd))
			origins[1].publish(zoneOf(t, 1, odd))
			running(t, r)
			synctest.Wait()
			if got := s.said(); !slices.Equal(got, []string{"full 1"}) {
				t.Fatal(got)
			}
			if got := o.asked(); !slices.Equal(got, []string{"AXFR tcp"}) {
				t.Error(got)
			}
			time.Sleep(time.Hour) // refresh: 3600
			synctest.Wait()
			if got := s.said(); !slices.Equal(got, []string{"fresh 1"}) {
				t.Error(got)
			}
			o.publish(zoneOf(t, 2, odd+"new A 192.0.2.1\n"))
			o.asked()
			r.Notified(mustName(t, "example."), "external", one.Addr())
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if got := s.said(); !slices.Equal(got, []string{"steps 2"}) {
				t.Error(got)
			}
			if got := o.asked(); !slices.Equal(got, []string{"SOA udp", "IXFR tcp"}) {
				t.Error(got)
			}
			if !slices.Equal(content(s.z), content(o.z)) {
				t.Error("not the same")
			}
			st := r.Standing()
			if len(st) != 1 || st[0].State != Fresh || st[0].Serial != 2 || st[0].Primary != "first" || st[0].Address != one || st[0].Reason != "" {
				t.Errorf("%+v", st)
			}
			if len(origins[1].asked()) > 0 {
				t.Error("the second primary was asked for nothing")
			}
		})
	}
}

// leftOf is how long what there is is good.
func leftOf(r *Refresher) (time.Duration, bool) {
	s := r.Standing()[0]
	return time.Until(s.Expires), !s.Expires.IsZero()
}

// TestExpires: nobody answers for as long as the SOA says: it is said once, and
// the first answer brings the zone back, though nothing has changed.
func TestExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s, origins := feedOf(t, false)
		origins[0].publish(zoneOf(t, 1, odd)) // expire: 86400
		origins[1].down = true
		running(t, r)
		time.Sleep(time.Second)
		synctest.Wait()
		origins[0].set(func(o *origin) { o.down = true })
		time.Sleep(24*time.Hour - 2*time.Second)
		synctest.Wait()
		if st := r.Standing()[0]; st.State != Stale || s.expired != 0 {
			t.Fatalf("%+v", st)
		}
		left, ok := leftOf(r)
		if !ok || left > 2*time.Second || left <= 0 {
			t.Errorf("left: %s", left)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if st := r.Standing()[0]; st.State != Expired || s.expired != 1 || r.Counters.Expired.Value() != 1 {
			t.Fatalf("%+v, %d times", st, s.expired)
		}
		time.Sleep(48 * time.Hour)
		s.said()
		origins[0].set(func(o *origin) { o.down = false })
		time.Sleep(10 * time.Minute) // retry: 600
		synctest.Wait()
		if got := s.said(); !slices.Equal(got, []string{"fresh 1"}) || r.Standing()[0].State != Fresh || s.expired != 1 {
			t.Errorf("%v, %+v", got, r.Standing())
		}
	})
}

// TestExpiryOfOthers: a primary that has the zone from others says how long it
// is good (RFC 7314), and that is believed.
func TestExpiryOfOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s, origins := feedOf(t, true)
		origins[1].down = true
		for _, o := range origins {
			o.left = 1000
		}
		origins[0].publish(zoneOf(t, 1, odd))
		running(t, r)
		time.Sleep(time.Second)
		synctest.Wait()
		if left, ok := leftOf(r); !ok || left > 1000*time.Second || left < 990*time.Second {
			t.Errorf("left: %s", left)
		}
		origins[0].set(func(o *origin) { o.left = 5000 })
		r.Notified(mustName(t, "example."), "external", one.Addr())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if left, _ := leftOf(r); left < 4990*time.Second || left > 5000*time.Second || !slices.Contains(s.said(), "fresh 1") {
			t.Errorf("left: %s", left)
		}
	})
}

// TestRestart: what is left of the expiry holds after a restart.
func TestRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s, origins := taught(t, false)
		origins[0].down = true
		s.until = time.Now().Add(time.Minute)
		running(t, r)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if s.expired != 0 || r.Standing()[0].State != Stale {
			t.Errorf("too early: %+v", r.Standing())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s.expired != 1 || r.Standing()[0].State != Expired {
			t.Errorf("%d times: %+v", s.expired, r.Standing())
		}
	})
}

// TestBackwards: a primary whose serial went backwards is not followed, unless
// somebody says so or what we have has expired; another content of the same
// serial not either.
func TestBackwards(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		serial uint32
		forced bool
		want   string
	}{
		{"forced, lower", 1, true, "full 1"}, {"forced, the same", 5, true, "full 5"}, {"expired, lower", 1, false, "full 1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, s, origins := feedOf(t, true)
			s.z, s.until = zoneOf(t, 5, odd), time.Now().Add(2*time.Hour)
			origins[1].down = true
			origins[0].publish(zoneOf(t, c.serial, "other A 192.0.2.1\n"))
			running(t, r)
			time.Sleep(30 * time.Minute)
			synctest.Wait()
			if slices.ContainsFunc(s.said(), func(l string) bool { return strings.HasPrefix(l, "full") }) || s.serial() != 5 {
				t.Fatalf("%s: taken unasked", c.name)
			}
			if c.serial == 1 && (r.Faults.Older.Value() == 0 || r.Standing()[0].State != Stale) {
				t.Errorf("%s: %+v", c.name, r.Standing())
			}
			if c.forced {
				if got := r.Again("", ""); len(got) != 1 {
					t.Errorf("%s: %+v", c.name, got)
				}
				time.Sleep(time.Second)
			} else {
				time.Sleep(2 * time.Hour)
			}
			synctest.Wait()
			said := slices.DeleteFunc(s.said(), func(l string) bool { return l == "expired" || strings.HasPrefix(l, "fresh") })
			if !slices.Equal(said, []string{c.want}) || !slices.Equal(content(s.z), content(origins[0].z)) {
				t.Errorf("%s: %v", c.name, said)
			}
			if st := r.Standing()[0]; st.State != Fresh || st.Serial != c.serial {
				t.Errorf("%s: %+v", c.name, st)
			}
		})
	}
}

// TestBurst: a hundred NOTIFYs are one question, or two where they came during
// one.
func TestBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s, origins := feedOf(t, false)
		origins[0].publish(zoneOf(t, 1, odd))
		running(t, r)
		time.Sleep(time.Minute)
		origins[0].asked()
		n := Notice{Zone: mustName(t, "example."), Serial: 2, HasSerial: true}
		origins[0].publish(zoneOf(t, 2, odd+"b A 192.0.2.1\n"))
		for range 100 {
			if rcode := r.Heard(n, Asker{From: one.Addr()}, false); rcode != wire.NoError {
				t.Fatal(rcode)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := origins[0].asked(); !slices.Equal(got, []string{"SOA udp", "IXFR tcp"}) || s.serial() != 2 {
			t.Errorf("%v", got)
		}
		// Ahead of the serial: it is asked for again, and comes.
		n.Serial = 3
		r.Heard(n, Asker{From: two.Addr()}, false)
		time.Sleep(time.Second)
		origins[1].publish(zoneOf(t, 2, odd))
		origins[0].publish(zoneOf(t, 3, odd+"c A 192.0.2.1\n"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s.serial() != 3 {
			t.Errorf("%v, at %d", origins[0].asked(), s.serial())
		}
		// Of nothing new: one question each, however many come.
		origins[0].asked()
		n.HasSerial = false
		for range 10 {
			r.Heard(n, Asker{From: one.Addr()}, false)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := origins[0].asked(); len(got) < 1 || len(got) > 2 {
			t.Errorf("%v", got)
		}
	})
}

// crowd is a Refresher of many zones with two primaries each, of which nothing
// comes until the test lets it.
func crowd(t *testing.T, zones int) (r *Refresher, running func() map[string]int, let chan struct{}) {
	t.Helper()
	var mu sync.Mutex
	now := map[string]int{}
	let = make(chan struct{})
	count := func(kind string, to netip.AddrPort, d int) {
		mu.Lock()
		defer mu.Unlock()
		now[kind] += d
		now[kind+" "+to.Addr().String()] += d
	}
	slow := func(ctx context.Context, kind string, to netip.AddrPort) error {
		count(kind, to, 1)
		defer count(kind, to, -1)
		select {
		case <-let:
		case <-ctx.Done():
		}
		return errors.New("nothing")
	}
	var all []Inbound
	for i := range zones {
		p := &Primary{Name: fmt.Sprint("p", i%2), Addr: []netip.AddrPort{[]netip.AddrPort{one, two}[i%2]}}
		all = append(all, Inbound{Zone: mustName(t, fmt.Sprintf("z%d.", i)), View: "v", Primaries: []*Primary{p}})
	}
	soa := zoneOf(t, 1, "").SOA()
	r = NewRefresher(RefresherConfig{
		Zones: func() []Inbound { return all }, Transfers: 3, PerPrimary: 2, Checks: 8,
		// Half of them are there already.
		Have: func(zone name.Name, _ string) (Held, bool) { return Held{SOA: soa}, len(zone)%2 == 0 },
		Exchange: func(ctx context.Context, _ netip.Addr, to netip.AddrPort, _ []byte) ([]byte, error) {
			return nil, slow(ctx, "check", to)
		},
		Dial: func(ctx context.Context, _ netip.Addr, to netip.AddrPort) (net.Conn, error) {
			return nil, slow(ctx, "dial", to)
		},
	})
	return r, func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		copied := map[string]int{}
		for k, v := range now {
			copied[k] = v
		}
		return copied
	}, let
}

// TestInboundBounds: so many transfers at one time, so many of one primary, and
// so many questions.
func TestInboundBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, now, let := crowd(t, 200)
		running(t, r)
		synctest.Wait()
		got := now()
		if got["dial"] != 3 || got["dial 192.0.2.1"] > 2 || got["dial 192.0.2.2"] > 2 || got["check"] != 4 || got["check 192.0.2.1"] != 2 || got["check 192.0.2.2"] != 2 {
			t.Errorf("%v", got)
		}
		close(let)
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, s := range r.Standing() {
			if s.Tried.IsZero() || s.Reason == "" {
				t.Fatalf("never asked for: %+v", s)
			}
		}
		if got := now(); got["dial"]+got["check"] != 0 || len(r.lanes[checking].primaries)+len(r.lanes[transferring].primaries) != 0 {
			t.Errorf("%v", got)
		}
	})
}

// TestFollow: zones come, go, and change their primaries; what is under way for
// one that went is not taken.
func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var zones []Inbound
		set := func(all ...Inbound) {
			mu.Lock()
			defer mu.Unlock()
			zones = all
		}
		var in Inbound
		r, s, origins := feedOf(t, false, func(c *RefresherConfig, i *Inbound) {
			in = *i
			c.Most = 1
			c.Zones = func() []Inbound {
				mu.Lock()
				defer mu.Unlock()
				return zones
			}
		})
		in.Primaries = []*Primary{{Name: "first", Addr: []netip.AddrPort{one}}}
		origins[0].publish(zoneOf(t, 1, odd))
		origins[0].slow = func(int) time.Duration { return 10 * time.Second }
		origins[1].publish(zoneOf(t, 7, odd))
		running(t, r)
		synctest.Wait()
		if len(r.Standing()) != 0 {
			t.Fatal("a zone from nowhere")
		}
		set(in)
		r.Follow()
		time.Sleep(5 * time.Second)
		set()
		r.Follow()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.Standing()) != 0 || len(s.said()) != 0 {
			t.Errorf("taken though it went: %+v", r.Standing())
		}
		more := in
		more.View = "internal"
		set(in, more)
		r.Follow()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.Standing()) != 1 || s.serial() != 1 || r.Counters.Dropped.Value() != 1 {
			t.Errorf("%+v, %d dropped", r.Standing(), r.Counters.Dropped.Value())
		}
		other := in
		other.Primaries = []*Primary{{Name: "second", Addr: []netip.AddrPort{two}}}
		set(other)
		r.Follow()
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.serial() != 7 || r.Standing()[0].Primary != "second" {
			t.Errorf("%+v", r.Standing())
		}
		origins[1].asked()
		set(other)
		r.Follow() // nothing has changed
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := origins[1].asked(); len(got) != 0 {
			t.Errorf("asked again for nothing: %v", got)
		}
	})
}

// TestInTurn: who does not answer is asked last for a while, by all zones; who
// tells of a new version first.
func TestInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s, origins := feedOf(t, false)
		origins[0].down = true
		origins[1].publish(zoneOf(t, 1, odd))
		running(t, r)
		time.Sleep(time.Second)
		synctest.Wait()
		if s.serial() != 1 || r.Standing()[0].Primary != "second" {
			t.Fatalf("%+v", r.Standing())
		}
		origins[0].set(func(o *origin) { o.down = false })
		origins[0].publish(zoneOf(t, 1, odd))
		r.Notified(mustName(t, "example."), "external", netip.Addr{})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := origins[0].asked(); len(got) != 0 {
			t.Errorf("asked too soon: %v", got)
		}
		r.Notified(mustName(t, "example."), "external", one.Addr())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := origins[0].asked(); !slices.Equal(got, []string{"SOA udp"}) || r.Standing()[0].Primary != "first" {
			t.Errorf("%v: %+v", got, r.Standing())
		}
	})
}

// TestComesBackWithoutUDP: who was away is not given up, though it is not waited
// for as long, and now answers by TCP alone.
func TestComesBackWithoutUDP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s, origins := taught(t, true)
		origins[0].mute = true
		running(t, r)
		time.Sleep(time.Minute)
		origins[0].set(func(o *origin) { o.mute, o.deaf = false, true })
		time.Sleep(badTime + 15*time.Minute)
		synctest.Wait()
		if s.serial() != 2 || r.Standing()[0].State != Fresh {
			t.Errorf("%+v", r.Standing())
		}
	})
}

// TestStops: what is under way ends with the Refresher, and is not taken.
func TestStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s, origins := feedOf(t, false)
		origins[0].publish(zoneOf(t, 1, odd))
		origins[0].slow = func(int) time.Duration { return time.Hour }
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := r.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if s.serial() != 0 || len(s.said()) != 0 {
			t.Error("taken")
		}
	})
	var nobody *Refresher
	nobody.Follow()
	nobody.Notified("", "", netip.Addr{})
	if nobody.Again("", "") != nil || nobody.Standing() != nil {
		t.Error("a Refresher of nothing has something")
	}
	if nobody.Heard(Notice{}, Asker{}, true) != wire.Refused || nobody.Heard(Notice{}, Asker{}, false) != wire.NotAuth {
		t.Error("a Refresher of nothing hears something")
	}
}
