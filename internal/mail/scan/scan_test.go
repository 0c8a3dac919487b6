package scan

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/verdict"
)

// mail is a message of Bob's to Ann.
func mail(text string) Message {
	return Message{
		ID: "Q1", Reverse: "mx.other.example", Size: int64(len(text)), Open: func() io.Reader { return strings.NewReader(text) },
		Envelope: &envelope.Envelope{
			From: address.Address{Local: "bob", Domain: "other.example"}, To: []address.Address{{Local: "ann", Domain: "city.example"}, {Local: "carl", Domain: "city.example"}},
			Client: netip.MustParseAddr("::ffff:192.0.2.1"), Helo: "mx.other.example\r\nX-Evil: 1", Origin: envelope.MX, Account: "acc",
		},
	}
}

// pipe dials to serve, over a pipe.
func pipe(serve func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			serve(theirs)
		}()
		return ours, nil
	}
}

func scanner(t *testing.T, kind Kind, dial func(context.Context, string, string) (net.Conn, error), open bool) *Scanner {
	t.Helper()
	s, err := New(Config{Kind: kind, Network: "unix", Address: "/run/x", Open: open, Dial: dial, Doors: []envelope.Origin{envelope.MX}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// clamd takes an INSTREAM of at most limit octets and gives an answer.
func clamd(t *testing.T, limit int, answer string, got *bytes.Buffer) func(net.Conn) {
	return func(conn net.Conn) {
		r := bufio.NewReader(conn)
		if command, err := r.ReadString(0); err != nil || command != "zINSTREAM\x00" {
			t.Errorf("command %q, %v", command, err)
			return
		}
		for {
			var size uint32
			if err := binary.Read(r, binary.BigEndian, &size); err != nil {
				t.Errorf("no end: %v", err)
				return
			}
			if size == 0 {
				break
			}
			if got.Len()+int(size) > limit {
				_, _ = io.WriteString(conn, "INSTREAM size limit exceeded. ERROR\x00")
				return
			}
			if _, err := io.CopyN(got, r, int64(size)); err != nil {
				t.Error(err)
				return
			}
		}
		_, _ = io.WriteString(conn, answer)
	}
}

func TestClamd(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789abcdef", 10_000)
	for name, c := range map[string]struct {
		text, answer string
		limit        int
		want         verdict.ScanOutcome
		found        string
	}{
		"clean":                {"x", "stream: OK\x00", 1 << 20, verdict.ScanClean, ""},
		"empty":                {"", "stream: OK\x00", 1 << 20, verdict.ScanClean, ""},
		"large":                {large, "stream: OK\x00", 1 << 20, verdict.ScanClean, ""},
		"a virus":              {"x", "stream: Eicar.Test FOUND\x00", 1 << 20, verdict.ScanVirus, "Eicar.Test"},
		"a virus of bad name":  {"x", "stream: a\r\nb FOUND\x00", 1 << 20, verdict.ScanVirus, "a??b"},
		"StreamMaxLength":      {large, "", 1000, verdict.ScanTooLarge, ""},
		"an error":             {"x", "stream: Can't allocate memory ERROR\x00", 1 << 20, verdict.ScanFailed, ""},
		"unknown command":      {"x", "UNKNOWN COMMAND\x00", 1 << 20, verdict.ScanFailed, ""},
		"hung up":              {"x", "", 1 << 20, verdict.ScanFailed, ""},
		"half an answer":       {"x", "stream: OK", 1 << 20, verdict.ScanFailed, ""},
		"an answer for ever":   {"x", strings.Repeat("x", 10_000), 1 << 20, verdict.ScanFailed, ""},
		"found without a name": {"x", "FOUND\x00", 1 << 20, verdict.ScanFailed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got bytes.Buffer
			s := scanner(t, Clamd, pipe(clamd(t, c.limit, c.answer, &got)), false)
			f := s.scan(t.Context(), mail(c.text))
			if f.Outcome != c.want || f.Name != c.found || f.Scanner != "clamd" {
				t.Errorf("got %s %v, want %s %q", f, f.Err, c.want, c.found)
			}
			if c.want != verdict.ScanTooLarge && got.String() != c.text {
				t.Errorf("%d octets came, of %d", got.Len(), len(c.text))
			}
			if n := s.cfg.Count.of(c.want).Value(); n != 1 {
				t.Errorf("counted %d", n)
			}
		})
	}
}

// TestBrokenMessage: clamd must not take half a message for a whole one.
func TestBrokenMessage(t *testing.T) {
	t.Parallel()
	s := scanner(t, Clamd, pipe(func(conn net.Conn) {
		all, _ := io.ReadAll(conn)
		if bytes.HasSuffix(all, []byte{0, 0, 0, 0}) {
			t.Error("the end was sent")
		}
	}), false)
	m := mail("")
	m.Open = func() io.Reader { return io.MultiReader(strings.NewReader("half"), failing{}) }
	if f := s.scan(t.Context(), m); f.Outcome != verdict.ScanFailed || f.Err == nil {
		t.Errorf("got %s", f)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk") }

// rspamd answers one request.
func rspamd(t *testing.T, status int, answer string, seen func(*http.Request, string)) func(net.Conn) {
	return func(conn net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			t.Errorf("request: %v", err)
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
			return
		}
		if seen != nil {
			seen(req, string(body))
		}
		fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(answer), answer)
	}
}

func TestRspamd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		answer string
		want   verdict.ScanOutcome
		found  string
	}{
		"no action":       {200, `{"action":"no action","score":1.25,"required_score":15}`, verdict.ScanClean, "no action 1.2/15.0"},
		"greylist":        {200, `{"action":"greylist","score":5}`, verdict.ScanClean, "greylist 5.0/0.0"},
		"add header":      {200, `{"action":"add header"}`, verdict.ScanSuspect, "add header 0.0/0.0"},
		"rewrite subject": {200, `{"action":"rewrite subject"}`, verdict.ScanSuspect, "rewrite subject 0.0/0.0"},
		"quarantine":      {200, `{"action":"quarantine"}`, verdict.ScanSuspect, "quarantine 0.0/0.0"},
		"discard":         {200, `{"action":"discard"}`, verdict.ScanSuspect, "discard 0.0/0.0"},
		"soft reject":     {200, `{"action":"soft reject"}`, verdict.ScanLater, "soft reject 0.0/0.0"},
		"reject":          {200, `{"action":"reject","score":20,"required_score":15}`, verdict.ScanSpam, "reject 20.0/15.0"},
		"the admin's own": {200, `{"action":"to the boss"}`, verdict.ScanClean, "to the boss 0.0/0.0"},
		"no such action":  {200, `{"score":3}`, verdict.ScanFailed, ""},
		"an error":        {200, `{"error":"no memory","action":"no action"}`, verdict.ScanFailed, ""},
		"not JSON":        {200, `no`, verdict.ScanFailed, ""},
		"another status":  {500, `{"action":"no action"}`, verdict.ScanFailed, ""},
		"forbidden":       {403, `{"error":"Unauthorized"}`, verdict.ScanFailed, ""},
		"far too long":    {200, strings.Repeat(" ", maxAnswer+10) + `{"action":"no action"}`, verdict.ScanFailed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := scanner(t, Rspamd, pipe(rspamd(t, c.status, c.answer, nil)), false).scan(t.Context(), mail("x"))
			if f.Outcome != c.want || f.Name != c.found || f.Scanner != "rspamd" {
				t.Errorf("got %s %v, want %s %q", f, f.Err, c.want, c.found)
			}
		})
	}
}

