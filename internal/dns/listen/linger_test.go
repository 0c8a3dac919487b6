package listen

import (
	"fmt"
	"testing"
	"time"
)

func TestLinger(t *testing.T) {
	t.Parallel()
	var l linger
	now := time.Unix(1, 0)
	after := func(d time.Duration, got int) bool {
		now = now.Add(d)
		return l.due(got, now)
	}
	busy := func() {
		for i := range lingerAfter {
			if after(lingerEach-1, 1) {
				t.Fatalf("due after %d batches", i+1)
			}
		}
	}
	quiet := func() {
		if after(lingerEach, 1) || l.busy != 0 {
			t.Fatal("a quiet socket is due")
		}
	}
	for range 100 { // two and three come together, as they do from a stub
		if after(time.Millisecond, 1) || after(time.Microsecond, 1) || after(time.Microsecond, 1) {
			t.Fatal("a pair of questions is a busy socket")
		}
	}
	quiet()
	busy()
	for i := range lingerRow {
		if !after(5*lingerEach, 6) {
			t.Fatalf("not due after %d stays", i)
		}
	}
	if after(lingerEach-1, 1) {
		t.Fatal("others never get the processor")
	}
	l.waited()
	if !after(lingerEach-1, 1) {
		t.Fatal("not due again after others had it")
	}
	if after(time.Microsecond, batchLen/2+1) || after(time.Microsecond, batchLen) {
		t.Fatal("due though much waits")
	}
	l.waited()
	busy()
	quiet()
}

// TestAllAreAnsweredWhileLingering asks faster than a quiet socket is asked,
// and never more than the socket holds.
func TestAllAreAnsweredWhileLingering(t *testing.T) {
	t.Parallel()
	set, addr := open(t, Config{Sockets: 1, Listen: []Spec{{Addr: local(t, "127.0.0.1"), Handler: func() Handler { return echo{} }}}})
	conn := dial(t, "udp", addr)
	buf := make([]byte, 100)
	deadline := time.Now().Add(30 * time.Second)
	for asked := 0; set.Counters.UDPLingered.Value() < 3*lingerRow; {
		if time.Now().After(deadline) {
			t.Fatalf("lingered %d times in %d questions", set.Counters.UDPLingered.Value(), asked)
		}
		for range 200 {
			if _, err := fmt.Fprint(conn, asked); err != nil {
				t.Fatal(err)
			}
			asked++
		}
		for i := range 200 {
			n, err := conn.Read(buf)
			if want := fmt.Sprint("udp 127.0.0.1 ", asked-200+i); err != nil || string(buf[:n]) != want {
				t.Fatalf("%q, %v, want %q", buf[:n], err, want)
			}
		}
	}
}
