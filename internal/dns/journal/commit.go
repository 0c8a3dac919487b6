package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"postern/internal/atomicfile"
)

// Several snapshots are made durable together: each is written beside the one
// it replaces, as STEM.next, and then a file named commit lists them. That
// file's rename is the commit point; what follows only puts the files in
// place, and is done again by the next Load where a crash came in between.
const (
	nextExt    = ".next"
	commitFile = "commit"
)

// Save writes snapshots and returns when all are durable: the commit point. On
// an error none is. The version before a new one goes into the history. What
// differs little from a snapshot that is kept whole is written as an edit of it.
func (s *Store) Save(snaps ...Snapshot) error {
	if err := s.finishRedo(); err != nil {
		return err
	}
	stems := make([]string, len(snaps))
	ext := snapshotExt
	if len(snaps) > 1 {
		ext = nextExt
	}
	saved := make([]saving, len(snaps))
	for i, snap := range snaps {
		stems[i] = stem(snap.Zone, snap.View)
		var err error
		if saved[i], err = s.saveAs(stems[i], ext, snap); err != nil {
			s.dropNext(stems)
			return err
		}
	}
	if len(snaps) > 1 {
		if err := s.saveJSON(commitFile, stems); err != nil {
			return errors.Join(err, s.undoCommit(stems))
		}
		s.redo = stems
		if err := s.finishRedo(); err != nil {
			s.Warn(fmt.Errorf("zone journal: put committed snapshots in place: %w", err))
		}
	}
	for i, key := range stems {
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
	for _, key := range stems {
		if key != "" {
			_ = os.Remove(s.path(key, nextExt)) // without the commit file it means nothing
		}
	}
}

// finishRedo puts the files of a commit in place.
func (s *Store) finishRedo() error {
	if len(s.redo) == 0 {
		return nil
	}
	for _, key := range s.redo {
		err := os.Rename(s.path(key, nextExt), s.path(key, snapshotExt))
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
