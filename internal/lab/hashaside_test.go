package lab_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"postern/internal/lab"
)

// TestHashesAside: passwords are hashed in a process of its own, which nobody
// misses when it dies, and which does not outlive the server, however that ends.
func TestHashesAside(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		l.ExecInput("route add local 198.18.0.0/15 dev lo\n", "ip", "-batch", "-").Want(0)
		edge := l.Prepare(lab.PosternConfig{Name: "postern", Config: loginConfig})
		newEditor(l, edge.Path("zones", "example.test.zone"), 10, 0)
		edge.Start()
		edge.AddUser("anna@example.test", "correct horse battery")
		gone := func(pids []int) {
			l.T().Helper()
			l.Eventually("the end of the process for hashes", func() error {
				for _, pid := range pids {
					if state, _ := stat(l, pid); state != "" && state != "Z" {
						return fmt.Errorf("%d is still there, %s", pid, state)
					}
				}
				return nil
			})
		}
		first := hashers(l, edge.Pid())
		if len(first) == 0 {
			t.Fatal("no process for hashes")
		}
		for _, pid := range first {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
		login(l, "198.18.200.1", "anna@example.test", "correct horse battery").want(l, "235")
		login(l, "198.18.200.1", "anna@example.test", "wrong horse battery").want(l, "535")
		if !strings.Contains(edge.Said(), "reason=hash-process") {
			t.Error("nothing said of the process that died")
		}
		gone(first)

		for what, end := range map[string]func(){"stopped": edge.Stop, "killed": edge.Kill9} {
			if edge.Running() {
				edge.Stop()
			}
			edge.Start()
			login(l, "198.18.200.1", "anna@example.test", "correct horse battery").want(l, "235")
			pids := hashers(l, edge.Pid())
			if len(pids) == 0 {
				t.Errorf("%s: no process for hashes", what)
			}
			end()
			gone(pids)
		}
	})
}

// hashers returns the children of a process, which are all for hashes.
func hashers(l *lab.Lab, parent int) (pids []int) {
	l.T().Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		l.T().Fatal(err)
	}
	for _, file := range all {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			l.T().Fatal(err)
		}
		if _, its := stat(l, pid); its == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stat returns the state of a process, Z if it has ended and nobody has asked how,
// "" if there is none, and its parent.
func stat(l *lab.Lab, pid int) (state string, parent int) {
	l.T().Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return "", 0
	}
	if err != nil {
		l.T().Fatal(err)
	}
	// pid (name) state parent; a name may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if parent, err = strconv.Atoi(fields[1]); err != nil {
		l.T().Fatal(err)
	}
	return fields[0], parent
}
