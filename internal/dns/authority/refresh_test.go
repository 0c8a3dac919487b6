package authority

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/internal/atomicfile"
	"postern/internal/dns/journal"
	"postern/internal/dns/zone"
)

// TestSignaturesOutliveTheDisk: while the disk is full, or cannot be written at
// all, no content changes, but signatures never run out, and what was served
// is not taken back by a restart where the disk let a serial be noted.
func TestSignaturesOutliveTheDisk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		inPlace bool // files that are there can be written
	}{{"full", true}, {"unwritable", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := policies()[0]
			b, _ := signBench(t, p)
			first := b.wantSigned(p)
			var ill atomic.Bool
			b.cfg.Writer = atomicfile.Writer{Fault: func(s atomicfile.Step) error {
				if ill.Load() && !(c.inPlace && s == journal.StepSpare) {
					return syscall.ENOSPC
				}
				return nil
			}}
			b.start()
			ill.Store(true)
			b.write("external/example.test.zone", signable+"new A 192.0.2.99\n")
			b.settle()
			if s := b.status("external", "example.test."); s.Reason != reasonJournal || s.ServedSerial != first[0] {
				t.Errorf("an edit: %+v", s)
			}
			last := first
			for days := 0; days < 45; days += 4 { // longer than any signature
				b.later(4 * day)
				b.scan()
				now := b.wantSigned(p)
				if now[0] != last[0] && !zone.SerialLess(last[0], now[0]) || now[1] != last[1] && !zone.SerialLess(last[1], now[1]) {
					t.Fatalf("serials %v after %v", now, last)
				}
				last = now
				b.want("external", "new.example.test.", "")
			}
			if n := b.a.Counters.Unsaved.Value(); n < 8 || last == first {
				t.Errorf("signed anew %d times, serials %v", n, last)
			}
			if s := b.status("internal", "example.test."); s.Reason != reasonJournal {
				t.Errorf("nobody is told: %+v", s)
			}
			before := b.a.Counters.Unsaved.Value()
			b.scan()
			if n := b.a.Counters.Unsaved.Value(); n != before {
				t.Errorf("signed anew %d times without need", n-before)
			}

			b.start() // down and up again while the disk is ill
			again := b.wantSigned(p)
			if c.inPlace && !zone.SerialLess(last[0], again[0]) {
				t.Errorf("serials %v after a restart, %v before", again, last)
			}
			b.want("external", "new.example.test.", "")

			ill.Store(false)
			b.later(saveAgain)
			b.settle()
			b.want("external", "new.example.test.", "192.0.2.99")
			well := b.wantSigned(p)
			for _, view := range []string{"external", "internal"} {
				if s := b.status(view, "example.test."); s.State != OK {
					t.Errorf("%+v", s)
				}
			}
			b.start()
			if kept := b.wantSigned(p); kept != well {
				t.Errorf("serials %v after a restart, %v before", kept, well)
			}
		})
	}
}

// TestUnsavedIsKeptLater: what was served from memory alone is in the journal
// once the disk takes it, as it was served.
func TestUnsavedIsKeptLater(t *testing.T) {
	t.Parallel()
	p := policies()[3]
	b, _ := signBench(t, p)
	var ill atomic.Bool
	b.cfg.Writer = atomicfile.Writer{Fault: func(atomicfile.Step) error {
		if ill.Load() {
			return syscall.EROFS
		}
		return nil
	}}
	b.start()
	first := b.wantSigned(p)
	ill.Store(true)
	b.later(13 * day)
	b.scan()
	served := b.wantSigned(p)
	if served == first {
		t.Fatal("nothing was signed anew")
	}
	ill.Store(false)
	b.later(saveAgain - time.Second)
	b.scan()
	if s := b.status("external", "example.test."); s.Reason != reasonJournal {
		t.Errorf("tried at once: %+v", s)
	}
	b.later(time.Second)
	b.scan()
	if s := b.status("external", "example.test."); s.State != OK {
		t.Errorf("%+v", s)
	}
	b.start()
	if kept := b.wantSigned(p); kept != served {
		t.Errorf("serials %v after a restart, %v before", kept, served)
	}
}
