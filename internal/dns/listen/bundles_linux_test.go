package listen

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/metrics"
)

// measured replies as long as the message says, with the address that was asked
// and the message first.
type measured struct{ fragile }

func (measured) ServeBare(r *Request, dst []byte) []byte {
	var id, length int
	if _, err := fmt.Sscan(string(r.Msg), &id, &length); err != nil {
		panic(err)
	}
	return append(dst, measuredReply(r.Local.Addr(), string(r.Msg), length)...)
}

func measuredReply(asked netip.Addr, msg string, length int) []byte {
	head := fmt.Append(nil, asked, " ", msg, " ")
	return append(head, bytes.Repeat([]byte{'.'}, length-len(head))...)
}

// desk is a server's socket that the test reads and answers itself, and clients.
type desk struct {
	*batch
	t        *testing.T
	req      Request
	clients  []*net.UDPConn
	expected []map[string]int // replies by client
	asked    int
	rests    bool // as servers do; else each batch is bundled
}

func newDesk(t *testing.T, listen string, clients int) *desk {
	t.Helper()
	at := local(t, listen)
	network, wildcard := "udp4", at.Addr().IsUnspecified()
	if at.Addr().Is6() {
		network = "udp6"
	}
	lc := net.ListenConfig{Control: options(UDP, wildcard)}
	pc, err := lc.ListenPacket(t.Context(), network, at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	addr := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	p, err := newPackets(pc.(*net.UDPConn), addr.Addr(), wildcard, new(Counters))
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{batch: p.(*batch), t: t, req: Request{Transport: UDP, Local: addr}}
	for range clients {
		c, err := net.ListenUDP(network, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(6 * patience))
		d.clients, d.expected = append(d.clients, c), append(d.expected, map[string]int{})
	}
	return d
}

// ask sends a question from a client, and notes what it shall hear.
func (d *desk) ask(client int, server netip.Addr, length int) {
	d.t.Helper()
	msg := fmt.Sprint(d.asked, " ", length)
	d.asked++
	if _, err := d.clients[client].WriteToUDPAddrPort([]byte(msg), netip.AddrPortFrom(server, d.req.Local.Port())); err != nil {
		d.t.Fatal(err)
	}
	d.expected[client][string(measuredReply(server, msg, length))]++
}

// answer reads one batch and answers it.
func (d *desk) answer(before func()) (sent, failed int) {
	d.t.Helper()
	n, err := d.read()
	if err != nil || n == 0 {
		d.t.Fatal(n, err)
	}
	if before != nil {
		before()
	}
	if !d.rests {
		d.bundles.rest = 0
	}
	d.burst(measured{}, &d.req, 0, new(metrics.Counter))
	return d.flush(time.Now())
}

// hear has every client hear what it shall, each from the address it asked.
func (d *desk) hear() {
	d.t.Helper()
	buf := make([]byte, 1<<16)
	for i, expected := range d.expected {
		for len(expected) > 0 {
			n, from, err := d.clients[i].ReadFromUDPAddrPort(buf)
			if err != nil {
				d.t.Fatalf("client %d misses %d replies: %v", i, len(expected), err)
			}
			reply := string(buf[:n])
			if expected[reply] == 0 || !bytes.HasPrefix(buf, fmt.Append(nil, from.Addr().Unmap(), " ")) {
				d.t.Fatalf("client %d hears %d octets from %v, %.60q", i, n, from, reply)
			}
			delete(expected, reply)
		}
	}
}

// TestBundles: who is answered in bundles hears what it would hear without, from
// the address it asked.
func TestBundles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		listen  string
		servers []string
	}{
		{"127.0.0.1", []string{"127.0.0.1"}},
		{"::1", []string{"::1"}},
		{"0.0.0.0", []string{"127.0.0.1", "127.0.0.2"}},
		{"::", []string{"::1"}},
	} {
		t.Run(c.listen, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, c.listen, 3)
			lengths := []int{60, bundledFrom - 1, bundledFrom, 200, 200, 200, 201, 512, bundledLen, bundledLen + 1}
			for range 200 {
				asked := 1 + rand.IntN(MaxBurst)
				for range asked {
					server := netip.MustParseAddr(c.servers[rand.IntN(len(c.servers))])
					d.ask(rand.IntN(len(d.clients)), server, lengths[rand.IntN(len(lengths))])
				}
				for left := asked; left > 0; {
					sent, failed := d.answer(nil)
					if left -= sent; failed > 0 {
						t.Fatalf("%d sent, %d failed", sent, failed)
					}
				}
				d.hear()
			}
			if n := d.counters.UDPBundled.Value(); n < uint64(d.asked/4) || n > uint64(d.asked) {
				t.Errorf("%d of %d replies left together", n, d.asked)
			}
			if d.bundles.off {
				t.Error("bundles are off")
			}
		})
	}
}

