package spool

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
)

func open(t *testing.T, change func(*Config)) *Spool {
	t.Helper()
	cfg := Config{Dir: filepath.Join(t.TempDir(), "spool"), MinFree: -1}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && cfg.Fault == nil {
			t.Error(err)
		}
	})
	return s
}

func someone() envelope.Envelope {
	return envelope.Envelope{
		From:   address.Address{Local: "a", Domain: "example.test"},
		To:     []address.Address{{Local: "b", Domain: "example.net"}, {Local: "c d", Domain: "[192.0.2.1]"}},
		Client: netip.MustParseAddr("192.0.2.9"), Origin: envelope.Relay, Account: "exchange",
	}
}

func commit(t *testing.T, s *Spool, message string) envelope.ID {
	t.Helper()
	id, err := tryCommit(s, message)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func tryCommit(s *Spool, message string) (envelope.ID, error) {
	d, err := s.Create()
	if err != nil {
		return "", err
	}
	defer d.Abort()
	if _, err := io.WriteString(d, message); err != nil {
		return "", err
	}
	return d.Commit(context.Background(), someone(), d.Header())
}

// TestDraftFindsBody writes messages in pieces of every size: the empty line may
// straddle any of them.
func TestDraftFindsBody(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	for _, c := range []struct{ name, message, header, body string }{
		{"nothing", "", "", ""},
		{"only an empty line", "\r\n", "", ""},
		{"no header", "\r\nbody\r\n", "", "body\r\n"},
		{"no header, body of empty lines", "\r\n\r\n\r\n", "", "\r\n\r\n"},
		{"header without empty line", "A: 1\r\nB: 2\r\n", "A: 1\r\nB: 2\r\n", ""},
		{"empty body", "A: 1\r\n\r\n", "A: 1\r\n", ""},
		{"body begins with empty line", "A: 1\r\n\r\n\r\nx\r\n", "A: 1\r\n", "\r\nx\r\n"},
		{"empty line in the body", "A: 1\r\n\r\nx\r\n\r\ny\r\n", "A: 1\r\n", "x\r\n\r\ny\r\n"},
		{"bare LF LF is no empty line", "A: 1\n\nB\r\n\r\nx", "A: 1\n\nB\r\n", "x"},
	} {
		for size := 1; size <= len(c.message)+1; size++ {
			d, err := s.Create()
			if err != nil {
				t.Fatal(err)
			}
			for piece := range slices.Chunk([]byte(c.message), size) {
				if n, err := d.Write(piece); n != len(piece) || err != nil {
					t.Fatal(n, err)
				}
			}
			body, err := io.ReadAll(d.Body())
			if string(d.Header()) != c.header || string(body) != c.body || err != nil {
				t.Errorf("%s in pieces of %d: header %q body %q, %v", c.name, size, d.Header(), body, err)
			}
			whole, err := io.ReadAll(d.Open())
			if string(whole) != c.header+"\r\n"+c.body || err != nil || d.Size() != int64(len(whole)) {
				t.Errorf("%s in pieces of %d: whole %q size %d, %v", c.name, size, whole, d.Size(), err)
			}
			d.Abort()
		}
	}
}

func TestDraftHeaderBound(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	line := "X: " + strings.Repeat("x", 995) + "\r\n"
	for _, c := range []struct {
		name    string
		header  int // octets
		rest    string
		tooLong bool
	}{
		{"one octet too many", MaxHeader + 1, "\r\nbody", true},
		{"far too many", MaxHeader * 2, "\r\nbody", true},
		{"never ends", MaxHeader * 2, "", true},
		{"just fits", MaxHeader, "\r\nbody", false},
	} {
		header := strings.Repeat(line, c.header/len(line)+1)[:c.header-2] + "\r\n"
		for _, size := range []int{997, 4096, c.header + 10} {
			d, err := s.Create()
			if err != nil {
				t.Fatal(err)
			}
			err = nil
			for piece := range slices.Chunk([]byte(header+c.rest), size) {
				if _, err = d.Write(piece); err != nil {
					break
				}
			}
			if errors.Is(err, ErrHeaderTooLarge) != c.tooLong {
				t.Errorf("%s in pieces of %d: %v", c.name, size, err)
			}
			if !c.tooLong {
				if body, err := io.ReadAll(d.Body()); string(body) != "body" || err != nil || len(d.Header()) != c.header {
					t.Errorf("%s in pieces of %d: body %q, header of %d, %v", c.name, size, body, len(d.Header()), err)
				}
			}
			d.Abort()
		}
	}
}

func TestCommitRefusesUnfit(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	over, end := context.WithCancel(context.Background())
	end()
	nobody, broken := someone(), someone()
	nobody.To = nil
	broken.From.Local = "a\xff"
	for _, c := range []struct {
		name   string
		ctx    context.Context
		env    envelope.Envelope
		header string
	}{
		{"context over", over, someone(), "A: 1\r\n"},
		{"no recipient", context.Background(), nobody, "A: 1\r\n"},
		{"address that does not survive", context.Background(), broken, "A: 1\r\n"},
		{"header without end", context.Background(), someone(), "A: 1"},
		{"header with empty line", context.Background(), someone(), "A: 1\r\n\r\nB: 2\r\n"},
		{"header begins with empty line", context.Background(), someone(), "\r\nB: 2\r\n"},
		{"header too large", context.Background(), someone(), strings.Repeat("A: 1\r\n", MaxHeader/6+1)},
	} {
		d, err := s.Create()
		if err != nil {
			t.Fatal(err)
		}
		if id, err := d.Commit(c.ctx, c.env, []byte(c.header)); err == nil {
			t.Errorf("%s: committed as %s", c.name, id)
		}
		if _, err := d.Write([]byte("x")); err == nil {
			t.Errorf("%s: the draft takes more", c.name)
		}
	}
	wantFiles(t, s, 0)
	if s.Fault() != nil {
		t.Error("unfit input made the spool read-only")
	}
}

func wantFiles(t *testing.T, s *Spool, committed int) {
	t.Helper()
	ids, err := s.IDs()
	drafts, err2 := readNames(filepath.Join(s.cfg.Dir, "tmp"))
	if err != nil || err2 != nil || len(ids) != committed || len(drafts) != 0 {
		t.Errorf("messages %v drafts %v (%v %v), want %d messages and no draft", ids, drafts, err, err2, committed)
	}
}

func TestCommitAndLoad(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s := open(t, func(c *Config) { c.Now = func() time.Time { return at } })
	body := strings.Repeat("0123456789abcdef 0123456789abcdef\r\n", 5000)
	d, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	if _, err := io.WriteString(d, "Subject: x\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	header := "Received: here\r\nSubject: x\r\n"
	id, err := d.Commit(context.Background(), someone(), []byte(header))
	if err != nil || id != d.ID() {
		t.Fatal(id, err)
	}
	if _, err := d.Commit(context.Background(), someone(), nil); err == nil {
		t.Error("committed twice")
	}
	m, err := s.Load(id)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want := someone()
	want.ID, want.Received = id, at
	if got := m.Envelope(); got.From != want.From || !slices.Equal(got.To, want.To) || got.ID != id || !got.Received.Equal(at) || got.Client != want.Client || got.Origin != want.Origin {
		t.Errorf("envelope %+v, want %+v", got, want)
	}
	whole, err := io.ReadAll(m.Open())
	if err != nil || string(whole) != header+"\r\n"+body || m.Size() != int64(len(whole)) {
		t.Errorf("message of %d octets (Size %d), want %d, %v", len(whole), m.Size(), len(header)+2+len(body), err)
	}
	if b, err := io.ReadAll(m.Body()); err != nil || string(b) != body || string(m.Header()) != header {
		t.Error("body or header differ", err)
	}
	if err := s.Remove(id); err != nil {
		t.Error(err)
	}
	if err := s.Remove(id); err != nil {
		t.Error("a second removal:", err)
	}
	if _, err := s.Load(id); !errors.Is(err, ErrNotFound) {
		t.Error("loaded after removal:", err)
	}
	for _, bad := range []envelope.ID{"", "../journal", "..", envelope.ID(strings.Repeat("/", 18))} {
		if _, err := s.Load(bad); !errors.Is(err, ErrNotFound) {
			t.Errorf("load %q: %v", bad, err)
		}
		if err := s.Remove(bad); !errors.Is(err, ErrNotFound) {
			t.Errorf("remove %q: %v", bad, err)
		}
	}
}

// TestConcatReadsAnywhere reads every piece of a small message.
func TestConcatReadsAnywhere(t *testing.T) {
	t.Parallel()
	c := &concat{[]byte("A: 1\r\n"), strings.NewReader("body\r\n"), 6}
	whole := "A: 1\r\n\r\nbody\r\n"
	for off := range len(whole) + 2 {
		for n := range len(whole) + 3 {
			p := make([]byte, n)
			got, err := c.ReadAt(p, int64(off))
			want := whole[min(off, len(whole)):min(off+n, len(whole))]
			if string(p[:got]) != want || got < n && !errors.Is(err, io.EOF) || got == n && err != nil {
				t.Fatalf("ReadAt(%d octets, %d) = %q, %v; want %q", n, off, p[:got], err, want)
			}
		}
	}
}

// TestFaults makes each step fail: no message, no 250, and after a failed sync
// no new mail at all.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		step     Step
		err      error
		full     bool
		readOnly bool
	}{
		{StepCreate, syscall.EMFILE, false, false},
		{StepCreate, syscall.ENOSPC, true, false},
		{StepWrite, syscall.ENOSPC, true, false},
		{StepWrite, syscall.EIO, false, false},
		{StepSync, syscall.EIO, false, true},
		{StepSync, syscall.ENOSPC, true, true},
		{StepRename, syscall.ENOSPC, true, false},
		{StepSyncDir, syscall.EIO, false, true},
	} {
		t.Run(string(c.step)+" "+c.err.Error(), func(t *testing.T) {
			t.Parallel()
			armed := false
			var syncs int
			s := open(t, func(cfg *Config) {
				cfg.Fault = func(at Step) error {
					if at == StepSync {
						syncs++
					}
					if armed && at == c.step {
						return c.err
					}
					return nil
				}
			})
			armed = true
			if id, err := tryCommit(s, "A: 1\r\n\r\nb\r\n"); err == nil || errors.Is(err, ErrFull) != c.full || !errors.Is(err, c.err) {
				t.Fatalf("committed as %q, %v", id, err)
			}
			if c.step == StepSync && syncs != 1 {
				t.Errorf("synced %d times after a failure", syncs)
			}
			wantFiles(t, s, 0)
			armed = false
			_, err := tryCommit(s, "A: 1\r\n\r\nb\r\n")
			if errors.Is(err, ErrReadOnly) != c.readOnly || (err == nil) == c.readOnly || (s.Fault() != nil) != c.readOnly {
				t.Errorf("afterwards: %v, fault %v", err, s.Fault())
			}
		})
	}
}

