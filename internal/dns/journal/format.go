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

// A snapshot is whole or an edit. A whole one is: the magic line, a line of
// JSON (head), the records, and the SHA-256 of all that. A record is a kind
// octet, four octets of length, and the record in wire form, uncompressed.
//
// An edit says "as that whole snapshot, but for this", so that one record
// changed in a large zone is a small file. It has a magic line of its own:
// programs from before leave it alone as written by a newer version. Its head
// names the base by version and checksum, the 32 octets at the end of the base
// (see base.go for where that lies). What follows is framed as records are:
// the records of the base's content that go (kind with the gone bit), those
// that come, and then, for the source, whose order counts, hunks: at which
// record of the base's list, how many of it go, and after that the records
// that come there. An edit is always of a whole snapshot, never of another
// edit: whatever is read takes two files at most. A record of which the kind
// alone changes goes and comes.
const (
	magic     = "postern-zone 1\n" // whole, and all that is no snapshot
	magicEdit = "postern-zone 2\n"
	magicWord = "postern-zone "
)

// The kinds of records in a snapshot.
const (
	content byte = iota // served
	derived             // served, and made by Postern
	source              // in the admin's file
	place               // no record: where a hunk of the source is

	gone byte = 0x80 // it is in the base and not here
)

type head struct {
	Zone       string    `json:"zone"`
	View       string    `json:"view"`
	File       string    `json:"file,omitempty"`
	FileSerial uint32    `json:"file_serial"`
	HasSource  bool      `json:"has_source"`
	Signed     string    `json:"signed,omitempty"`
	Saved      time.Time `json:"saved"`
	Records    int       `json:"records"`

	// Since the history of versions; absent before.
	Version int    `json:"version,omitempty"`
	Serial  uint32 `json:"serial,omitempty"` // as served
	Who     string `json:"who,omitempty"`
	Why     string `json:"why,omitempty"`
	Names   int    `json:"names,omitempty"` // how many the zone has; absent before

	Feed *Feed `json:"feed,omitempty"` // of a zone that others hold; absent before

	// What an edit alone has: what it is of, and how much it holds itself.
	// Records and Names are those of the state that results.
	Base   *baseName `json:"base,omitempty"`
	Frames int       `json:"frames,omitempty"`
}

// baseName says which whole snapshot an edit is of.
type baseName struct {
	Version int    `json:"version"`
	Sum     string `json:"sum"` // the file's last 32 octets, in hex
}

func headOf(snap Snapshot) head {
	return head{
		Zone: snap.Zone, View: snap.View, File: snap.File, FileSerial: snap.FileSerial, HasSource: snap.Source != nil, Signed: snap.Signed, Saved: snap.Saved.UTC(),
		Records: snap.Content.Records() + len(snap.Source), Version: snap.Version, Serial: snap.Content.Serial(), Who: snap.Who, Why: snap.Why,
		Names: snap.Content.Names(), Feed: snap.Feed,
	}
}

// snapshot returns what the head alone tells.
func (h *head) snapshot(origin name.Name) Snapshot {
	return Snapshot{
		Zone: origin.String(), View: h.View, File: h.File, FileSerial: h.FileSerial, Saved: h.Saved,
		Version: max(h.Version, 1), Who: h.Who, Why: h.Why, HasSource: h.HasSource, Signed: h.Signed, Feed: h.Feed,
	}
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
	_, err := write(&b, snap)
	return b.Bytes(), err
}

// piece is how much of a snapshot is in memory while it is written or read.
const piece = 64 << 10

// checksum is the end of a file.
type checksum [sha256.Size]byte

// written tells of a file that was written.
type written struct {
	sum  checksum
	size int64
}

// write writes a snapshot as a whole file has it.
func write(to io.Writer, snap Snapshot) (written, error) {
	return writeSealed(to, magic, headOf(snap), func(e *encoder) {
		e.content(snap)
		for _, rr := range snap.Source {
			e.put(source, "", rr)
		}
	})
}

// writeSealed writes magic and head, what fill puts, and the checksum.
func writeSealed(to io.Writer, magic string, h head, fill func(*encoder)) (written, error) {
	line, err := json.Marshal(h)
	if err != nil {
		return written{}, err
	}
	sum := sha256.New()
	e := encoder{w: io.MultiWriter(to, sum), room: append(append([]byte(magic), line...), '\n')}
	fill(&e)
	e.flush()
	if e.err != nil {
		return written{}, fmt.Errorf("snapshot of %s: %w", h.Zone, e.err)
	}
	done := written{size: e.size + sha256.Size}
	sum.Sum(done.sum[:0])
	_, err = to.Write(done.sum[:])
	return done, err
}

// encoder writes records. The first error stays.
type encoder struct {
	w    io.Writer
	room []byte // not written yet
	size int64  // of what is
	err  error
}

