package spool

import (
	"errors"
	"fmt"
	"io"
	"os"

	"postern/internal/mail/envelope"
)

// Message is a committed message, open for reading. It must be closed.
type Message struct {
	file   *os.File
	env    envelope.Envelope
	header []byte
	layout layout
}

// Load opens a message. What cannot be read as one is ErrBroken.
func (s *Spool) Load(id envelope.ID) (*Message, error) {
	if !id.Valid() {
		return nil, fmt.Errorf("load %q: %w", id, ErrNotFound)
	}
	f, err := os.Open(s.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("load %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("load message: %w", err)
	}
	m, err := load(f)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", id, errors.Join(err, f.Close()))
	}
	return m, nil
}

func load(f *os.File) (*Message, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m := &Message{file: f}
	if m.layout, err = readLayout(f, info.Size()); err != nil {
		return nil, err
	}
	if m.env, err = m.layout.readEnvelope(f); err != nil {
		return nil, err
	}
	if m.header, err = m.layout.readHeader(f); err != nil {
		return nil, err
	}
	return m, nil
}

// Envelope returns the envelope as committed. The caller must not change its
// slices.
func (m *Message) Envelope() envelope.Envelope { return m.env }

// Header returns the final header: CRLF lines, without the empty line. The
// caller must not change it.
func (m *Message) Header() []byte { return m.header }

// Body returns a reader of the body.
func (m *Message) Body() *io.SectionReader {
	return io.NewSectionReader(m.file, m.layout.bodyAt(), m.layout.bodyLen)
}

// Open returns a reader of the whole message: header, empty line, body. Several
// may be in use at once.
func (m *Message) Open() io.ReadSeeker {
	return (&concat{m.header, m.Body(), m.layout.bodyLen}).reader()
}

// Size is the length of what Open reads.
func (m *Message) Size() int64 { return int64(len(m.header)) + 2 + m.layout.bodyLen }

// Check reads all of it, and returns ErrBroken where that is not what was
// committed.
func (m *Message) Check() error { return m.layout.checkCRC(m.file) }

// Close closes the file.
func (m *Message) Close() error { return m.file.Close() }