// TestFaultBetween lets the spool go read-only while another draft is open.
func TestFaultBetween(t *testing.T) {
	t.Parallel()
	bad := false
	s := open(t, func(cfg *Config) {
		cfg.Fault = func(at Step) error {
			if bad && at == StepSync {
				return syscall.EIO
			}
			return nil
		}
	})
	d, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	bad = true
	if _, err := tryCommit(s, "A: 1\r\n\r\n"); err == nil {
		t.Fatal("committed without sync")
	}
	bad = false
	if _, err := d.Commit(context.Background(), someone(), []byte("A: 1\r\n")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("an open draft: %v", err)
	}
	wantFiles(t, s, 0)
}

func TestFloorOfFreeSpace(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *Config) { c.MinFree = 1 << 62 })
	if _, err := s.Create(); !errors.Is(err, ErrFull) {
		t.Errorf("created below the floor: %v", err)
	}
	if s.Counters.Full.Value() != 1 {
		t.Error("not counted")
	}
}

// TestOrder watches the steps of one commit: file, name, directory.
func TestOrder(t *testing.T) {
	t.Parallel()
	var steps []Step
	s := open(t, func(c *Config) { c.Fault = func(at Step) error { steps = append(steps, at); return nil } })
	steps = nil
	commit(t, s, "A: 1\r\n\r\nb\r\n")
	if want := []Step{StepCreate, StepWrite, StepWrite, StepSync, StepRename, StepSyncDir}; !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
}

