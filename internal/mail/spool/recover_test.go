package spool

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
)

var update = flag.Bool("update", false, "write the golden files anew")

const childDir = "POSTERN_SPOOL_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// child commits without end and prints every id that may be called safe.
func child(dir string) {
	s, err := Open(Config{Dir: dir, MinFree: -1})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex
	for n := range 4 {
		go func() {
			for i := 0; ; i++ {
				id, err := tryCommit(s, fmt.Sprintf("Subject: %d.%d\r\n\r\n%s\r\n", n, i, strings.Repeat("x", rand.IntN(100_000))))
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(id)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// TestKill kills a process that commits: every id it printed is there, whole.
func TestKill(t *testing.T) {
	t.Parallel()
	for round := range 5 {
		dir := filepath.Join(t.TempDir(), "spool")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var promised []envelope.ID
		lines := bufio.NewScanner(out)
		for last := 5 + rand.IntN(60); lines.Scan(); {
			if promised = append(promised, envelope.ID(lines.Text())); len(promised) == last {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		if n := len(promised) - 1; !promised[n].Valid() {
			promised = promised[:n] // the last line may be torn
		}
		s, err := Open(Config{Dir: dir, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range promised {
			m, err := s.Load(id)
			if err != nil {
				t.Errorf("round %d: %s was promised: %v", round, id, err)
				continue
			}
			_ = m.Close()
		}
		if n := s.Counters.Quarantined.Value(); n != 0 {
			t.Errorf("round %d: %d broken messages", round, n)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

const (
	goldenID  = envelope.ID("0006c9m0s1k0a2v3g1")
	goldenDir = "testdata/v1"
)

// TestGoldenMessage reads the file of format 1 that is kept, and writes the
// same.
func TestGoldenMessage(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	d, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Rename(s.tmpPath(d.id), s.tmpPath(goldenID))
	d.id = goldenID
	if _, err := io.WriteString(d, "Subject: golden\r\n\r\nA body with \xc3\xa9,\r\n\r\n.and a dot.\r\n"); err != nil {
		t.Fatal(err)
	}
	env := someone()
	env.Received = time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)
	env.Helo, env.TLS, env.Body8Bit, env.Ret, env.EnvID = "host.example.test", true, true, "HDRS", "q+3D1"
	env.Notify, env.ORcpt = []envelope.Notify{envelope.Failure | envelope.Delay, 0}, []string{"rfc822;b@example.net", ""}
	if _, err := d.Commit(context.Background(), env, []byte("Received: from golden\r\nSubject: golden\r\n")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(s.path(goldenID))
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join(goldenDir, string(goldenID))
	if *update {
		if err := os.MkdirAll(goldenDir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("written:\n%q\nkept:\n%q", got, want)
	}
	if err := os.WriteFile(s.path(goldenID), want, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.verify(goldenID); err != nil {
		t.Errorf("the kept file: %v", err)
	}
	m, err := s.Load(goldenID)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Envelope().ORcptOf(0) != "rfc822;b@example.net" || m.Envelope().NotifyOf(0) != envelope.Failure|envelope.Delay || m.Envelope().To[1] != (address.Address{Local: "c d", Domain: "[192.0.2.1]"}) {
		t.Errorf("the kept file's envelope: %+v", m.Envelope())
	}
}

// TestOpenQuarantines breaks messages in every way: none of them stops the
// spool, none is delivered, all are kept for a person.
func TestOpenQuarantines(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	whole := func() (string, []byte) {
		id := commit(t, s, "A: 1\r\n\r\nsome body\r\n")
		text, err := os.ReadFile(s.path(id))
		if err != nil {
			t.Fatal(err)
		}
		return string(id), text
	}
	write := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(s.cfg.Dir, "msg", name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broken := 0
	for _, breakIt := range []func([]byte) []byte{
		func([]byte) []byte { return nil },
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { return append(b, 0) },
		func(b []byte) []byte { b[len(magic)+2] ^= 1; return b },
		func(b []byte) []byte { b[0] ^= 1; return b },
		func(b []byte) []byte { b[len(b)-len(" end\n")-1] ^= 1; return b },
		func(b []byte) []byte { return make([]byte, len(b)) },
		func(b []byte) []byte { return append([]byte(magic), b...) },
	} {
		name, text := whole()
		write(name, breakIt(text))
		broken++
	}
	name, text := whole()
	write("not-an-id", text)
	write(string(envelope.NewID(time.Unix(0, 0), 1)), text) // another's name
	directory, pipe := string(envelope.NewID(time.Unix(1, 0), 1)), string(envelope.NewID(time.Unix(2, 0), 1))
	if err := errors.Join(os.Mkdir(filepath.Join(s.cfg.Dir, "msg", directory), 0o700), syscall.Mkfifo(filepath.Join(s.cfg.Dir, "msg", pipe), 0o600)); err != nil {
		t.Fatal(err)
	}
	broken += 4
	if err := os.WriteFile(filepath.Join(s.cfg.Dir, "tmp", "draft"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}

	again, err := Open(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if n := again.Counters.Quarantined.Value(); n != uint64(broken) {
		t.Errorf("%d moved aside, want %d", n, broken)
	}
	if kept, err := readNames(filepath.Join(s.cfg.Dir, "quarantine")); len(kept) != broken || err != nil {
		t.Errorf("kept %v, %v", kept, err)
	}
	ids, err := again.IDs()
	if err != nil || len(ids) != 1 || string(ids[0]) != name {
		t.Errorf("alive: %v, want %s (%v)", ids, name, err)
	}
	wantFiles(t, again, 1)
}

// TestQuarantineWhileRunning is what the queue does with a message that went
// bad after Open.
func TestQuarantineWhileRunning(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	id := commit(t, s, "A: 1\r\n\r\n")
	if err := os.Truncate(s.path(id), 30); err != nil {
		t.Fatal(err)
	}
	_, err := s.Load(id)
	if !errors.Is(err, ErrBroken) {
		t.Fatal(err)
	}
	if err := s.Quarantine(id, err); err != nil {
		t.Error(err)
	}
	wantFiles(t, s, 0)
	if err := s.Quarantine("../x", nil); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// FuzzLoad feeds files to the loader: it reads or refuses, within bounds.
func FuzzLoad(f *testing.F) {
	env, err := json.Marshal(envelope.Envelope{ID: goldenID, To: []address.Address{{Local: "a", Domain: "b"}}})
	if err != nil {
		f.Fatal(err)
	}
	l := layout{bodyLen: 3, headerLen: 6, envelopeLen: int64(len(env))}
	f.Add(l.appendTrailer([]byte(magic + "bodA: 1\r\n" + string(env))))
	f.Add(layout{bodyLen: 1<<63 - 1, headerLen: 1<<63 - 1}.appendTrailer([]byte(magic)))
	f.Add([]byte{})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file.Name())
		defer file.Close()
		if _, err := file.Write(b); err != nil {
			t.Fatal(err)
		}
		m, err := load(file)
		if err != nil {
			if !errors.Is(err, ErrBroken) {
				t.Fatalf("neither read nor broken: %v", err)
			}
			return
		}
		if n, err := io.Copy(io.Discard, m.Open()); err != nil || n != m.Size() {
			t.Fatal(n, m.Size(), err)
		}
		_ = m.layout.checkCRC(file)
	})
}
