package listen

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// TestMain fails where a goroutine of this package outlives the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	for range 1000 {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		if !strings.Contains(string(buf), "dns/listen.(*") {
			os.Exit(code)
		}
		runtime.Gosched()
	}
	buf := make([]byte, 1<<20)
	fmt.Fprintf(os.Stderr, "goroutines left:\n%s\n", buf[:runtime.Stack(buf, true)])
	os.Exit(1)
}

// echo replies with the message, behind the addresses it came from and to.
type echo struct{ prefix string }

func (e echo) Serve(r *Request, dst []byte) []byte {
	dst = append(dst, e.prefix...)
	dst = append(dst, r.Transport.String()...)
	dst = append(dst, ' ')
	dst = append(dst, r.Local.Addr().String()...)
	dst = append(dst, ' ')
	return append(dst, r.Msg...)
}

func echoes(prefix string) func() Handler { return func() Handler { return echo{prefix} } }

// later hands every request to the test.
type later chan *Pending

func (l later) Serve(r *Request, _ []byte) []byte {
	l <- r.Keep()
	return nil
}

func local(t *testing.T, addr string) netip.AddrPort {
	t.Helper()
	a := netip.MustParseAddr(addr)
	if a.Is6() {
		if c, err := net.Listen("tcp6", "[::1]:0"); err != nil {
			t.Skip("no IPv6 on loopback:", err)
		} else {
			c.Close()
		}
	}
	return netip.AddrPortFrom(a, 0)
}

// open starts a set and returns it with the address of its first listener.
func open(t *testing.T, c Config) (*Set, netip.AddrPort) {
	t.Helper()
	s := NewSet(c)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s, s.Open()[0].Addr
}

func dial(t *testing.T, network string, addr netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial(network, addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

func frame(msg string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

func readFrame(t *testing.T, c net.Conn) string {
	t.Helper()
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestUDPAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, listen, ask, want string
		plain                   bool
	}{
		{"IPv4", "127.0.0.1", "127.0.0.1", "udp 127.0.0.1 ", false},
		{"IPv6", "::1", "::1", "udp ::1 ", false},
		{"one system call each", "127.0.0.1", "127.0.0.1", "udp 127.0.0.1 ", true},
		{"wildcard answers from the address asked", "0.0.0.0", "127.0.0.2", "udp 127.0.0.2 ", false},
		{"IPv6 wildcard answers from the address asked", "::", "::1", "udp ::1 ", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS != "linux" && c.ask != c.listen {
				t.Skip("needs packet information")
			}
			s, addr := open(t, Config{Plain: c.plain, Sockets: 2, Listen: []Spec{{Addr: local(t, c.listen), Handler: echoes("")}}})
			to := netip.AddrPortFrom(netip.MustParseAddr(c.ask), addr.Port())
			buf := make([]byte, 100)
			// Many clients, so that each socket sees some. A connected socket
			// takes nothing from another address than the one it asked.
			for i := range 20 {
				conn := dial(t, "udp", to)
				msg := fmt.Sprint("question ", i)
				if _, err := conn.Write([]byte(msg)); err != nil {
					t.Fatal(err)
				}
				n, err := conn.Read(buf)
				if err != nil || string(buf[:n]) != c.want+msg {
					t.Fatalf("%q, %v", buf[:n], err)
				}
			}
			if got := s.Counters.UDPReceived.Value(); got != 20 {
				t.Errorf("counted %d datagrams", got)
			}
		})
	}
}

func TestUDPDropsWhatIsTooLong(t *testing.T) {
	t.Parallel()
	s, addr := open(t, Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Handler: echoes("")}}, Sockets: 1})
	conn := dial(t, "udp", addr)
	for _, msg := range []string{strings.Repeat("x", queryLen+1), "short"} {
		if _, err := conn.Write([]byte(msg)); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 100)
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "udp 127.0.0.1 short" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if s.Counters.UDPTooLong.Value() != 1 {
		t.Error("not counted")
	}
}

func TestLateRepliesUDP(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"127.0.0.1", "0.0.0.0", "::"} {
		t.Run(listen, func(t *testing.T) {
			t.Parallel()
			kept := make(later, 2)
			_, addr := open(t, Config{Listen: []Spec{{Addr: local(t, listen), Handler: func() Handler { return kept }}}})
			ask := map[string]string{"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.3", "::": "::1"}[listen]
			conn := dial(t, "udp", netip.AddrPortFrom(netip.MustParseAddr(ask), addr.Port()))
			for _, msg := range []string{"one", "two"} {
				if _, err := conn.Write([]byte(msg)); err != nil {
					t.Fatal(err)
				}
			}
			first, second := <-kept, <-kept
			second.Reply(append([]byte("late "), second.Msg...))
			first.Reply(append([]byte("late "), first.Msg...))
			for _, want := range []string{"late two", "late one"} {
				buf := make([]byte, 100)
				if n, err := conn.Read(buf); err != nil || string(buf[:n]) != want {
					t.Errorf("%q, %v; want %q", buf[:n], err, want)
				}
			}
		})
	}
}

