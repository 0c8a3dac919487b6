package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postern/internal/atomicfile"
)

// Several files are made durable together, snapshots and what updates changed:
// each is written beside the one it replaces, as STEM.next, and then a file
// named commit lists them. That file's rename is the commit point; what follows
// only puts the files in place, and is done again by the next Load where a
// crash came in between.
const (
	nextExt    = ".next"
	commitFile = "commit"
	// ofUpdates stands before a stem in that list: not the snapshot is meant but
	// the file of dynamic.go. No stem begins so.
	ofUpdates = "+"
)

// placesOf returns where a file that the list names is, and where it belongs.
func (s *Store) placesOf(listed string) (next, place string) {
	if key, ok := strings.CutPrefix(listed, ofUpdates); ok {
		return s.path(key, dynamicExt+nextExt), s.path(key, dynamicExt)
	}
	return s.path(listed, nextExt), s.path(listed, snapshotExt)
}

// Save writes snapshots and returns when all are durable: the commit point. On
// an error none is. The version before a new one goes into the history. What
// differs little from a snapshot that is kept whole is written as an edit of it.
func (s *Store) Save(snaps ...Snapshot) error {
	if err := s.finishRedo(); err != nil {
		return err
	}
	var stems []string // of the commit's list
	ext := snapshotExt
	if len(snaps) > 1 || slices.ContainsFunc(snaps, func(snap Snapshot) bool { return snap.Updated }) {
		ext = nextExt
	}
	saved := make([]saving, len(snaps))
	for i, snap := range snaps {
		key := stem(snap.Zone, snap.View)
		stems = append(stems, key)
		var err error
		if saved[i], err = s.saveAs(key, ext, snap); err == nil && snap.Updated {
			stems = append(stems, ofUpdates+key)
			err = s.saveDynamic(key, snap)
		}
		if err != nil {
			s.dropNext(stems)
			return err
		}
	}
	if ext == nextExt {
		if err := s.saveJSON(commitFile, stems); err != nil {
			return errors.Join(err, s.undoCommit(stems))
		}
		s.redo = stems
		if err := s.finishRedo(); err != nil {
			s.Warn(fmt.Errorf("zone journal: put committed snapshots in place: %w", err))
		}
	}
	for i, snap := range snaps {
		key := stem(snap.Zone, snap.View)
		s.newest[key] = saved[i].Version
		s.rebase(key, saved[i])
		s.prune(key, saved[i].edit)
	}
	return nil
}

// saving is a snapshot that is written, but perhaps not in place yet.
type saving struct {
	Snapshot
	written
	edit bool
}

// saveAs writes one snapshot to STEM.ext.
func (s *Store) saveAs(key, ext string, snap Snapshot) (saving, error) {
	snap.Version = s.number(key, snap.New)
	if snap.New {
		s.keep(key)
	}
	e := s.shorten(key, snap)
	done := saving{Snapshot: snap, edit: e != nil}
	err := s.writer.Stream(s.path(key, ext), 0o600, func(w io.Writer) (err error) {
		if e != nil {
			done.written, err = e.write(w)
		} else {
			done.written, err = write(w, snap)
		}
		return err
	})
	return done, err
}

// undoCommit takes back a commit that was not promised: its file may be there
// though it could not be made durable.
func (s *Store) undoCommit(stems []string) error {
	err := os.Remove(filepath.Join(s.dir, commitFile))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	s.dropNext(stems)
	return err
}

func (s *Store) dropNext(stems []string) {
	for _, listed := range stems {
		next, _ := s.placesOf(listed)
		_ = os.Remove(next) // without the commit file it means nothing
	}
}

// finishRedo puts the files of a commit in place.
func (s *Store) finishRedo() error {
	if len(s.redo) == 0 {
		return nil
	}
	for _, listed := range s.redo {
		err := os.Rename(s.placesOf(listed))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // it was moved before
			return err
		}
	}
	if err := atomicfile.SyncDir(s.dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(s.dir, commitFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.redo = nil
	return atomicfile.SyncDir(s.dir)
}

// recover ends a commit that a crash interrupted, and drops what never came to
// one, half-written files among it: a server that is killed again and again
// must not fill its disk.
func (s *Store) recover() error {
	if len(s.redo) == 0 {
		if err := s.loadJSON(commitFile, &s.redo); err != nil {
			return err
		}
	}
	if err := s.finishRedo(); err != nil {
		return fmt.Errorf("zone journal: end an interrupted commit: %w", err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), nextExt) || atomicfile.Unfinished(e.Name()) {
			_ = os.Remove(filepath.Join(s.dir, e.Name())) // without the commit file it means nothing
		}
	}
	return nil
}
