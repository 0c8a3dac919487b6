package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// state is the state directory, locked for this process.
type state struct {
	dir  string
	lock *os.File
}

// markerName marks a state made under test knobs; see CONTRACT, --test-knobs.
const markerName = "TEST"

// ErrLocked is a state directory in use by another process.
var ErrLocked = errors.New("another Postern runs with this state")

// openState makes the state directory if needed, locks it and checks that it
// belongs to this kind of run: a state made under test knobs is for tests only,
// and no other state may be used under them.
func openState(dir string, knobs bool) (*state, error) {
	fresh := isFresh(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w (hint: server.state names a directory that Postern's user may write to)", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w (hint: it must belong to the user that runs Postern)", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("state directory %s: %w (hint: stop it first, or give this one its own server.state)", dir, ErrLocked)
		}
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	s := &state{dir: dir, lock: lock}
	if err := s.checkMarker(fresh, knobs); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// isFresh reports whether dir holds nothing yet.
func isFresh(dir string) bool {
	entries, err := os.ReadDir(dir)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
}

func (s *state) checkMarker(fresh, knobs bool) error {
	marker := s.path(markerName)
	_, err := os.Stat(marker)
	marked := err == nil
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("state directory: %w", err)
	case marked && !knobs:
		return fmt.Errorf("state directory %s was made under --test-knobs and cannot serve without them", s.dir)
	case !marked && knobs && !fresh:
		return fmt.Errorf("state directory %s was not made under --test-knobs (hint: give the test an empty one)", s.dir)
	case !marked && knobs:
		return os.WriteFile(marker, nil, 0o600)
	}
	return nil
}

func (s *state) path(name ...string) string {
	return filepath.Join(append([]string{s.dir}, name...)...)
}

// close gives the lock back. The lock file stays: removing it would let two
// processes each hold a lock on a file of that name.
func (s *state) close() error { return s.lock.Close() }
