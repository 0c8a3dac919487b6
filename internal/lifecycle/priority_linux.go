package lifecycle

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// lesser is by how much the priority is lowered: a tenth of the weight.
const lesser = 10

// StandBack gives the calling goroutine a thread of its own with a lower
// priority, for as long as it lives: for work that takes long while questions
// are answered. Everybody may. Not the lowest: a flood of questions must not
// keep the work from being done.
func StandBack() error {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	// The system call counts from 40 down to 1, so that it is never negative.
	is, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return fmt.Errorf("priority of the thread: %w", err)
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, min(20-is+lesser, 19)); err != nil {
		return fmt.Errorf("lower the priority of the thread: %w", err)
	}
	return nil
}
