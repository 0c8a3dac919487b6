package load

import (
	"math/bits"
	"time"
)

// fine is how many steps a power of two has: a value is off by 2 % at most.
const fine = 32

// Histogram counts times, from nanoseconds to minutes.
type Histogram struct {
	counts [40 * fine]uint64
	n      uint64
}

// Add counts one time.
func (h *Histogram) Add(d time.Duration) {
	h.counts[step(d)]++
	h.n++
}

func step(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 2*fine {
		return int(v)
	}
	e := bits.Len64(v) - 6 // so that v>>e has six bits
	return min(e*fine+int(v>>e), 40*fine-1)
}

// At returns what that part of the times, 0 to 1, is not above.
func (h *Histogram) At(part float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want, sum := max(uint64(part*float64(h.n)), 1), uint64(0)
	for i, n := range h.counts {
		if sum += n; sum >= want {
			return top(i)
		}
	}
	return top(len(h.counts) - 1)
}

// top is the longest time of a step.
func top(i int) time.Duration {
	if i < 2*fine {
		return time.Duration(i)
	}
	e := i/fine - 1
	return time.Duration((uint64(i-e*fine)+1)<<e - 1).Round(time.Microsecond)
}

// Merge adds what another one counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
}
