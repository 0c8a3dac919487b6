package argon

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestChildStandsBack: in a group of its own, and behind its parent.
func TestChildStandsBack(t *testing.T) {
	t.Parallel()
	k := children(t, Config{})
	right(t, k, "a")
	pid := k.idle[0].cmd.Process.Pid
	ours, err1 := unix.Getpriority(unix.PRIO_PROCESS, 0)
	its, err2 := unix.Getpriority(unix.PRIO_PROCESS, pid)
	group, err3 := unix.Getpgid(pid)
	// The system call counts from 40, the most, down to 1; see lifecycle.StandBack.
	if want := max(ours-10, 1); err1 != nil || err2 != nil || its != want {
		t.Errorf("priority %d, %v, %v, want %d", its, err1, err2, want)
	}
	if err3 != nil || group != pid {
		t.Errorf("group %d of %d, %v", group, pid, err3)
	}
}
