package load

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A virtual machine's processor belongs to its host, which takes it away for
// tens of milliseconds at a time and then says so (proc_stat(5), steal). What
// is measured then is the host. calm sorts a run at a steady rate into windows
// and counts those apart in which, or right beside which, nothing was taken.
type calm struct {
	fd     int
	text   [4096]byte
	begin  int64
	now    int           // the number of the window that is open
	stolen uint64        // what had been taken when it was opened
	taken  []bool        // by window: something was
	ring   [4]Histogram  // of the last windows
	fresh  [maxFresh]int // windows in which a version was first seen
	nfresh int           // of them
	result *Result
}

const (
	calmLen = 20 * time.Millisecond // of a window; the kernel counts in hundredths of a second
	// A queue that fills while the server is away overflows until it is back:
	// a query is lost to the host when it took something in so many windows
	// after it was sent.
	lostAfter = 15
	// At half of what the server can do, what has queued up takes as long again
	// to be worked off; until then the queue may overflow.
	lostBefore = 10
	// An edit's work lies in so many windows on both sides of the first answer
	// that shows it.
	editAround = 4
	maxFresh   = 1 << 10
)

func newCalm(during time.Duration, timeout time.Duration) (*calm, error) {
	fd, err := unix.Open("/proc/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /proc/stat: %w", err)
	}
	return &calm{fd: fd, taken: make([]bool, 0, (during+3*timeout)/calmLen+2)}, nil
}

func (w *calm) close() { _ = unix.Close(w.fd) } // nothing was written

// start begins the first window.
func (w *calm) start(begin int64, r *Result) {
	w.begin, w.result, w.stolen = begin, r, w.steal()
}

// steal returns what the host took since the machine started, in hundredths
// of a second of one core.
func (w *calm) steal() uint64 {
	n, err := unix.Pread(w.fd, w.text[:], 0)
	if err != nil {
		return w.stolen
	}
	line, _, _ := bytes.Cut(w.text[:n], []byte("\n"))
	field := 0
	for i, ch := range line { // cpu user nice system idle iowait irq softirq steal
		if ch == ' ' && i > 0 && line[i-1] != ' ' {
			if field++; field == 8 {
				v := uint64(0)
				for _, ch := range line[i+1:] {
					if ch < '0' || ch > '9' {
						break
					}
					v = v*10 + uint64(ch-'0')
				}
				return v
			}
		}
	}
	return 0
}

// tick closes the windows that are over.
func (w *calm) tick(now int64) {
	if w == nil {
		return
	}
	at := int((now - w.begin) / int64(calmLen))
	if at <= w.now {
		return
	}
	stolen := w.steal()
	grew := stolen > w.stolen
	w.stolen = stolen
	for w.now < at {
		if len(w.taken) == cap(w.taken) {
			return
		}
		w.taken = append(w.taken, grew)
		w.now++
		if last := w.now - 2; last >= 0 { // its neighbours are known
			h := &w.ring[last%len(w.ring)]
			w.result.Windows++
			if w.untouched(last-1, last+1) {
				w.result.CalmWindows++
				w.result.Calm.Merge(h)
			}
			*h = Histogram{}
		}
	}
}

// untouched reports whether the host took nothing from one window to another.
func (w *calm) untouched(from, to int) bool {
	for i := max(from, 0); i <= to && i < len(w.taken); i++ {
		if w.taken[i] {
			return false
		}
	}
	return true
}

// add counts a time in the open window.
func (w *calm) add(d time.Duration) {
	if w != nil {
		w.ring[w.now%len(w.ring)].Add(d)
	}
}

// version notes that a new version was seen.
func (w *calm) version() {
	if w != nil && w.nfresh < maxFresh {
		w.fresh[w.nfresh] = w.now
		w.nfresh++
	}
}

// lost counts a query that got no answer, by when it was sent.
func (w *calm) lost(sent int64) {
	if w == nil {
		return
	}
	if at := int((sent - w.begin) / int64(calmLen)); w.untouched(at-lostBefore, at+lostAfter) {
		w.result.CalmLost++
	}
}

// end counts the edits that were seen in calm windows.
func (w *calm) end() {
	if w == nil {
		return
	}
	for _, at := range w.fresh[:w.nfresh] {
		if w.untouched(at-editAround, at+editAround) {
			w.result.CalmVersions++
		}
	}
}
