package listen

import (
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
	if after(time.Microsecond, MaxBurst/2+1) || after(time.Microsecond, MaxBurst) {
		t.Fatal("due though much waits")
	}
	if !after(lingerEach-1, 1) {
		t.Fatal("not due after much has come at once")
	}
	quiet()
	l.waited()
	busy()
	quiet()
}
