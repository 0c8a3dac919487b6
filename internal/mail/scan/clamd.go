package scan

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"postern/internal/mail/verdict"
)

// clamd streams the message in chunks, each after its length, and ends with one
// of none (clamd(8), INSTREAM). The reply is one line that ends in NUL:
//
//	stream: OK
//	stream: Eicar-Signature FOUND
//	INSTREAM size limit exceeded. ERROR
func (s *Scanner) clamd(ctx context.Context, m Message) (finding, error) {
	conn, err := s.cfg.Dial(ctx, s.cfg.Network, s.cfg.Address)
	if err != nil {
		return finding{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	// It is listened to while it is sent to: it hangs up on what is too large,
	// and what it said before is worth more than the broken pipe.
	said := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReaderSize(conn, 4096).ReadSlice(0)
		said <- answer{string(line), err}
	}()
	sent := instream(conn, m.Open())
	if _, ours := errors.AsType[*readError](sent); ours {
		_ = conn.Close() // it would wait for the rest
	}
	a := <-said
	if a.err != nil {
		return finding{}, errors.Join(ctx.Err(), sent, fmt.Errorf("clamd: read the answer: %w", a.err))
	}
	return clamdAnswer(strings.TrimSuffix(a.line, "\x00"))
}

// answer is a line of clamd's.
type answer struct {
	line string
	err  error
}

// readError is a message that could not be read to its end.
type readError struct{ err error }

func (e *readError) Error() string { return "read the message: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// chunk is how much of a message is in memory.
const chunk = 32 << 10

func instream(w io.Writer, r io.Reader) error {
	if _, err := io.WriteString(w, "zINSTREAM\x00"); err != nil {
		return fmt.Errorf("clamd: %w", err)
	}
	buf := make([]byte, 4+chunk)
	for {
		n, err := io.ReadFull(r, buf[4:])
		if n > 0 {
			binary.BigEndian.PutUint32(buf, uint32(n))
			if _, err := w.Write(buf[:4+n]); err != nil {
				return fmt.Errorf("clamd: send: %w", err)
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			if _, err := w.Write([]byte{0, 0, 0, 0}); err != nil {
				return fmt.Errorf("clamd: send: %w", err)
			}
			return nil
		case err != nil:
			// Without its end clamd says nothing about the message.
			return &readError{err}
		}
	}
}

func clamdAnswer(line string) (finding, error) {
	if line == "INSTREAM size limit exceeded. ERROR" {
		return finding{}, fmt.Errorf("clamd: %w (StreamMaxLength)", errTooLarge)
	}
	answer, ok := strings.CutPrefix(line, "stream: ")
	if !ok {
		return finding{}, fmt.Errorf("clamd: %w: %q", errAnswer, printable(line))
	}
	if name, found := strings.CutSuffix(answer, " FOUND"); found {
		return finding{verdict.ScanVirus, printable(name)}, nil
	}
	if answer == "OK" {
		return finding{outcome: verdict.ScanClean}, nil
	}
	return finding{}, fmt.Errorf("clamd: %w: %q", errAnswer, printable(line))
}
