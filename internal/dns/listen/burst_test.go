package listen

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
)

var errBroken = errors.New("broken")

// fragile echoes, but breaks over some messages.
type fragile struct {
	echo
	failed *atomic.Int64
}

func (f fragile) ServeBare(r *Request, dst []byte) []byte {
	if r.Msg[0] == '!' {
		panic(errBroken)
	}
	return f.Serve(r, dst)
}

func (f fragile) Failed(cause any) {
	if cause == errBroken {
		f.failed.Add(1)
	}
}

func TestOneBreaksTheOthersAreAnswered(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		var failed atomic.Int64
		_, addr := open(t, Config{Plain: plain, Sockets: 1, Listen: []Spec{{Addr: local(t, "127.0.0.1"), Handler: func() Handler { return fragile{failed: &failed} }}}})
		conn := dial(t, "udp", addr)
		for i := range 30 {
			msg := fmt.Sprint(i)
			if i%3 == 1 {
				msg = "!" + msg
			}
			if _, err := conn.Write([]byte(msg)); err != nil {
				t.Fatal(err)
			}
		}
		buf := make([]byte, 100)
		for i := range 30 {
			if i%3 == 1 {
				continue
			}
			n, err := conn.Read(buf)
			if want := fmt.Sprint("udp 127.0.0.1 ", i); err != nil || string(buf[:n]) != want {
				t.Fatalf("%q, %v, want %q", buf[:n], err, want)
			}
		}
		if failed.Load() != 10 {
			t.Errorf("%d of 10 failures told", failed.Load())
		}
	}
}
