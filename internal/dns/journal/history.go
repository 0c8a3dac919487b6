package journal

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// historyDir holds the snapshots of former versions, STEM#VERSION.version:
// links to what was the snapshot once.
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
	number int
	path   string
	size   int64
}

// versions returns what the history holds of a stem, oldest first.
func (s *Store) versions(stem string) []kept {
	entries, err := os.ReadDir(filepath.Join(s.dir, historyDir))
	if err != nil {
		s.Warn(fmt.Errorf("zone history: %w", err))
		return nil
	}
	var all []kept
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), stem+"#")
		number, isVersion := strings.CutSuffix(rest, versionExt)
		n, err := strconv.Atoi(number)
		if !ok || !isVersion || err != nil || n == s.newest[stem] {
			continue // a link made before a commit that failed is the present version
		}
		k := kept{number: n, path: filepath.Join(s.dir, historyDir, e.Name())}
		if info, err := e.Info(); err == nil {
			k.size = info.Size()
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Compare(a.number, b.number) })
	return all
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
	to := filepath.Join(s.dir, historyDir, stem+"#"+strconv.Itoa(present)+versionExt)
	_ = os.Remove(to) // of an attempt that failed, perhaps before the snapshot was replaced in place
	if err := os.Link(s.path(stem, snapshotExt), to); err != nil {
		s.Warn(fmt.Errorf("zone history: a version is not kept: %w", err))
	}
}

// prune drops the oldest versions beyond the bounds.
func (s *Store) prune(stem string) {
	all := s.versions(stem)
	var size int64
	for i, k := range slices.Backward(all) {
		nth := len(all) - i // counting back from the present
		size += k.size
		if nth == 1 || nth <= s.Versions && size <= s.Bytes {
			continue
		}
		if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.Warn(fmt.Errorf("zone history: %w", err))
		}
	}
}

// History returns the versions of a (zone, view), newest first.
func (s *Store) History(zone, view string) ([]Version, error) {
	key := stem(zone, view)
	var all []Version
	if s.newest[key] > 0 {
		v, err := describe(s.path(key, snapshotExt))
		if err != nil {
			return nil, err
		}
		v.Present = true
		all = append(all, v)
	}
	for _, k := range slices.Backward(s.versions(key)) {
		v, err := describe(k.path)
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
	path := filepath.Join(s.dir, historyDir, key+"#"+strconv.Itoa(number)+versionExt)
	if number == s.newest[key] {
		path = s.path(key, snapshotExt)
	}
	snap, err := readFile(path, true)
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
func describe(path string) (Version, error) {
	f, err := os.Open(path)
	if err != nil {
		return Version{}, err
	}
	defer f.Close()           // it is only read from
	const longest = 256 << 10 // a head: names, a path, a reason
	r := bufio.NewReaderSize(f, longest)
	first, err := r.Peek(len(magic))
	if err != nil || !bytes.Equal(first, []byte(magic)) {
		return Version{}, ErrMagic
	}
	if _, err := r.Discard(len(magic)); err != nil {
		return Version{}, err
	}
	line, err := r.ReadSlice('\n')
	var h head
	if err != nil || json.Unmarshal(line, &h) != nil {
		return Version{}, ErrContent
	}
	v := Version{Number: max(h.Version, 1), Serial: h.Serial, FileSerial: h.FileSerial, Saved: h.Saved, Who: h.Who, Why: h.Why}
	if h.Version > 0 {
		return v, nil
	}
	snap, err := readFile(path, false)
	if err != nil {
		return Version{}, err
	}
	v.Serial = snap.Content.Serial()
	return v, nil
}
