// Package trail keeps what the log says about messages, so that they can be found
// when they are gone: on disk, in the form of the JSON log, a bounded number of
// bytes.
//
// Its Handler stands beside the log's own and copies the lines that are about
// mail. They wait in memory, a bounded number of them, for the one goroutine that
// writes; when it is behind, lines are lost and counted, and mail goes on. Nothing
// is fsynced: the spool is what must not be lost.
package trail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"postern/internal/lifecycle"
	"postern/internal/metrics"
)

// magic is the first line of every file.
const magic = "postern-trail 1\n"

// maxWaiting bounds the lines that wait to be written, maxLine their length.
const (
	maxWaiting = 4096
	maxLine    = 16 << 10
)

// Config says where and how much. Zero numbers are the defaults named.
type Config struct {
	Dir   string
	Size  int64 // of a file; 16 MiB
	Files int   // 4
	Log   *slog.Logger
}

// Counters are what a Trail counts.
type Counters struct {
	Lines  metrics.Counter // written
	Lost   metrics.Counter // not written, since too many waited
	Faults metrics.Counter // writes that failed
}

// Trail is the store. It implements lifecycle.Part; until Start, lines wait.
type Trail struct {
	Counters Counters

	cfg     Config
	waiting chan entry
	workers lifecycle.Workers
	running atomic.Bool

	mu   sync.Mutex // guards what follows; the writer holds it while it writes
	file *os.File   // nil after a fault: the next line tries again
	out  *bufio.Writer
	size int64
	last int // number of the newest file
}

// entry is a line, or somebody who waits until those before are written.
type entry struct {
	line []byte
	done chan struct{}
}

// New returns a Trail that does nothing until Start.
func New(cfg Config) *Trail {
	if cfg.Size <= 0 {
		cfg.Size = 16 << 20
	}
	if cfg.Files <= 0 {
		cfg.Files = 4
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Trail{cfg: cfg, waiting: make(chan entry, maxWaiting)}
}

// Open says where the files are to be, and who is told of faults, for who learns
// it later than he needs the Handler. It must come before Start.
func (t *Trail) Open(dir string, log *slog.Logger) { t.cfg.Dir, t.cfg.Log = dir, log }

// Start begins to write, after what is there.
func (t *Trail) Start(context.Context) error {
	if err := os.MkdirAll(t.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("trail: %w", err)
	}
	names, err := t.names()
	if err != nil {
		return fmt.Errorf("trail: %w", err)
	}
	if len(names) > 0 {
		t.last = number(names[len(names)-1])
	}
	if err := t.next(); err != nil { // a new file: the end of the old one may be half a line
		return fmt.Errorf("trail: %w", err)
	}
	t.running.Store(true)
	t.workers.Go("trail", t.write)
	return nil
}

// Stop writes what waits and ends.
func (t *Trail) Stop(ctx context.Context) error {
	if !t.running.Swap(false) {
		return nil
	}
	err := t.workers.Stop(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return err
	}
	return errors.Join(err, t.out.Flush(), t.file.Close())
}

// Write takes a line of the log; it never waits and never fails, as a log must.
func (t *Trail) Write(line []byte) (int, error) {
	if len(line) > maxLine {
		t.Counters.Lost.Inc()
		return len(line), nil
	}
	select {
	case t.waiting <- entry{line: bytes.Clone(line)}:
	default:
		t.Counters.Lost.Inc()
	}
	return len(line), nil
}

// write is the goroutine that owns the file.
func (t *Trail) write(ctx context.Context) {
	for {
		select {
		case e := <-t.waiting:
			t.take(e)
		case <-ctx.Done():
			for {
				select {
				case e := <-t.waiting:
					t.take(e)
				default:
					return
				}
			}
		}
	}
}

func (t *Trail) take(e entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.put(e.line)
	if err == nil && t.file != nil && len(t.waiting) == 0 {
		err = t.out.Flush()
	}
	if err != nil {
		t.Counters.Faults.Inc()
		if t.Counters.Faults.Value() == 1 { // once: each line would tell it again
			t.cfg.Log.Error("what the log says of messages is not kept", "reason", "trail-write", "err", err)
		}
		if t.file != nil { // a bufio.Writer never writes again after an error
			_ = t.file.Close() // the fault has been told
			t.file = nil
		}
	}
	if e.done != nil {
		close(e.done)
	}
}

func (t *Trail) put(line []byte) error {
	if len(line) == 0 {
		return nil
	}
	if t.file == nil || t.size+int64(len(line)) > t.cfg.Size {
		if err := t.next(); err != nil {
			return err
		}
	}
	n, err := t.out.Write(line)
	t.size += int64(n)
	if err == nil {
		t.Counters.Lines.Inc()
	}
	return err
}

// next begins a new file and removes those beyond the bound.
func (t *Trail) next() error {
	if t.file != nil {
		if err := errors.Join(t.out.Flush(), t.file.Close()); err != nil {
			t.Counters.Faults.Inc()
		}
		t.file = nil
	}
	t.last++
	path := filepath.Join(t.cfg.Dir, fmt.Sprintf("%08d.log", t.last))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	t.file, t.out, t.size = file, bufio.NewWriterSize(file, 64<<10), int64(len(magic))
	if _, err := t.out.WriteString(magic); err != nil {
		return err
	}
	names, err := t.names()
	if err != nil {
		return err
	}
	for _, name := range names[:max(0, len(names)-t.cfg.Files)] {
		if err := os.Remove(filepath.Join(t.cfg.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// names is the files, oldest first.
func (t *Trail) names() ([]string, error) {
	entries, err := os.ReadDir(t.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if number(e.Name()) > 0 {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return number(a) - number(b) })
	return names, nil
}

// number is that of a file, 0 for what is none of ours.
func number(name string) int {
	digits, ok := strings.CutSuffix(name, ".log")
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' || n > 1e8 {
			return 0
		}
		n = 10*n + int(c-'0')
	}
	if !ok {
		return 0
	}
	return n
}

// Find looks for a queue id, an address or a Message-ID in what is kept.
func (t *Trail) Find(ctx context.Context, query string) (Found, error) {
	if t.running.Load() {
		done := make(chan struct{})
		select {
		case t.waiting <- entry{done: done}:
			select {
			case <-done:
			case <-ctx.Done():
				return Found{}, ctx.Err()
			}
		case <-ctx.Done():
			return Found{}, ctx.Err()
		}
	}
	names, err := t.names()
	if err != nil {
		return Found{}, fmt.Errorf("trail: %w", err)
	}
	return Search(query, func(each func(io.Reader) error) error {
		for _, name := range names {
			if err := read(ctx, filepath.Join(t.cfg.Dir, name), each); err != nil {
				return fmt.Errorf("trail: %w", err)
			}
		}
		return nil
	})
}

func read(ctx context.Context, path string, each func(io.Reader) error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was the oldest
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return each(f)
}
