package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/update"
	"postern/internal/dns/zone"
)

// What updates changed in a (zone, view) lies beside its snapshot, in a file of
// its own: STEM.dynamic, sealed like all others, JSON with the records in wire
// form. It changes with the snapshot or not at all: both are in one commit. One
// that does not check out is not set aside but stays in the way, so that no
// start takes the zone for one that nobody updated.
const dynamicExt = ".dynamic"

// ErrDynamic is a file of updates that cannot be read.
var ErrDynamic = errors.New("what updates changed cannot be read")

type dynamicFile struct {
	Zone string       `json:"zone"`
	View string       `json:"view"`
	Sets []dynamicSet `json:"sets"`
}

type dynamicSet struct {
	Owner string    `json:"owner"`
	Type  uint16    `json:"type"`
	Below [][]byte  `json:"below"` // what the admin's file had
	Now   [][]byte  `json:"now"`
	Key   string    `json:"key"`
	At    time.Time `json:"at"`
}

// maxDynamic bounds what is read of such a file, in octets.
const maxDynamic = 256 << 20

// saveDynamic writes the file, where the commit finds it.
func (s *Store) saveDynamic(key string, snap Snapshot) error {
	f := dynamicFile{Zone: snap.Zone, View: snap.View, Sets: []dynamicSet{}}
	for _, k := range snap.Dynamic.Kept() {
		set := dynamicSet{Owner: k.Owner.String(), Type: k.Type, Key: k.Key.String(), At: k.At.UTC()}
		var err error
		if set.Below, err = packAll(k.Below); err != nil {
			return err
		}
		if set.Now, err = packAll(k.Now); err != nil {
			return err
		}
		f.Sets = append(f.Sets, set)
	}
	return s.saveJSON(key+dynamicExt+nextExt, f)
}

// Dynamic returns what updates changed in a (zone, view). An error is
// ErrDynamic.
func (s *Store) Dynamic(zoneName, view string) (*update.Overlay, error) {
	path := s.path(stem(zoneName, view), dynamicExt)
	o, err := readDynamic(path, zoneName, view)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDynamic, filepath.Base(path), err)
	}
	return o, nil
}

func readDynamic(path, zoneName, view string) (*update.Overlay, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.Size() > maxDynamic:
		return nil, fmt.Errorf("%w: %d octets", ErrContent, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	body, err := open(data)
	if err != nil {
		return nil, err
	}
	return decodeDynamic(body, zoneName, view)
}

func decodeDynamic(body []byte, zoneName, view string) (*update.Overlay, error) {
	var f dynamicFile
	if err := json.Unmarshal(body, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContent, err)
	}
	if f.Zone != zoneName || f.View != view {
		return nil, fmt.Errorf("%w: it holds zone %s of view %s", ErrContent, f.Zone, f.View)
	}
	origin, err := name.Parse(f.Zone)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContent, err)
	}
	var kept []update.Kept
	for _, set := range f.Sets {
		k, err := set.kept(origin)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrContent, set.Owner, err)
		}
		kept = append(kept, k)
	}
	return update.NewOverlay(kept), nil
}

func (d dynamicSet) kept(origin name.Name) (k update.Kept, err error) {
	k.Type, k.At = d.Type, d.At
	if k.Owner, err = name.Parse(d.Owner); err != nil {
		return k, err
	}
	if !k.Owner.IsBelow(origin) {
		return k, zone.ErrOutside
	}
	if k.Key, err = name.Parse(d.Key); err != nil {
		return k, err
	}
	if k.Below, err = unpackAll(d.Below, k); err != nil {
		return k, err
	}
	k.Now, err = unpackAll(d.Now, k)
	return k, err
}

func packAll(rrs []dns.RR) ([][]byte, error) {
	all := [][]byte{}
	for _, rr := range rrs {
		wire, err := zone.AppendRecord(nil, rr)
		if err != nil {
			return nil, err
		}
		all = append(all, wire)
	}
	return all, nil
}

func unpackAll(all [][]byte, k update.Kept) ([]dns.RR, error) {
	var rrs []dns.RR
	for _, wire := range all {
		rr, end, err := dns.UnpackRR(wire, 0)
		if err != nil {
			return nil, err
		}
		rr, owner, err := zone.Normalise(rr)
		if err != nil {
			return nil, err
		}
		if end != len(wire) || owner != k.Owner || rr.Header().Rrtype != k.Type {
			return nil, errors.New("a record of another set")
		}
		rrs = append(rrs, rr)
	}
	return rrs, nil
}

// DropDynamic removes the file of a (zone, view) that cannot be read.
func (s *Store) DropDynamic(zoneName, view string) error {
	return s.removeDynamic(stem(zoneName, view))
}

func (s *Store) removeDynamic(key string) error {
	if err := os.Remove(s.path(key, dynamicExt)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what updates changed: %w", err)
	}
	return nil
}
