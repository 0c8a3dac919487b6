package smtpd

import (
	"context"
	"io"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestShare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ limit, places, free, want int }{
		{200, 1000, 1000, 200},
		{200, 1000, 500, 200},
		{200, 1000, 499, 199},
		{200, 1000, 250, 100},
		{200, 1000, 100, 40},
		{200, 1000, 1, 10},  // a hundredth of all
		{200, 1000, 0, 10},  // which cannot be taken
		{200, 1000, -5, 10}, // after a reload
		{5, 1000, 1, 5},     // no more than the limit
		{1000, 1000, 400, 800},
		{50, 1, 1, 50},
		{50, 3, 1, 33},
	} {
		if got := share(c.limit, c.places, c.free); got != c.want {
			t.Errorf("share%v is %d", c, got)
		}
	}
	last := 200
	for free := 1000; free >= 0; free-- {
		now := share(200, 1000, free)
		if now > last || now < 10 {
			t.Fatalf("%d of a limit where %d are free, %d before", now, free, last)
		}
		last = now
	}
}

func TestMakeRoom(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	at := func(network string, g grade, ago time.Duration, edit ...func(*occupant)) occupant {
		o := occupant{network: netip.MustParsePrefix(network), grade: g, since: now.Add(-ago), waiting: true}
		for _, e := range edit {
			e(&o)
		}
		return o
	}
	exempt, busy := func(o *occupant) { o.exempt = true }, func(o *occupant) { o.waiting = false }
	const a, b, c = "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"
	for name, k := range map[string]struct {
		all  []occupant
		need int
		want []int
	}{
		"nobody is there":                     {nil, 3, nil},
		"nobody has been there long":          {[]occupant{at(a, stranger, 9*time.Second), at(a, proven, 59*time.Second)}, 3, nil},
		"nobody is needed":                    {[]occupant{at(a, stranger, time.Minute)}, 0, nil},
		"who has logged in stays":             {[]occupant{at(a, known, time.Hour), at(a, stranger, 10*time.Second)}, 3, []int{1}},
		"who is exempt stays":                 {[]occupant{at(a, stranger, time.Hour, exempt)}, 3, nil},
		"who is being served stays":           {[]occupant{at(a, stranger, time.Hour, busy)}, 3, nil},
		"who is not let in yet stays":         {[]occupant{{since: now.Add(-time.Hour), waiting: true}}, 3, nil},
		"the longest of no use first":         {[]occupant{at(a, stranger, time.Minute), at(b, stranger, time.Hour), at(c, stranger, 2*time.Minute)}, 2, []int{1, 2}},
		"of the largest network first":        {[]occupant{at(a, stranger, time.Hour), at(b, stranger, 20*time.Second), at(b, stranger, 10*time.Second)}, 1, []int{1}},
		"which the busy ones make large too":  {[]occupant{at(a, stranger, time.Hour), at(b, stranger, 10*time.Second), at(b, stranger, time.Second)}, 1, []int{1}},
		"until it is no larger than others":   {[]occupant{at(a, stranger, time.Hour), at(b, stranger, time.Minute), at(b, stranger, time.Minute), at(b, stranger, time.Minute)}, 3, []int{1, 2, 0}},
		"strangers before those who are good": {[]occupant{at(a, proven, time.Hour), at(a, proven, time.Hour), at(b, stranger, 10*time.Second)}, 2, []int{2, 0}},
	} {
		if got := makeRoom(k.all, k.need, now); !reflect.DeepEqual(got, k.want) {
			t.Errorf("%s: %v leave, not %v", name, got, k.want)
		}
	}
}

