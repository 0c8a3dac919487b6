package authority

import "runtime"

// aside does what may take long while questions are answered: with room of
// its own (Config.Room), where the owner's thread stands back (standBack), so
// that the kernel runs whoever has a question to read first. Without, on one
// core, a reader would wait until the runtime takes the core from the owner,
// for ten milliseconds and more.
func (o *owner) aside(f func()) {
	if room := o.a.cfg.Room; room != nil {
		defer room()()
	}
	f()
}

// standBack gives the calling goroutine a thread of its own with a lower
// priority, for as long as it lives. Not the lowest: a flood of questions
// must not keep an edit from being served.
func (o *owner) standBack() {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if err := lower(); err != nil {
		o.log.Warn("zones are loaded at the priority of answers", "err", err)
	}
}
