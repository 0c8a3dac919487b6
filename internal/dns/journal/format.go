package journal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	Names   int    `json:"names,omitempty"` // how many the zone has; absent before
}

// owners is how many owners of that many records to expect.
func (h *head) owners(records int) int {
	if h.Names <= 0 {
		return records
	}
	return min(h.Names, records)
}

// encode is write, into memory.
func encode(snap Snapshot) ([]byte, error) {
	var b bytes.Buffer
	err := write(&b, snap)
	return b.Bytes(), err
}

// piece is how much of a snapshot is in memory while it is written or read.
const piece = 64 << 10

// write writes a snapshot as a file has it.
func write(to io.Writer, snap Snapshot) error {
	h, err := json.Marshal(head{
		snap.Zone, snap.View, snap.File, snap.FileSerial, snap.Source != nil, snap.Saved.UTC(), snap.Content.Records() + len(snap.Source),
		snap.Version, snap.Content.Serial(), snap.Who, snap.Why, snap.Content.Names(),
	})
	if err != nil {
		return err
	}
	sum := sha256.New()
	e := encoder{w: io.MultiWriter(to, sum), room: append(append([]byte(magic), h...), '\n')}
	e.content(snap)
	for _, rr := range snap.Source {
		e.put(source, "", rr)
	}
	if e.err != nil {
		return fmt.Errorf("snapshot of %s: %w", snap.Zone, e.err)
	}
	if _, err := e.w.Write(e.room); err != nil {
		return err
	}
	_, err = to.Write(sum.Sum(nil))
	return err
}

// encoder writes records. The first error stays.
type encoder struct {
	w    io.Writer
	room []byte // not written yet
	err  error
}

func (e *encoder) content(snap Snapshot) {
	made := map[string]bool{}
	for _, rr := range snap.Derived {
		made[rr.String()] = true
	}
	for node := range snap.Content.Nodes() {
		for i := range node.Sets {
			for _, rr := range node.Sets[i].RRs {
				kind := content
				if len(made) > 0 && made[rr.String()] {
					kind = derived
				}
				e.put(kind, node.Name, rr)
			}
		}
	}
}