// TestBundlesFull: as many as a bundle may hold, and as long.
func TestBundlesFull(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "127.0.0.1", 1)
	for _, length := range []int{bundledFrom, bundledLen} {
		for range MaxBurst {
			d.ask(0, d.req.Local.Addr(), length)
		}
		if sent, failed := d.answer(nil); sent != MaxBurst || failed > 0 {
			t.Errorf("%d sent, %d failed", sent, failed)
		}
		d.hear()
	}
	if n := d.counters.UDPBundled.Value(); n != 2*MaxBurst {
		t.Errorf("%d left together", n)
	}
}

// TestBundlesRefused: a way out that cannot part bundles is served without, and
// nobody misses anything.
func TestBundlesRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "127.0.0.1", 2)
	if err := d.raw.Control(func(fd uintptr) {
		// Linux refuses to part what it must not sum up.
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		for i := range 20 {
			d.ask(i%2, d.req.Local.Addr(), 200+i/2%2)
		}
		if sent, failed := d.answer(nil); sent != 20 || failed > 0 || !d.bundles.off {
			t.Errorf("round %d: %d sent, %d failed, off %t", round, sent, failed, d.bundles.off)
		}
		d.hear()
	}
	if n := d.counters.UDPBundled.Value(); n != 0 {
		t.Errorf("%d left together", n)
	}
}

// TestBundlesToNowhere: whoever forges questions that cannot be answered does not
// have bundles put off.
func TestBundlesToNowhere(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "127.0.0.1", 2)
	for i := range 20 {
		d.ask(i%2, d.req.Local.Addr(), 200)
	}
	clear(d.expected[0])
	nowhere := func() {
		port := d.clients[0].LocalAddr().(*net.UDPAddr).AddrPort().Port()
		for i := range d.got {
			if d.client(i).Port() == port {
				copy(d.names[i][2:4], []byte{0, 0})
			}
		}
	}
	if sent, failed := d.answer(nowhere); sent != 10 || failed != 10 || d.bundles.off {
		t.Errorf("%d sent, %d failed, off %t", sent, failed, d.bundles.off)
	}
	d.hear()
}

// TestBundlesRefusedOnce: a refusal that is not of bundles is of that one time.
func TestBundlesRefusedOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why syscall.Errno
		off bool
	}{{unix.ENOBUFS, false}, {unix.EPERM, false}, {unix.EIO, true}, {unix.EINVAL, true}} {
		b := &bundles{short: true, asked: new([MaxBurst]mmsghdr), names: new([MaxBurst][sockaddrLen]byte)}
		b.begin(4)
		for i := range 4 {
			b.add(i, make([]byte, bundledFrom+i%2))
		}
		b.seal()
		if b.made != 2 || b.refused(c.why) != 0 || b.made != 4 {
			t.Fatalf("%d bundles", b.made)
		}
		var order []int
		for i := range b.made {
			order = append(order, b.all[i].slot)
		}
		if !slices.Equal(order, []int{0, 0, 1, 1}) { // of one bundle all go where the first goes
			t.Errorf("sent again in order %v", order)
		}
		if b.taken(1); b.off != c.off {
			t.Errorf("%v: off %t", c.why, b.off)
		}
	}
}

// TestBundlesRest: where few replies can join others it is seldom tried; else
// always, but for one that came by itself.
func TestBundlesRest(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "0.0.0.0", 8)
	d.rests = true
	batches := func(count, clients, questions int) (bundled int) {
		for range count {
			for i := range questions {
				d.ask(i%clients, netip.MustParseAddr("127.0.0.1"), 200+i/clients)
			}
			if sent, failed := d.answer(nil); sent != questions || failed > 0 {
				t.Fatalf("%d sent, %d failed", sent, failed)
			}
			if d.bundles.active {
				bundled++
			}
			d.hear()
		}
		return bundled
	}
	many := func(count, questions int) (bundled int) {
		for range count {
			for range questions {
				d.ask(0, netip.MustParseAddr("127.0.0.2"), 200)
			}
			d.answer(nil)
			if d.bundles.active {
				bundled++
			}
			d.hear()
		}
		return bundled
	}
	const tries = bundleTried / 16
	if n := batches(2*tries+bundleRest, 8, 16); n != 2*tries {
		t.Errorf("%d of %d batches in vain", n, 2*tries+bundleRest)
	}
	if n := many(bundleRest, 16); n != 0 {
		t.Errorf("%d batches tried before the rest is over", n)
	}
	if n := many(50, 16); n != 50 {
		t.Errorf("%d of 50 batches are bundled", n)
	}
	if n := many(10, bundleFrom-1); n != 0 {
		t.Errorf("%d batches of %d are bundled", n, bundleFrom-1)
	}
}
