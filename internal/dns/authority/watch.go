package authority

import (
	"path/filepath"
	"sync"
	"time"
)

// A watch tells of changes in the zone directories sooner than polling does,
// and of each file whether who writes it is done: it was put in place by
// renaming, or closed. It watches directories, since editors replace files.
// What changed, the scan finds out. Where the system gives no watch, or events
// were lost, nothing is known of a file, and polling and patience are left.

// writing is how far the writer of a file is, as far as events tell.
type writing struct {
	state writingState
	at    time.Time
}

type writingState uint8

const (
	unknown  writingState = iota
	isOpen                // written to, and not closed since
	isClosed              // closed after writing: who appends piece by piece may open it again
	isMoved               // put in place whole
)

const (
	// closedFor is how long a file must stay closed before it counts as whole.
	closedFor = 80 * time.Millisecond
	// openFor is by how much longer than Config.Settle it is waited for a file
	// that is still open.
	openFor = 4
	// maxWritings bounds the files of which something is known.
	maxWritings = 4096
)

// writings is what events told of files, by path.
type writings struct {
	mu    sync.Mutex
	files map[string]writing
}

func (w *writings) tell(path string, state writingState, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if state == unknown {
		delete(w.files, path)
		return
	}
	if w.files == nil || len(w.files) >= maxWritings {
		w.files = map[string]writing{} // what is forgotten is settled by patience
	}
	w.files[path] = writing{state, at}
}

// forget forgets all: events were lost.
func (w *writings) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files = nil
}

// take forgets files that were read.
func (w *writings) take(dir string, files []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range files {
		delete(w.files, filepath.Join(dir, f))
	}
}

// patience is for how long yet files must be left alone before they are whole,
// of which the newest was first seen as it is at since.
func (w *writings) patience(dir string, files []string, since, now time.Time, settle time.Duration) time.Duration {
	wait := settle - now.Sub(since)
	w.mu.Lock()
	defer w.mu.Unlock()
	done := false
	for _, f := range files {
		switch x := w.files[filepath.Join(dir, f)]; x.state {
		case isOpen:
			return openFor*settle - now.Sub(since)
		case isClosed:
			if left := closedFor - now.Sub(x.at); left > 0 {
				return left
			}
			done = true
		case isMoved:
			done = true
		}
	}
	if done {
		return 0
	}
	return wait
}
