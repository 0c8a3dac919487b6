package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sink is the inner server behind both: it takes everything, keeps nothing, and
// counts what it got and what of it was marked as checked.
type sink struct {
	listener net.Listener
	got      atomic.Int64
	checked  atomic.Int64 // with SPF, DKIM and DMARC passed in Authentication-Results
	want     atomic.Int64
	full     chan struct{} // gets a value when want are there
}

func newSink(address string) (*sink, error) {
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return nil, err
	}
	s := &sink{listener: l, full: make(chan struct{}, 1)}
	go s.serve()
	return s, nil
}

// expect begins to count anew.
func (s *sink) expect(n int) {
	select {
	case <-s.full:
	default:
	}
	s.want.Store(int64(n))
	s.got.Store(0)
	s.checked.Store(0)
}

func (s *sink) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed: the run is over
		}
		go func() {
			defer conn.Close()
			_ = s.talk(conn) // who breaks off has nothing delivered
		}()
	}
}

// talk is one conversation, with as little work as will do.
func (s *sink) talk(conn net.Conn) error {
	r, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriterSize(conn, 4096)
	fmt.Fprint(w, "220 sink\r\n")
	for {
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch verb := strings.ToUpper(string(line[:min(4, len(line))])); verb {
		case "EHLO":
			fmt.Fprint(w, "250-sink\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 SIZE\r\n")
		case "DATA":
			fmt.Fprint(w, "354 go on\r\n")
			if err := w.Flush(); err != nil {
				return err
			}
			checked, err := readMessage(r)
			if err != nil {
				return err
			}
			s.count(checked)
			fmt.Fprint(w, "250 2.0.0 taken\r\n")
		case "QUIT":
			fmt.Fprint(w, "221 2.0.0 bye\r\n")
			return w.Flush()
		default:
			fmt.Fprint(w, "250 2.0.0 fine\r\n")
		}
	}
}

// readMessage reads to the final dot, and tells whether the header says that
// all three checks passed.
func readMessage(r *bufio.Reader) (checked bool, err error) {
	var passed [3]bool
	inHeader, ours := true, false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return false, err
		}
		switch {
		case len(line) == 3 && line[0] == '.':
			return passed == [3]bool{true, true, true}, nil
		case !inHeader:
		case len(line) == 2:
			inHeader = false
		default:
			if line[0] != ' ' && line[0] != '\t' {
				ours = bytes.HasPrefix(line, []byte("Authentication-Results:"))
			}
			for i, word := range [...]string{"spf=pass", "dkim=pass", "dmarc=pass"} {
				passed[i] = passed[i] || ours && bytes.Contains(line, []byte(word))
			}
		}
	}
}

func (s *sink) count(checked bool) {
	if checked {
		s.checked.Add(1)
	}
	if s.got.Add(1) == s.want.Load() {
		s.full <- struct{}{}
	}
}

// wait returns when all that was expected has come.
func (s *sink) wait(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-s.full:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("only %d of %d messages came through: %w", s.got.Load(), s.want.Load(), ctx.Err())
	}
}

// letter is a message of one of the senders, ready for the wire.
type letter struct {
	sender int
	text   []byte // with its final dot
}

// errRefused is a reply that is not 2yz or 3yz.
var errRefused = errors.New("refused")

// send hands over one message in a connection of its own, as strangers do.
func send(ctx context.Context, to string, l letter) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(senderAddress(l.sender))}, Timeout: time.Minute}
	conn, err := d.DialContext(ctx, "tcp4", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(conn, 1024)
	domain := senderDomain(l.sender)
	for _, step := range []struct {
		say     []byte
		replies int
	}{
		{nil, 1},
		{[]byte("EHLO mx." + domain + "\r\n"), 1},
		{[]byte("MAIL FROM:<news@" + domain + ">\r\nRCPT TO:<info@" + ourDomain + ">\r\nDATA\r\n"), 3},
		{l.text, 1},
	} {
		if _, err := conn.Write(step.say); err != nil {
			return err
		}
		for range step.replies {
			if err := readReply(r); err != nil {
				return err
			}
		}
	}
	// It has the message: how it parts says nothing.
	_, _ = conn.Write([]byte("QUIT\r\n"))
	_ = readReply(r)
	return nil
}

func readReply(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if len(line) < 4 || line[0] > '3' {
			return fmt.Errorf("%w: %s", errRefused, bytes.TrimSpace(line))
		}
		if line[3] == ' ' {
			return nil
		}
	}
}

// sendAll hands over n messages in that many sessions at once. Whose connection
// is lost comes again, as senders do; it reports how often.
func sendAll(ctx context.Context, to string, letters []letter, n, sessions int) (again int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, lost atomic.Int64
	var all sync.WaitGroup
	for range sessions {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				for {
					err := send(ctx, to, letters[i%len(letters)])
					if err == nil {
						break
					}
					if errors.Is(err, errRefused) || ctx.Err() != nil || lost.Add(1) > int64(n) {
						cancel(fmt.Errorf("message %d: %w", i, err))
						return
					}
				}
			}
		})
	}
	all.Wait()
	return lost.Load(), context.Cause(ctx)
}
