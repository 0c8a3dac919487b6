package smtpd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// drip is a connection that hands out its input a few octets at a time.
type drip struct {
	net.Conn
	in   io.Reader
	step int
}

func (d *drip) Read(p []byte) (int, error)     { return d.in.Read(p[:min(len(p), d.step)]) }
func (*drip) Write(p []byte) (int, error)      { return len(p), nil }
func (*drip) SetReadDeadline(time.Time) error  { return nil }
func (*drip) SetWriteDeadline(time.Time) error { return nil }
func (*drip) Close() error                     { return nil }
func reader(in string, step int, max int64) *dataReader {
	raw := &drip{in: strings.NewReader(in), step: step}
	limits := Limits{DataLine: 20}.withDefaults()
	conf := &settled{Config{MaxSize: max, Limits: limits}, newGuard(limits, nil)}
	conf.Limits.DataLine = 20
	return &dataReader{c: &conn{srv: &Server{}, conf: conf, raw: raw, pipe: newPipe(raw, time.Now().Add(time.Hour), time.Minute)}}
}

// leftOf is what the commands that follow will see.
func leftOf(d *dataReader) []byte {
	rest, _ := io.ReadAll(d.c.raw)
	return append(bytes.Clone(d.c.pipe.in.held()), rest...)
}

func TestDataFraming(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 20)
	for name, c := range map[string]struct {
		in, want string
		err      error
		rest     string // what must be left for the commands
	}{
		"LF.LF":                        {in: "a\n.\nb\r\n.\r\n", err: ErrFraming},
		"LF.CRLF":                      {in: "a\n.\r\n", err: ErrFraming},
		"CRLF.LF":                      {in: "a\r\n.\nb\r\n.\r\n", err: ErrFraming},
		"CRLF.CR":                      {in: "a\r\n.\rb\r\n.\r\n", err: ErrFraming},
		"CR.CR":                        {in: "a\r.\rb\r\n.\r\n", err: ErrFraming},
		"CRCRLF.CRLF":                  {in: "a\r\r\n.\r\n", err: ErrFraming},
		"CRLF.CRCRLF":                  {in: "a\r\n.\r\r\n", err: ErrFraming},
		"bare CR in a line":            {in: "a\rb\r\n.\r\n", err: ErrFraming},
		"bare LF in a line":            {in: "a\nb\r\n.\r\n", err: ErrFraming},
		"bare LF at the start":         {in: "\nb\r\n.\r\n", err: ErrFraming},
		"bare LF after a stuffed dot":  {in: ".\n.\r\n", err: ErrFraming},
		"NUL":                          {in: "a\x00b\r\n.\r\n", err: ErrFraming},
		"NUL after a dot":              {in: ".\x00\r\n.\r\n", err: ErrFraming},
		"NUL at the start of a line":   {in: "\x00\r\n.\r\n", err: ErrFraming},
		"end inside a line":            {in: "a", err: ErrTruncated},
		"end before the dot":           {in: "a\r\n", err: ErrTruncated},
		"end after the dot":            {in: "a\r\n.", err: ErrTruncated},
		"end after dot and CR":         {in: "a\r\n.\r", err: ErrTruncated},
		"line too long":                {in: long + "x\r\n.\r\n", err: ErrLongLine},
		"line too long after a dot":    {in: ".." + long + "\r\n.\r\n", err: ErrLongLine},
		"too large by one":             {in: "aaaa\r\nbbbbbbbbbbbbbb\r\ncccccccc\r\n.\r\n", err: ErrTooLarge},
		"too large by much":            {in: strings.Repeat("abcdefgh\r\n", 50) + ".\r\n", err: ErrTooLarge},
		"empty":                        {in: ".\r\n", want: "", err: io.EOF},
		"empty line":                   {in: "\r\n.\r\n", want: "\r\n", err: io.EOF},
		"exactly as large as allowed":  {in: "aaaa\r\nbbbbbbbbbbbbbb\r\nccccccc\r\n.\r\n", want: "aaaa\r\nbbbbbbbbbbbbbb\r\nccccccc\r\n", err: io.EOF},
		"line exactly as long":         {in: long + "\r\n.\r\n", want: long + "\r\n", err: io.EOF},
		"dots":                         {in: "..\r\n...a\r\n.b\r\na.\r\n.\r\n", want: ".\r\n..a\r\nb\r\na.\r\n", err: io.EOF},
		"8-bit octets as they are":     {in: "\xff\xfe\x7f\x01\r\n.\r\n", want: "\xff\xfe\x7f\x01\r\n", err: io.EOF},
		"the next command stays there": {in: "a\r\n.\r\nQUIT\r\n", want: "a\r\n", err: io.EOF, rest: "QUIT\r\n"},
	} {
		for step := 1; step < 40; step++ {
			d := reader(c.in, step, 31)
			buf := make([]byte, 1+step%7)
			var got strings.Builder
			var err error
			for err == nil {
				var n int
				n, err = d.Read(buf)
				got.Write(buf[:n])
			}
			if !errors.Is(err, c.err) || errors.Is(err, io.EOF) && got.String() != c.want {
				t.Errorf("%s, %d at a time: %q, %v; want %q, %v", name, step, got.String(), err, c.want, c.err)
			}
			if _, again := d.Read(buf); !errors.Is(again, c.err) {
				t.Errorf("%s: read again: %v", name, again)
			}
			rest := leftOf(d)
			if errors.Is(err, io.EOF) && string(rest) != c.rest {
				t.Errorf("%s: left %q, want %q", name, rest, c.rest)
			}
		}
	}
}

// A message that is not kept is read to its own end, never beyond.
func TestDrainStopsAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		strings.Repeat("abcdefgh\r\n", 50) + ".\r\nQUIT\r\n", strings.Repeat("x", 200) + "\r\n..\r\n.\r\nQUIT\r\n",
	} {
		for step := 1; step < 40; step++ {
			d := reader(in, step, 31)
			_, err := io.ReadAll(d)
			if err == nil || !d.drain() {
				t.Fatalf("%v; drained: %v", err, d.err)
			}
			if rest := leftOf(d); string(rest) != "QUIT\r\n" {
				t.Fatalf("left %q", rest)
			}
		}
	}
}

// FuzzData holds the reader against the plain meaning of the rules.
func FuzzData(f *testing.F) {
	f.Add([]byte("a\r\n..b\r\n.\r\nQUIT\r\n"), 3)
	f.Add([]byte("a\n.\n.\r\n"), 1)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		step = 1 + (step&0xff)%50
		d := reader(string(in), step, 1<<20)
		d.c.conf.Limits.DataLine = 1 << 20
		got, err := io.ReadAll(d)
		want, whole := plainly(string(in))
		if (err == nil) != whole {
			t.Fatalf("%q: %v, whole %v", in, err, whole)
		}
		if err == nil && string(got) != want {
			t.Fatalf("%q: %q, want %q", in, got, want)
		}
	})
}

// plainly is the same in an obvious way: cut at the first CRLF.CRLF, refuse
// what is not made of CRLF lines, take the dots off.
func plainly(in string) (string, bool) {
	var out strings.Builder
	for {
		line, rest, found := strings.Cut(in, "\r\n")
		if strings.ContainsAny(line, "\r\n\x00") || !found {
			return "", false
		}
		if line == "." {
			return out.String(), true
		}
		out.WriteString(strings.TrimPrefix(line, ".") + "\r\n")
		in = rest
	}
}