// A sweep looks at everybody, so it is not made for each who comes.
func TestSweepIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	g := newGuard(Limits{Connections: 2000}.withDefaults(), nil)
	g.total = 1800
	if g.sweep(now) != 0 || g.crowded() {
		t.Error("a tenth is free")
	}
	g.total = 1810
	if g.sweep(now) != 10 || g.sweep(now.Add(sweepEvery-1)) != 0 || g.sweep(now.Add(sweepEvery)) != 10 || !g.crowded() {
		t.Error("less is free")
	}
	g.total = 2000
	if g.sweep(now.Add(time.Second)) != sweepMost || g.sweep(now.Add(-time.Hour)) != sweepMost {
		t.Error("nothing is free")
	}
}

// Networks that brought mail are remembered for a week, and in a bounded number.
func TestFriendsAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	g := newGuard(Limits{Connections: 100}.withDefaults(), nil)
	friend, stranger := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	g.befriend(friend, now)
	g.total = 95 // the place of who comes is among them
	if g.enter(stranger, now) != letIn {
		t.Error("a twentieth is free")
	}
	g.total = 96
	if g.enter(stranger, now) != busyCrowd || g.enter(friend, now.Add(friendship-1)) != letIn || g.enter(friend, now.Add(friendship)) != busyCrowd {
		t.Error("less is free")
	}
	for i := range maxFriends + 100 {
		g.befriend(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), now.Add(time.Duration(i)))
	}
	if len(g.friends) != maxFriends {
		t.Errorf("%d friends", len(g.friends))
	}
}

// town is a door in virtual time, and clients with addresses of their own.
type town struct {
	t  *testing.T
	s  *Server
	at *pipes
}

type comingFrom struct {
	net.Conn
	addr net.Addr
}

func (c comingFrom) RemoteAddr() net.Addr { return c.addr }

func (w *town) dial(addr netip.Addr) net.Conn {
	ours, theirs := net.Pipe()
	w.at.conns <- comingFrom{theirs, &net.TCPAddr{IP: addr.AsSlice(), Port: 4000}}
	return ours
}

// hold opens a connection whenever it can, and says nothing over it, or what
// says gives now and then.
func (w *town) hold(ctx context.Context, addr netip.Addr, says string) {
	for ctx.Err() == nil {
		conn := w.dial(addr)
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(io.Discard, conn) // until it is ended
		}()
		for range 200 {
			select {
			case <-done:
			case <-time.After(5 * time.Second):
				if _, err := io.WriteString(conn, says); says != "" && err != nil {
					break
				}
				continue
			}
			break
		}
		stop()
		_ = conn.Close()
		<-done
		time.Sleep(time.Second)
	}
}

// brings reports whether a message of that address is taken.
func (w *town) brings(addr netip.Addr) bool {
	p := over(w.t, w.dial(addr))
	defer p.conn.Close()
	if err := p.conn.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		w.t.Error(err)
	}
	if r := p.reply(); r[:3] != "220" {
		return false
	}
	for _, step := range []string{"EHLO x\r\n", "MAIL FROM:<a@example.net>\r\n", "RCPT TO:<b@example.test>\r\n", "DATA\r\n", "x\r\n.\r\n", "QUIT\r\n"} {
		p.send(step)
		if r := p.reply(); r[0] != '2' && r[0] != '3' {
			return false
		}
	}
	return true
}

