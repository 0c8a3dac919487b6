package listen

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func openTCP(t *testing.T, h func() Handler, limits Limits) (*Set, net.Conn) {
	t.Helper()
	s, addr := open(t, Config{Limits: limits, Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: TCP, Handler: h}}})
	return s, dial(t, "tcp", addr)
}

func send(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// closed fails unless the server closes the connection.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("still open")
	}
}

func TestTCPPipelining(t *testing.T) {
	t.Parallel()
	_, conn := openTCP(t, echoes(""), Limits{})
	var b []byte
	for i := range 200 {
		b = append(b, frame(fmt.Sprint("question ", i))...)
	}
	// Cut where it hurts: in a length, in a message.
	send(t, conn, b[:1])
	send(t, conn, b[1:20])
	send(t, conn, b[20:])
	for i := range 200 {
		if got, want := readFrame(t, conn), fmt.Sprint("tcp 127.0.0.1 question ", i); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}

func TestTCPLongMessages(t *testing.T) {
	t.Parallel()
	_, conn := openTCP(t, echoes(""), Limits{})
	for _, n := range []int{60000, 3, 40000, firstRead, 65535 - len("tcp 127.0.0.1 ")} {
		msg := strings.Repeat("m", n)
		go func() { _, _ = conn.Write(frame(msg)) }() // the reader below tells
		if got := readFrame(t, conn); got != "tcp 127.0.0.1 "+msg {
			t.Fatalf("%d octets: got %d", n, len(got))
		}
	}
}

func TestTCPOutOfOrder(t *testing.T) {
	t.Parallel()
	kept := make(later, 3)
	_, conn := openTCP(t, func() Handler { return kept }, Limits{})
	send(t, conn, append(append(frame("1"), frame("2")...), frame("3")...))
	one, two, three := <-kept, <-kept, <-kept
	three.Reply([]byte("three"))
	if got := readFrame(t, conn); got != "three" {
		t.Errorf("first reply %q", got)
	}
	two.Reply(nil)
	one.Reply([]byte("one"))
	if got := readFrame(t, conn); got != "one" {
		t.Errorf("second reply %q", got)
	}
}

func TestTCPInFlightIsBounded(t *testing.T) {
	t.Parallel()
	kept := make(later, 100)
	s, conn := openTCP(t, func() Handler { return kept }, Limits{InFlight: 2})
	for range 5 {
		send(t, conn, frame("q"))
	}
	first, second := <-kept, <-kept
	if n := s.Counters.TCPMessages.Value(); n != 2 {
		t.Errorf("%d messages taken", n)
	}
	first.Reply([]byte("r"))
	third := <-kept // a slot became free
	if readFrame(t, conn) != "r" {
		t.Error("reply")
	}
	second.Reply([]byte("r"))
	fourth := <-kept
	third.Reply([]byte("r"))
	fourth.Reply([]byte("r"))
	(<-kept).Reply([]byte("r"))
	for range 4 {
		readFrame(t, conn)
	}
}

func TestTCPHalfClosedClientGetsItsAnswers(t *testing.T) {
	t.Parallel()
	kept := make(later, 1)
	_, conn := openTCP(t, func() Handler { return kept }, Limits{})
	send(t, conn, frame("q"))
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	(<-kept).Reply([]byte("r"))
	if readFrame(t, conn) != "r" {
		t.Error("reply")
	}
	closed(t, conn)
}

// pipe starts a connection over a pipe, for tests in virtual time.
func pipe(t *testing.T, h Handler, limits Limits) (*tcpConn, net.Conn) {
	t.Helper()
	limits.defaults()
	client, server := net.Pipe()
	c := &tcpConn{
		net: server, raw: server, limits: limits, counters: new(Counters),
		slots: make(chan struct{}, limits.InFlight), stopping: make(chan struct{}),
	}
	var hs handlers
	hs.set(func() Handler { return h })
	go c.serve(&hs)
	return c, client
}

func TestTCPIdleAndTricklingClientsAreClosed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first   []byte
		trickle bool
		after   time.Duration
	}{
		"nothing":         {nil, false, 10 * time.Second},
		"half a message":  {frame("question")[:4], false, 10 * time.Second},
		"octet by octet":  {frame(strings.Repeat("q", 100))[:2], true, 12 * time.Second}, // seen by the octet after ten seconds
		"message of zero": {[]byte{0, 0}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				conn, client := pipe(t, echo{}, Limits{})
				begin := time.Now()
				if len(c.first) > 0 {
					send(t, client, c.first)
				}
				for c.trickle {
					time.Sleep(3 * time.Second)
					if _, err := client.Write([]byte("q")); err != nil {
						break
					}
				}
				if _, err := io.Copy(io.Discard, client); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took != c.after {
					t.Errorf("closed after %v, want %v", took, c.after)
				}
				if c.after > 0 && conn.counters.TCPIdleClosed.Value() != 1 {
					t.Error("not counted")
				}
			})
		})
	}
}

func TestTCPWaitingClientIsNotIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := make(later, 1)
		conn, client := pipe(t, kept, Limits{})
		send(t, client, frame("q"))
		p := <-kept
		time.Sleep(35 * time.Second)
		p.Reply([]byte("r"))
		if readFrame(t, client) != "r" || conn.counters.TCPIdleClosed.Value() != 0 {
			t.Error("closed though an answer was owed")
		}
		closed(t, client)
		if conn.counters.TCPIdleClosed.Value() != 1 {
			t.Error("not closed when idle again")
		}
	})
}

// big replies with as much as a message holds.
type big struct{}

func (big) Serve(_ *Request, dst []byte) []byte { return append(dst, make([]byte, 65535)...) }

func TestTCPSlowReaderIsClosed(t *testing.T) {
	t.Parallel()
	s, conn := openTCP(t, func() Handler { return big{} }, Limits{Write: 20 * time.Millisecond})
	// Ask without reading until the server gives up on us.
	for {
		if _, err := conn.Write(frame("q")); err != nil {
			break
		}
	}
	if s.Counters.TCPSlowClosed.Value() != 1 {
		t.Error("not counted")
	}
}

func TestTCPCaps(t *testing.T) {
	t.Parallel()
	s, first := openTCP(t, echoes(""), Limits{Conns: 3, PerClient: 2})
	addr := s.Open()[0].Addr
	ask := func(c net.Conn) {
		t.Helper()
		send(t, c, frame("q"))
		readFrame(t, c)
	}
	ask(first)
	second := dial(t, "tcp", addr)
	ask(second)
	closed(t, dial(t, "tcp", addr))
	if s.Counters.TCPRefusedClient.Value() != 1 || s.Connections() != 2 {
		t.Error("client bound not counted")
	}
	from := func(ip string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		c, err := d.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c
	}
	third := from("127.0.0.7")
	ask(third)
	closed(t, from("127.0.0.8"))
	if s.Counters.TCPRefusedTotal.Value() != 1 {
		t.Error("common bound not counted")
	}
}

// hall is echo that knows 127.0.0.7 as one of its own.
type hall struct{ echo }

func (hall) Insider(client netip.Addr) bool { return client == netip.MustParseAddr("127.0.0.7") }

// However many connections strangers hold, insiders get theirs, and the other
// way round (VIEWS, one address, two roles, rule 5).
func TestStrangersCannotStarveInsiders(t *testing.T) {
	t.Parallel()
	s, first := openTCP(t, func() Handler { return &hall{} }, Limits{Conns: 1, PerClient: 9})
	send(t, first, frame("q"))
	readFrame(t, first)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 7)}}
	addr := s.Open()[0].Addr
	for i := range 2 {
		c, err := d.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		if i == 1 {
			closed(t, c)
			break
		}
		send(t, c, frame("q"))
		readFrame(t, c)
	}
	closed(t, dial(t, "tcp", addr))
	if s.Counters.TCPRefusedTotal.Value() != 2 || s.Connections() != 2 {
		t.Errorf("%d refused, %d open", s.Counters.TCPRefusedTotal.Value(), s.Connections())
	}
}