// TestGroupCommit holds the first directory sync: all who come meanwhile share
// the second, and nobody is served by one that began before.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	const sessions = 20
	var (
		begun = make(chan struct{}, sessions)
		hold  = make(chan struct{})
		armed bool
		mu    sync.Mutex
		names int // renamed so far
	)
	s := open(t, func(c *Config) {
		c.Fault = func(at Step) error {
			if at != StepSyncDir && at != StepRename {
				return nil
			}
			mu.Lock()
			on := armed
			if at == StepRename {
				names++
			}
			mu.Unlock()
			if on && at == StepSyncDir {
				begun <- struct{}{}
				<-hold
			}
			return nil
		}
	})
	before := s.Counters.DirSyncs.Value()
	armed = true
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = tryCommit(s, "A: 0\r\n\r\n") })
	<-begun
	for range sessions {
		wg.Go(func() {
			if _, err := tryCommit(s, "A: 1\r\n\r\nb\r\n"); err != nil {
				t.Error(err)
			}
		})
	}
	for { // until all wait for the directory
		s.dir.mu.Lock()
		mu.Lock()
		all := names == sessions+1
		mu.Unlock()
		s.dir.mu.Unlock()
		if all {
			break
		}
		runtime.Gosched()
	}
	close(hold)
	wg.Wait()
	wantFiles(t, s, sessions+1)
	// The first, the one they share, and perhaps one for a straggler that had
	// renamed but not yet asked.
	if n := s.Counters.DirSyncs.Value() - before; n < 2 || n > 4 {
		t.Errorf("%d directory syncs for %d commits", n, sessions+1)
	}
}

