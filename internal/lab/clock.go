package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Clock is a time of the test's own, to the second, which stands until it is
// set. Postern is told of its File; programs in C that the lab starts after it
// was made go by it too, except for how long they wait: that stays the
// machine's.
type Clock struct {
	File string // Unix seconds, for --test-clock

	l       *Lab
	library string
	now     time.Time
}

// Clock makes the clock of this world.
func (l *Lab) Clock(at time.Time) *Clock {
	l.t.Helper()
	found, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if err != nil || len(found) == 0 {
		l.lacks("libfaketime", "faketime")
	}
	c := &Clock{File: l.Path("clock"), l: l, library: found[0]}
	c.Set(at)
	l.clock = c
	return c
}

// Now returns what it says.
func (c *Clock) Now() time.Time { return c.now }

// Set sets it for everybody.
func (c *Clock) Set(to time.Time) {
	c.l.t.Helper()
	c.now = to.Truncate(time.Second)
	// Who reads half a time would end.
	c.l.Write(c.File+".new", fmt.Sprintf("%d\n", c.now.Unix()))
	if err := os.Rename(c.File+".new", c.File); err != nil {
		c.l.t.Fatal(err)
	}
}

// environ makes a program go by it. BIND's programs have an allocator that asks
// for the time before the library knows where to ask: the C library's is put
// before that.
func (c *Clock) environ() []string {
	return []string{
		"LD_PRELOAD=" + c.library + ":libc.so.6", "FAKETIME_TIMESTAMP_FILE=" + c.File, "FAKETIME_FMT=%s", "FAKETIME_NO_CACHE=1",
		"FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1", "FAKETIME_DONT_RESET=1",
	}
}
