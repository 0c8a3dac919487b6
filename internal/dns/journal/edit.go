package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// edit is what becomes of a base, to be written.
type edit struct {
	head
	gone, come []entry // of the content, in canonical order
	hunks      []hunk
}

// entry is a record of the content.
type entry struct {
	kind byte
	rr   dns.RR
}

// hunk is a place where the source differs from the base's.
type hunk struct {
	at, gone int // in the base's list
	come     []dns.RR
}

// frames is how many an edit's file has.
func (e *edit) frames() int {
	n := len(e.gone) + len(e.come)
	for _, h := range e.hunks {
		n += 1 + len(h.come)
	}
	return n
}

// write writes an edit as a file has it.
func (e *edit) write(to io.Writer) (written, error) {
	return writeSealed(to, magicEdit, e.head, func(enc *encoder) {
		for _, x := range e.gone {
			enc.put(x.kind|gone, "", x.rr)
		}
		for _, x := range e.come {
			enc.put(x.kind, "", x.rr)
		}
		for _, h := range e.hunks {
			enc.place(h)
			for _, rr := range h.come {
				enc.put(source, "", rr)
			}
		}
	})
}

// placed is how many octets say where a hunk is.
const placed = 8

func (e *encoder) place(h hunk) {
	e.room = append(e.room, place, 0, 0, 0, placed)
	e.room = binary.BigEndian.AppendUint32(e.room, uint32(h.at))
	e.room = binary.BigEndian.AppendUint32(e.room, uint32(h.gone))
}

// amendment is an edit that was read: what its base must be read with.
type amendment struct {
	head
	base  checksum
	gone  map[string]bool // frames, as the base has them; true once met
	come  []byte          // frames, one after the other
	hunks []readHunk
}

type readHunk struct {
	at, gone, records int
	come              []byte // frames
}

// maxHead bounds the head of an edit and, where the head alone is read, that
// of any snapshot: names, a path, a reason.
const maxHead = 256 << 10

// readEdit reads what stands before the checksum of an edit. What it takes is
// bounded by the file.
func readEdit(r *bufio.Reader) (*amendment, error) {
	line, err := readHead(r)
	if err != nil {
		return nil, err
	}
	h, _, err := parseHead(line)
	if err != nil {
		return nil, err
	}
	am := &amendment{head: h, gone: map[string]bool{}}
	if h.Base == nil || len(h.Base.Sum) != 2*len(am.base) {
		return nil, fmt.Errorf("%w: an edit of nothing", ErrContent)
	}
	if _, err := hex.Decode(am.base[:], []byte(h.Base.Sum)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContent, err)
	}
	count := 0
	for ; ; count++ {
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			break
		}
		whole, err := frame(r)
		if err == nil {
			err = am.take(whole)
		}
		if err != nil {
			return nil, err
		}
		_, _ = r.Discard(len(whole)) // it was there
	}
	if count != h.Frames {
		return nil, fmt.Errorf("%w: %d entries of %d", ErrContent, count, h.Frames)
	}
	return am, nil
}

// readHead takes the magic line and the head off r, and returns the head.
func readHead(r *bufio.Reader) ([]byte, error) {
	first, _ := r.Peek(len(magic))
	if string(first) != magic && string(first) != magicEdit {
		if bytes.HasPrefix(first, []byte(magicWord)) {
			return nil, ErrVersion
		}
		return nil, ErrMagic
	}
	_, _ = r.Discard(len(magic)) // it was there
	var line []byte
	for len(line) <= maxHead {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
	}
	return nil, fmt.Errorf("%w: the head has no end", ErrContent)
}

// take keeps one entry of an edit.
func (am *amendment) take(whole []byte) error {
	last := len(am.hunks) - 1
	switch kind := whole[0]; {
	case kind == content|gone || kind == derived|gone:
		base := slices.Clone(whole)
		base[0] &^= gone
		if _, twice := am.gone[string(base)]; twice {
			return fmt.Errorf("%w: a record goes twice", ErrContent)
		}
		am.gone[string(base)] = false
	case kind == content || kind == derived:
		am.come = append(am.come, whole...)
	case kind == place && len(whole) == framed+placed:
		am.hunks = append(am.hunks, readHunk{
			at:   int(binary.BigEndian.Uint32(whole[framed:])),
			gone: int(binary.BigEndian.Uint32(whole[framed+4:])),
		})
	case kind == source && last >= 0:
		am.hunks[last].records++
		am.hunks[last].come = append(am.hunks[last].come, whole...)
	default:
		return fmt.Errorf("%w: entry of kind %d", ErrContent, kind)
	}
	return nil
}

