package app

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
	"postern/internal/dns/authority"
	"postern/internal/dns/dnssec"
	"postern/internal/dns/keyring"
	"postern/internal/dns/name"
	"postern/internal/dns/signer"
	"postern/internal/dns/zone"
)

// killEnv names the step, the way of signing and the directory for the process
// that is killed.
const killEnv = "POSTERN_TEST_KILL"

// killedWays are the ways of signing: both models of keys with both denials.
var killedWays = map[string]authority.SignPolicy{
	"pair-nsec3": {Model: signer.KSKZSK, Algorithm: dnssec.ED25519, Denial: signer.NSEC3},
	"csk-nsec":   {Model: signer.CSK, Algorithm: dnssec.ECDSAP256SHA256, Denial: signer.NSEC},
	"pair-nsec":  {Model: signer.KSKZSK, Algorithm: dnssec.ECDSAP256SHA256, Denial: signer.NSEC},
	"csk-nsec3":  {Model: signer.CSK, Algorithm: dnssec.ED25519, Denial: signer.NSEC3, OptOut: true},
}

// killedZone is hard to deny.
const killedZone = hardZone + `*.*.twice TXT "below a wildcard without records"
star\* A 192.0.2.5
dot\.ted TXT "an escaped dot"
\000\255.gap TXT "octets in a name"
low.UPPER MX 10 WWW
other NS ns.sub
`

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
	every, ways := 9, []string{"pair-nsec3", "csk-nsec"}
	if os.Getenv("POSTERN_PROVE") != "" { // make prove
		every, ways = 1, slices.Sorted(maps.Keys(killedWays))
	}
	for i, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			for step := 1 + 4*i%every; ; step += every {
				dir := t.TempDir()
				killed, served := killedAt(t, dir, way, step)
				survives(t, dir, way, step, served)
				if !killed {
					if step < 80 {
						t.Errorf("only %d steps were seen", step)
					}
					t.Logf("%d steps", step)
					return
				}
			}
		})
	}
}

// killedAt returns the highest serials that the process served, by view.
func killedAt(t *testing.T, dir, way string, step int) (killed bool, served map[string]uint32) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilledAtAnyStep$", "-test.count=1")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s %s", killEnv, step, way, dir))
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
	f := strings.SplitN(at, " ", 3)
	way, dir := f[1], f[2]
	last, err := strconv.Atoi(f[0])
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
	c := mortal(t, dir, way, w, func() time.Time { return now })
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
	write("external/city.example.zone", killedZone)
	write("internal/city.example.zone", "intranet 300 A 10.0.0.2\n*.gap 300 A 10.0.0.3\n")
	a, err := authority.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	write("external/city.example.zone", killedZone+"new A 192.0.2.77\n")
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
func mortal(t *testing.T, dir, way string, w atomicfile.Writer, now func() time.Time) authority.Config {
	t.Helper()
	keys := filepath.Join(dir, "keys")
	ring, err := keyring.OpenWith(keys, w)
	if err != nil {
		t.Fatal(err)
	}
	if problems := ring.Problems(); len(problems) > 0 {
		t.Errorf("keys: %v", problems)
	}
	policy := killedWays[way]
	policy.Name, policy.ZONEMD = way, true
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
func survives(t *testing.T, dir, way string, step int, served map[string]uint32) {
	t.Helper()
	now := time.Now().Add(21 * 24 * time.Hour)
	for life := range 2 {
		c := mortal(t, dir, way, atomicfile.Writer{}, func() time.Time { return now })
		c.Changed = nil
		a, err := authority.New(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, view := range []string{"external", "internal"} {
			z, _ := a.Content(city, view)
			if z == nil {
				t.Fatalf("step %d, life %d: view %s has no zone; %+v", step, life, view, a.Zones())
			}
			if problems := attest.Check(z, now, attest.Context{OptOut: killedWays[way].OptOut, ZONEMD: true, Workers: 1}); len(problems) > 0 {
				t.Errorf("step %d, life %d: view %s: %v", step, life, view, problems)
			}
			if was, ok := served[view]; ok && z.Serial() != was && !zone.SerialLess(was, z.Serial()) {
				t.Errorf("step %d, life %d: view %s has serial %d after %d", step, life, view, z.Serial(), was)
			}
			if nsec3 := z.Node(city).Set(dns.TypeNSEC3PARAM) != nil; nsec3 != (killedWays[way].Denial == signer.NSEC3) || len(z.Node(city).Set(dns.TypeDNSKEY).RRs) != int(killedWays[way].Model) {
				t.Errorf("step %d, life %d: view %s is not signed by %s", step, life, view, way)
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
