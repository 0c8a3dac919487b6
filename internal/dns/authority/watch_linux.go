package authority

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// watch is inotify(7) itself: the libraries for all systems do not tell when a
// file is closed, nor a rename from a file begun.
type watch struct {
	writings

	log     *slog.Logger
	clock   func() time.Time
	file    *os.File // nil: nothing is watched
	fd      int
	changed chan bool
	ended   chan struct{}
	failed  map[string]bool

	dirs map[int32]string // guarded by writings.mu
	at   map[string]int32 // the owner's alone
}

// watched are the events that matter.
const watched = unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE |
	unix.IN_DELETE | unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

func newWatch(log *slog.Logger, clock func() time.Time, on bool) *watch {
	w := &watch{
		log: log, clock: clock, changed: make(chan bool, 1), ended: make(chan struct{}),
		failed: map[string]bool{}, dirs: map[int32]string{}, at: map[string]int32{},
	}
	if !on {
		close(w.ended)
		return w
	}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		log.Warn("zone directories are polled, not watched", "err", err)
		close(w.ended)
		return w
	}
	w.fd, w.file = fd, os.NewFile(uintptr(fd), "inotify")
	go w.forward()
	return w
}

// forward ends when close closes the file.
func (w *watch) forward() {
	defer close(w.ended)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				w.log.Warn("zone directories are only polled from now on", "err", err)
				w.forget()
			}
			return
		}
		w.read(buf[:n])
		select {
		case w.changed <- true:
		default: // one is waiting already
		}
	}
}

// read reads events.
func (w *watch) read(buf []byte) {
	now := w.clock()
	for len(buf) >= unix.SizeofInotifyEvent {
		id, mask := int32(binary.NativeEndian.Uint32(buf)), binary.NativeEndian.Uint32(buf[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(buf[12:]))
		if end > len(buf) {
			return
		}
		file := strings.TrimRight(string(buf[unix.SizeofInotifyEvent:end]), "\x00")
		buf = buf[end:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			w.forget()
			continue
		}
		if dir := w.dirOf(id); dir != "" && file != "" {
			w.tellEvent(filepath.Join(dir, file), mask, now)
		}
	}
}

func (w *watch) tellEvent(path string, mask uint32, now time.Time) {
	switch {
	case mask&unix.IN_MOVED_TO != 0:
		w.tell(path, isMoved, now)
	case mask&unix.IN_CLOSE_WRITE != 0:
		w.tell(path, isClosed, now)
	case mask&unix.IN_MODIFY != 0:
		w.tell(path, isOpen, now)
	case mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0:
		w.tell(path, unknown, now)
	}
}

func (w *watch) dirOf(id int32) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dirs[id]
}

// follow watches these directories and no others. Repeating it is cheap, and
// finds directories that were replaced.
func (w *watch) follow(want map[string]bool) {
	if w.file == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for dir, id := range w.at {
		if !want[dir] {
			w.drop(dir, id)
		}
	}
	for dir := range want {
		got, err := unix.InotifyAddWatch(w.fd, dir, watched)
		if err != nil {
			if !w.failed[dir] {
				w.log.Warn("zone directory is polled, not watched", "dir", dir, "err", fmt.Errorf("watch: %w", err))
			}
			w.failed[dir] = true
			continue
		}
		w.failed[dir] = false
		id := int32(got)
		if old, had := w.at[dir]; had && old != id {
			w.drop(dir, old)
		}
		w.at[dir], w.dirs[id] = id, dir
	}
}

// drop ends the watch of a directory; it may have ended by itself.
func (w *watch) drop(dir string, id int32) {
	delete(w.at, dir)
	if w.dirs[id] == dir {
		delete(w.dirs, id)
		_, _ = unix.InotifyRmWatch(w.fd, uint32(id))
	}
}

func (w *watch) close() {
	if w.file != nil {
		_ = w.file.Close() // it was only read from
	}
	<-w.ended
}