func TestIDsDoNotRepeat(t *testing.T) {
	t.Parallel()
	at := time.Unix(1e9, 0)
	s := open(t, func(c *Config) { c.Now = func() time.Time { return at } })
	seen := map[envelope.ID]bool{}
	last := envelope.ID("")
	for range 1000 {
		id, err := s.newID()
		if err != nil || seen[id] || id <= last || !id.Valid() {
			t.Fatal(id, last, err)
		}
		seen[id], last = true, id
	}
}

func TestOpenMakesPrivateDirectories(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	for _, sub := range []string{"", "tmp", "msg", "quarantine"} {
		info, err := os.Stat(filepath.Join(s.cfg.Dir, sub))
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%q: %v %v", sub, info, err)
		}
	}
}

// TestDraftReadsThroughSharedRoom: each message had 32 KB of its own to be read
// through. It is not parallel: it counts what the process allocates.
func TestDraftReadsThroughSharedRoom(t *testing.T) {
	s := open(t, nil)
	text := "A: 1\r\n\r\n" + strings.Repeat("some of the text\r\n", 100)
	const runs = 50
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		d, err := s.Create()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(d, strings.NewReader(text)); err != nil || n != int64(len(text)) {
			t.Fatalf("%d octets, %v", n, err)
		}
		// A reader that, unlike those of strings, knows no short cut.
		if n, err := io.Copy(d, struct{ io.Reader }{strings.NewReader(text)}); err != nil || n != int64(len(text)) {
			t.Fatalf("%d octets, %v", n, err)
		}
		if d.Size() != int64(2*len(text)) {
			t.Fatalf("%d octets in the draft, want %d", d.Size(), 2*len(text))
		}
		d.Abort()
	}
	runtime.ReadMemStats(&after)
	// It was 44 KB; now it is 12, and under the race detector, whose pools lose a
	// quarter of what they are given, some 25.
	if each := (after.TotalAlloc - before.TotalAlloc) / runs; each > 40<<10 {
		t.Errorf("%d octets allocated for a message of %d", each, 2*len(text))
	}
}

// TestDraftOfABrokenReader: what a reader gave before it failed is there, and the
// error is the reader's.
func TestDraftOfABrokenReader(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	d, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	n, err := d.ReadFrom(io.MultiReader(strings.NewReader("A: 1\r\n"), iotest.ErrReader(syscall.ECONNRESET)))
	if n != 6 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d octets, %v", n, err)
	}
}
