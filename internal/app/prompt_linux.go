package app

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// promptSlice, in nanoseconds, is how long our threads want to run at a time.
const promptSlice = 200_000

// prompt asks the kernel for short turns that come soon, which is how answers
// are made; threads to come inherit it. Kernels before 6.12 take no notice,
// and a policy that somebody chose for us stays.
func prompt() {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			continue
		}
		attr, err := unix.SchedGetAttr(tid, 0)
		if err != nil || attr.Policy != unix.SCHED_NORMAL {
			continue
		}
		attr.Runtime = promptSlice
		_ = unix.SchedSetAttr(tid, attr, 0) // it serves without
	}
}
