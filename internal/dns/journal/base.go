package journal

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/zone"
)

// A base is the whole snapshot that edits are of. Its file is in the history
// as STEM#SUM.base, a link to what was the snapshot once, made durable before
// the first edit of it: named by its checksum, so that it stays what it is
// whatever becomes of the version. It goes when nothing is an edit of it any
// more. So a (zone, view) has at most one base for each edit that is kept,
// also beyond the bounds of the history; in practice one or two.
const baseExt = ".base"

// editFrom is from how many records on, source included, a snapshot is worth
// edits. A small one is written as fast as compared.
const editFrom = 4000

// ErrBase is an edit of what is not there as it was.
var ErrBase = errors.New("the snapshot that it is an edit of cannot be read")

// base is the newest whole snapshot of a (zone, view) that this process wrote,
// if it is worth edits. It is in memory with the very records it was saved
// with: those of later versions are the same ones, which makes comparing
// cheap, and keeping them too. What was read from disk would be others, so
// the first large snapshot after a start is whole.
type base struct {
	version int
	written
	spent   int64 // octets that its edits took
	content *zone.Zone
	source  []dns.RR
	derived []dns.RR
}

// shorten returns a snapshot as an edit, or nil where it is to be written
// whole: also once the edits of a base took as much as the base, so that all
// of them never cost more than twice the best choice.
func (s *Store) shorten(key string, snap Snapshot) *edit {
	b := s.bases[key]
	if b == nil || b.spent >= b.size {
		return nil
	}
	e := b.edit(snap)
	if e == nil {
		return nil
	}
	held, err := s.hold(key, b.sum)
	if err != nil {
		s.Warn(fmt.Errorf("zone journal: a snapshot is written whole: %w", err))
	}
	if !held {
		return nil
	}
	return e
}

// rebase notes what was saved: the base of what follows, or an edit of it.
func (s *Store) rebase(key string, saved saving) {
	b := s.bases[key]
	switch {
	case saved.edit && b != nil:
		b.spent += saved.size
	case saved.Content.Records()+len(saved.Source) >= s.editFrom:
		s.bases[key] = &base{
			version: saved.Version, written: saved.written,
			content: saved.Content, source: saved.Source, derived: saved.Derived,
		}
	default:
		delete(s.bases, key)
	}
}

// hold makes sure that the base of that checksum is in the history.
func (s *Store) hold(key string, sum checksum) (bool, error) {
	path := s.basePath(key, sum)
	if endsWith(path, sum) {
		return true, nil
	}
	present := s.path(key, snapshotExt)
	if !endsWith(present, sum) {
		return false, nil // after a commit that failed, say
	}
	if err := s.fault(atomicfile.StepCreate); err != nil {
		return false, err
	}
	_ = os.Remove(path) // which is not what its name says
	if err := os.Link(present, path); err != nil {
		return false, err
	}
	s.list(path)
	if err := s.fault(atomicfile.StepSyncDir); err != nil {
		return false, err
	}
	return true, atomicfile.SyncDir(filepath.Join(s.dir, historyDir))
}

// fault is the writer's, for what is done without it.
func (s *Store) fault(step atomicfile.Step) error {
	if s.writer.Fault == nil {
		return nil
	}
	return s.writer.Fault(step)
}

func (s *Store) basePath(key string, sum checksum) string {
	const enough = 16 // octets: the rest is looked at inside
	return filepath.Join(s.dir, historyDir, key+"#"+hex.EncodeToString(sum[:enough])+baseExt)
}

// endsWith reports whether a file is there and has that checksum at its end.
func endsWith(path string, sum checksum) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() // it is only read from
	info, err := f.Stat()
	if err != nil || info.Size() < int64(len(sum)) {
		return false
	}
	var end checksum
	_, err = f.ReadAt(end[:], info.Size()-int64(len(end)))
	return err == nil && end == sum
}

// readFile reads the snapshot that a file of a (zone, view) holds, and its base
// where it is an edit.
func (s *Store) readFile(key, path string, withSource bool) (snap Snapshot, err error) {
	var am *amendment
	_, err = readPath(path, func(r *bufio.Reader, size int64) (err error) {
		if first, _ := r.Peek(len(magic)); string(first) == magicEdit {
			am, err = readEdit(r)
			return err
		}
		snap, err = readBody(r, size, withSource, nil)
		return err
	})
	if err == nil && am != nil {
		snap, err = s.amend(key, am, withSource)
	}
	if err != nil {
		return Snapshot{}, err
	}
	return snap, nil
}

func readPath(path string, body func(*bufio.Reader, int64) error) (checksum, error) {
	f, err := os.Open(path)
	if err != nil {
		return checksum{}, err
	}
	defer f.Close() // it is only read from
	info, err := f.Stat()
	if err != nil {
		return checksum{}, err
	}
	return readSealed(f, info.Size(), func(r *bufio.Reader) error { return body(r, info.Size()) })
}

// amend reads an edit's base, and what is an edit of it.
func (s *Store) amend(key string, am *amendment, withSource bool) (Snapshot, error) {
	// The version that the base was may be there on its own, say after a backup
	// that knows no links.
	paths := []string{s.basePath(key, am.base), s.versionPath(key, am.Base.Version)}
	broken := &baseError{what: fmt.Errorf("%s is missing", filepath.Base(paths[0]))}
	for _, path := range paths {
		snap, err := readBase(path, am, withSource)
		if err == nil {
			return snap, nil
		}
		var disk *fs.PathError
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.As(err, &disk), errors.Is(err, ErrContent):
			return Snapshot{}, err // nothing is known, or the edit is wrong itself
		case path == paths[0]:
			broken = &baseError{path, fmt.Errorf("%s: %w", filepath.Base(path), err)}
		}
	}
	return Snapshot{}, broken
}

