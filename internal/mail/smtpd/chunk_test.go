package smtpd

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func chunking(c *Config) { c.Chunking = true }

func TestChunks(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := started(t, d, chunking)
	p := dial(t, s)
	p.script("testdata/chunks/several_chunks.txt")
	stop(t, s)
	if !strings.Contains(d.log(), `data "a\r\n.\r\nb\r\n" ESMTP`) || s.Counters.Messages.Value() != 1 {
		t.Errorf("%s", d.log())
	}
}

// What was given up, or did not come whole, is never a message.
func TestChunksThatAreNoMessage(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]string{
		"RSET": "RSET\r\n", "QUIT": "QUIT\r\n", "EHLO": "EHLO x\r\n", "bad chunk": "BDAT x\r\n", "half a chunk": "BDAT 9 LAST\r\na\r\n",
		"bare LF": "BDAT 1\n", "web": "GET / HTTP/1.1\r\n", "nothing": "",
	} {
		d := &desk{}
		s := started(t, d, chunking)
		p := dial(t, s)
		p.want(220)
		p.send("EHLO x\r\n")
		p.want(250)
		p.send("MAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nBDAT 3\r\na\r\n")
		p.want(250, 250, 250)
		p.send(then)
		_ = p.conn.Close()
		stop(t, s)
		if strings.Contains(d.log(), "data") || !strings.Contains(d.log(), "lost") || s.Counters.Messages.Value() != 0 {
			t.Errorf("%s: %d messages;\n%s", name, s.Counters.Messages.Value(), d.log())
		}
	}
}

// Without the switch the octets behind BDAT must not run as commands.
func TestChunksThatWereNotOffered(t *testing.T) {
	t.Parallel()
	d := &desk{}
	p := dial(t, started(t, d, nil))
	p.want(220)
	p.send("EHLO x\r\n")
	if r := p.reply(); strings.Contains(r, "CHUNKING") {
		t.Errorf("%q", r)
	}
	p.send("BDAT 27 LAST\r\nMAIL FROM:<c@example.net>\r\n")
	p.want(502)
	p.wantClosed()
	if strings.Contains(d.log(), "mail") {
		t.Error(d.log())
	}
}

func TestChunksTooLarge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sizes []int
		code  int
	}{
		{[]int{1000}, 250}, {[]int{500, 500}, 250}, {[]int{1001}, 552}, {[]int{500, 501}, 552}, {[]int{60000}, 552},
	} {
		p := dial(t, started(t, &desk{}, chunking)) // MaxSize 1000
		p.want(220)
		p.send("EHLO x\r\n")
		p.want(250)
		p.send("MAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\n")
		p.want(250, 250)
		for i, size := range c.sizes {
			last := ""
			code := 250
			if i == len(c.sizes)-1 {
				last, code = " LAST", c.code
			}
			p.send(fmt.Sprintf("BDAT %d%s\r\n%s\r\n", size, last, strings.Repeat("x", size-2)))
			p.want(code)
		}
		p.send("NOOP\r\n")
		p.want(250)
	}
}

func TestLimitsOfChunks(t *testing.T) {
	t.Parallel()
	p := dial(t, started(t, &desk{}, func(c *Config) { c.Chunking, c.Limits.Chunks = true, 3 }))
	p.want(220)
	p.send("EHLO x\r\n")
	p.want(250)
	p.send("MAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nBDAT 0\r\nBDAT 0\r\nBDAT 0\r\nBDAT 0\r\n")
	p.want(250, 250, 250, 250, 250, 421)
	p.wantClosed()

	p = dial(t, started(t, &desk{}, func(c *Config) { c.Chunking, c.Limits.DataLine = true, 10 }))
	p.want(220)
	p.send("EHLO x\r\n")
	p.want(250)
	p.send("MAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nBDAT 6\r\n123456BDAT 7 LAST\r\n78901\r\nNOOP\r\n")
	p.want(250, 250, 250, 554, 250)
}

func TestChunkThatStops(t *testing.T) {
	t.Parallel()
	d := &desk{}
	synctestChunks(t, d, func(p *peer) {
		p.send("BDAT 40 LAST\r\nMAIL FROM:<evil@example.net>\r\n")
		p.want(421)
		p.wantClosed()
	})
	if strings.Contains(d.log(), "evil") {
		t.Error(d.log())
	}
	synctestChunks(t, &desk{}, func(p *peer) { // between two chunks
		p.send("BDAT 1\r\nx")
		p.want(250, 421)
		p.wantClosed()
	})
}

func synctestChunks(t *testing.T, d *desk, f func(p *peer)) {
	t.Helper()
	bubbledWith(t, d, func(c *Config) {
		c.Chunking, c.Limits = true, Limits{Data: time.Minute, Command: time.Minute, DataGrace: time.Hour}
	}, func(_ *testing.T, _ *Server, dial func() *peer) {
		p := dial()
		p.want(220)
		p.send("EHLO x\r\n")
		p.want(250)
		p.send("MAIL FROM:<>\r\n")
		p.want(250)
		p.send("RCPT TO:<b@example.test>\r\n")
		p.want(250)
		f(p)
	})
}

// FuzzChunks cuts a message into chunks: it is what it was, or is refused for
// what it holds, and the command behind it is left alone.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("a\r\n.\r\nb\r\n"), []byte{2, 1, 3})
	f.Add([]byte("a\nb\r\n"), []byte{0, 9})
	f.Fuzz(func(t *testing.T, message, cuts []byte) {
		var in bytes.Buffer
		rest, first := message, int64(0)
		for i, n := range append(cuts[:min(len(cuts), 50):min(len(cuts), 50)], 255) {
			piece := rest[:min(int(n), len(rest))]
			last := ""
			if i == min(len(cuts), 50) {
				piece, last = rest, " LAST"
			}
			rest = rest[len(piece):]
			if i == 0 {
				first = int64(len(piece))
			} else {
				fmt.Fprintf(&in, "BDAT %d%s\r\n", len(piece), last)
			}
			in.Write(piece)
		}
		in.WriteString("QUIT\r\n")
		c := reader(in.String(), 1+len(message)%7, 1<<20).c
		c.conf.Chunking, c.conf.Limits = true, Limits{DataLine: 1 << 20}.withDefaults()
		d := &chunkReader{c: c, left: first, last: len(cuts) == 0}
		got, err := io.ReadAll(d)
		if good := len(message) == 0 || wellFramed(message); good != (err == nil) {
			t.Fatalf("%q: %v", message, err)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(got, message) {
			t.Fatalf("%q, want %q", got, message)
		}
		if line, err := c.pipe.line(time.Minute, false); string(line) != "QUIT" || err != nil {
			t.Fatalf("left %q, %v", line, err)
		}
	})
}
