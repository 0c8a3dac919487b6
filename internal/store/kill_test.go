package store

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestKill kills a process that writes: every row whose commit returned must be
// there, and the file sound.
func TestKill(t *testing.T) {
	t.Parallel()
	if path := os.Getenv("POSTERN_STORE_KILL"); path != "" {
		writeForEver(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "postern.db")
	closed(t, open(t, path))
	promised := 0
	for round := 1; round <= 3; round++ {
		promised += killAfter(t, path, 10*round)
		s := open(t, path) // checks the file
		var have int
		if err := s.DB().QueryRow("SELECT count(*) FROM accounts").Scan(&have); err != nil || have < promised {
			t.Fatalf("round %d: %d rows of %d promised, %v", round, have, promised, err)
		}
		promised = have // a commit may have ended whose line was lost
		closed(t, s)
	}
}

// killAfter runs the writer until it has told of n commits.
func killAfter(t *testing.T, path string, n int) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), "POSTERN_STORE_KILL="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := 0
	for lines := bufio.NewScanner(out); told < n && lines.Scan(); told++ {
		if lines.Text() != "committed" {
			t.Errorf("the writer says %q", lines.Text())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}
	return told
}

func writeForEver(t *testing.T, path string) {
	t.Helper()
	s := open(t, path)
	for i := 0; ; i++ {
		if _, err := s.DB().Exec("INSERT INTO accounts (login, hash, created, changed) VALUES (?, 'h', 1, 1)", fmt.Sprintf("%d-%d", os.Getpid(), i)); err != nil {
			t.Fatal(err)
		}
		fmt.Println("committed")
	}
}
