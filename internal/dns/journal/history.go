package journal

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// historyDir holds the snapshots of former versions, STEM#VERSION.version:
// links to what was the snapshot once; and the bases of those that are edits.
const (
	historyDir = "history"
	versionExt = ".version"
)

// Version is one published state of a (zone, view).
type Version struct {
	Number     int
	Serial     uint32
	FileSerial uint32
	Saved      time.Time
	Who, Why   string
	Present    bool // it is the one served
}

// ErrNoVersion is a version that is not kept.
var ErrNoVersion = errors.New("no such version is kept")

// Pin keeps a (zone, view) at what an operator rolled it back to.
type Pin struct {
	Zone    string    `json:"zone"`
	View    string    `json:"view"`
	Hash    string    `json:"hash"`    // of the files that were rolled back
	Version int       `json:"version"` // what was rolled back to
	At      time.Time `json:"at"`
	Who     string    `json:"who"`
	Why     string    `json:"why,omitempty"`
}

// Pins returns the pins that Load found or SavePins wrote.
func (s *Store) Pins() []Pin { return slices.Clone(s.pins) }

// SavePins replaces all pins.
func (s *Store) SavePins(pins []Pin) error {
	if err := s.saveJSON(pinsFile, pins); err != nil {
		return err
	}
	s.pins = slices.Clone(pins)
	return nil
}

// kept is a file of the history.
type kept struct {
	number int // of a version
	path   string
	info   fs.FileInfo // nil where it cannot be had
}

func (k kept) size() int64 {
	if k.info == nil {
		return 0
	}
	return k.info.Size()
}

// history returns what the history holds of a stem: versions, oldest first, and
// the bases of edits.
func (s *Store) history(stem string) (versions, bases []kept) {
	if err := s.index(); err != nil {
		s.Warn(fmt.Errorf("zone history: %w", err))
		return nil, nil
	}
	for _, rest := range slices.Sorted(maps.Keys(s.listed[stem])) {
		k := kept{path: filepath.Join(s.dir, historyDir, stem+"#"+rest)}
		info, err := os.Lstat(k.path)
		if errors.Is(err, fs.ErrNotExist) {
			s.unlist(k.path)
			continue
		}
		if err == nil {
			k.info = info
		}
		if strings.HasSuffix(rest, baseExt) {
			bases = append(bases, k)
			continue
		}
		number, isVersion := strings.CutSuffix(rest, versionExt)
		n, err := strconv.Atoi(number)
		if !isVersion || err != nil || n == s.newest[stem] {
			continue // a link made before a commit that failed is the present version
		}
		k.number = n
		versions = append(versions, k)
	}
	slices.SortFunc(versions, func(a, b kept) int { return cmp.Compare(a.number, b.number) })
	return versions, bases
}

// index reads which files the history has, once: its directory holds those of all
// zones, and a change of one must not cost what all have.
func (s *Store) index() error {
	if s.listed != nil {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, historyDir))
	if err != nil {
		return err
	}
	s.listed = map[string]map[string]bool{}
	for _, e := range entries {
		s.list(e.Name())
	}
	return nil
}

// list notes a file that came into the history.
func (s *Store) list(path string) {
	stem, rest, ok := strings.Cut(filepath.Base(path), "#")
	if !ok || s.listed == nil { // it is read when it is wanted
		return
	}
	if s.listed[stem] == nil {
		s.listed[stem] = map[string]bool{}
	}
	s.listed[stem][rest] = true
}

// unlist forgets one that is gone.
func (s *Store) unlist(path string) {
	stem, rest, _ := strings.Cut(filepath.Base(path), "#")
	if delete(s.listed[stem], rest); len(s.listed[stem]) == 0 {
		delete(s.listed, stem)
	}
}

func (s *Store) versions(stem string) []kept {
	versions, _ := s.history(stem)
	return versions
}

func (s *Store) versionPath(stem string, number int) string {
	return filepath.Join(s.dir, historyDir, stem+"#"+strconv.Itoa(number)+versionExt)
}

// number returns the version that the next snapshot of stem gets.
func (s *Store) number(stem string, isNew bool) int {
	last := s.newest[stem]
	if last > 0 && !isNew {
		return last
	}
	for _, k := range s.versions(stem) {
		last = max(last, k.number)
	}
	return last + 1
}

