package xfr

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
	"postern/internal/dns/zone"
)

// shelf is a source with one zone.
type shelf struct {
	z     *zone.Zone
	steps []zone.Delta
}

func (s *shelf) Content(name.Name, string) (*zone.Zone, []zone.Delta) { return s.z, s.steps }

// archive remembers one old version more.
type archive struct {
	shelf
	old   *zone.Zone
	asked int
}

func (a *archive) Since(_ context.Context, _ name.Name, _ string, serial uint32) (zone.Delta, bool) {
	a.asked++
	if serial != a.old.Serial() {
		return zone.Delta{}, false
	}
	return zone.NewDelta(a.old, a.z), true
}

func grant(t testing.TB, peer string) Grant {
	t.Helper()
	return Grant{Zone: mustName(t, "example."), View: "external", Peer: &Peer{Name: peer}}
}

// TestBounds: so many transfers in all, so many of one peer, and a place is
// free again when one ends.
func TestBounds(t *testing.T) {
	t.Parallel()
	o := New(Config{Max: 3, PerPeer: 2})
	var ends []func()
	for _, c := range []struct {
		peer string
		ok   bool
	}{{"a", true}, {"a", true}, {"a", false}, {"b", true}, {"b", false}, {"c", false}} {
		end, ok := o.Begin(grant(t, c.peer))
		if ok != c.ok {
			t.Errorf("%s: %v", c.peer, ok)
		}
		if ok {
			ends = append(ends, end)
		}
	}
	if o.Counters.OverPeer.Value() != 1 || o.Counters.OverTotal.Value() != 2 || o.Running() != 3 {
		t.Errorf("%d over the peer's, %d over all, %d running", o.Counters.OverPeer.Value(), o.Counters.OverTotal.Value(), o.Running())
	}
	for _, end := range ends {
		end()
	}
	if o.Running() != 0 || len(o.peers) != 0 {
		t.Errorf("%d running, %v", o.Running(), o.peers)
	}
	for range 2 {
		if _, ok := o.Begin(grant(t, "a")); !ok {
			t.Error("no place after all ended")
		}
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	first, old, now := zoneOf(t, 1, "x A 192.0.2.1\n"), zoneOf(t, 2, odd), zoneOf(t, 3, odd+"new A 192.0.2.1\n")
	kept := &archive{shelf: shelf{now, history(old, now)}, old: first}
	for _, c := range []struct {
		name   string
		source Source
		q      *wire.Query
		rcode  int
		count  func(*Counters) uint64
		want   []string // nil: nothing was sent
	}{
		{"no good state", &shelf{}, request(t, "example.", dns.TypeAXFR, 0), wire.ServFail, func(c *Counters) uint64 { return c.Empty.Value() }, nil},
		{"IXFR without a SOA", kept, request(t, "example.", dns.TypeIXFR, 0, func(m *dns.Msg) { m.Ns = nil }), wire.FormErrCode, nil, nil},
		{"whole", kept, request(t, "example.", dns.TypeAXFR, 0), 0, func(c *Counters) uint64 { return c.Full.Value() }, content(now)},
		{"steps", kept, request(t, "example.", dns.TypeIXFR, 2), 0, func(c *Counters) uint64 { return c.Incremental.Value() }, content(now)},
		{"steps out of the archive", kept, request(t, "example.", dns.TypeIXFR, 1), 0, func(c *Counters) uint64 { return c.Incremental.Value() }, content(now)},
		{"unknown to the archive", kept, request(t, "example.", dns.TypeIXFR, 1<<32-9), 0, func(c *Counters) uint64 { return c.Full.Value() }, content(now)},
		{"current", kept, request(t, "example.", dns.TypeIXFR, 3), 0, func(c *Counters) uint64 { return c.Current.Value() }, content(now)},
	} {
		o := New(Config{Source: c.source})
		got := &gathered{t: t}
		rcode, err := o.Transfer(t.Context(), c.q, nil, grant(t, "a"), got.take)
		if rcode != c.rcode || err != nil || c.count != nil && c.count(&o.Counters) != 1 {
			t.Errorf("%s: rcode %d, %v", c.name, rcode, err)
		}
		if c.want == nil {
			if len(got.msgs) > 0 {
				t.Errorf("%s: %v", c.name, got.msgs)
			}
			continue
		}
		have := map[uint32]*zone.Zone{1: first, 2: old, 3: now, 1<<32 - 9: first}
		serial, _ := Serial(c.q)
		all := got.records()
		lines := text(all[1:])
		if c.q.Type == dns.TypeIXFR {
			lines = replay(t, content(have[serial]), serial, all)
		}
		if !slices.Equal(lines, c.want) {
			t.Errorf("%s: %v", c.name, lines)
		}
	}
	if kept.asked != 2 {
		t.Errorf("the archive was asked %d times", kept.asked)
	}
}

// TestTooLongIsSaid: what was sent stands, and the client hears of the end.
func TestTooLongIsSaid(t *testing.T) {
	t.Parallel()
	z := zoneOf(t, 7, "big TXT "+stringsOf(40000)+"\n")
	o := New(Config{Source: &shelf{z: z}})
	q := request(t, "example.", dns.TypeAXFR, 0)
	q.Tail = 30000
	got := &gathered{t: t}
	rcode, err := o.Transfer(t.Context(), q, nil, grant(t, "a"), got.take)
	if rcode != wire.ServFail || err != nil || o.Counters.Failed.Value() != 1 || o.Counters.Broken.Value() != 0 {
		t.Errorf("rcode %d, %v", rcode, err)
	}
	if len(o.packing) != 0 {
		t.Error("the turn is held")
	}
}

func stringsOf(n int) string {
	s := ""
	for range n / 250 {
		s += `"` + string(slices.Repeat([]byte("x"), 249)) + `" `
	}
	return s
}

func TestBrokenOff(t *testing.T) {
	t.Parallel()
	o := New(Config{Source: &shelf{z: zoneOf(t, 7, odd)}})
	gone := errors.New("gone")
	rcode, err := o.Transfer(t.Context(), request(t, "example.", dns.TypeAXFR, 0), nil, grant(t, "a"), func([]byte) error { return gone })
	if rcode != 0 || !errors.Is(err, gone) || o.Counters.Broken.Value() != 1 || len(o.packing) != 0 {
		t.Errorf("rcode %d, %v", rcode, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.packing <- struct{}{} // somebody else packs, forever
	if o.config.Packing > 1 {
		o.packing <- struct{}{}
	}
	if _, err := o.Transfer(ctx, request(t, "example.", dns.TypeAXFR, 0), nil, grant(t, "a"), func([]byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("waited though we stop: %v", err)
	}
}

// TestTooLongATransfer: a client that takes a little now and then does not keep
// an old version for ever.
func TestTooLongATransfer(t *testing.T) {
	t.Parallel()
	z := large(t, 12_000)
	synctest.Test(t, func(t *testing.T) {
		o := New(Config{Source: &shelf{z: z}, Longest: time.Minute})
		calls := 0
		_, err := o.Transfer(t.Context(), request(t, "example.", dns.TypeAXFR, 0), nil, grant(t, "slow"), func([]byte) error {
			calls++
			time.Sleep(25 * time.Second)
			return nil
		})
		if !errors.Is(err, context.DeadlineExceeded) || calls != 3 || o.Counters.Broken.Value() != 1 || len(o.packing) != 0 {
			t.Errorf("%v after %d messages", err, calls)
		}
	})
}

// TestNobodyPacksWhileWaiting: a client that takes nothing holds no turn, and
// no more transfers pack at once than may.
func TestNobodyPacksWhileWaiting(t *testing.T) {
	t.Parallel()
	z := large(t, 12_000)
	synctest.Test(t, func(t *testing.T) {
		o := New(Config{Source: &shelf{z: z}, Packing: 1})
		stuck, release := make(chan struct{}, 4), make(chan struct{})
		var running sync.WaitGroup
		for range 3 {
			running.Go(func() {
				_, _ = o.Transfer(t.Context(), request(t, "example.", dns.TypeAXFR, 0), nil, grant(t, "slow"), func([]byte) error {
					stuck <- struct{}{}
					<-release
					return errors.New("gone")
				})
			})
		}
		for range 3 {
			<-stuck
		}
		packing := 0
		got := &gathered{t: t}
		rcode, err := o.Transfer(t.Context(), request(t, "example.", dns.TypeAXFR, 0), nil, grant(t, "quick"), func(msg []byte) error {
			packing = max(packing, len(o.packing))
			return got.take(msg)
		})
		if rcode != 0 || err != nil || len(got.msgs) < 3 || packing != 0 {
			t.Errorf("rcode %d, %v, %d messages, %d packing while one is sent", rcode, err, len(got.msgs), packing)
		}
		close(release)
		running.Wait()
	})
}
