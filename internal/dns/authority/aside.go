package authority

import "postern/internal/lifecycle"

// roomFrom is how many octets of files, one or many, take long enough to load
// for room of their own.
const roomFrom = 64 << 10

// makeRoom is for what takes long while questions are answered: it is done with
// room of its own (Config.Room), where the owner's thread stands back
// (standBack), so that the kernel runs whoever has a question to read first.
// Without, on one core, a reader would wait until the runtime takes the core
// from the owner, for ten milliseconds and more. Room stops all readers for a
// moment to be made, so who only looks takes none.
func (o *owner) makeRoom() {
	if o.leave == nil && o.a.cfg.Room != nil && o.watch != nil {
		o.leave = o.a.cfg.Room()
	}
}

// toRead makes room where so much is read that it takes long.
func (o *owner) toRead(octets int64) {
	if o.reading += octets; o.reading >= roomFrom {
		o.makeRoom()
	}
}

// leaveRoom ends what makeRoom began.
func (o *owner) leaveRoom() {
	o.reading = 0
	if o.leave != nil {
		o.leave()
		o.leave = nil
	}
}

// standBack lets the readers go before the calling goroutine.
func (o *owner) standBack() {
	if err := lifecycle.StandBack(); err != nil {
		o.log.Warn("zones are loaded at the priority of answers", "err", err)
	}
}