// keep puts the present snapshot into the history, where it stays when the
// snapshot is replaced. Failing to costs a version, not the change.
func (s *Store) keep(stem string) {
	present := s.newest[stem]
	if present == 0 {
		return
	}
	// A commit that failed late may have left another version in its place: then
	// this one was kept already.
	if h, err := headOfFile(s.path(stem, snapshotExt)); err == nil && max(h.Version, 1) != present {
		return
	}
	to := s.versionPath(stem, present)
	_ = os.Remove(to) // of an attempt that failed, perhaps before the snapshot was replaced in place
	if err := os.Link(s.path(stem, snapshotExt), to); err != nil {
		s.Warn(fmt.Errorf("zone history: a version is not kept: %w", err))
	}
	s.list(to)
}

// prune drops the oldest versions beyond the bounds, and the bases that nothing
// is an edit of any more. A base counts once, with the newest version that is
// an edit of it; it stays for as long as one is, be that beyond the bounds. What
// all are based on is read only where that can matter; edit says that the
// present snapshot is one.
func (s *Store) prune(stem string, edit bool) {
	all, bases := s.history(stem)
	var most int64
	for _, k := range slices.Concat(all, bases) {
		most += k.size()
	}
	based := bases
	if most <= s.Bytes {
		based = nil // whichever counts
	}
	var size int64
	var left, counted []kept
	for i, k := range slices.Backward(all) {
		nth := len(all) - i // counting back from the present
		for _, f := range s.files(stem, k, based) {
			if !slices.ContainsFunc(counted, func(c kept) bool { return os.SameFile(c.info, f.info) }) {
				size += f.size()
				counted = append(counted, f)
			}
		}
		if nth == 1 || nth <= s.Versions && size <= s.Bytes {
			left = append(left, k)
			continue
		}
		s.drop(k.path)
	}
	if !edit || len(bases) > 1 {
		s.dropBases(stem, bases, left)
	}
}

// files returns those that a version takes: its own, and its base.
func (s *Store) files(stem string, version kept, bases []kept) []kept {
	all := []kept{version}
	if len(bases) == 0 {
		return all
	}
	h, err := headOfFile(version.path)
	if err != nil {
		return all // what is wrong with it shows when it is wanted
	}
	path := s.basePathOf(stem, h.Base)
	for _, b := range bases {
		if b.path == path {
			all = append(all, b)
		}
	}
	return all
}

// History returns the versions of a (zone, view), newest first.
func (s *Store) History(zone, view string) ([]Version, error) {
	key := stem(zone, view)
	var all []Version
	if s.newest[key] > 0 {
		v, err := s.describe(key, s.path(key, snapshotExt))
		if err != nil {
			return nil, err
		}
		v.Present = true
		all = append(all, v)
	}
	for _, k := range slices.Backward(s.versions(key)) {
		v, err := s.describe(key, k.path)
		if err != nil {
			s.Warn(fmt.Errorf("zone history: %s: %w", k.path, err))
			continue
		}
		v.Number = k.number
		all = append(all, v)
	}
	return all, nil
}

// Former reads a version back, checked as any snapshot is.
func (s *Store) Former(zone, view string, number int) (Snapshot, error) {
	key := stem(zone, view)
	path := s.versionPath(key, number)
	if number == s.newest[key] {
		path = s.path(key, snapshotExt)
	}
	snap, err := s.readFile(key, path, true)
	if errors.Is(err, fs.ErrNotExist) {
		return Snapshot{}, fmt.Errorf("version %d of %s: %w", number, zone, ErrNoVersion)
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("version %d of %s: %w", number, zone, err)
	}
	if stem(snap.Zone, snap.View) != key {
		return Snapshot{}, fmt.Errorf("version %d of %s: %w: it holds zone %s", number, zone, ErrContent, snap.Zone)
	}
	return snap, nil
}

// describe reads the head of a snapshot alone; one from before the history
// does not say its serial there, and is read whole.
func (s *Store) describe(key, path string) (Version, error) {
	h, err := headOfFile(path)
	if err != nil {
		return Version{}, err
	}
	v := Version{Number: max(h.Version, 1), Serial: h.Serial, FileSerial: h.FileSerial, Saved: h.Saved, Who: h.Who, Why: h.Why}
	if h.Version > 0 {
		return v, nil
	}
	snap, err := s.readFile(key, path, false)
	if err != nil {
		return Version{}, err
	}
	v.Serial = snap.Content.Serial()
	return v, nil
}

// headOfFile reads the head of a snapshot, whose checksum is not looked at.
func headOfFile(path string) (h head, err error) {
	f, err := os.Open(path)
	if err != nil {
		return h, err
	}
	defer f.Close() // it is only read from
	disk := &noted{r: f}
	line, err := readHead(bufio.NewReaderSize(disk, 1<<10))
	if disk.err != nil {
		return h, disk.err
	}
	if err != nil {
		return h, err
	}
	if json.Unmarshal(line, &h) != nil {
		return h, ErrContent
	}
	return h, nil
}
