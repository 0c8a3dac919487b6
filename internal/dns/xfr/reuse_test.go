package xfr

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
)

// secured is a Refresher whose primary serves within TLS, most requests on a
// connection; it counts connections, and keeps the lengths of requests.
type secured struct {
	t     *testing.T
	r     *Refresher
	o     *origin
	in    Inbound
	dials atomic.Int32
	most  atomic.Int32 // then the server closes
	sizes []int        // the origin's lock guards it
}

func newSecured(t *testing.T, keyed bool) *secured {
	ca := office(t, "ca")
	own := issue(t, &ca, x509.Certificate{DNSNames: []string{"primary.test"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}).tls()
	config, err := Trust{Name: "primary.test", CA: []*x509.Certificate{ca.cert}, Now: func() time.Time { return ca.cert.NotBefore.Add(time.Hour) }}.Client()
	if err != nil {
		t.Fatal(err)
	}
	s := &secured{t: t}
	s.most.Store(1 << 30)
	var origins []*origin
	s.r, _, origins = feedOf(t, keyed, func(rc *RefresherConfig, in *Inbound) {
		in.Primaries = in.Primaries[:1]
		in.Primaries[0].TLS = config
		rc.Dial = func(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
			s.dials.Add(1)
			ours, theirs := net.Pipe()
			s.o.runs.Go(func() {
				s.serve(tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"dot"}}))
			})
			return ours, nil
		}
	})
	s.o, s.in = origins[0], s.r.config.Zones()[0]
	t.Cleanup(s.r.client.idle.close)
	return s
}

func (s *secured) serve(conn net.Conn) {
	defer conn.Close()
	for range s.most.Load() {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		request := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		s.o.set(func(*origin) { s.sizes = append(s.sizes, len(request)) })
		var all []byte
		for _, msg := range s.o.answer(request, false) {
			all = append(binary.BigEndian.AppendUint16(all, uint16(len(msg))), msg...)
		}
		if _, err := conn.Write(all); err != nil {
			return
		}
	}
}

// rounds makes so many: a poll and a transfer each.
func (s *secured) rounds(n int) {
	s.t.Helper()
	at := target{s.in.Primaries[0], one, false}
	for range n {
		if _, err := s.r.client.poll(s.t.Context(), &s.in, at); err != nil {
			s.t.Fatal(err)
		}
		got, err := s.r.client.fetch(s.t.Context(), &s.in, at, wanted{})
		if err != nil || !slices.Equal(text(got.Full), content(s.o.z)) {
			s.t.Fatal(err)
		}
	}
}

func (s *secured) want(why string, dials int32, reused uint64) {
	s.t.Helper()
	if d, n := s.dials.Load(), s.r.Counters.Reused.Value(); d != dials || n != reused {
		s.t.Errorf("%s: %d connections, %d requests on one that was there; want %d and %d", why, d, n, dials, reused)
	}
}

// TestConnectionsAreUsedAgain, while they are open, and for a moment only; a
// request is padded, whatever is asked.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSecured(t, true)
		s.o.publish(zoneOf(t, 2, odd))
		s.rounds(3)
		s.want("one after the other", 1, 5)
		time.Sleep(keepFor + time.Second) // of the bubble
		s.rounds(1)
		s.want("after a while", 2, 6)
		s.most.Store(2)
		s.r.client.idle.close()
		s.r.client.idle = new(idle)
		s.rounds(3)
		s.want("a server that closes after two", 5, 9)
		s.most.Store(1)
		s.r.client.idle.close()
		s.r.client.idle = new(idle)
		s.rounds(2)
		s.want("one that closes after each", 9, 9)
		for _, size := range s.sizes {
			if size%padBlock != 0 || size == 0 {
				t.Errorf("a request of %d octets", size)
			}
		}
		// After a fault it is not known what comes next.
		s.most.Store(1 << 30)
		s.o.set(func(o *origin) {
			o.mangle = func(_ uint16, msgs [][]byte) [][]byte { return append(msgs, msgs[0]) } // two for one
		})
		at := target{s.in.Primaries[0], one, false}
		for range 2 {
			if _, err := s.r.client.fetch(t.Context(), &s.in, at, wanted{}); err == nil {
				t.Error("more than was asked for is taken")
			}
		}
		s.want("what went wrong is not used again", 11, 9)
		s.r.client.idle.close()
		s.o.set(func(o *origin) { o.mangle = nil })
		s.rounds(1)
		s.want("nothing is kept after the end", 13, 9)
	})
}

// TestIdleIsBounded: so many to one address, so many in all, and so long.
func TestIdleIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := new(idle)
		kept := func(w way) (all, there int) {
			i.mu.Lock()
			defer i.mu.Unlock()
			return i.count, len(i.lists[w])
		}
		for n := range keepMost {
			w := way{new(Primary), one}
			for range keepEach + 1 {
				conn, _ := net.Pipe()
				s := &stream{conn: conn, read: bufio.NewReader(conn)}
				s.follow(t.Context())
				i.put(w, s)
			}
			if all, there := kept(w); all != min(keepEach*(n+1), keepMost) || there > keepEach {
				t.Fatalf("%d are kept, %d of one", all, there)
			}
		}
		time.Sleep(keepFor + time.Second) // of the bubble
		if all, _ := kept(way{}); all != 0 || len(i.lists) != 0 {
			t.Errorf("%d are kept for too long", all)
		}
	})
}

// TestLastMessageIsPadded: neither the first nor the last message of a transfer
// tells how much there is.
func TestLastMessageIsPadded(t *testing.T) {
	t.Parallel()
	m := new(dns.Msg).SetQuestion("example.", dns.TypeAXFR)
	m.SetEdns0(1232, false)
	for _, padded := range []bool{false, true} {
		if padded {
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_PADDING{Padding: make([]byte, 3)}}
		}
		request, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var q wire.Query
		if v := q.Parse(request); v != wire.OK {
			t.Fatal(v)
		}
		q.Tail = 90 // of a signature
		var sizes []int
		var last dns.Msg
		err = Full(&q, &wire.Options{Block: 468}, large(t, 20_000), func(msg []byte) error {
			sizes = append(sizes, len(msg)+q.Tail)
			last = dns.Msg{}
			return last.Unpack(msg)
		})
		if err != nil || len(sizes) < 3 {
			t.Fatal(err, sizes)
		}
		first, end := sizes[0], sizes[len(sizes)-1]
		if got := end%468 == 0; got != padded || (last.IsEdns0() != nil) != padded {
			t.Errorf("padded %t: the last message has %d octets, %v", padded, end, last.IsEdns0())
		}
		if padded && first%468 != 0 && first < 65_000 {
			t.Errorf("the first message has %d octets", first)
		}
	}
}