// removes reports whether a record of the base, with its frame, is not in what
// results.
func (am *amendment) removes(whole []byte) bool {
	if am == nil || len(am.gone) == 0 {
		return false
	}
	_, ok := am.gone[string(whole)]
	if ok {
		am.gone[string(whole)] = true
	}
	return ok
}

// amended ends the reading of a base that an edit is of.
func (d *decoder) amended() (Snapshot, error) {
	am, origin := d.am, d.Zone
	n, err := name.Parse(am.Zone)
	if err != nil || n.String() != origin || am.View != d.View || am.HasSource != d.HasSource {
		return Snapshot{}, fmt.Errorf("%w: an edit of another zone", ErrContent)
	}
	for _, met := range am.gone {
		if !met {
			return Snapshot{}, fmt.Errorf("%w: a record goes that is not there", ErrContent)
		}
	}
	list, made := d.Source, d.Derived
	d.Snapshot = am.snapshot(n)
	d.Derived = made
	if err := d.records(am.come); err != nil {
		return Snapshot{}, err
	}
	total, err := d.patch(list)
	if err != nil {
		return Snapshot{}, err
	}
	if d.Content, err = d.b.Build(); err != nil {
		return Snapshot{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	if total += d.Content.Records(); total != am.Records {
		return Snapshot{}, fmt.Errorf("%w: %d records of %d", ErrContent, total, am.Records)
	}
	d.Derived = inOrder(d.Content, d.Derived)
	return d.Snapshot, nil
}

// records decodes frames that were kept.
func (d *decoder) records(frames []byte) error {
	for len(frames) > 0 {
		end := framed + int(binary.BigEndian.Uint32(frames[1:])) // frame looked at it
		if err := d.record(frames[0], frames[framed:end]); err != nil {
			return fmt.Errorf("%w: %w", ErrContent, err)
		}
		frames = frames[end:]
	}
	return nil
}

// patch makes the source of the base's, and returns how many records it has.
func (d *decoder) patch(list []dns.RR) (int, error) {
	total, at := d.sources, 0
	if d.withSource && len(d.am.hunks) > 0 {
		room := len(list)
		for _, h := range d.am.hunks {
			room += h.records
		}
		d.Source = make([]dns.RR, 0, room)
	}
	for _, h := range d.am.hunks {
		if h.at < at || h.gone > d.sources-h.at {
			return 0, fmt.Errorf("%w: a hunk is out of place", ErrContent)
		}
		total += h.records - h.gone
		if d.withSource {
			d.Source = append(d.Source, list[at:h.at]...)
			if err := d.records(h.come); err != nil {
				return 0, err
			}
		}
		at = h.at + h.gone
	}
	switch {
	case !d.HasSource && total > 0:
		return 0, fmt.Errorf("%w: a source that is none", ErrContent)
	case d.withSource && len(d.am.hunks) == 0:
		d.Source = list
	case d.withSource:
		d.Source = append(d.Source, list[at:]...)
	}
	if d.withSource && d.HasSource && d.Source == nil {
		d.Source = []dns.RR{}
	}
	return total, nil
}

// inOrder returns the records that Postern made as a whole snapshot has them:
// in the order of the content.
func inOrder(z *zone.Zone, made []dns.RR) []dns.RR {
	if len(made) < 2 {
		return made
	}
	mine := make(map[dns.RR]bool, len(made))
	var owners []name.Name
	for _, rr := range made {
		mine[rr] = true
		if n, err := name.Parse(rr.Header().Name); err == nil { // Unpack wrote it
			owners = append(owners, n)
		}
	}
	slices.SortFunc(owners, name.Name.Compare)
	ordered := make([]dns.RR, 0, len(made))
	for _, n := range slices.Compact(owners) {
		for _, set := range z.Node(n).Sets { // Build took them
			for _, rr := range set.RRs {
				if mine[rr] {
					ordered = append(ordered, rr)
				}
			}
		}
	}
	return ordered
}