func (e *encoder) flush() {
	if e.err == nil {
		_, e.err = e.w.Write(e.room)
		e.size += int64(len(e.room))
	}
	e.room = e.room[:0]
}

func (e *encoder) content(snap Snapshot) {
	made := madeOf(snap.Derived)
	for node := range snap.Content.Nodes() {
		for i := range node.Sets {
			for _, rr := range node.Sets[i].RRs {
				e.put(made.kind(rr), node.Name, rr)
			}
		}
	}
}

// made is the records that Postern made itself, as they print.
type made map[string]bool

func madeOf(rrs []dns.RR) made {
	m := made{}
	for _, rr := range rrs {
		m[rr.String()] = true
	}
	return m
}

func (m made) kind(rr dns.RR) byte {
	if len(m) > 0 && m[rr.String()] {
		return derived
	}
	return content
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
		e.flush()
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

// read reads a whole snapshot of that size, with or without the source records.
func read(from io.Reader, size int64, withSource bool) (snap Snapshot, err error) {
	_, err = readSealed(from, size, func(r *bufio.Reader) (err error) {
		snap, err = readBody(r, size, withSource, nil)
		return err
	})
	if err != nil {
		return Snapshot{}, err
	}
	return snap, nil
}

// readSealed has body read a file of that size up to its checksum, which it
// returns. The octets go through the checksum as they are read; where it
// fails, whatever else was wrong does not count.
func readSealed(from io.Reader, size int64, body func(*bufio.Reader) error) (checksum, error) {
	const longest = 1 << 17 // a record
	sum := sha256.New()
	disk := &noted{r: from}
	r := bufio.NewReaderSize(io.TeeReader(io.LimitReader(disk, max(size-sha256.Size, 0)), sum), longest)
	if first, _ := r.Peek(len(magicWord)); string(first) != magicWord {
		if disk.err != nil {
			return checksum{}, disk.err
		}
		return checksum{}, ErrMagic
	}
	failed := body(r)
	_, _ = io.Copy(io.Discard, r) // disk notes the error
	var want, got checksum
	_, _ = io.ReadFull(disk, want[:]) // the checksum shows what is missing
	if disk.err != nil {
		return checksum{}, disk.err
	}
	sum.Sum(got[:0])
	if size < int64(len(magic)+sha256.Size) || got != want {
		return checksum{}, ErrChecksum
	}
	return got, failed
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

// readBody reads what stands before the checksum of a whole snapshot, and
// takes over what am says, unless that is nil. size, of the file, bounds what
// is set aside for what it claims to hold.
func readBody(r *bufio.Reader, size int64, withSource bool, am *amendment) (Snapshot, error) {
	// Only a whole file may claim to come from a newer version.
	if first, _ := r.Peek(len(magic)); string(first) != magic {
		return Snapshot{}, ErrVersion
	}
	_, _ = r.Discard(len(magic)) // it was there
	line, err := r.ReadBytes('\n')
	if err != nil {
		return Snapshot{}, ErrContent
	}
	h, origin, err := parseHead(line)
	if err != nil {
		return Snapshot{}, err
	}
	d := decoder{b: zone.NewBuilder(origin), am: am, withSource: withSource, Snapshot: h.snapshot(origin)}
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
	if am != nil {
		return d.amended()
	}
	if d.Content, err = d.b.Build(); err != nil {
		return Snapshot{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	return d.Snapshot, nil
}

func parseHead(line []byte) (h head, origin name.Name, err error) {
	if err = json.Unmarshal(line, &h); err == nil {
		origin, err = name.Parse(h.Zone)
	}
	if err != nil {
		return h, "", fmt.Errorf("%w: %w", ErrContent, err)
	}
	return h, origin, nil
}

// decoder gathers the records of a snapshot.
type decoder struct {
	Snapshot
	b          *zone.Builder
	arena      zone.Arena
	withSource bool
	am         *amendment // nil where the file says all
	sources    int        // records of the source, read or not
}

// take reads one record.
func (d *decoder) take(r *bufio.Reader) error {
	whole, err := frame(r)
	if err != nil {
		return err
	}
	kind := whole[0]
	if kind == source {
		d.sources++
	}
	if (kind != source || d.withSource) && !d.am.removes(whole) {
		err = d.record(kind, whole[framed:])
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}
	_, err = r.Discard(len(whole))
	return err
}

// framed is how many octets stand before a record.
const framed = 5

// frame returns the next record with what stands before it. It is not taken
// off yet: it lies in r's memory.
func frame(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(framed)
	if err != nil {
		return nil, ErrContent
	}
	size := int(binary.BigEndian.Uint32(head[1:]))
	if size > r.Size()-framed {
		return nil, ErrContent
	}
	whole, err := r.Peek(framed + size)
	if err != nil {
		return nil, ErrContent
	}
	return whole, nil
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