// put writes one record; the owner "" stands for that in it.
func (e *encoder) put(kind byte, owner name.Name, rr dns.RR) {
	if e.err != nil {
		return
	}
	start := len(e.room)
	wire := append(e.room, kind, 0, 0, 0, 0)
	var err error
	if owner != "" {
		wire, err = zone.AppendWire(wire, owner, rr)
	} else {
		wire, err = zone.AppendRecord(wire, rr)
	}
	if err != nil {
		e.err = fmt.Errorf("%s: %w", rr.Header().Name, err)
		return
	}
	binary.BigEndian.PutUint32(wire[start+1:], uint32(len(wire)-start-5))
	if e.room = wire; len(wire) >= piece {
		_, e.err = e.w.Write(wire)
		e.room = wire[:0]
	}
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

// decode is read, from memory.
func decode(data []byte) (Snapshot, error) {
	return read(bytes.NewReader(data), int64(len(data)), true)
}

// read reads a snapshot of that size, with or without the source records. The
// octets go through the checksum as they are read; where it fails, whatever
// else was wrong does not count.
func read(from io.Reader, size int64, withSource bool) (Snapshot, error) {
	const longest = 1 << 17 // a record
	sum := sha256.New()
	disk := &noted{r: from}
	body := io.TeeReader(io.LimitReader(disk, max(size-sha256.Size, 0)), sum)
	r := bufio.NewReaderSize(body, longest)
	if first, _ := r.Peek(len(magicWord)); string(first) != magicWord {
		if disk.err != nil {
			return Snapshot{}, disk.err
		}
		return Snapshot{}, ErrMagic
	}
	snap, failed := readBody(r, size, withSource)
	_, _ = io.Copy(io.Discard, r) // disk notes the error
	var want [sha256.Size]byte
	_, _ = io.ReadFull(disk, want[:]) // the checksum shows what is missing
	if disk.err != nil {
		return Snapshot{}, disk.err
	}
	if size < int64(len(magic)+sha256.Size) || !bytes.Equal(sum.Sum(nil), want[:]) {
		return Snapshot{}, ErrChecksum
	}
	if failed != nil {
		return Snapshot{}, failed
	}
	return snap, nil
}

// noted keeps the first error of the disk: a file that could not be read is
// not a broken one.
type noted struct {
	r   io.Reader
	err error
}

func (n *noted) Read(p []byte) (int, error) {
	if n.err != nil {
		return 0, n.err
	}
	got, err := n.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return got, err
}

// readBody reads what stands before the checksum. size, of the file, bounds
// what is set aside for what it claims to hold.
func readBody(r *bufio.Reader, size int64, withSource bool) (Snapshot, error) {
	// Only a whole file may claim to come from a newer version.
	if first, _ := r.Peek(len(magic)); string(first) != magic {
		return Snapshot{}, ErrVersion
	}
	_, _ = r.Discard(len(magic)) // it was there
	line, err := r.ReadBytes('\n')
	if err != nil {
		return Snapshot{}, ErrContent
	}
	var h head
	if err := json.Unmarshal(line, &h); err != nil {
		return Snapshot{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	origin, err := name.Parse(h.Zone)
	if err != nil {
		return Snapshot{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	d := decoder{b: zone.NewBuilder(origin), withSource: withSource, Snapshot: Snapshot{
		Zone: origin.String(), View: h.View, File: h.File, FileSerial: h.FileSerial, Saved: h.Saved,
		Version: max(h.Version, 1), Who: h.Who, Why: h.Why, HasSource: h.HasSource,
	}}
	const shortest = 16 // octets of a record
	expected := int(min(int64(max(h.Records, 0)), size/shortest))
	if h.HasSource {
		expected = expected/2 + 1
	}
	d.b.Expect(expected, h.owners(expected))
	if h.HasSource && withSource {
		d.Source = make([]dns.RR, 0, expected)
	}
	count := 0
	for ; ; count++ {
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			break
		}
		if err := d.take(r); err != nil {
			return Snapshot{}, err
		}
	}
	if count != h.Records {
		return Snapshot{}, fmt.Errorf("%w: %d records of %d", ErrContent, count, h.Records)
	}
	if d.Content, err = d.b.Build(); err != nil {
		return Snapshot{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	return d.Snapshot, nil
}

// decoder gathers the records of a snapshot.
type decoder struct {
	Snapshot
	b          *zone.Builder
	arena      zone.Arena
	withSource bool
}

// take reads one record.
func (d *decoder) take(r *bufio.Reader) error {
	head, err := r.Peek(5)
	if err != nil {
		return ErrContent
	}
	kind, size := head[0], int(binary.BigEndian.Uint32(head[1:]))
	if size > r.Size()-5 {
		return ErrContent
	}
	whole, err := r.Peek(5 + size)
	if err != nil {
		return ErrContent
	}
	if kind != source || d.withSource {
		err = d.record(kind, whole[5:])
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}
	_, err = r.Discard(5 + size)
	return err
}

func (d *decoder) record(kind byte, wire []byte) error {
	rr, owner, err := d.arena.Unpack(wire)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	switch kind {
	case source:
		d.Source = append(d.Source, rr)
		return nil
	case derived:
		d.Derived = append(d.Derived, rr)
		return d.b.AddOwned(owner, rr)
	case content:
		return d.b.AddOwned(owner, rr)
	}
	return fmt.Errorf("record kind %d", kind)
}

// readFile reads the snapshot that a file holds.
func readFile(path string, withSource bool) (Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return Snapshot{}, err
	}
	defer f.Close() // it is only read from
	info, err := f.Stat()
	if err != nil {
		return Snapshot{}, err
	}
	return read(f, info.Size(), withSource)
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
