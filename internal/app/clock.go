package app

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// testClock tells the time that a file holds, in Unix seconds. The file is
// read again when it changed.
type testClock struct {
	path string

	mu    sync.Mutex // guards the rest
	now   time.Time
	mtime time.Time
	size  int64
}

// openTestClock returns a clock, or an error if the file holds no time.
func openTestClock(path string) (*testClock, error) {
	c := &testClock{path: path}
	if err := c.read(); err != nil {
		return nil, fmt.Errorf("test clock: %w", err)
	}
	return c, nil
}

// Now returns the file's time; the last good one while the file is unusable.
func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.readLocked() // half-written: the next call sees the rest
	return c.now
}

func (c *testClock) read() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readLocked()
}

func (c *testClock) readLocked() error {
	info, err := os.Stat(c.path)
	if err != nil {
		return err
	}
	if info.ModTime().Equal(c.mtime) && info.Size() == c.size {
		return nil
	}
	b, err := os.ReadFile(c.path)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return fmt.Errorf("%s: want Unix seconds: %w", c.path, err)
	}
	c.now, c.mtime, c.size = time.Unix(seconds, 0), info.ModTime(), info.Size()
	return nil
}
