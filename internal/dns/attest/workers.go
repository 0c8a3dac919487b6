package attest

import (
	"sync"
	"sync/atomic"
)

// worker is what one goroutine keeps from one piece of work to the next.
type worker struct {
	data  []byte   // what a signature is over
	sig   []byte   // a signature
	types []uint16 // of a name

	entries []*key // that sign the DNSKEY set, once that is judged
}

// A piece of work is small enough that none waits long for the last one.
const pieceSize = 256

// inParallel does the work for each of n things, in pieces, and the other work
// beside it, by as many workers as the context allows. It returns what each
// piece found, in order.
func (j *judge) inParallel(n int, do func(i int, w *worker, f *findings), others ...func(f *findings)) []findings {
	pieces := (n + pieceSize - 1) / pieceSize
	found := make([]findings, pieces+len(others))
	var next atomic.Int64
	work := func() {
		var w worker
		for {
			p := int(next.Add(1)) - 1 - len(others) // others take long: they come first
			switch {
			case p < 0:
				others[-p-1](&found[pieces-p-1])
				continue
			case p >= pieces:
				return
			}
			select {
			case <-j.context.Done:
				return
			default:
			}
			for i := p * pieceSize; i < min((p+1)*pieceSize, n); i++ {
				do(i, &w, &found[p])
			}
		}
	}
	var all sync.WaitGroup
	for range min(j.context.Workers, len(found)) - 1 {
		all.Go(work)
	}
	work()
	all.Wait()
	return found
}
