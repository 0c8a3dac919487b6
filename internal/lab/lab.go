package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long anything in the lab is waited for. It is far more than
// a healthy world needs, so that a busy machine does not fail a test.
const patience = 20 * time.Second

// Lab is a running world. It belongs to the goroutine of its test.
type Lab struct {
	// Dir is scratch space in memory that every user may enter.
	Dir string

	t      *testing.T
	ctx    context.Context
	parent net.Conn // to the process outside, see broker.go
	places map[string]bool
	peers  []*Process
	logs   []*Log
	apart  int    // how many programs run in a namespace of their own
	clock  *Clock // nil: the machine's
}

// In runs body inside a world of its own and returns when that has ended. What
// follows In in a test runs outside, so nothing should.
func In(t *testing.T, body func(l *Lab)) {
	t.Helper()
	if os.Getenv(envTest) != t.Name() {
		outside(t)
		return
	}
	l := inside(t)
	body(l)
}

// T returns the test, or the running Step of it.
func (l *Lab) T() *testing.T { return l.t }

// Context ends with the test.
func (l *Lab) Context() context.Context { return l.ctx }

// Step runs f as a subtest, for its name in the output. A failed step does not
// stop the ones after it. Steps do not run in parallel.
func (l *Lab) Step(name string, f func()) {
	whole := l.t
	defer func() { l.t = whole }()
	whole.Run(name, func(t *testing.T) {
		l.t = t
		f()
	})
}

// Path returns a path below Dir.
func (l *Lab) Path(elem ...string) string {
	return filepath.Join(append([]string{l.Dir}, elem...)...)
}

// Write writes a file below Dir, or at an absolute path, making its folders.
// Common indentation of the text is removed.
func (l *Lab) Write(path, text string) string {
	l.t.Helper()
	if !filepath.IsAbs(path) {
		path = l.Path(path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(dedent(text)), 0o644); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// Eventually calls f until it returns nil, and fails the test with its last
// error when patience ends.
func (l *Lab) Eventually(what string, f func() error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	if err := poll(ctx, f); err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
}

// poll calls f until it returns nil or ctx ends.
func poll(ctx context.Context, f func() error) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// place makes a folder of Dir for one peer; a name can be used once.
func (l *Lab) place(name string) string {
	l.t.Helper()
	if l.places[name] {
		l.t.Fatalf("lab: two peers named %s", name)
	}
	l.places[name] = true
	dir := l.Path(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	return dir
}

// close ends the world: the newest peer first, then, if the test failed, the
// logs of all.
func (l *Lab) close() {
	for i := len(l.peers) - 1; i >= 0; i-- {
		l.peers[i].kill()
	}
	if l.t.Failed() {
		for _, log := range l.logs {
			l.t.Logf("=== log of %s\n%s", log.name, log.tail(80))
		}
	}
	if keep := os.Getenv("POSTERN_LAB_KEEP"); keep != "" {
		l.keep(keep)
	}
	l.tell("ran")
}

// keep copies the logs to a folder outside.
func (l *Lab) keep(dir string) {
	dir = filepath.Join(dir, strings.ReplaceAll(l.t.Name(), "/", "_"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Error(err)
		return
	}
	for _, log := range l.logs {
		if err := os.WriteFile(filepath.Join(dir, log.name+".log"), []byte(log.String()), 0o644); err != nil {
			l.t.Error(err)
		}
	}
}

// dedent removes the indentation that all lines of a raw string share, and the
// empty line it begins with.
func dedent(text string) string {
	text = strings.TrimPrefix(text, "\n")
	lines := strings.Split(text, "\n")
	common, found := "", false
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if !found {
			common, found = indent, true
		}
		for !strings.HasPrefix(indent, common) {
			common = common[:len(common)-1]
		}
	}
	for i, line := range lines {
		if strings.TrimSpace(line) == "" {
			line = ""
		}
		lines[i] = strings.TrimPrefix(line, common)
	}
	return strings.Join(lines, "\n")
}

// program returns the path of a peer's program; without it the test skips, or
// fails where everything ought to be there.
func (l *Lab) program(name, debianPackage string) string {
	l.t.Helper()
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/postfix/sbin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	l.lacks(name, debianPackage)
	return ""
}

// lacks ends the test, whose world cannot be had without that package.
func (l *Lab) lacks(what, debianPackage string) {
	l.t.Helper()
	lack := fmt.Sprintf("the lab lacks %s (Debian package %s)", what, debianPackage)
	if os.Getenv("CI") == "true" {
		l.t.Fatal(lack + ", and CI=true")
	}
	l.tell("skip " + lack)
	l.t.Skip(lack)
}
