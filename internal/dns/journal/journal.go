// Package journal keeps the last good state of every (zone, view) on disk, so
// that a broken or vanished zone file changes nothing, also after a restart.
// Writing a snapshot is the commit point of a zone change.
//
// Each file begins with a magic word and a version and ends with a checksum;
// it is replaced atomically. A file that does not check out is set aside,
// loudly, and never read again. The highest serial each (zone, view) ever
// served is kept apart, so that it survives the snapshot. The package starts
// no goroutine and is not safe for concurrent use: authority owns it.
package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/update"
	"postern/internal/dns/zone"
)

// Snapshot is the state of one (zone, view) as it was published.
type Snapshot struct {
	Zone, View string    // the zone in presentation form
	File       string    // the admin's file it came from; "" where there was none
	FileSerial uint32    // the serial in that file; meaningless without a file
	Saved      time.Time // when it was published

	// What is saved may be kept, to compare the next version with: it must not
	// be changed any more.
	Content *zone.Zone // with the serial it was served with
	Source  []dns.RR   // the records of File alone, before the overlay; nil without a file
	Derived []dns.RR   // the records in Content that Postern made itself, signing aside
	Signed  string     // how Postern signed Content, in its caller's words; "" if it did not
	Feed    *Feed      // how it came, where others hold the zone; nil: from a file

	// What updates changed in Content, which Save writes where Updated says that
	// it is not what was saved last. Load does not read it: see Dynamic.
	Dynamic *update.Overlay
	Updated bool

	Version   int    // counts from 1 by (zone, view); Save gives it
	Who, Why  string // who had it published
	HasSource bool   // there are source records, read or not; Save does not look at it
	New       bool   // for Save: another version, the one before goes into the history; else it replaces its version
}

// Feed is how the state of a zone that others hold came here.
type Feed struct {
	Serial  uint32    `json:"serial"` // as they have it
	Expires time.Time `json:"expires"`
	From    string    `json:"from"`
}

// Stamp is until when the state of such a zone may be served, as it was known
// at that time: it moves without anything else of the zone.
type Stamp struct {
	Zone    string    `json:"zone"`
	View    string    `json:"view"`
	Expires time.Time `json:"expires"`
	At      time.Time `json:"at"`
}

// Derived is one set of TXT records that Postern publishes.
type Derived struct {
	Owner string   `json:"owner"`
	Key   string   `json:"key"`
	Texts []string `json:"texts"`
}

// Store is the directory of the files.
type Store struct {
	dir    string
	writer atomicfile.Writer
	high   map[string]uint32 // file name stem -> highest serial served
	turn   uint64            // of serials.spare
	newest map[string]int    // file name stem -> version of the snapshot
	pins   []Pin
	stamps []Stamp
	redo   []string // stems of a commit whose files are not all in place

	listed map[string]map[string]bool // file name stem -> the rest of the names in the history; nil: not read yet

	bases    map[string]*base // file name stem -> what the next snapshot may be an edit of
	editFrom int              // records that make a base

	// Versions and Bytes bound the history of each (zone, view); the version
	// before the present one is kept whatever its size.
	Versions int
	Bytes    int64
	// Warn hears what went wrong beside a commit, such as a version that could
	// not be kept.
	Warn func(error)
}

const (
	snapshotExt = ".snapshot"
	serialsFile = "serials"
	derivedFile = "derived"
	pinsFile    = "pins"
	stampsFile  = "stamps"
	noteExt     = ".note"
	brokenExt   = ".broken"
)

// What makes a file unfit.
var (
	ErrMagic    = errors.New("not a file of this kind")
	ErrVersion  = errors.New("written by a newer version")
	ErrChecksum = errors.New("checksum does not match")
	ErrContent  = errors.New("content does not make sense")
)

// Open returns the store in dir, which is made if absent. The writer's faults
// are for tests.
func Open(dir string, writer atomicfile.Writer) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, historyDir), 0o700); err != nil {
		return nil, fmt.Errorf("open zone journal: %w", err)
	}
	return &Store{
		dir: dir, writer: writer, high: map[string]uint32{}, newest: map[string]int{},
		bases: map[string]*base{}, editFrom: editFrom,
		Versions: 20, Bytes: 64 << 20, Warn: func(error) {},
	}, nil
}

// Load reads everything. Files that do not check out are renamed to end in
// .broken and named in the problems; the rest is returned all the same.
func (s *Store) Load() (snapshots []Snapshot, derived []Derived, problems []error) {
	return s.load(true)
}

// LoadContents is Load without the source records: Former reads those of one
// snapshot when they are needed.
func (s *Store) LoadContents() (snapshots []Snapshot, derived []Derived, problems []error) {
	return s.load(false)
}