// TestRspamdKnowsTheSession, and what the client made up stays in its line.
func TestRspamdKnowsTheSession(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	s := scanner(t, Rspamd, pipe(rspamd(t, 200, `{"action":"no action"}`, func(r *http.Request, body string) {
		defer close(done)
		if r.Method != "POST" || r.URL.Path != "/checkv2" || r.ContentLength != 6 || body != "x\r\ny\r\n" {
			t.Errorf("%s %s of %d: %q", r.Method, r.URL, r.ContentLength, body)
		}
		for name, want := range map[string]string{
			"IP": "192.0.2.1", "Helo": "mx.other.example??X-Evil: 1", "Hostname": "mx.other.example", "User": "acc", "Queue-Id": "Q1",
			"From": "<bob@other.example>", "Rcpt": "<ann@city.example>,<carl@city.example>", "X-Evil": "",
		} {
			if got := strings.Join(r.Header.Values(name), ","); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})), false)
	if f := s.scan(t.Context(), mail("x\r\ny\r\n")); f.Outcome != verdict.ScanClean {
		t.Errorf("got %s %v", f, f.Err)
	}
	<-done
}

// TestNoAnswer: each way of not answering ends in time, and is counted.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		"gone":   func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no such file") },
		"silent": pipe(func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }),
		"deaf":   pipe(func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)); <-t.Context().Done() }),
	} {
		for _, kind := range []Kind{Clamd, Rspamd} {
			synctest.Test(t, func(t *testing.T) {
				d := dial
				if name == "deaf" { // of this bubble
					d = pipe(func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)); <-t.Context().Done() })
				}
				s := scanner(t, kind, d, false)
				began := time.Now()
				f := s.scan(t.Context(), mail(strings.Repeat("x", 100_000)))
				if f.Outcome != verdict.ScanFailed || f.Err == nil || time.Since(began) > 30*time.Second {
					t.Errorf("%s %s: %s after %s", kind, name, f, time.Since(began))
				}
				if s.cfg.Count.Failed.Value() != 1 {
					t.Errorf("%s %s: not counted", kind, name)
				}
			})
		}
	}
}

