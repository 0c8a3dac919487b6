package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"postern/internal/atomicfile"
	"postern/internal/dns/zone"
)

// A full disk takes no new file, and replacing one is writing a new one. So the
// highest serials have a second home, whose room is taken while there is some:
// a file that is written in place, in two halves by turns, so that a crash
// while one is written leaves the other. It counts only where it is ahead.
const (
	spareFile = "serials.spare"
	spareLen  = 64 << 10 // of a half at first; it grows with the zones
	lengthLen = 4        // of what a half begins with
)

// StepSpare is the writing in place, for the faults of tests.
const StepSpare atomicfile.Step = "write in place"

// ReserveInPlace notes a serial that is about to be served where Reserve
// cannot, for the disk is full.
func (s *Store) ReserveInPlace(snap Snapshot) error {
	key := stem(snap.Zone, snap.View)
	old, had := s.high[key]
	if !s.raise(key, snap.Content.Serial()) {
		return nil
	}
	err := s.writeSpare()
	if err == nil {
		return nil
	}
	if delete(s.high, key); had {
		s.high[key] = old
	}
	return fmt.Errorf("reserve a serial in place: %w", err)
}

// spare is what a half holds.
type spare struct {
	Turn uint64            `json:"turn"` // the higher is the newer; odd and even have a half each
	High map[string]uint32 `json:"high"`
}

// writeSpare writes the half that is older.
func (s *Store) writeSpare() error {
	body, err := json.Marshal(spare{s.turn + 1, s.high})
	if err != nil {
		return err
	}
	if s.writer.Fault != nil {
		if err := s.writer.Fault(StepSpare); err != nil {
			return err
		}
	}
	sealed := seal(append([]byte(magic), body...))
	f, err := os.OpenFile(filepath.Join(s.dir, spareFile), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // what matters was synced
	info, err := f.Stat()
	if err != nil {
		return err
	}
	half := info.Size() / 2
	if int64(len(sealed)+lengthLen) > half {
		return fmt.Errorf("%d octets, and room for %d", len(sealed), half)
	}
	text := append(binary.BigEndian.AppendUint32(nil, uint32(len(sealed))), sealed...)
	if _, err := f.WriteAt(text, half*int64((s.turn+1)%2)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	s.turn++
	return nil
}

// makeSpare takes the room, while there is some. Where there is none, Reserve
// does without.
func (s *Store) makeSpare() error {
	body, err := json.Marshal(s.high)
	if err != nil {
		return err
	}
	half := int64(spareLen)
	for half < int64(2*len(body)) {
		half *= 2
	}
	path := filepath.Join(s.dir, spareFile)
	if info, err := os.Stat(path); err == nil && info.Size() >= 2*half {
		return nil
	}
	if err := s.writer.Write(path, make([]byte, 2*half), 0o600); err != nil {
		return fmt.Errorf("room for serials: %w", err)
	}
	return nil
}

// loadSpare takes what the second home knows better.
func (s *Store) loadSpare() error {
	text, err := os.ReadFile(filepath.Join(s.dir, spareFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", spareFile, err)
	}
	for _, half := range [][]byte{text[:len(text)/2], text[len(text)/2:]} {
		x := readHalf(half)
		for key, serial := range x.High {
			if have, ok := s.high[key]; !ok || zone.SerialLess(have, serial) {
				s.high[key] = serial
			}
		}
		s.turn = max(s.turn, x.Turn)
	}
	return nil
}

// readHalf returns what a half holds; nothing where it was not written whole.
func readHalf(half []byte) (x spare) {
	if len(half) < lengthLen {
		return x
	}
	n := int(binary.BigEndian.Uint32(half))
	if n > len(half)-lengthLen {
		return x
	}
	body, err := open(half[lengthLen : lengthLen+n])
	if err != nil || json.Unmarshal(body, &x) != nil {
		return spare{}
	}
	return x
}
