package app

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestDurableBeforePolite looks at the system calls of the whole appliance while
// it takes messages: before each 250 the message's file was synced, and after
// it got its name its directory was, and both had returned. One sync of the
// directory may serve several.
func TestDurableBeforePolite(t *testing.T) {
	t.Parallel()
	if racing {
		t.Skip("the order is the same, and the detector under strace is slow")
	}
	path, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("strace is not installed")
		}
		t.Skip("strace is not installed")
	}
	log := filepath.Join(t.TempDir(), "trace")
	p := startCosting(t, path, "-f", "-yy", "-s", "120", "-o", log, "-e", "trace=fsync,fdatasync,rename,renameat,renameat2,write,writev,sendto")
	const clients, each = 8, 5
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			if err := p.send(each); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	seen := ordered(t, log)
	if len(seen) != clients*each {
		t.Errorf("%d replies in the trace, want %d", len(seen), clients*each)
	}
}

// send brings messages over one connection.
func (p *costing) send(n int) error {
	conn, err := net.Dial("tcp", p.addrs["mx"])
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	script := []string{"220", "EHLO localhost", "250"}
	for i := range n {
		script = append(script, "MAIL FROM:<a@localhost>", "250", "RCPT TO:<b@city.example>", "250", "DATA", "354",
			fmt.Sprintf("From: a@localhost\r\nSubject: %d\r\n\r\ntext\r\n.", i), "250")
	}
	return say(conn, in, script)
}

var (
	traceLine  = regexp.MustCompile(`^(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()(.*)$`)
	promisedAs = regexp.MustCompile(`250 2\.0\.0 queued as (\w+)`)
	renamed    = regexp.MustCompile(`"([^"]*)".*"([^"]*)"`)
	synced     = regexp.MustCompile(`<([^>]*)>`)
)

// ordered reads a trace in the order in which calls began and returned, and
// returns the ids that were promised.
func ordered(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}   // synced, by id
	named := map[string]string{} // id to directory, once the rename has returned
	kept := map[string]bool{}    // ids whose directory was synced afterwards
	begun := map[string]string{} // by process: the arguments of a call that has not returned
	due := map[string][]string{} // by process: the ids whose names were there when a sync of their directory began
	var promised []string
	for line := range strings.Lines(string(b)) {
		m := traceLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		pid, call, args := m[1], m[2], m[3]
		sync := call == "fsync" || call == "fdatasync"
		resumed := strings.Contains(line, "<... ")
		if !resumed {
			begun[pid] = args
			if id := promisedAs.FindStringSubmatch(args); id != nil && !sync {
				promised = append(promised, id[1])
				if !files[id[1]] || !kept[id[1]] {
					t.Errorf("250 for %s: its file synced %v, its directory %v", id[1], files[id[1]], kept[id[1]])
				}
			}
			if sync {
				due[pid] = due[pid][:0]
				for id, dir := range named {
					if dir == pathIn(args) {
						due[pid] = append(due[pid], id)
					}
				}
			}
		}
		if strings.HasSuffix(args, "<unfinished ...>") || !strings.HasSuffix(args, " = 0") {
			continue // has not returned, or not well
		}
		switch whole := begun[pid]; {
		case sync:
			files[filepath.Base(pathIn(whole))] = true
			for _, id := range due[pid] {
				kept[id] = true
			}
		case strings.HasPrefix(call, "rename"):
			if ends := renamed.FindStringSubmatch(whole); ends != nil && files[filepath.Base(ends[2])] {
				named[filepath.Base(ends[2])] = filepath.Dir(ends[2])
			}
		}
	}
	return promised
}

// pathIn is the file behind the descriptor that a call names.
func pathIn(args string) string {
	m := synced.FindStringSubmatch(args)
	if m == nil {
		return ""
	}
	return m[1]
}
