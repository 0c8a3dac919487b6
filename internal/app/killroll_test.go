package app

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/internal/atomicfile"
	"postern/internal/dns/rollover"
	"postern/internal/dns/signer"
)

// rollKillEnv names the directory, the kind of roll and the step for the process
// that is killed.
const rollKillEnv = "POSTERN_TEST_KILL_ROLL"

// rolled are the ways in which keys are replaced.
var rolled = map[string]struct {
	model  signer.Model
	denial signer.Denial
	which  rollover.Which
	change bool // of the algorithm
	atOnce bool // others may have the keys; with a CSK, another stands by
}{
	"zsk":       {model: signer.KSKZSK, denial: signer.NSEC3, which: rollover.Signers},
	"ksk":       {model: signer.KSKZSK, denial: signer.NSEC, which: rollover.Entries},
	"csk":       {model: signer.CSK, denial: signer.NSEC3, which: rollover.All},
	"algorithm": {model: signer.CSK, denial: signer.NSEC, which: rollover.All, change: true},
	"emergency": {model: signer.KSKZSK, denial: signer.NSEC3, which: rollover.All, atOnce: true},
	"standby":   {model: signer.CSK, denial: signer.NSEC, which: rollover.All, atOnce: true},
}

// standsBy reports whether a kind has a second key of each role.
func standsBy(kind string) bool { return rolled[kind].atOnce && rolled[kind].model == signer.CSK }

const rolledCity = `$TTL 3600
@ SOA ns hostmaster 1 3600 900 604800 600
@ NS ns
ns A 192.0.2.1
www A 192.0.2.2
*.wild TXT any
a.b.gap A 192.0.2.3
sub NS ns.sub
ns.sub A 192.0.2.53
sec NS ns.elsewhere.example.
sec DS 4711 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
moved DNAME elsewhere.example.
UpPer TXT "mixed"
sp\032ace TXT "blank"
dot\.ted TXT "an escaped dot"
`

// TestKilledDuringRoll kills a process at steps of the files that it writes while
// keys are replaced: key files, journal, snapshots. What comes up from its files
// validates in both views, by the DS that the parent has and by all that caches
// may hold from before; no serial goes back, and the roll goes on and ends. While
// nobody is there the parent does nothing, or what it was asked for, or it goes
// back to what it had.
func TestKilledDuringRoll(t *testing.T) {
	if at := os.Getenv(rollKillEnv); at != "" {
		dieDuringRoll(t, at)
		return
	}
	t.Parallel()
	every, seen := 33, 0
	if os.Getenv("POSTERN_PROVE") != "" { // make prove
		every = 1
	}
	for kind := range rolled {
		first := 1 + seen
		seen = (seen + 5) % every
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			steady := t.TempDir()
			w := newRolledWorld(t, steady, kind)
			w.open(nil)
			w.pass(3*day, func() bool { return false })
			w.willRoll()
			w.stop()
			if len(w.Parent) != w.entries() {
				t.Fatalf("the parent has %v", w.Parent)
			}
			parent := map[string]int{}
			for step := first; ; step += every {
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(steady)); err != nil {
					t.Fatal(err)
				}
				lockKeys(t, dir)
				killed := killedDuringRoll(t, dir, kind, step)
				parent[goesOn(t, dir, kind, step)]++
				if !killed {
					if step < 60 {
						t.Errorf("only %d steps were seen", step)
					}
					t.Logf("%d steps, and the parent %v", step, parent)
					return
				}
			}
		})
	}
}

const day = 24 * time.Hour

// lockKeys gives copies the modes that they had.
func lockKeys(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "keys"), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func killedDuringRoll(t *testing.T, dir, kind string, step int) (killed bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilledDuringRoll$", "-test.count=1")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s %s", rollKillEnv, step, kind, dir))
	out, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL && ctx.Err() == nil {
		return true
	}
	if err != nil {
		t.Fatalf("step %d: %v\n%s", step, err, out)
	}
	return false
}

// dieDuringRoll is the process.
func dieDuringRoll(t *testing.T, at string) {
	f := strings.SplitN(at, " ", 3)
	last, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	w := readRolledWorld(t, f[2], f[1])
	var step atomic.Int64
	w.open(func(atomicfile.Step) error {
		if step.Add(1) == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not return
			select {}
		}
		return nil
	})
	w.roll()
	w.pass(60*day, w.done)
	w.stop()
}

// goesOn starts over what is left, has the roll go on to its end, and looks at
// everything on the way. It returns what the parent did before.
func goesOn(t *testing.T, dir, kind string, step int) (did string) {
	t.Helper()
	w := readRolledWorld(t, dir, kind)
	did = w.meanwhile(step)
	w.open(nil)
	w.look()
	if t.Failed() {
		t.Fatalf("step %d, and the parent %s", step, did)
	}
	if !w.ordered() {
		w.roll() // it was killed before all of that was written down, and nobody was told that it was done
	}
	w.pass(60*day, w.done)
	if !w.done() {
		t.Errorf("step %d: the roll does not end: %+v", step, w.keys())
	}
	if k := w.keys(); len(k.Alarms) > 0 || len(w.Parent) != w.entries() {
		t.Errorf("step %d: in the end %+v, the parent has %v", step, k, w.Parent)
	}
	if t.Failed() {
		t.Fatalf("step %d, and the parent %s", step, did)
	}
	w.stop()
	return did
}

// meanwhile is what happens to the parent until the next process comes.
func (w *rolledWorld) meanwhile(step int) string {
	w.t.Helper()
	w.set(w.now().Add(time.Second))
	before := rolledSet{}
	if n := len(w.Sets); n > 1 {
		before = w.Sets[n-2]
	}
	switch {
	// Later than this it is the parent that breaks the zone.
	case step%2 == 1 && len(before.DS) > 0 && w.now().Before(before.Until.Add(cityDS)):
		w.delegate(before.DS)
		w.set(w.now().Add(20 * time.Minute))
		return "goes back"
	case step%4 == 1:
		w.follow()
		w.set(w.now().Add(20 * time.Minute))
		return "follows"
	case step%4 == 2:
		w.follow()
		w.set(w.now().Add(3 * day))
		return "follows, and days pass"
	}
	return "does nothing"
}
