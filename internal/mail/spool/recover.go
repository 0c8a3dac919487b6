package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"postern/internal/mail/envelope"
)

// dropDrafts empties tmp/: whatever lies there was never promised.
func (s *Spool) dropDrafts() error {
	dir := filepath.Join(s.cfg.Dir, "tmp")
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		s.cfg.Log.Info("unfinished drafts dropped", "count", len(names))
	}
	return nil
}

// verifyAll checks every message and returns the ids of the sound ones, oldest
// first. Broken ones go to quarantine, where a person finds them.
func (s *Spool) verifyAll() ([]envelope.ID, error) {
	dir := filepath.Join(s.cfg.Dir, "msg")
	names, err := readNames(dir)
	if err != nil {
		return nil, err
	}
	var live []envelope.ID
	for _, name := range names {
		problem := s.verify(envelope.ID(name))
		switch {
		case problem == nil:
			live = append(live, envelope.ID(name))
		case errors.Is(problem, ErrBroken):
			if err := s.quarantine(name, problem); err != nil {
				return nil, err
			}
		default: // an I/O error says nothing about the message
			return nil, fmt.Errorf("verify %s: %w", name, problem)
		}
	}
	return live, nil
}

func (s *Spool) verify(id envelope.ID) (err error) {
	if !id.Valid() {
		return fmt.Errorf("%w: the name is not an id", ErrBroken)
	}
	// A pipe in place of a file would hold up the start for ever.
	if info, err := os.Lstat(s.path(id)); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%w: not a regular file", ErrBroken)
	}
	m, err := s.Load(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if m.env.ID != id {
		return fmt.Errorf("%w: the name is not the envelope's id", ErrBroken)
	}
	return m.layout.checkCRC(m.file)
}

// Quarantine moves a message aside that turned out broken while in use.
func (s *Spool) Quarantine(id envelope.ID, why error) error {
	if !id.Valid() {
		return fmt.Errorf("quarantine %q: %w", id, ErrNotFound)
	}
	if err := s.quarantine(string(id), why); err != nil {
		return fmt.Errorf("quarantine message: %w", err)
	}
	s.journal.forget(id)
	return nil
}

func (s *Spool) quarantine(name string, why error) error {
	to := filepath.Join(s.cfg.Dir, "quarantine", name)
	if err := os.Rename(filepath.Join(s.cfg.Dir, "msg", name), to); err != nil {
		return err
	}
	s.Counters.Quarantined.Inc()
	s.cfg.Log.Error("broken message moved aside", "reason", "spool-broken", "queue_id", name, "file", to, "err", why)
	return nil
}

// IDs lists the messages in the spool, oldest first.
func (s *Spool) IDs() ([]envelope.ID, error) {
	names, err := readNames(filepath.Join(s.cfg.Dir, "msg"))
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	ids := make([]envelope.ID, 0, len(names))
	for _, name := range names {
		if id := envelope.ID(name); id.Valid() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}
