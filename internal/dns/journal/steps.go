package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/zone"
)

// The steps by which zones came about lie in one file, from a stop to the next
// start: a secondary that is behind when we restart gets what changed all the
// same. It is worth nothing once a zone has changed, so the start that reads it
// takes it away, and after a crash there is none. The file is sealed like all
// others: JSON with the records in wire form.
const stepsFile = "steps"

// maxSteps bounds the records in the file: those of the zones that are listed
// first are kept.
const maxSteps = 200_000

// Steps are the latest differences of a (zone, view), oldest first.
type Steps struct {
	Zone, View string
	Deltas     []zone.Delta
}

type stepsOf struct {
	Zone  string `json:"zone"`
	View  string `json:"view"`
	Steps []step `json:"steps"`
}

type step struct {
	From    []byte   `json:"from"`
	To      []byte   `json:"to"`
	Removed [][]byte `json:"removed"`
	Added   [][]byte `json:"added"`
}

// SaveSteps writes them, as far as there is room, and says how many (zone, view)s
// were left out.
func (s *Store) SaveSteps(all []Steps) (left int, err error) {
	list, records := []stepsOf{}, 0
	for _, of := range all {
		size := 0
		for _, d := range of.Deltas {
			size += d.Records()
		}
		if records+size > maxSteps {
			left++
			continue
		}
		records += size
		packed := stepsOf{Zone: of.Zone, View: of.View}
		for _, d := range of.Deltas {
			one, err := packStep(d)
			if err != nil {
				return left, fmt.Errorf("steps of zone %s: %w", of.Zone, err)
			}
			packed.Steps = append(packed.Steps, one)
		}
		list = append(list, packed)
	}
	if len(list) == 0 {
		return left, nil
	}
	return left, s.saveJSON(stepsFile, list)
}

func packStep(d zone.Delta) (p step, err error) {
	if p.From, err = zone.AppendRecord(nil, d.From); err == nil {
		p.To, err = zone.AppendRecord(nil, d.To)
	}
	if err == nil {
		p.Removed, err = packAll(d.Removed)
	}
	if err == nil {
		p.Added, err = packAll(d.Added)
	}
	return p, err
}

// TakeSteps returns what SaveSteps wrote, once: the file is gone durably when it
// returns them.
func (s *Store) TakeSteps() ([]Steps, error) {
	var list []stepsOf
	err := s.loadJSON(stepsFile, &list)
	if gone := os.Remove(filepath.Join(s.dir, stepsFile)); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		return nil, errors.Join(err, gone)
	}
	if err != nil || len(list) == 0 {
		return nil, err
	}
	if err := atomicfile.SyncDir(s.dir); err != nil {
		return nil, err
	}
	var all []Steps
	for _, of := range list {
		steps := Steps{Zone: of.Zone, View: of.View}
		for _, p := range of.Steps {
			d, err := p.unpack()
			if err != nil {
				return nil, fmt.Errorf("steps of zone %s: %w: %w", of.Zone, ErrContent, err)
			}
			steps.Deltas = append(steps.Deltas, d)
		}
		all = append(all, steps)
	}
	return all, nil
}

func (p *step) unpack() (d zone.Delta, err error) {
	soas := [2]*dns.SOA{}
	for i, wire := range [][]byte{p.From, p.To} {
		rr, err := unpackOne(wire)
		if err != nil {
			return d, err
		}
		soa, ok := rr.(*dns.SOA)
		if !ok {
			return d, errors.New("a step without SOA")
		}
		soas[i] = soa
	}
	d.From, d.To = soas[0], soas[1]
	for _, wire := range p.Removed {
		rr, err := unpackOne(wire)
		if err != nil {
			return d, err
		}
		d.Removed = append(d.Removed, rr)
	}
	for _, wire := range p.Added {
		rr, err := unpackOne(wire)
		if err != nil {
			return d, err
		}
		d.Added = append(d.Added, rr)
	}
	return d, nil
}

func unpackOne(wire []byte) (dns.RR, error) {
	rr, end, err := dns.UnpackRR(wire, 0)
	if err != nil {
		return nil, err
	}
	if end != len(wire) {
		return nil, errors.New("octets after a record")
	}
	rr, _, err = zone.Normalise(rr)
	return rr, err
}
