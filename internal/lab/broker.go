package lab

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The child and the process outside talk in lines over a socket pair. The
// child says "ran", "skip REASON", or "binary", which is answered with
// "ok PATH" or "error TEXT": one build serves all worlds of a test run.

// broker is the outside end.
type broker struct {
	conn net.Conn
	done chan struct{}
	ran  bool
	skip string
}

// serve answers until the child closes its end; child is our copy of that.
func (b *broker) serve(child *os.File) {
	child.Close()
	go func() {
		defer close(b.done)
		defer b.conn.Close()
		lines := bufio.NewScanner(b.conn)
		for lines.Scan() {
			word, rest, _ := strings.Cut(lines.Text(), " ")
			switch word {
			case "ran":
				b.ran = true
			case "skip":
				b.skip = rest
			case "binary":
				fmt.Fprintln(b.conn, binary())
			}
		}
	}()
}

func (b *broker) wait() { <-b.done }

// tell says a line to the process outside.
func (l *Lab) tell(line string) {
	if _, err := fmt.Fprintln(l.parent, line); err != nil {
		l.t.Errorf("lab: speak to the process outside: %v", err)
	}
}

// binary returns the answer to "binary". POSTERN_LAB_BINARY names a ready one.
var binary = sync.OnceValue(func() string {
	path := os.Getenv("POSTERN_LAB_BINARY")
	if path == "" {
		var err error
		if path, err = build(); err != nil {
			return "error " + strings.Join(strings.Fields(err.Error()), " ")
		}
	}
	return "ok " + path
})

// build makes the binary in the checkout's build folder. A lock keeps test
// processes of several packages apart; an unchanged binary is not linked again.
func build() (string, error) {
	root, err := checkout()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "build", "lab")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	path := filepath.Join(dir, "postern")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/postern")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/postern: %w: %s", err, out)
	}
	return path, nil
}

// checkout finds the module's root above the working directory.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module postern\n") {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no checkout of module postern above the working directory")
		}
		dir = up
	}
}

// Binary returns the path of the postern binary, built once a test run.
func (l *Lab) Binary() string {
	l.t.Helper()
	l.tell("binary")
	line, err := bufio.NewReader(l.parent).ReadString('\n')
	if err != nil {
		l.t.Fatalf("lab: ask for the binary: %v", err)
	}
	verdict, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if verdict != "ok" {
		l.t.Fatalf("lab: no binary: %s", rest)
	}
	return rest
}

// Checkout returns the root of the source tree.
func Checkout(t *testing.T) string {
	t.Helper()
	root, err := checkout()
	if err != nil {
		t.Fatal(err)
	}
	return root
}