func TestPortInUseIsFound(t *testing.T) {
	t.Parallel()
	for _, transport := range []Transport{UDP, TCP} {
		t.Run(transport.String(), func(t *testing.T) {
			t.Parallel()
			// The other server is one like us: its socket has SO_REUSEPORT.
			_, addr := open(t, Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: transport, Handler: echoes("")}}})
			err := NewSet(Config{Listen: []Spec{{Addr: addr, Transport: transport, Handler: echoes("")}}}).Start(t.Context())
			if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), addr.String()) || !strings.Contains(err.Error(), transport.String()) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestNothingStartsWhereOneFails(t *testing.T) {
	t.Parallel()
	free := local(t, "127.0.0.1")
	_, taken := open(t, Config{Listen: []Spec{{Addr: free, Handler: echoes("")}}})
	s := NewSet(Config{Listen: []Spec{{Addr: free, Transport: TCP, Handler: echoes("")}, {Addr: taken, Handler: echoes("")}}})
	if err := s.Start(t.Context()); err == nil || len(s.Open()) != 0 {
		t.Errorf("%v, open %v", err, s.Open())
	}
}

func TestChangeKeepsSockets(t *testing.T) {
	t.Parallel()
	s, addr := open(t, Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Handler: echoes("old ")}}})
	conn := dial(t, "udp", addr)
	ask := func(conn net.Conn) string {
		t.Helper()
		if _, err := conn.Write([]byte("q")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	if got := ask(conn); got != "old udp 127.0.0.1 q" {
		t.Fatal(got)
	}
	socket := s.running[key{UDP, addr}].udp[0].conn

	// A change that cannot be made changes nothing.
	_, taken := open(t, Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Handler: echoes("")}}})
	if _, err := s.Prepare(t.Context(), []Spec{{Addr: addr, Handler: echoes("bad ")}, {Addr: taken, Handler: echoes("")}}); err == nil {
		t.Fatal("no error")
	}
	if got := ask(conn); got != "old udp 127.0.0.1 q" {
		t.Fatal(got)
	}

	change, err := s.Prepare(t.Context(), []Spec{{Addr: addr, Handler: echoes("new ")}, {Addr: addr, Transport: TCP, Handler: echoes("")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := change.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ask(conn); got != "new udp 127.0.0.1 q" {
		t.Error(got)
	}
	if s.running[key{UDP, addr}].udp[0].conn != socket || len(s.Open()) != 2 {
		t.Error("the socket did not stay, or the new one is not open")
	}

	// From one address to all: the port is ours, so it is not "in use".
	all := netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
	change, err = s.Prepare(t.Context(), []Spec{{Addr: all, Handler: echoes("all ")}, {Addr: all, Transport: TCP, Handler: echoes("all ")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := change.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ask(dial(t, "udp", addr)); got != "all udp 127.0.0.1 q" {
		t.Error(got)
	}
	if len(s.Open()) != 2 {
		t.Error(s.Open())
	}
}

func TestStopWaitsForKeptRequests(t *testing.T) {
	t.Parallel()
	for _, transport := range []Transport{UDP, TCP} {
		t.Run(transport.String(), func(t *testing.T) {
			t.Parallel()
			kept := make(later, 1)
			s, addr := open(t, Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: transport, Handler: func() Handler { return kept }}}})
			conn := dial(t, transport.String(), addr)
			msg := []byte("question")
			if transport == TCP {
				msg = frame("question")
			}
			if _, err := conn.Write(msg); err != nil {
				t.Fatal(err)
			}
			p := <-kept
			stopped := make(chan error, 1)
			l := s.running[key{transport, addr}]
			go func() { stopped <- s.Stop(t.Context()) }()
			<-l.stopping
			p.Reply([]byte("answer"))
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			got, err := io.ReadAll(io.LimitReader(conn, int64(len("answer"))+int64(len(msg)-len("question"))))
			if !strings.HasSuffix(string(got), "answer") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestStopEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	kept := make(later, 1)
	s, addr := open(t, Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Handler: func() Handler { return kept }}}})
	if _, err := dial(t, "udp", addr).Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	p := <-kept
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	p.Reply([]byte("too late")) // harmless
}
