package app

import (
	"bufio"
	"context"
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

	"postern/internal/mail/deliver"
	"postern/internal/mail/dsn"
	"postern/internal/mail/envelope"
	"postern/internal/mail/queue"
	"postern/internal/mail/route"
	"postern/internal/mail/spool"
)

// book is a next hop that takes everything and writes down whose it was, in a file.
type book struct{ path string }

func (b book) Static(string) bool { return true }

func (b book) Route(context.Context, string) (route.Plan, error) {
	return route.Plan{Hops: []route.Hop{{Host: "inner"}}, Static: true}, nil
}

func (b book) Deliver(_ context.Context, j deliver.Job) deliver.Report {
	f, err := os.OpenFile(b.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = f.WriteString(j.Envelope.From.String() + "\n") // looked for later
		_ = f.Close()
	}
	var r deliver.Report
	for _, i := range j.Rcpts {
		r.Results = append(r.Results, deliver.Result{Rcpt: i, Recipient: j.Envelope.To[i], Outcome: deliver.Delivered, Code: 250, Reason: "delivered", Static: true})
	}
	return r
}

// times is how often each was delivered.
func (b book) times(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile(b.path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	all := map[string]int{}
	for from := range strings.FieldsSeq(string(text)) {
		all[from]++
	}
	return all
}

// openQueue takes up what lies in the spool.
func openQueue(t *testing.T, dir string, sp *spool.Spool) *queue.Queue {
	t.Helper()
	b := book{filepath.Join(dir, "book")}
	q, err := queue.New(queue.Config{
		Spool: sp, Router: b, Deliverer: b, Hostname: "edge.city.example",
		Bounce: func(context.Context, dsn.Message) error { return nil },
	})
	if err == nil {
		err = q.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestMailKilledAtAnyStep kills a process that takes messages and delivers them at
// every step of its spool and journal. What it had promised arrives when another
// takes up what is left, twice at most; nothing is in the queue twice, and no
// broken message is.
func TestMailKilledAtAnyStep(t *testing.T) {
	if at := os.Getenv(killEnv); at != "" {
		dieOverMail(t, at)
		return
	}
	t.Parallel()
	for step := 1; ; step++ {
		dir := t.TempDir()
		promised, killed := bringTo(t, dir, step)
		takeUp(t, dir, step, promised)
		if !killed {
			if step < 25 || len(promised) != mailsToMortal {
				t.Errorf("only %d steps, %d messages", step, len(promised))
			}
			return
		}
	}
}

const mailsToMortal = 3

// dieOverMail is the process.
func dieOverMail(t *testing.T, at string) {
	text, dir, _ := strings.Cut(at, " ")
	last, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	steps := make(chan int64, 1)
	steps <- 0
	sp, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), MinFree: -1, Fault: func(spool.Step) error {
		step := <-steps + 1
		if step == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not return
			select {}
		}
		steps <- step
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	q := openQueue(t, dir, sp)
	addr, stop := openMX(t, sp, q)
	fmt.Println("listening", addr)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the other end closes it
	stop()
	if err := q.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := sp.Close(); err != nil {
		t.Fatal(err)
	}
}

// bringTo starts the process, brings it messages, and returns the senders of those
// that it has promised.
func bringTo(t *testing.T, dir string, step int) (promised []string, killed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestMailKilledAtAnyStep$", "-test.count=1")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", killEnv, step, dir))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	if said.Scan() {
		if addr, ok := strings.CutPrefix(said.Text(), "listening "); ok {
			promised = bring(addr)
		}
	}
	_ = in.Close() // it may be gone
	var rest strings.Builder
	for said.Scan() {
		rest.WriteString(said.Text() + "\n")
	}
	_ = cmd.Wait() // how it ended is looked at
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return promised, true
	}
	if !cmd.ProcessState.Success() {
		t.Fatalf("step %d: %v\n%s", step, cmd.ProcessState, rest.String())
	}
	return promised, false
}

// bring says what was promised before the other end was gone.
func bring(addr string) (promised []string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	if say(conn, in, []string{"220", "EHLO client.example", "250"}) != nil {
		return nil
	}
	for i := range mailsToMortal {
		from := fmt.Sprintf("m%d@client.example", i)
		if say(conn, in, []string{
			"MAIL FROM:<" + from + ">", "250", "RCPT TO:<b@city.example>", "250", "DATA", "354",
			"From: " + from + "\r\n\r\n" + strings.Repeat("text\r\n", 100) + ".", "250",
		}) != nil {
			return promised
		}
		promised = append(promised, from)
	}
	return promised
}

// takeUp delivers what is left, and looks at all of it.
func takeUp(t *testing.T, dir string, step int, promised []string) {
	t.Helper()
	sp, err := spool.Open(spool.Config{Dir: filepath.Join(dir, "spool"), MinFree: -1})
	if err != nil {
		t.Fatalf("step %d: %v", step, err)
	}
	ids, err := sp.IDs()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]envelope.ID{}
	for _, id := range ids {
		m, err := sp.Load(id)
		if err != nil {
			t.Errorf("step %d: %s: %v", step, id, err)
			continue
		}
		from := m.Envelope().From.String()
		if other, twice := seen[from]; twice {
			t.Errorf("step %d: %s is in the queue as %s and %s", step, from, other, id)
		}
		seen[from] = id
		_ = m.Close()
	}
	q := openQueue(t, dir, sp)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(20 * time.Second); ; {
		all, err := q.List(queue.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("step %d: %d messages are not delivered", step, len(all))
		}
	}
	if err := q.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := sp.Counters.Quarantined.Value(); n != 0 {
		t.Errorf("step %d: %d broken messages", step, n)
	}
	if err := sp.Close(); err != nil {
		t.Error(err)
	}
	arrived := book{filepath.Join(dir, "book")}.times(t)
	for _, from := range promised {
		if arrived[from] == 0 {
			t.Errorf("step %d: %s was promised and is lost", step, from)
		}
	}
	for from, n := range arrived { // a delivery that was not written down yet is repeated, once
		if n > 2 {
			t.Errorf("step %d: %s arrived %d times", step, from, n)
		}
	}
}
