package app

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/internal/atomicfile"
	"postern/internal/dns/attest"
	"postern/internal/dns/authority"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/signer"
	"postern/internal/dns/zone"
)

// killEnv names the directory and the step for the process that is killed.
const killEnv = "POSTERN_TEST_KILL"

// TestKilledAtAnyStep kills a process at every step of every file that it
// writes while a zone of two views gets its keys, is signed, edited and signed
// anew. What comes up from its files validates, with no serial below one that
// was served.
func TestKilledAtAnyStep(t *testing.T) {
	if at := os.Getenv(killEnv); at != "" {
		dieAt(t, at)
		return
	}
	t.Parallel()
	every := 5
	if os.Getenv("POSTERN_PROVE") != "" { // make prove
		every = 1
	}
	for step := 1; ; step += every {
		dir := t.TempDir()
		killed, served := killedAt(t, dir, step)
		survives(t, dir, step, served)
		if !killed {
			if step < 60 {
				t.Errorf("only %d steps were seen", step)
			}
			return
		}
	}
}

// killedAt returns the highest serials that the process served, by view.
func killedAt(t *testing.T, dir string, step int) (killed bool, served map[string]uint32) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilledAtAnyStep$", "-test.count=1")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", killEnv, step, dir))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	served = map[string]uint32{}
	scan := bufio.NewScanner(out)
	var said []string
	for scan.Scan() {
		said = append(said, scan.Text())
		var view string
		var serial uint32
		if n, _ := fmt.Sscanf(scan.Text(), "served %s %d", &view, &serial); n == 2 {
			served[view] = serial
		}
	}
	_ = cmd.Wait() // how it ended is looked at
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return true, served
	}
	if !cmd.ProcessState.Success() {
		t.Fatalf("step %d: %v\n%s", step, cmd.ProcessState, strings.Join(said, "\n"))
	}
	return false, served
}

// dieAt is the process.
func dieAt(t *testing.T, at string) {
	text, dir, _ := strings.Cut(at, " ")
	last, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	step := 0
	w := atomicfile.Writer{Fault: func(atomicfile.Step) error {
		if step++; step == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not return
			select {}
		}
		return nil
	}}
	now := time.Now()
	c := mortal(t, dir, w, func() time.Time { return now })
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("external/city.example.zone", hardZone)
	write("internal/city.example.zone", "intranet 300 A 10.0.0.2\n")
	a, err := authority.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	write("external/city.example.zone", hardZone+"new A 192.0.2.77\n")
	if _, err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(20 * 24 * time.Hour)
	if _, err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// mortal configures an authority over the files of dir.
func mortal(t *testing.T, dir string, w atomicfile.Writer, now func() time.Time) authority.Config {
	t.Helper()
	keys := filepath.Join(dir, "keys")
	ring, err := keyring.OpenWith(keys, w)
	if err != nil {
		t.Fatal(err)
	}
	if problems := ring.Problems(); len(problems) > 0 {
		t.Errorf("keys: %v", problems)
	}
	policy := authority.SignPolicy{Name: "p", Model: signer.KSKZSK, Algorithm: dnssec.ED25519, Denial: signer.NSEC3, ZONEMD: true}
	return authority.Config{
		StateDir: filepath.Join(dir, "state"), Writer: w, Keys: ring, Sign: &policy, Now: now, Poll: -1, Settle: time.Millisecond,
		Views: []authority.ViewConfig{
			{Name: "internal", Dir: filepath.Join(dir, "internal"), Overlay: "external"},
			{Name: "external", Dir: filepath.Join(dir, "external")},
		},
		Changed: func(_ name.Name, view string, serial uint32) { fmt.Println("served", view, serial) },
	}
}

// survives starts over the files that were left, and looks at what is served.
func survives(t *testing.T, dir string, step int, served map[string]uint32) {
	t.Helper()
	now := time.Now().Add(21 * 24 * time.Hour)
	for life := range 2 {
		c := mortal(t, dir, atomicfile.Writer{}, func() time.Time { return now })
		c.Changed = nil
		a, err := authority.New(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		city, _ := name.Parse("city.example")
		for _, view := range []string{"external", "internal"} {
			z, _ := a.Content(city, view)
			if z == nil {
				t.Fatalf("step %d, life %d: view %s has no zone; %+v", step, life, view, a.Zones())
			}
			if problems := attest.Check(z, now, attest.Context{ZONEMD: true, Workers: 1}); len(problems) > 0 {
				t.Errorf("step %d, life %d: view %s: %v", step, life, view, problems)
			}
			if was, ok := served[view]; ok && z.Serial() != was && !zone.SerialLess(was, z.Serial()) {
				t.Errorf("step %d, life %d: view %s has serial %d after %d", step, life, view, z.Serial(), was)
			}
			served[view] = z.Serial()
		}
		for _, s := range a.Zones() {
			if s.State != authority.OK {
				t.Errorf("step %d, life %d: %+v", step, life, s)
			}
		}
		if err := a.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
