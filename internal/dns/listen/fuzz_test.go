package listen

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// tape is a connection that gives what was recorded, piece by piece, then
// ends, and keeps what is written.
type tape struct {
	net.Conn
	stream []byte
	cut    int // octets a read gives

	mu  sync.Mutex // guards out
	out []byte
}

func (c *tape) Read(b []byte) (int, error) {
	if len(c.stream) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.stream[:min(c.cut, len(c.stream))])
	c.stream = c.stream[n:]
	return n, nil
}

func (c *tape) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, b...)
	return len(b), nil
}

func (*tape) Close() error                     { return nil }
func (*tape) SetReadDeadline(time.Time) error  { return nil }
func (*tape) SetWriteDeadline(time.Time) error { return nil }

// mirror gives each message back: late where it begins with k, not at all
// where it begins with n.
type mirror struct{}

func (mirror) Serve(r *Request, dst []byte) []byte {
	switch r.Msg[0] {
	case 'n':
		return nil
	case 'k':
		p := r.Keep()
		go func() { p.Reply(p.Msg) }()
		return nil
	}
	return append(dst, r.Msg...)
}

// framed cuts a stream into its messages, up to an empty one or half a one.
func framed(stream []byte) (all []string) {
	for len(stream) >= 2 {
		size := 2 + int(binary.BigEndian.Uint16(stream))
		if size == 2 || size > len(stream) {
			break
		}
		all, stream = append(all, string(stream[2:size])), stream[size:]
	}
	return all
}

// FuzzTCPReader: however a stream is cut, every whole message is answered
// once, those answered at once in order, and nothing else is sent.
func FuzzTCPReader(f *testing.F) {
	f.Add([]byte("\x00\x01q\x00\x03abc"), 1)
	f.Add([]byte("\x00\x00"), 2)
	f.Add([]byte("\xff\xffx"), 3)
	f.Add([]byte("\x00\x01k\x00\x02ka\x00\x01n\x00\x01q\x00\x03abc\x00\x01k\x00\x01k\x00\x01k"), 5)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		tape := &tape{stream: stream, cut: max(cut, 1)}
		c := &tcpConn{
			net: tape, raw: tape, limits: Limits{Idle: patience, Write: patience}, counters: new(Counters),
			slots: make(chan struct{}, 4), stopping: make(chan struct{}),
		}
		var h handlers
		h.set(func() Handler { return mirror{} })
		c.serve(&h)
		all := framed(stream)
		if got := c.counters.TCPMessages.Value(); got != uint64(len(all)) {
			t.Errorf("%d messages, want %d", got, len(all))
		}
		kept := func(s string) bool { return s[0] == 'k' }
		prompt := func(s string) bool { return s[0] != 'k' }
		got, want := framed(tape.out), slices.DeleteFunc(all, func(s string) bool { return s[0] == 'n' })
		size := 0
		for _, s := range got {
			size += 2 + len(s)
		}
		if size != len(tape.out) {
			t.Errorf("%d octets sent, %d in frames", len(tape.out), size)
		}
		if got, want := slices.DeleteFunc(slices.Clone(got), kept), slices.DeleteFunc(slices.Clone(want), kept); !slices.Equal(got, want) {
			t.Errorf("answered at once %q, want %q", got, want)
		}
		got, want = slices.DeleteFunc(got, prompt), slices.DeleteFunc(want, prompt)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("answered late %q, want %q", got, want)
		}
		if cap(c.in) > 2+0xFFFF+firstRead {
			t.Errorf("a buffer of %d octets", cap(c.in))
		}
	})
}