func (s *Store) load(withSource bool) (snapshots []Snapshot, derived []Derived, problems []error) {
	if err := s.recover(); err != nil {
		problems = append(problems, err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, nil, []error{fmt.Errorf("read zone journal: %w", err)}
	}
	if err := s.loadJSON(serialsFile, &s.high); err != nil {
		problems = append(problems, err)
	}
	if s.high == nil {
		s.high = map[string]uint32{}
	}
	if err := s.loadSpare(); err != nil {
		problems = append(problems, err)
	}
	if err := s.loadJSON(derivedFile, &derived); err != nil {
		problems = append(problems, err)
	}
	s.pins = nil
	if err := s.loadJSON(pinsFile, &s.pins); err != nil {
		problems = append(problems, err)
	}
	s.stamps = nil
	if err := s.loadJSON(stampsFile, &s.stamps); err != nil {
		problems = append(problems, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !strings.HasSuffix(e.Name(), snapshotExt) {
			continue
		}
		snap, err := s.loadSnapshot(e.Name(), withSource)
		if err != nil {
			problems = append(problems, err)
		}
		if errors.Is(err, ErrBase) {
			var old error
			if snap, old = s.reinstate(strings.TrimSuffix(e.Name(), snapshotExt), withSource); old != nil {
				problems = append(problems, old)
			}
		}
		if snap.Content == nil {
			continue
		}
		s.raise(stem(snap.Zone, snap.View), snap.Content.Serial())
		s.newest[stem(snap.Zone, snap.View)] = snap.Version
		snapshots = append(snapshots, snap)
	}
	s.dropOrphans()
	return snapshots, derived, problems
}

func (s *Store) loadSnapshot(file string, withSource bool) (Snapshot, error) {
	snap, err := s.readFile(strings.TrimSuffix(file, snapshotExt), filepath.Join(s.dir, file), withSource)
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return Snapshot{}, fmt.Errorf("read %s: %w", file, err)
	}
	if err == nil && stem(snap.Zone, snap.View)+snapshotExt != file {
		err = fmt.Errorf("%w: it holds zone %s of view %s", ErrContent, snap.Zone, snap.View)
	}
	if err != nil {
		return Snapshot{}, errors.Join(s.setAside(file, err), s.setBaseAside(err))
	}
	return snap, nil
}

// setAside renames a broken file, so that nothing trusts it and a person can
// look at it.
func (s *Store) setAside(file string, why error) error {
	path := filepath.Join(s.dir, file)
	if errors.Is(why, ErrVersion) {
		return fmt.Errorf("read %s: %w", path, why)
	}
	err := os.Rename(path, path+brokenExt)
	return errors.Join(fmt.Errorf("read %s: %w; it is set aside as %s", path, why, file+brokenExt), err)
}

// HighWater returns the highest serial the (zone, view) ever served.
func (s *Store) HighWater(zone, view string) (uint32, bool) {
	serial, ok := s.high[stem(zone, view)]
	return serial, ok
}

func (s *Store) raise(key string, serial uint32) bool {
	if have, ok := s.high[key]; ok && !zone.SerialLess(have, serial) {
		return false
	}
	s.high[key] = serial
	return true
}

// Raise takes a serial as the highest ever served, though others served it. It
// is durable with the next Reserve.
func (s *Store) Raise(zone, view string, serial uint32) { s.raise(stem(zone, view), serial) }

// Reserve notes the serials that are about to be served. It is called once
// before a round of Save: a serial noted but never served does no harm, one
// served but not noted could come twice.
func (s *Store) Reserve(snapshots []Snapshot) error {
	undo := map[string]func(){}
	for _, snap := range snapshots {
		key := stem(snap.Zone, snap.View)
		old, had := s.high[key]
		if s.raise(key, snap.Content.Serial()) && undo[key] == nil {
			undo[key] = func() {
				if delete(s.high, key); had {
					s.high[key] = old
				}
			}
		}
	}
	if len(undo) == 0 {
		return nil
	}
	if err := s.saveJSON(serialsFile, s.high); err != nil {
		for _, f := range undo {
			f()
		}
		return err
	}
	if err := s.makeSpare(); err != nil {
		s.Warn(err)
	}
	return nil
}

// SaveDerived replaces the list of derived records.
func (s *Store) SaveDerived(all []Derived) error { return s.saveJSON(derivedFile, all) }

// Stamps returns what Load found or SaveStamps wrote.
func (s *Store) Stamps() []Stamp { return slices.Clone(s.stamps) }

// SaveStamps replaces all stamps. They may be lost: a zone expires sooner then.
func (s *Store) SaveStamps(all []Stamp) error {
	if err := s.saveJSON(stampsFile, all); err != nil {
		return err
	}
	s.stamps = slices.Clone(all)
	return nil
}

// Remove forgets the snapshot of a (zone, view) and its history. Its highest
// serial stays, so that the zone, if it comes back, goes on from there.
func (s *Store) Remove(zone, view string) error {
	if err := s.finishRedo(); err != nil {
		return err
	}
	key := stem(zone, view)
	versions, bases := s.history(key)
	for _, v := range versions {
		if err := os.Remove(v.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove version: %w", err)
		}
		s.unlist(v.path)
	}
	if err := os.Remove(s.path(key, noteExt)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove note: %w", err)
	}
	if err := s.removeDynamic(key); err != nil {
		return err
	}
	err := os.Remove(s.path(key, snapshotExt))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove snapshot: %w", err)
	}
	delete(s.newest, key)
	delete(s.bases, key)
	if err := atomicfile.SyncDir(s.dir); err != nil {
		return err
	}
	for _, b := range bases { // last: while there is a snapshot it may need them
		s.drop(b.path)
	}
	return nil
}

func (s *Store) path(stem, ext string) string { return filepath.Join(s.dir, stem+ext) }

// SaveNote keeps v, as JSON, beside the snapshot of a (zone, view), for
// LoadNote. A note is no part of the state: it may be lost.
func (s *Store) SaveNote(zone, view string, v any) error {
	return s.saveJSON(stem(zone, view)+noteExt, v)
}

// LoadNote reads a note into v, and leaves v alone where there is none.
func (s *Store) LoadNote(zone, view string, v any) error {
	file := stem(zone, view) + noteExt
	if info, err := os.Stat(filepath.Join(s.dir, file)); err == nil && info.Size() > maxNote {
		return s.setAside(file, fmt.Errorf("%w: %d octets", ErrContent, info.Size()))
	}
	return s.loadJSON(file, v)
}

// maxNote bounds what is read of a note, in octets.
const maxNote = 16 << 20
