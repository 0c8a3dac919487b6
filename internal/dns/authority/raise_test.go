package authority

import (
	"strings"
	"testing"
	"time"

	"postern/internal/dns/name"
)

// TestGoAbove: a serial goes above that of a secondary, once for a zone that is
// new here, and later only where the secondary has proven itself.
func TestGoAbove(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Poll = time.Hour
	served := make(chan uint32, 10)
	b.cfg.Changed = func(_ name.Name, view string, serial uint32) {
		if view == "external" {
			served <- serial
		}
	}
	b.write("external/example.test.zone", external)
	b.start()
	wait := func(want uint32) {
		t.Helper()
		select {
		case got := <-served:
			if got != want {
				t.Fatalf("serial %d, want %d", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("serial %d was not served:\n%s", want, b.log)
		}
	}
	wait(10)
	b.a.GoAbove(exampleTest, "external", 5, true)    // behind
	b.a.GoAbove(exampleTest, "internal", 5000, true) // no such zone there, or none of its own
	b.a.GoAbove(exampleTest, "external", 4000, false)
	wait(4001)
	b.a.GoAbove(exampleTest, "external", 9000, false)
	b.scan() // it was looked at
	b.a.GoAbove(exampleTest, "external", 8000, true)
	wait(8001)
	if n := b.a.Counters.Raised.Value(); n != 2 {
		t.Errorf("raised %d times", n)
	}

	b.write("external/example.test.zone", strings.Replace(external, "192.0.2.80", "192.0.2.81", 1))
	b.start()
	wait(8001)
	wait(8002) // it stays above
	b.a.GoAbove(exampleTest, "external", 9000, false)
	b.scan()
	b.a.GoAbove(exampleTest, "external", 9500, true)
	wait(9501)
	b.start()
	if z := b.zone("external", "example.test"); z.Serial() != 9501 {
		t.Errorf("serial %d after a restart", z.Serial())
	}
}
