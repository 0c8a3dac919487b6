package listen

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
)

// seer notes what it is shown, and says of each message in which place it saw it.
type seer struct {
	fragile
	entered, gate chan struct{} // nil, or the first message tells the one and waits for the other
	shown         *[]string
	looks         bool
}

func (s *seer) Ahead(count int, message func(i int) []byte) bool {
	*s.shown = (*s.shown)[:0]
	for i := range count {
		*s.shown = append(*s.shown, string(message(i)))
	}
	return s.looks
}

func (s *seer) ServeBare(r *Request, dst []byte) []byte {
	if s.gate != nil {
		close(s.entered)
		<-s.gate
		s.gate = nil
	}
	if r.Msg[0] == '!' {
		panic(errBroken)
	}
	if r.Seen > 0 && (*s.shown)[r.Seen-1] != string(r.Msg) {
		return fmt.Appendf(dst, "%s was shown as %d, which is %s", r.Msg, r.Seen, (*s.shown)[r.Seen-1])
	}
	return fmt.Appendf(dst, "%s %t", r.Msg, r.Seen > 0)
}

// TestShownAhead has a burst gather while the reader is held: all of it is shown,
// and each message is known again until one breaks the handler.
func TestShownAhead(t *testing.T) {
	t.Parallel()
	for _, looks := range []bool{true, false} {
		var failed atomic.Int64
		entered, gate, shown := make(chan struct{}), make(chan struct{}), []string{}
		_, addr := open(t, Config{Sockets: 1, Listen: []Spec{{Addr: local(t, "127.0.0.1"), Handler: func() Handler {
			return &seer{fragile: fragile{failed: &failed}, entered: entered, gate: gate, shown: &shown, looks: looks}
		}}}})
		conn := dial(t, "udp", addr)
		buf := make([]byte, 100)
		hears := func(want string) {
			t.Helper()
			if n, err := conn.Read(buf); err != nil || string(buf[:n]) != want {
				t.Fatalf("%q, %v, want %q", buf[:n], err, want)
			}
		}
		sent := []string{"alone", "a", "b", "!", "c", "d"}
		for _, msg := range sent {
			if _, err := conn.Write([]byte(msg)); err != nil {
				t.Fatal(err)
			}
			if msg == "alone" {
				<-entered
			}
		}
		close(gate)
		hears("alone false")
		hears(fmt.Sprintf("a %t", looks))
		hears(fmt.Sprintf("b %t", looks))
		hears("c false")
		hears("d false")
		if n := failed.Load(); n != 1 || !slices.Equal(shown, sent[1:]) {
			t.Errorf("shown %q, %d failures", shown, n)
		}
	}
}