// TestScannersInTurn: the first that refuses ends it, and each has its doors.
func TestScannersInTurn(t *testing.T) {
	t.Parallel()
	answers := func(answer string) *Scanner {
		var got bytes.Buffer
		return scanner(t, Clamd, pipe(clamd(t, 1<<20, answer, &got)), true)
	}
	virus := func() *Scanner { return answers("stream: X FOUND\x00") }
	clean := func() *Scanner { return answers("stream: OK\x00") }
	broken := func() *Scanner { return answers("what?\x00") }
	elsewhere := virus()
	elsewhere.cfg.Doors = []envelope.Origin{envelope.Submission}
	for name, c := range map[string]struct {
		all  Scanners
		want string
	}{
		"none":                     {nil, ""},
		"of another door":          {Scanners{elsewhere}, ""},
		"all":                      {Scanners{clean(), clean()}, "clean clean"},
		"the first refuses":        {Scanners{virus(), clean()}, "virus"},
		"the last refuses":         {Scanners{clean(), elsewhere, virus()}, "clean virus"},
		"one fails, as it may":     {Scanners{broken(), virus()}, "failed virus"},
		"of an address that moved": {Scanners{clean(), broken()}, "clean failed"},
	} {
		var got []string
		for _, s := range c.all.Scan(t.Context(), mail("x")) {
			got = append(got, s.Outcome.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

// TestAtOnce: no scanner gets more messages than it may at once; the others wait
// their turn, not for ever.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		s := scanner(t, Clamd, pipe(func(conn net.Conn) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			_, _ = io.Copy(io.Discard, conn) // says nothing
			mu.Lock()
			running--
			mu.Unlock()
		}), false)
		var all sync.WaitGroup
		for range 3 * atOnce {
			all.Go(func() { s.scan(t.Context(), mail("x")) })
		}
		time.Sleep(29 * time.Second)
		synctest.Wait()
		mu.Lock()
		if most != atOnce || running != atOnce {
			t.Errorf("%d at once, at most %d", running, most)
		}
		mu.Unlock()
		all.Wait()
		if n := s.cfg.Count.Failed.Value(); n != 3*atOnce {
			t.Errorf("%d failed", n)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{}, {Kind: Clamd}, {Network: "tcp", Address: "127.0.0.1:1"}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

// TestLargeMessageIsNotHeld: 25 MB pass through a scan, and a small part of them
// is ever in memory.
func TestLargeMessageIsNotHeld(t *testing.T) {
	const size = 25 << 20
	for _, kind := range []Kind{Clamd, Rspamd} {
		s := scanner(t, kind, pipe(func(conn net.Conn) {
			r := bufio.NewReader(conn)
			if kind == Clamd {
				_, _ = io.CopyN(io.Discard, r, int64(len("zINSTREAM\x00")+size+4*(size/chunk)+4))
				_, _ = io.WriteString(conn, "stream: OK\x00")
				return
			}
			req, err := http.ReadRequest(r)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{\"action\":\"no action\"}")
		}), false)
		m := mail("")
		m.Size = size
		m.Open = func() io.Reader { return io.LimitReader(zeros{}, size) }
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f := s.scan(t.Context(), m)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; f.Outcome != verdict.ScanClean || got > 1<<20 {
			t.Errorf("%s: %s %v, %d octets of memory", kind, f, f.Err, got)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