// TestFewNetworksHoldTheDoor: five networks held all places of a door for as
// long as a session may last, by saying nothing, or nothing of use. All others
// got 421 meanwhile.
func TestFewNetworksHoldTheDoor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		networks, each int
		says           string
		friends        bool // the others have brought mail before
		again          int  // how often each of them tries again
	}{
		"five networks, silent":            {5, 30, "", false, 0},
		"five networks that say nothing":   {5, 30, "NOOP\r\n", false, 0},
		"strangers among strangers":        {100, 1, "", false, 60},
		"a network for each place, silent": {150, 1, "", true, 0},
		"a network for each place":         {150, 1, "NOOP\r\n", true, 0},
		"recipients who exist":             {150, 1, "RSET\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\n", true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				s := started(t, &desk{}, func(conf *Config) {
					conf.Listener = l
					conf.Limits = Limits{Connections: 100, ConnectionsPerAddr: 5, ConnectionsPerNetwork: 20, ConnectRate: 1000, NetworkConnectRate: 5000}
				})
				w := &town{t, s, l}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				for i := range 60 {
					if c.friends && !w.brings(netip.AddrFrom4([4]byte{172, 16, byte(i), 1})) {
						t.Fatal("refused before it began")
					}
				}
				var holders atomic.Int32
				for n := range c.networks {
					for i := range c.each {
						holders.Add(1)
						go func() {
							w.hold(ctx, netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), byte(i)}), c.says)
							if holders.Add(-1) == 0 {
								close(ended)
							}
						}()
					}
				}
				time.Sleep(time.Minute) // of the bubble
				taken, tries := 0, 40
				for i := range tries {
					for range c.again + 1 {
						ok := w.brings(netip.AddrFrom4([4]byte{172, 16, byte(i), 9}))
						if time.Sleep(time.Second); ok {
							taken++
							break
						}
					}
				}
				cancel()
				<-ended
				if taken < tries*97/100 {
					t.Errorf("%d of %d got through; %d made room, %d beyond a share, %d at a full door", taken, tries,
						s.Counters.MadeRoom.Value(), s.Counters.RefusedCrowd.Value(), s.Counters.RefusedBusy.Value())
				}
			})
		})
	}
}

// Who is there for a reason is not asked to leave, however full it is: a login,
// an exempt client, one in the middle of a message.
func TestCrowdLeavesInPeace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		s := started(t, &desk{}, func(conf *Config) {
			conf.Listener = l
			conf.Exempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
			conf.Limits = Limits{Connections: 20}
		})
		w := &town{t, s, l}
		friend, sender := over(t, w.dial(netip.MustParseAddr("192.0.2.1"))), over(t, w.dial(netip.MustParseAddr("198.51.100.1")))
		for _, p := range []*peer{friend, sender} {
			if err := p.conn.SetDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		friend.want(220)
		inData(sender)
		var idle []*peer
		for i := range 17 {
			p := over(t, w.dial(netip.AddrFrom4([4]byte{10, 0, byte(i), 1})))
			_ = p.conn.SetDeadline(time.Now().Add(time.Hour))
			p.want(220)
			idle = append(idle, p)
		}
		time.Sleep(20 * time.Second)
		gone := 0
		for i := range 10 {
			p := over(t, w.dial(netip.AddrFrom4([4]byte{10, 1, byte(i), 1})))
			go func() { _ = p.reply() }()
			time.Sleep(time.Second)
		}
		gone = int(s.Counters.MadeRoom.Value())
		if gone == 0 {
			t.Error("nobody made room")
		}
		friend.send("NOOP\r\n")
		friend.want(250)
		sender.send("x\r\n.\r\n")
		sender.want(250)
		if r := idle[0].reply(); r != "421 4.3.2 too busy to wait for you, connect again later\r\n" {
			t.Errorf("who left heard %q", r)
		}
		for _, p := range slices.Concat(idle, []*peer{friend, sender}) {
			_ = p.conn.Close()
		}
	})
}

// A message that comes slowly is let go on while there is room.
func TestCrowdWantsMessagesFaster(t *testing.T) {
	t.Parallel()
	for places, ends := range map[int]bool{1: true, 100: false} {
		edit := func(c *Config) { c.MaxSize, c.Limits = 1<<20, Limits{Connections: places} }
		bubbledWith(t, &desk{}, edit, func(t *testing.T, s *Server, dial func() *peer) {
			p := dial()
			inData(p)
			line := strings.Repeat("x", 998) + "\r\n"
			if err := p.conn.SetDeadline(time.Now().Add(100 * time.Second)); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, p.r) }() // whatever it says
			for range 90 {
				time.Sleep(time.Second)
				p.send(line)
			}
			if got := s.Counters.TimedOut.Value() > 0; got != ends {
				t.Errorf("%d places: ended %t, want %t", places, got, ends)
			}
			_ = p.conn.Close()
		})
	}
}
