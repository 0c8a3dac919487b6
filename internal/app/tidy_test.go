package app

import (
	"runtime"
	"testing"
)

func TestPercent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		live, room uint64
		want       int
	}{
		{0, 512 << 20, 100},
		{10 << 20, 512 << 20, 800},
		{64 << 20, 512 << 20, 800},
		{128 << 20, 512 << 20, 400},
		{1 << 30, 512 << 20, 100}, // never sooner than by the usual rule
		{64 << 20, 0, 100},
	} {
		if got := percent(c.live, c.room); got != c.want {
			t.Errorf("%d live, room for %d: %d %%, want %d", c.live, c.room, got, c.want)
		}
	}
}

func TestMachineMemory(t *testing.T) {
	t.Parallel()
	runtime.GC()
	if runtime.GOOS == "linux" && machineMemory() < live() || live() == 0 {
		t.Errorf("of %d octets %d are in use", machineMemory(), live())
	}
}
