package app

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"

	"postern/internal/lifecycle"
)

// The collector works beside the readers, at their priority, and the more
// zones hold the longer: a tenth of a second and more for a large one. An edit
// leaves little behind beside what is held, but by the usual rule, to collect
// when half of the memory is garbage, every third edit of a large zone would
// have the collector work. So once zones of some size are loaded it waits until
// there is garbage of editRoom, of a part of the machine's memory, or of
// editTimes what lives, whatever is least; and whoever has stopped editing gives
// that room back.
const (
	editRoom     = 512 << 20
	editRoomPart = 8 // of the machine's memory, at most
	editTimes    = 8
	heapEvery    = 10 * time.Second // how soon the room follows what lives
)

// heap gives the collector room. It implements lifecycle.Part.
type heap struct {
	room    uint64
	workers lifecycle.Workers

	mu  sync.Mutex // guards set
	set int        // percent; 0: as the runtime has it
}

// Start keeps the room what it is while what lives grows and shrinks.
func (h *heap) Start(context.Context) error {
	h.room = min(editRoom, machineMemory()/editRoomPart)
	h.workers.Go("heap", func(ctx context.Context) {
		again := time.NewTicker(heapEvery)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-again.C:
				h.follow(false)
			}
		}
	})
	return nil
}

// Stop ends that.
func (h *heap) Stop(ctx context.Context) error { return h.workers.Stop(ctx) }

// tidy gives back what loading and editing needed, and makes room for the next
// edits.
func (h *heap) tidy() {
	apart(func() {
		debug.FreeOSMemory()
		h.follow(true)
	})
}

// follow sets the room anew, where that is much another one than was set;
// nothing is before begin.
func (h *heap) follow(begin bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if os.Getenv("GOGC") != "" || h.set == 0 && !begin { // somebody knows better, or there are no such zones
		return
	}
	if p := percent(live(), h.room); 5*p < 4*h.set || 5*p > 6*h.set {
		debug.SetGCPercent(p)
		h.set = p
	}
}

// percent is the garbage that may gather, in percent of what lives: never less
// than by the usual rule.
func percent(live, room uint64) int {
	return int(max(100, 100*min(room, editTimes*live)/max(live, 1)))
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
