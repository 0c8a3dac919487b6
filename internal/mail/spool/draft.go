package spool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"syscall"

	"postern/internal/mail/envelope"
)

// Draft is a message on its way in. Nothing is promised until Commit returns.
// Exactly one of Commit and Abort ends it; Abort after Commit does nothing, so
// that it can be deferred. A Draft belongs to one goroutine, but readers that
// it handed out may be read from several.
type Draft struct {
	spool *Spool
	id    envelope.ID
	file  *os.File
	sum   hash.Hash32
	buf   []byte // not yet written
	err   error  // sticky

	header []byte // as received, with CRLFs, without the empty line
	inBody bool
	body   int64 // octets of body so far, buffered ones included
	ended  bool
}

var errEnded = errors.New("draft was committed or aborted")

// bufSize is how much is gathered before a write.
const bufSize = 64 << 10

// Create begins a message. It returns ErrFull below the floor of free space
// and ErrReadOnly after a fault.
func (s *Spool) Create() (*Draft, error) {
	if err := s.Fault(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	if err := s.checkRoom(); err != nil {
		return nil, err
	}
	id, err := s.newID()
	if err != nil {
		return nil, fmt.Errorf("create message: %w", err)
	}
	d := &Draft{spool: s, id: id, sum: crc32.New(castagnoli)}
	err = s.step(StepCreate, func() (err error) {
		d.file, err = os.OpenFile(s.tmpPath(id), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create message: %w", full(err))
	}
	d.put([]byte(magic))
	return d, nil
}

func (s *Spool) checkRoom() error {
	if s.cfg.MinFree < 0 {
		return nil
	}
	free, err := freeSpace(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("create message: %w", err)
	}
	if free < uint64(s.cfg.MinFree) {
		s.Counters.Full.Inc()
		return fmt.Errorf("create message: %w: %d octets free, %d wanted", ErrFull, free, s.cfg.MinFree)
	}
	return nil
}

// full marks errors that mean a full disk.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// ID returns the id the message will have when committed.
func (d *Draft) ID() envelope.ID { return d.id }

// Write takes the message as received, in CRLF lines, in pieces of any size.
// It keeps the header in memory and streams the body to disk. After an error
// every further call returns it.
func (d *Draft) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n := len(p)
	if !d.inBody {
		p = d.takeHeader(p)
	}
	if d.err == nil && len(p) > 0 {
		d.body += int64(len(p))
		d.put(p)
	}
	if d.err != nil {
		return 0, d.err
	}
	return n, nil
}

// copyRoom is how much ReadFrom reads at once.
const copyRoom = 32 << 10

// ReadFrom writes all that r gives, through room that drafts share: a message of
// some kilobytes must not cost ten times as much to be cleared and collected.
func (d *Draft) ReadFrom(r io.Reader) (int64, error) {
	room, ok := d.spool.rooms.Get().(*[]byte)
	if !ok {
		fresh := make([]byte, copyRoom)
		room = &fresh
	}
	defer d.spool.rooms.Put(room)
	var all int64
	for {
		n, err := r.Read(*room)
		if n > 0 {
			if _, werr := d.Write((*room)[:n]); werr != nil {
				return all, werr
			}
			all += int64(n)
		}
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return all, err
		}
	}
}

// takeHeader moves p into the header until the empty line and returns the rest,
// which is body.
func (d *Draft) takeHeader(p []byte) []byte {
	from := max(len(d.header)-3, 0) // the empty line may straddle two pieces
	room := MaxHeader + 4 - len(d.header)
	d.header = append(d.header, p[:min(len(p), room)]...)
	end, skip := -1, 0
	if bytes.HasPrefix(d.header, []byte("\r\n")) { // no header at all
		end, skip = 0, 2
	} else if i := bytes.Index(d.header[from:], []byte("\r\n\r\n")); i >= 0 {
		end, skip = from+i+2, 2
	}
	if end > MaxHeader || end < 0 && len(p) > room {
		d.err = ErrHeaderTooLarge
		return nil
	}
	if end < 0 {
		return nil
	}
	d.inBody = true
	// What of p went beyond the empty line is body, as is what had no room.
	taken := min(len(p), room)
	over := len(d.header) - (end + skip)
	d.header = d.header[:end:end]
	return p[taken-over:]
}

// put gathers b for the file.
func (d *Draft) put(b []byte) {
	for len(b) > 0 && d.err == nil {
		n := min(len(b), bufSize-len(d.buf))
		d.buf = append(d.buf, b[:n]...)
		b = b[n:]
		if len(d.buf) == bufSize {
			d.flush()
		}
	}
}

func (d *Draft) flush() {
	if d.err != nil || len(d.buf) == 0 {
		return
	}
	err := d.spool.step(StepWrite, func() error { _, err := d.file.Write(d.buf); return err })
	if err != nil {
		d.err = fmt.Errorf("write message: %w", full(err))
		return
	}
	d.sum.Write(d.buf)
	d.buf = d.buf[:0]
}

// Header returns the header as received: CRLF lines, without the empty line.
// The caller must not change it.
func (d *Draft) Header() []byte { return d.header }

// Body returns the body as received. Call it after the last Write; a write that
// failed shows as a read error.
func (d *Draft) Body() *io.SectionReader {
	d.flush()
	return io.NewSectionReader((*draftBody)(d), 0, d.body)
}

// Open returns the message as received: header, empty line, body. Call it after
// the last Write.
func (d *Draft) Open() io.ReadSeeker {
	d.flush()
	return (&concat{d.header, (*draftBody)(d), d.body}).reader()
}

// Size is the length of what Open reads.
func (d *Draft) Size() int64 { return int64(len(d.header)) + 2 + d.body }

type draftBody Draft

// ReadAt reads the body from the file.
func (b *draftBody) ReadAt(p []byte, off int64) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return b.file.ReadAt(p, int64(len(magic))+off)
}

