package authority

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// lesser is by how much the priority is lowered: a tenth of the weight.
const lesser = 10

// lower lowers the priority of the calling thread. Everybody may.
func lower() error {
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