// errOther is a file that is not the base it should be.
var errOther = errors.New("it is another file")

// readBase reads what is an edit of the file, which is the base or not.
func readBase(path string, am *amendment, withSource bool) (snap Snapshot, err error) {
	for k := range am.gone {
		am.gone[k] = false // another base may have been tried
	}
	sum, err := readPath(path, func(r *bufio.Reader, size int64) (err error) {
		snap, err = readBody(r, size, withSource, am)
		return err
	})
	if errors.Is(err, ErrVersion) || sum != am.base && (err == nil || errors.Is(err, ErrContent)) {
		err = errOther
	}
	if err != nil {
		return Snapshot{}, err
	}
	return snap, nil
}

// baseError is ErrBase, and which file is damaged; "" where it is missing.
type baseError struct {
	path string
	what error
}

func (e *baseError) Error() string   { return fmt.Sprintf("%v: %v", ErrBase, e.what) }
func (e *baseError) Unwrap() []error { return []error{ErrBase, e.what} }

// setBaseAside renames the base that made an edit unreadable, as setAside does
// with a snapshot.
func (s *Store) setBaseAside(err error) error {
	var b *baseError
	if !errors.As(err, &b) || b.path == "" {
		return nil
	}
	return os.Rename(b.path, b.path+brokenExt)
}

// reinstate publishes the newest version that can be read, as a version of its
// own: the base of the last one is gone, and many versions with it may be. A
// state that was good once is better than none where the zone file is broken
// or waits too; else that is read next, and goes on from here. What an
// operator pinned comes back as that version or not at all: those after it he
// wanted gone. The serial goes on from the highest that was served, but where
// it is that of others.
func (s *Store) reinstate(key string, withSource bool) (Snapshot, error) {
	delete(s.bases, key)
	delete(s.newest, key) // its file is set aside
	wanted, pinned := 0, false
	for _, p := range s.pins {
		if stem(p.Zone, p.View) == key {
			wanted, pinned = p.Version, true
		}
	}
	for _, k := range slices.Backward(s.versions(key)) {
		if pinned && k.number != wanted {
			continue
		}
		snap, err := s.readFile(key, k.path, true)
		if err != nil || stem(snap.Zone, snap.View) != key {
			continue // why shows when it is asked for
		}
		serial := snap.Content.Serial()
		// Of a zone that others hold the serial is theirs, unless it is signed here.
		theirs := snap.Feed != nil && snap.Signed == ""
		if high, known := s.high[key]; known && !theirs && !zone.SerialLess(high, serial) {
			serial = zone.NextSerial(high)
		}
		snap.Content = snap.Content.WithSerial(serial)
		snap.Why, snap.New = fmt.Sprintf("version %d again: the last one cannot be read", k.number), true
		if err = s.Reserve([]Snapshot{snap}); err == nil {
			err = s.Save(snap)
		}
		if err != nil {
			return Snapshot{}, fmt.Errorf("zone journal: put version %d of %s back: %w", k.number, snap.Zone, err)
		}
		delete(s.bases, key) // records from disk
		if snap.Version, snap.New = s.newest[key], false; !withSource {
			snap.Source = nil
		}
		return snap, fmt.Errorf("zone journal: version %d of zone %s in view %s stands in for the last one", k.number, snap.Zone, snap.View)
	}
	return Snapshot{}, nil
}

// dropBases removes those bases of a (zone, view) that nothing is an edit of.
// It removes none where it cannot tell.
func (s *Store) dropBases(key string, bases, versions []kept) {
	if len(bases) == 0 {
		return
	}
	users := []string{s.path(key, snapshotExt), s.path(key, nextExt)} // the latter while a commit is not in place
	for _, k := range versions {
		users = append(users, k.path)
	}
	wanted := map[string]bool{}
	for _, path := range users {
		h, err := headOfFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrMagic), errors.Is(err, ErrContent): // it cannot be read, base or not
		case err != nil:
			s.Warn(fmt.Errorf("zone journal: %s: %w", filepath.Base(path), err))
			return
		default:
			wanted[s.basePathOf(key, h.Base)] = true
		}
	}
	for _, k := range bases {
		if !wanted[k.path] {
			s.drop(k.path)
		}
	}
}

// basePathOf is basePath for a name out of a head; "" is none.
func (s *Store) basePathOf(key string, b *baseName) string {
	var sum checksum
	if b == nil || len(b.Sum) != 2*len(sum) {
		return ""
	}
	if _, err := hex.Decode(sum[:], []byte(b.Sum)); err != nil {
		return ""
	}
	return s.basePath(key, sum)
}

// dropOrphans removes the bases of (zone, view)s of which nothing else is left:
// a crash came while one was removed.
func (s *Store) dropOrphans() {
	if s.index() != nil {
		return // versions says so
	}
	for _, key := range slices.Sorted(maps.Keys(s.listed)) {
		_, err := os.Lstat(s.path(key, snapshotExt))
		if !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		versions, bases := s.history(key)
		for _, b := range bases {
			if len(versions) == 0 {
				s.drop(b.path)
			}
		}
	}
}

func (s *Store) drop(path string) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Warn(fmt.Errorf("zone history: %w", err))
		return
	}
	s.unlist(path)
}