// Abort forgets the message. It does nothing after Commit.
func (d *Draft) Abort() {
	if d.ended {
		return
	}
	d.ended, d.err = true, errEnded
	// Nothing was promised, and what stays behind is dropped at the next Open.
	_ = d.file.Close()
	_ = os.Remove(d.spool.tmpPath(d.id))
}

// Commit makes the message durable under the header and the envelope, which
// gets its ID and, if zero, its time of receipt. It returns only when the file
// and its directory are on disk: only then may 250 be said. On an error the
// message is gone. ctx is looked at before the disk is; a commit that has begun
// to sync goes on.
func (d *Draft) Commit(ctx context.Context, env envelope.Envelope, header []byte) (envelope.ID, error) {
	defer d.Abort()
	if err := d.finish(ctx, env, header); err != nil {
		return "", fmt.Errorf("commit message: %w", err)
	}
	return d.id, nil
}

func (d *Draft) finish(ctx context.Context, env envelope.Envelope, header []byte) error {
	s := d.spool
	if d.ended {
		return d.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkHeader(header); err != nil {
		return err
	}
	env.ID = d.id
	if env.Received.IsZero() {
		env.Received = s.cfg.Now()
	}
	text, err := encode(env)
	if err != nil {
		return err
	}
	d.writeEnd(header, text)
	if d.err != nil {
		return d.err
	}
	if err := s.Fault(); err != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return d.makeDurable()
}

// writeEnd writes all that follows the body.
func (d *Draft) writeEnd(header, env []byte) {
	d.put(header)
	d.put(env)
	l := layout{bodyLen: d.body, headerLen: int64(len(header)), envelopeLen: int64(len(env))}
	d.put(l.appendTrailerHead(nil))
	d.flush()
	l.crc = d.sum.Sum32()
	d.put(l.appendTrailer(nil)[trailerHead:])
	d.flush()
}

// makeDurable is the promise itself. The order is the point: file, name,
// directory.
func (d *Draft) makeDurable() error {
	s := d.spool
	if err := s.step(StepSync, d.file.Sync); err != nil {
		s.seize(err)
		return full(err)
	}
	if err := d.file.Close(); err != nil {
		s.seize(err)
		return err
	}
	if err := s.step(StepRename, func() error { return os.Rename(s.tmpPath(d.id), s.path(d.id)) }); err != nil {
		return full(err)
	}
	d.ended, d.err = true, errEnded
	if err := s.dir.wait(); err != nil {
		s.seize(err)
		// Nobody was told that we have it; the sender will come again.
		_ = os.Remove(s.path(d.id))
		return err
	}
	s.Counters.Committed.Inc()
	return nil
}

// checkHeader refuses a header block that would move the border between header
// and body.
func checkHeader(header []byte) error {
	switch {
	case len(header) > MaxHeader:
		return ErrHeaderTooLarge
	case len(header) > 0 && !bytes.HasSuffix(header, []byte("\r\n")):
		return errors.New("header does not end in CRLF")
	case bytes.HasPrefix(header, []byte("\r\n")), bytes.Contains(header, []byte("\r\n\r\n")):
		return errors.New("header holds an empty line")
	}
	return nil
}

// encode writes the envelope and makes sure that it reads back as it was: what
// is durable but unreadable would be lost all the same.
func encode(env envelope.Envelope) ([]byte, error) {
	if len(env.To) == 0 {
		return nil, errors.New("envelope without recipient")
	}
	env.Received = env.Received.UTC().Round(0)
	text, err := json.Marshal(env)
	if err != nil {
		return nil, err
	}
	var back envelope.Envelope
	if err := json.Unmarshal(text, &back); err != nil {
		return nil, err
	}
	if env.From != back.From || !slices.Equal(env.To, back.To) {
		return nil, errors.New("envelope does not survive being stored")
	}
	if len(text) > maxEnvelope {
		return nil, errors.New("envelope too large")
	}
	return text, nil
}
