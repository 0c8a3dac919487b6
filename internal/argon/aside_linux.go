package argon

import (
	"os/exec"
	"syscall"

	"postern/internal/lifecycle"
)

// start starts a child that stands back, in a group of its own: an interrupt at the
// terminal is its parent's, who will end it. A process inherits the priority of the
// thread that starts it; that one ends with its goroutine.
func start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	started := make(chan error, 1)
	go func() {
		// At the usual priority it is no less right.
		_ = lifecycle.StandBack()
		started <- cmd.Start()
	}()
	return <-started
}
