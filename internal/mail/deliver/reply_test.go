package deliver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func parse(s string) (reply, error) {
	return readReply(bufio.NewReaderSize(strings.NewReader(s), maxReplyLine))
}

func TestReadReply(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "\r\n", "2\r\n", "25\r\n", "abc\r\n", "150 early\r\n", "600 x\r\n", "999 x\r\n", "250x\r\n", "2 50 x\r\n", " 250 x\r\n",
		"250", "250 no end", "250-a\r\n", "250-a\r\n250", "250-a\r\n251 b\r\n", "250-a\r\nb\r\n",
		"250 " + strings.Repeat("x", maxReplyLine) + "\r\n", strings.Repeat("250-x\r\n", maxReplyLines) + "250 x\r\n", "\x00\x00\x00\x00", "２５０ x\r\n",
	} {
		if r, err := parse(bad); err == nil {
			t.Errorf("%.40q was read as %+v", bad, r)
		} else if !errors.Is(err, errReply) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
	for _, c := range []struct {
		in       string
		code     int
		enhanced string
		text     string
	}{
		{"250 ok\r\n", 250, "", "ok"},
		{"250\r\n", 250, "", ""},
		{"250 \r\n", 250, "", ""},
		{"250 ok\n", 250, "", "ok"},
		{"250-a\r\n250-b\r\n250 c\r\n", 250, "", "a b c"},
		{"550 5.1.1 no such user\r\n", 550, "5.1.1", "no such user"},
		{"550-5.1.1 no such\r\n550 5.1.1 user\r\n", 550, "5.1.1", "no such user"},
		{"550 5.7.350\r\n", 550, "5.7.350", ""},
		{"550 4.1.1 class differs\r\n", 550, "", "4.1.1 class differs"},
		{"354 3.0.0 no such class\r\n", 354, "", "3.0.0 no such class"},
		{"550 5.01.1 leading zero\r\n", 550, "", "5.01.1 leading zero"},
		{"550 5.1.1000 too long\r\n", 550, "", "5.1.1000 too long"},
		{"550 5.1 short\r\n", 550, "", "5.1 short"},
		{"550 a\x1b[2J\tb\xff\u2028c\r\n", 550, "", "a [2J b? c"},
	} {
		r, err := parse(c.in)
		if err != nil || r.code != c.code || r.enhanced != c.enhanced || r.text() != c.text {
			t.Errorf("%q: %+v text %q (%v)", c.in, r, r.text(), err)
		}
	}
}

// FuzzReply: whatever a server says becomes a bounded, printable reply or an
// error, and nothing beyond it is consumed.
func FuzzReply(f *testing.F) {
	f.Add([]byte("250-mx\r\n250 SIZE 100\r\n220 go\r\n"))
	f.Add([]byte("550 5.1.1 no\x00\xff\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		br := bufio.NewReaderSize(bytes.NewReader(b), maxReplyLine)
		r, err := readReply(br)
		if err != nil {
			return
		}
		if r.code < 200 || r.code > 599 || len(r.lines) == 0 || len(r.lines) > maxReplyLines || len(r.text()) > maxReplyText {
			t.Fatalf("%+v", r)
		}
		if slices.ContainsFunc([]rune(r.text()), func(c rune) bool { return c < ' ' || c == 0x7f }) || !utf8.ValidString(r.text()) {
			t.Fatalf("%q", r.text())
		}
		rest, _ := io.ReadAll(br)
		used := b[:len(b)-len(rest)]
		if used[len(used)-1] != '\n' || bytes.Count(used, []byte("\n")) != len(r.lines) {
			t.Fatalf("%d lines of %q", len(r.lines), used)
		}
	})
}

// FuzzStuff: a receiver that undoes the dots gets what was sent.
func FuzzStuff(f *testing.F) {
	f.Add([]byte("a\r\n.\r\n..b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := scan(bytes.NewReader(b), 0, int64(len(b))); err != nil {
			return
		}
		var out bytes.Buffer
		if err := stuff(&out, bytes.NewReader(b), int64(len(b))); err != nil {
			t.Fatal(err)
		}
		for block := range int64(4) { // where one ends changes nothing
			var again bytes.Buffer
			if err := stuff(&again, bytes.NewReader(b), block); err != nil || !bytes.Equal(again.Bytes(), out.Bytes()) {
				t.Fatalf("%q in blocks of %d: %q %v, at once %q", b, block+1, again.Bytes(), err, out.Bytes())
			}
		}
		var got []byte
		lines := bytes.SplitAfter(out.Bytes(), []byte("\r\n"))
		for i, line := range lines {
			if string(line) == ".\r\n" {
				if i != len(lines)-2 || len(lines[i+1]) != 0 {
					t.Fatalf("%q ends early: %q", b, out.Bytes())
				}
				break
			}
			got = append(got, bytes.TrimPrefix(line, []byte("."))...)
		}
		if len(b) > 0 && !bytes.HasSuffix(b, []byte("\r\n")) {
			b = append(b, "\r\n"...)
		}
		if !bytes.Equal(got, b) {
			t.Fatalf("%q arrives as %q", b, got)
		}
	})
}

// writes counts them.
type writes int

func (w *writes) Write(p []byte) (int, error) { *w++; return len(p), nil }

// TestSmallMessageCostMuch: one of four kilobytes went out in two packets, and
// took 128 KB of memory to be cleared and collected. It is not parallel: it
// counts what the process allocates.
func TestSmallMessageCostMuch(t *testing.T) {
	text := bytes.Repeat([]byte("sixty-two octets of text and two of line end, again and again\r\n"), 64)
	size := int64(len(text))
	var w writes
	const runs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		message := io.NewSectionReader(bytes.NewReader(text), 0, size)
		if _, err := scan(message, 0, size); err != nil {
			t.Fatal(err)
		}
		if _, err := message.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if err := stuff(&w, message, size); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if w != runs {
		t.Errorf("%d writes for %d messages", w, runs)
	}
	if each := int64(after.TotalAlloc-before.TotalAlloc) / runs; each > 5*size {
		t.Errorf("%d octets allocated for a message of %d", each, size)
	}
}
