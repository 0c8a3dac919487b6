package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// A snapshot is: the magic line, a line of JSON (head), the records, and the
// SHA-256 of all that. A record is a kind octet, four octets of length, and
// the record in wire form, uncompressed.
const magic = "postern-zone 1\n"

const magicWord = "postern-zone "

// The kinds of records in a snapshot.
const (
	content byte = iota // served
	derived             // served, and made by Postern
	source              // in the admin's file
)

type head struct {
	Zone       string    `json:"zone"`
	View       string    `json:"view"`
	File       string    `json:"file,omitempty"`
	FileSerial uint32    `json:"file_serial"`
	HasSource  bool      `json:"has_source"`
	Saved      time.Time `json:"saved"`
	Records    int       `json:"records"`

	// Since the history of versions; absent before.
	Version int    `json:"version,omitempty"`
	Serial  uint32 `json:"serial,omitempty"` // as served
	Who     string `json:"who,omitempty"`
	Why     string `json:"why,omitempty"`
}

func encode(snap Snapshot) ([]byte, error) {
	made := map[string]bool{}
	for _, rr := range snap.Derived {
		made[rr.String()] = true
	}
	const guess = 64 // octets a record
	body := make([]byte, 0, guess*(snap.Content.Records()+len(snap.Source)))
	count := 0
	put := func(kind byte, owner name.Name, rr dns.RR) error {
		start := len(body)
		wire, err := zone.AppendWire(append(body, kind, 0, 0, 0, 0), owner, rr)
		if err != nil {
			return fmt.Errorf("snapshot of %s: %s: %w", snap.Zone, rr.Header().Name, err)
		}
		binary.BigEndian.PutUint32(wire[start+1:], uint32(len(wire)-start-5))
		body = wire
		count++
		return nil
	}
	for node := range snap.Content.Nodes() {
		for i := range node.Sets {
			for _, rr := range node.Sets[i].RRs {
				kind := content
				if len(made) > 0 && made[rr.String()] {
					kind = derived
				}
				if err := put(kind, node.Name, rr); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, rr := range snap.Source {
		owner, err := name.Parse(rr.Header().Name)
		if err != nil {
			return nil, fmt.Errorf("snapshot of %s: %q: %w", snap.Zone, rr.Header().Name, err)
		}
		if err := put(source, owner, rr); err != nil {
			return nil, err
		}
	}
	h, err := json.Marshal(head{
		snap.Zone, snap.View, snap.File, snap.FileSerial, snap.Source != nil, snap.Saved.UTC(), count,
		snap.Version, snap.Content.Serial(), snap.Who, snap.Why,
	})
	if err != nil {
		return nil, err
	}
	return seal(slices.Concat([]byte(magic), h, []byte("\n"), body)), nil
}

func seal(data []byte) []byte {
	sum := sha256.Sum256(data)
	return append(data, sum[:]...)
}

// open checks magic and checksum and returns what lies between.
func open(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte(magicWord)) {
		return nil, ErrMagic
	}
	if len(data) < len(magic)+sha256.Size {
		return nil, ErrChecksum
	}
	body := data[:len(data)-sha256.Size]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], data[len(body):]) {
		return nil, ErrChecksum
	}
	// Only a whole file may claim to come from a newer version.
	rest, ok := bytes.CutPrefix(body, []byte(magic))
	if !ok {
		return nil, ErrVersion
	}
	return rest, nil
}

func decode(data []byte) (Snapshot, error) {
	rest, err := open(data)
	if err != nil {
		return Snapshot{}, err
	}
	line, body, ok := bytes.Cut(rest, []byte{'\n'})
	var h head
	if !ok {
		return Snapshot{}, ErrContent
	}
	if err := json.Unmarshal(line, &h); err != nil {
		return Snapshot{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	origin, err := name.Parse(h.Zone)
	if err != nil {
		return Snapshot{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	snap := Snapshot{
		Zone: origin.String(), View: h.View, File: h.File, FileSerial: h.FileSerial, Saved: h.Saved,
		Version: max(h.Version, 1), Who: h.Who, Why: h.Why,
	}
	if h.HasSource {
		snap.Source = []dns.RR{}
	}
	b := zone.NewBuilder(origin)
	count := 0
	for ; len(body) > 0; count++ {
		if body, err = snap.take(b, body); err != nil {
			return Snapshot{}, err
		}
	}
	if count != h.Records {
		return Snapshot{}, fmt.Errorf("%w: %d records of %d", ErrContent, count, h.Records)
	}
	if snap.Content, err = b.Build(); err != nil {
		return Snapshot{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	return snap, nil
}

// take reads one record off body.
func (snap *Snapshot) take(b *zone.Builder, body []byte) ([]byte, error) {
	if len(body) < 5 {
		return nil, ErrContent
	}
	kind, size := body[0], int(binary.BigEndian.Uint32(body[1:5]))
	if body = body[5:]; size > len(body) {
		return nil, ErrContent
	}
	rr, end, err := dns.UnpackRR(body[:size], 0)
	if err != nil || end != size {
		return nil, fmt.Errorf("%w: record: %w", ErrContent, err)
	}
	switch kind {
	case source:
		snap.Source = append(snap.Source, rr)
	case derived:
		snap.Derived = append(snap.Derived, rr)
		err = b.AddNormal(rr)
	case content:
		err = b.AddNormal(rr)
	default:
		err = fmt.Errorf("record kind %d", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContent, err)
	}
	return body[size:], nil
}

// loadJSON reads a sealed file of JSON; an absent one leaves v as it is.
func (s *Store) loadJSON(file string, v any) error {
	data, err := os.ReadFile(filepath.Join(s.dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	body, err := open(data)
	if err == nil {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		return s.setAside(file, err)
	}
	return nil
}

func (s *Store) saveJSON(file string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.writer.Write(filepath.Join(s.dir, file), seal(append([]byte(magic), body...)), 0o600)
}

// stem is the file name of a (zone, view) without its ending: readable where
// it can be, and never longer than a file name may be.
func stem(zone, view string) string {
	if zone == "." {
		zone = "root"
	}
	s := escape(strings.TrimSuffix(zone, ".")) + "@" + escape(view)
	if len(s) <= 200 {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:100] + "~" + hex.EncodeToString(sum[:16])
}

func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
