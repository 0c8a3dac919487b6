package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
)

// The collector works beside the readers, at their priority, and the more
// zones hold the longer: a tenth of a second and more for a large one. An edit
// leaves little behind beside what is held, but by the usual rule, to collect
// when half of the memory is garbage, every third edit of a large zone would
// have the collector work. So once large zones are loaded it waits until there
// is garbage of editRoom, or of a part of the machine's memory, and whoever has
// stopped editing gets that room back from tidy.
const (
	editRoom     = 512 << 20
	editRoomPart = 8        // of the machine's memory, at most
	largeHeap    = 32 << 20 // below, collecting is quick
)

// tidy gives back what loading and editing needed, and makes room for the next
// edits.
func tidy() {
	apart(func() {
		debug.FreeOSMemory()
		if os.Getenv("GOGC") == "" { // else somebody knows better
			debug.SetGCPercent(percent(live(), min(editRoom, machineMemory()/editRoomPart)))
		}
	})
}

// percent is the garbage that may gather, in percent of what lives.
func percent(live, room uint64) int {
	if live < largeHeap {
		return 100
	}
	return int(max(100, 100*room/live))
}

// live is what the last collection found alive, in octets.
func live() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}

// machineMemory is that of the machine, or of the part of it that we are
// allowed, in octets; 0 where it cannot be told.
func machineMemory() uint64 {
	if runtime.GOOS != "linux" {
		return 0
	}
	memory := uint64(0)
	text, _ := os.ReadFile("/proc/meminfo") // nothing of it is 0
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "MemTotal:" {
			kib, _ := strconv.ParseUint(fields[1], 10, 64)
			memory = kib << 10
		}
	}
	text, _ = os.ReadFile("/sys/fs/cgroup/memory.max") // "max", or no such file
	if limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
		memory = min(memory, limit)
	}
	return memory
}
