package authority

import (
	"log/slog"

	"github.com/fsnotify/fsnotify"
)

// watch tells of changes in the zone directories sooner than polling does. It
// watches directories, since editors replace files, and only ever says that
// something changed: what, the scan finds out. Where the system gives no
// watch, polling is left.
type watch struct {
	w       *fsnotify.Watcher
	log     *slog.Logger
	changed chan bool
	ended   chan struct{}
	failed  map[string]bool
}

func newWatch(log *slog.Logger, on bool) *watch {
	w := &watch{log: log, changed: make(chan bool, 1), ended: make(chan struct{}), failed: map[string]bool{}}
	if !on {
		close(w.ended)
		return w
	}
	fw, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("zone directories are polled, not watched", "err", err)
		close(w.ended)
		return w
	}
	w.w = fw
	go w.forward()
	return w
}

// forward ends when close closes the watcher.
func (w *watch) forward() {
	defer close(w.ended)
	for {
		select {
		case _, ok := <-w.w.Events:
			if !ok {
				return
			}
		case err, ok := <-w.w.Errors:
			if !ok {
				return
			}
			w.log.Warn("watch of zone directories", "err", err)
		}
		select {
		case w.changed <- true:
		default: // one is waiting already
		}
	}
}

// follow watches these directories and no others. Repeating it is cheap, and
// finds directories that were replaced.
func (w *watch) follow(want map[string]bool) {
	if w.w == nil {
		return
	}
	for _, dir := range w.w.WatchList() {
		if !want[dir] {
			_ = w.w.Remove(dir) // it may have gone by itself
		}
	}
	for dir := range want {
		err := w.w.Add(dir)
		if err != nil && !w.failed[dir] {
			w.log.Warn("zone directory is polled, not watched", "dir", dir, "err", err)
		}
		w.failed[dir] = err != nil
	}
}

func (w *watch) close() {
	if w.w != nil {
		_ = w.w.Close() // it was only read from
	}
	<-w.ended
}
