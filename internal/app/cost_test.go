package app

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// costEnv names the directory of the process whose memory is looked at.
const costEnv = "POSTERN_TEST_COST"

const costConfig = `[server]
hostname = "edge.city.example"
state    = "state"
control  = "c.sock"
[[listen]]
serve   = "mx"
address = ["127.0.0.1:0"]
[[listen]]
serve     = "submission"
address   = ["127.0.0.1:0"]
transport = ["tls"]
[mail]
domains = ["city.example"]
[mail.route."city.example"]
next_hop = ["maildir:mail"]
[limits]
exempt      = ["any"]
connections = 6000
`

// TestMemoryOfSessions: 5000 clients that have said EHLO and wait, and a message
// of 25 MB, cost what they may.
func TestMemoryOfSessions(t *testing.T) {
	if dir := os.Getenv(costEnv); dir != "" {
		serveUntilClosed(t, dir)
		return
	}
	if racing {
		t.Skip("the race detector has memory of its own")
	}
	const sessions = 5000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Max < sessions+500 {
		t.Skipf("a process may open %d files at most: ulimit -Hn", files.Max)
	}
	for _, c := range []struct {
		serve string
		most  int // MB
	}{{"mx", 150}, {"submission", 400}} {
		t.Run(c.serve, func(t *testing.T) {
			p := startCosting(t)
			ready := make(chan error, sessions)
			turn := make(chan struct{}, 50) // handshakes at once
			for range sessions {
				turn <- struct{}{}
				go func() {
					defer func() { <-turn }()
					ready <- p.idle(t, c.serve)
				}()
			}
			for range sessions {
				if err := <-ready; err != nil {
					t.Fatal(err)
				}
			}
			got := p.memory(t, "VmHWM:")
			t.Logf("%d sessions of %s: at most %d MB resident, %d before", sessions, c.serve, got>>20, p.before>>20)
			if got > c.most*1e6 {
				t.Errorf("%d octets are resident, want less than %d MB", got, c.most)
			}
		})
	}
	t.Run("a large message", func(t *testing.T) {
		p := startCosting(t)
		for range 3 { // what the first messages bring in, code among it, is not theirs
			p.deliver(t, 100_000)
		}
		p.forgetPeak(t)
		before := p.memory(t, "VmHWM:")
		p.deliver(t, 24_900_000)
		after := p.memory(t, "VmHWM:")
		t.Logf("a message of 25 MB: %d KB", (after-before)>>10)
		if after-before > 2e6 {
			t.Errorf("it costs %d octets, want at most 2 MB", after-before)
		}
	})
}

// serveUntilClosed is the process: it tells where it listens, and ends with its
// input.
func serveUntilClosed(t *testing.T, dir string) {
	o := Options{Config: filepath.Join(dir, "postern.toml"), TestKnobs: true, Stderr: &bytes.Buffer{}}
	cfg, err := o.load()
	if err != nil {
		t.Fatal(err, o.Stderr)
	}
	a, err := newApp(o, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, l := range a.listeners(cfg) {
		fmt.Println("listens", l.Serve, l.Address)
	}
	fmt.Println("listens now")
	_, _ = io.Copy(io.Discard, os.Stdin) // until whoever started us closes it
	if err := a.stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// costing is that process as seen from outside.
type costing struct {
	pid    int
	addrs  map[string]string
	before int
}

// startCosting starts it by a command that may stand before its own.
func startCosting(t *testing.T, by ...string) *costing {
	t.Helper()
	dir, err := os.MkdirTemp("", "app") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "postern.toml"), []byte(costConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	line := append(by, os.Args[0], "-test.run=^TestMemoryOfSessions$", "-test.count=1")
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), costEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &costing{pid: cmd.Process.Pid, addrs: map[string]string{}}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "listens now" {
		var serve, addr string
		if n, _ := fmt.Sscanf(lines.Text(), "listens %s %s", &serve, &addr); n == 2 {
			p.addrs[serve] = addr
		}
	}
	t.Cleanup(func() {
		_ = in.Close()
		for lines.Scan() { // what it says at its end
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	if len(p.addrs) != 2 {
		t.Fatalf("it listens on %v", p.addrs)
	}
	p.before = p.memory(t, "VmRSS:")
	return p
}

// memory reads one line of what the kernel says of the process, in octets.
func (p *costing) memory(t *testing.T, line string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Skip("no /proc:", err)
	}
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, line); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("no %s", line)
	return 0
}

// forgetPeak makes VmHWM begin anew (proc(5), clear_refs).
func (p *costing) forgetPeak(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("5"), 0); err != nil {
		t.Skip("the peak cannot be looked at:", err)
	}
}

// idle connects and says EHLO, and then nothing until the test ends.
func (p *costing) idle(t *testing.T, serve string) error {
	conn, err := net.Dial("tcp", p.addrs[serve])
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	if serve == "submission" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	return say(conn, bufio.NewReaderSize(conn, 512), []string{"220", "EHLO client.example", "250"})
}

// deliver sends a message from a name of which no DNS needs to be asked (RFC
// 6761, Section 6.3).
func (p *costing) deliver(t *testing.T, size int) {
	t.Helper()
	conn, err := net.Dial("tcp", p.addrs["mx"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	err = say(conn, in, []string{"220", "EHLO localhost", "250", "MAIL FROM:<a@localhost>", "250", "RCPT TO:<b@city.example>", "250", "DATA", "354"})
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewWriter(conn)
	fmt.Fprint(out, "From: a@localhost\r\nSubject: large\r\n\r\n")
	line := strings.Repeat("x", 76) + "\r\n"
	for sent := 0; sent < size; sent += len(line) {
		if _, err := out.WriteString(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := say(conn, in, []string{".", "250", "QUIT", "221"}); err != nil {
		t.Fatal(err)
	}
}
