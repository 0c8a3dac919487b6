package lab

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The child finds the test it is for, and its folder, in its environment.
const (
	envTest = "POSTERN_LAB_TEST"
	envDir  = "POSTERN_LAB_DIR"
)

// outside runs the test again in a child with namespaces of its own, and
// reports what came of it.
func outside(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the lab lacks the right to make a network namespace: not root")
	}
	dir := mountPoint(t)
	cmd, broker := child(t, dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out

	// The kernel ends the child when the thread that made it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) {
			t.Skipf("the lab lacks the right to make a network namespace: %v", err)
		}
		t.Fatal(err)
	}
	broker.serve(cmd.ExtraFiles[0])
	err := cmd.Wait()
	broker.wait()
	text := prefixed(out.String())
	switch {
	case err != nil:
		t.Errorf("the world failed: %v\n%s", err, text)
	case broker.skip != "":
		t.Skip(broker.skip)
	case !broker.ran:
		t.Errorf("the child did not run this test\n%s", text)
	case testing.Verbose():
		t.Logf("in its world:\n%s", text)
	}
}

// child prepares the command and the conversation with it.
func child(t *testing.T, dir string) (*exec.Cmd, *broker) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := socketPair(t)
	// The longest needs one where nothing else runs.
	limit := 4 * time.Minute
	if os.Getenv("POSTERN_PROVE") != "" { // make prove, make bench: long forms
		limit = 30 * time.Minute
	}
	if deadline, ok := t.Deadline(); ok {
		limit = min(limit, max(time.Until(deadline)-5*time.Second, time.Second))
	}
	cmd := exec.Command(exe, "-test.run="+pattern(t.Name()), "-test.v", "-test.count=1",
		"-test.timeout="+limit.String())
	cmd.Env = append(os.Environ(), envTest+"="+t.Name(), envDir+"="+dir,
		// A race-enabled binary sleeps a second at exit unless told not to.
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
		// Unshared between fork and exec, since the runtime then also makes the
		// mounts private: nothing of ours may spread to the system.
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	return cmd, &broker{conn: ours, done: make(chan struct{})}
}

// pattern selects exactly one test, or one subtest.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// mountPoint is an empty folder with a short name, since the names of unix
// sockets below it are limited; t.TempDir's are long and closed to others.
func mountPoint(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func socketPair(t *testing.T) (ours net.Conn, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mine := os.NewFile(uintptr(fds[0]), "lab")
	defer mine.Close()
	ours, err = net.FileConn(mine)
	if err != nil {
		t.Fatal(err)
	}
	return ours, os.NewFile(uintptr(fds[1]), "lab child")
}

// prefixed keeps the child's "--- FAIL" lines from being read as ours.
func prefixed(text string) string {
	return "| " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n| ")
}

// inside furnishes the namespaces this process is in.
func inside(t *testing.T) *Lab {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &Lab{Dir: os.Getenv(envDir), t: t, ctx: ctx, places: map[string]bool{}}
	fd := os.NewFile(3, "lab")
	conn, err := net.FileConn(fd)
	if err != nil {
		t.Fatal(err)
	}
	fd.Close()
	l.parent = conn
	t.Cleanup(func() { cancel(); l.close() })
	if err := furnish(l.Dir); err != nil {
		t.Fatalf("lab: %v", err)
	}
	return l
}
