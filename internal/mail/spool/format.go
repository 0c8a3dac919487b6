package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"

	"postern/internal/mail/envelope"
)

// A message file, format 1, is written front to back and never changed:
//
//	magic     "POSTERN-MESSAGE 1\n"
//	body      the message after its empty line, CRLF lines, as received
//	header    the final header block, CRLF lines, without the empty line
//	envelope  JSON
//	trailer   "\nbody=N header=N envelope=N crc=X end\n", N 16 hexadecimal
//	          digits, X 8: CRC32C of everything before "crc="
//
// The body comes first because it arrives first: the header is only known
// when the checks have run over the body. All lengths follow from the trailer,
// which has a fixed size and so is found from the end of the file; the regions
// must fill the file exactly.
const (
	magic       = "POSTERN-MESSAGE 1\n"
	trailerHead = len("\nbody=") + 16 + len(" header=") + 16 + len(" envelope=") + 16 + len(" ")
	trailerLen  = trailerHead + len("crc=") + 8 + len(" end\n")

	// maxEnvelope bounds what Load reads into memory for an envelope: 1000
	// recipients of 254 octets with room to spare.
	maxEnvelope = 4 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// layout is where the regions of a message file begin and how long they are.
type layout struct {
	bodyLen, headerLen, envelopeLen int64
	crc                             uint32
}

func (l layout) bodyAt() int64     { return int64(len(magic)) }
func (l layout) headerAt() int64   { return l.bodyAt() + l.bodyLen }
func (l layout) envelopeAt() int64 { return l.headerAt() + l.headerLen }
func (l layout) trailerAt() int64  { return l.envelopeAt() + l.envelopeLen }
func (l layout) size() int64       { return l.trailerAt() + int64(trailerLen) }

// appendTrailerHead appends the part of the trailer that the CRC covers.
func (l layout) appendTrailerHead(dst []byte) []byte {
	return fmt.Appendf(dst, "\nbody=%016x header=%016x envelope=%016x ", l.bodyLen, l.headerLen, l.envelopeLen)
}

func (l layout) appendTrailer(dst []byte) []byte {
	return fmt.Appendf(l.appendTrailerHead(dst), "crc=%08x end\n", l.crc)
}

// parseTrailer reads a trailer. It accepts exactly what appendTrailer writes.
func parseTrailer(b []byte) (layout, error) {
	var l layout
	if len(b) != trailerLen || !bytes.HasSuffix(b, []byte(" end\n")) {
		return l, fmt.Errorf("%w: no end mark", ErrBroken)
	}
	at := 0
	number := func(label string, digits int) (uint64, bool) {
		if !bytes.HasPrefix(b[at:], []byte(label)) {
			return 0, false
		}
		at += len(label)
		n, err := strconv.ParseUint(string(b[at:at+digits]), 16, 63)
		at += digits
		return n, err == nil
	}
	body, ok1 := number("\nbody=", 16)
	header, ok2 := number(" header=", 16)
	env, ok3 := number(" envelope=", 16)
	crc, ok4 := number(" crc=", 8)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return l, fmt.Errorf("%w: malformed trailer", ErrBroken)
	}
	l = layout{int64(body), int64(header), int64(env), uint32(crc)}
	if !bytes.Equal(l.appendTrailer(nil), b) {
		return l, fmt.Errorf("%w: malformed trailer", ErrBroken)
	}
	return l, nil
}

// readLayout checks the magic and the trailer of a file of the given size and
// that the regions fill it.
func readLayout(r io.ReaderAt, size int64) (layout, error) {
	if size < int64(len(magic)+trailerLen) {
		return layout{}, fmt.Errorf("%w: too short", ErrBroken)
	}
	head := make([]byte, len(magic))
	if _, err := r.ReadAt(head, 0); err != nil {
		return layout{}, err
	}
	if string(head) != magic {
		return layout{}, fmt.Errorf("%w: not a message of format 1", ErrBroken)
	}
	tail := make([]byte, trailerLen)
	if _, err := r.ReadAt(tail, size-int64(trailerLen)); err != nil && !errors.Is(err, io.EOF) {
		return layout{}, err
	}
	l, err := parseTrailer(tail)
	if err != nil {
		return layout{}, err
	}
	// Each length is checked by itself first: their sum could wrap around.
	if l.bodyLen > size || l.headerLen > MaxHeader || l.envelopeLen > maxEnvelope || l.size() != size {
		return layout{}, fmt.Errorf("%w: lengths do not fit the file", ErrBroken)
	}
	return l, nil
}

// checkCRC reads all of the file that the checksum covers.
func (l layout) checkCRC(r io.ReaderAt) error {
	sum := crc32.New(castagnoli)
	covered := io.NewSectionReader(r, 0, l.trailerAt()+int64(trailerHead))
	buf := make([]byte, min(covered.Size(), 32<<10))
	if _, err := io.CopyBuffer(sum, covered, buf); err != nil {
		return err
	}
	if sum.Sum32() != l.crc {
		return fmt.Errorf("%w: checksum does not match", ErrBroken)
	}
	return nil
}

func (l layout) readEnvelope(r io.ReaderAt) (envelope.Envelope, error) {
	var env envelope.Envelope
	text := make([]byte, l.envelopeLen)
	if _, err := r.ReadAt(text, l.envelopeAt()); err != nil {
		return env, err
	}
	if err := json.Unmarshal(text, &env); err != nil {
		return env, fmt.Errorf("%w: envelope: %w", ErrBroken, err)
	}
	if !env.ID.Valid() || len(env.To) == 0 {
		return env, fmt.Errorf("%w: envelope without id or recipient", ErrBroken)
	}
	return env, nil
}

func (l layout) readHeader(r io.ReaderAt) ([]byte, error) {
	header := make([]byte, l.headerLen)
	if _, err := r.ReadAt(header, l.headerAt()); err != nil {
		return nil, err
	}
	return header, nil
}
