package authority

import (
	"bufio"
	"context"
	"fmt"
	"maps"
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
	"postern/internal/dns/attest"
	"postern/internal/dns/keyring"
	"postern/internal/dns/signer"
	"postern/internal/dns/update"
	"postern/internal/dns/zone"
)

// updateKillEnv names the step, the way of signing and the directory for the
// process that is killed.
const updateKillEnv = "POSTERN_TEST_KILL_UPDATE"

// updatesToKill are what that process is told to do, one after the other; nil
// gives all of it up. They touch what denial is hard for: empty non-terminals
// that come and go, names below a wildcard's, cuts with and without DS, escapes
// and case.
var updatesToKill = [][]string{
	{"+ new.example.test. 60 A 192.0.2.9", "+ A.b.New.example.test. 60 TXT deep", `+ sp\\032ace.example.test. 60 TXT x`},
	{"- new.example.test.", "+ more.example.test. 60 A 192.0.2.10", "- www.example.test. A", "+ host.wild.example.test. 60 A 192.0.2.11"},
	{"+ cut.example.test. 60 NS ns.sub.example.test.", "+ CUT.example.test. 60 DS 4711 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF", "- sec.example.test. DS", "- a.gap.example.test."},
	nil, // as at first, but for the serial
	{"+ last.example.test. 60 TXT x", "- mail.example.test. A", "- a.b.new.example.test."},
}

// updatedWays are how the zone is signed; "" not at all.
func updatedWays() map[string]*SignPolicy {
	all := map[string]*SignPolicy{"": nil}
	for _, p := range policies() {
		p.ZONEMD = false // as "auto" is where updates are allowed
		all[p.Name] = &p
	}
	return all
}

// updatedWay is a bench with a zone of two views, signed in that way.
func updatedWay(t *testing.T, way string) *bench {
	t.Helper()
	b := updateBench(t)
	b.write("external/example.test.zone", signable)
	b.write("internal/example.test.zone", "inner A 10.0.0.1\n*.wild A 10.0.0.2\n")
	b.cfg.Sign = updatedWays()[way]
	return b
}

// keep has the bench keep its keys where its other files are, through this
// writer.
func (b *bench) keep(w atomicfile.Writer) {
	b.t.Helper()
	b.cfg.Writer = w
	if b.cfg.Sign == nil {
		return
	}
	ring, err := keyring.OpenWith(filepath.Join(b.root, "keys"), w)
	if err != nil {
		b.t.Fatal(err)
	}
	if problems := ring.Problems(); len(problems) > 0 {
		b.t.Errorf("keys: %v", problems)
	}
	b.cfg.Keys = ring
}

// TestUpdateKilledAtAnyStep kills a process at every step of every file that
// it writes while it is updated, be the zone signed or not. What comes up from its
// files is, in both views, what it was after one of the updates, and validates;
// none of those that were promised is missing, and no serial is below one that was
// served.
func TestUpdateKilledAtAnyStep(t *testing.T) {
	if at := os.Getenv(updateKillEnv); at != "" {
		dieUpdating(t, at)
		return
	}
	t.Parallel()
	every, ways := 13, []string{"", "p1-1", "p2-2"}
	if os.Getenv("POSTERN_PROVE") != "" { // make prove
		every, ways = 1, slices.Sorted(maps.Keys(updatedWays()))
	}
	for i, way := range ways {
		t.Run("signed "+way, func(t *testing.T) {
			t.Parallel()
			states := statesOfUpdates(t, way)
			for step := 1 + 4*i%every; ; step += every {
				b := updatedWay(t, way)
				killed, promised, serial := killedUpdating(t, b.root, way, step)
				if !killed {
					if promised != len(updatesToKill) || step < 40 {
						t.Errorf("only %d steps were seen, %d updates", step, promised)
					}
					t.Logf("%d steps", step)
					return
				}
				for range 2 { // the second start changes nothing more
					b.keep(atomicfile.Writer{})
					b.start()
					if now := b.contents(); !slices.Contains(states[promised:min(promised+2, len(states))], now) {
						t.Fatalf("killed at step %d, after %d updates:\n%s", step, promised, now)
					}
					if now := b.serial(); promised > 0 && zone.SerialLess(now, serial) {
						t.Errorf("killed at step %d: serial %d, after %d was served", step, now, serial)
					}
					b.validates(step)
				}
				b.stop()
			}
		})
	}
}

// validates wants both views to be signed as they are to be.
func (b *bench) validates(step int) {
	b.t.Helper()
	for _, view := range []string{"external", "internal"} {
		if p := b.cfg.Sign; p != nil {
			z := b.zone(view, "example.test")
			if problems := attest.Check(z, time.Now(), attest.Context{OptOut: p.OptOut, Workers: 1}); len(problems) > 0 {
				b.t.Errorf("killed at step %d: view %s: %v", step, view, problems)
			}
			if nsec3 := z.Node(z.Origin()).Set(dns.TypeNSEC3PARAM) != nil; nsec3 != (p.Denial == signer.NSEC3) {
				b.t.Errorf("killed at step %d: view %s is signed by another policy", step, view)
			}
		}
	}
}

// contents is the records that are served in both views, less the SOA and what
// signing adds.
func (b *bench) contents() string {
	var all []string
	for _, view := range []string{"external", "internal"} {
		for n := range b.zone(view, "example.test").Nodes() {
			for _, set := range n.Sets {
				if slices.Contains([]uint16{dns.TypeSOA, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY}, set.Type) {
					continue
				}
				for _, rr := range set.RRs {
					all = append(all, view+" "+rr.String())
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
func statesOfUpdates(t *testing.T, way string) []string {
	t.Helper()
	b := updatedWay(t, way)
	b.keep(atomicfile.Writer{})
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
func killedUpdating(t *testing.T, root, way string, step int) (killed bool, promised int, serial uint32) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestUpdateKilledAtAnyStep$", "-test.count=1")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d/%s/%s", updateKillEnv, step, way, root))
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
	f := strings.SplitN(at, "/", 3)
	way, root := f[1], f[2]
	last, err := strconv.Atoi(f[0])
	if err != nil {
		t.Fatal(err)
	}
	b := updatedWay(t, way)
	b.root = root
	for i := range b.cfg.Views {
		b.cfg.Views[i].Dir = filepath.Join(root, b.cfg.Views[i].Name)
	}
	b.cfg.StateDir = filepath.Join(root, "state")
	step := 0
	b.keep(atomicfile.Writer{Fault: func(atomicfile.Step) error {
		if step++; step == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it does not return
			select {}
		}
		return nil
	}})
	b.start()
	for i, lines := range updatesToKill {
		b.carryOut(lines)
		fmt.Printf("promised %d %d\n", i+1, b.serial())
	}
	b.stop()
}
