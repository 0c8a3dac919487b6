package authority

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/atomicfile"
	"postern/internal/dns/update"
	"postern/internal/dns/zone"
)

// updateKillEnv names the step and the directory for the process that is killed.
const updateKillEnv = "POSTERN_TEST_KILL_UPDATE"

// updatesToKill are what that process is told to do, one after the other; nil
// gives all of it up.
var updatesToKill = [][]string{
	{"+ new.example.test. 60 A 192.0.2.9"},
	{"- new.example.test.", "+ more.example.test. 60 A 192.0.2.10", "- www.example.test. A"},
	nil, // as at first, but for the serial
	{"+ last.example.test. 60 TXT x", "- mail.example.test. A"},
}

// TestUpdateKilledAtAnyStep kills a process at every step of every file that
// it writes while it is updated. What comes up from its files is what it was
// after one of the updates, none of those that were promised is missing, and no
// serial is below one that was served.
func TestUpdateKilledAtAnyStep(t *testing.T) {
	if at := os.Getenv(updateKillEnv); at != "" {
		dieUpdating(t, at)
		return
	}
	t.Parallel()
	every := 3
	if os.Getenv("POSTERN_PROVE") != "" { // make prove
		every = 1
	}
	states := statesOfUpdates(t)
	for step := 1; ; step += every {
		b := updateBench(t)
		killed, promised, serial := killedUpdating(t, b.root, step)
		if !killed {
			if promised != len(updatesToKill) || step < 40 {
				t.Errorf("only %d steps were seen, %d updates", step, promised)
			}
			return
		}
		for range 2 { // the second start changes nothing more
			b.start()
			if now := b.contents(); !slices.Contains(states[promised:min(promised+2, len(states))], now) {
				t.Fatalf("killed at step %d, after %d updates:\n%s", step, promised, now)
			}
			if now := b.serial(); promised > 0 && zone.SerialLess(now, serial) {
				t.Errorf("killed at step %d: serial %d, after %d was served", step, now, serial)
			}
		}
		b.stop()
	}
}

// contents is the records that are served, less the SOA.
func (b *bench) contents() string {
	var all []string
	for n := range b.zone("external", "example.test").Nodes() {
		for _, set := range n.Sets {
			for _, rr := range set.RRs {
				if set.Type != dns.TypeSOA {
					all = append(all, rr.String())
				}
			}
		}
	}
	return strings.Join(all, "\n")
}

// carryOut does the next of updatesToKill.
func (b *bench) carryOut(lines []string) {
	b.t.Helper()
	if lines != nil {
		b.wantUpdate(update.NoError, "", lines...)
	} else if _, err := b.a.Drop(b.t.Context(), Drop{Zone: "example.test", View: "external"}); err != nil {
		b.t.Fatal(err)
	}
}

// statesOfUpdates returns what is served before and after each of them.
func statesOfUpdates(t *testing.T) []string {
	t.Helper()
	b := updateBench(t)
	b.start()
	states := []string{b.contents()}
	for _, lines := range updatesToKill {
		b.carryOut(lines)
		states = append(states, b.contents())
	}
	return states
}

// killedUpdating returns how many updates the process promised, and the serial
// after the last of them.
func killedUpdating(t *testing.T, root string, step int) (killed bool, promised int, serial uint32) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestUpdateKilledAtAnyStep$", "-test.count=1")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", updateKillEnv, step, root))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(out)
	var said []string
	for scan.Scan() {
		said = append(said, scan.Text())
		if n, _ := fmt.Sscanf(scan.Text(), "promised %d %d", &promised, &serial); n == 2 {
			continue
		}
	}
	_ = cmd.Wait() // how it ended is looked at
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return true, promised, serial
	}
	if !cmd.ProcessState.Success() {
		t.Fatalf("step %d: %v\n%s", step, cmd.ProcessState, strings.Join(said, "\n"))
	}
	return false, promised, serial
}

// dieUpdating is the process.
func dieUpdating(t *testing.T, at string) {
	text, root, _ := strings.Cut(at, " ")
	last, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	b := updateBench(t)
	b.root = root
	for i := range b.cfg.Views {
		b.cfg.Views[i].Dir = filepath.Join(root, b.cfg.Views[i].Name)
	}
	b.cfg.StateDir = filepath.Join(root, "state")
	step := 0
	b.cfg.Writer = atomicfile.Writer{Fault: func(atomicfile.Step) error {
		if step++; step == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not return
			select {}
		}
		return nil
	}}
	b.start()
	for i, lines := range updatesToKill {
		b.carryOut(lines)
		fmt.Printf("promised %d %d\n", i+1, b.serial())
	}
	b.stop()
}
