package smtpd

import (
	"io"
	"sync"
)

// How much room an inbox has: a command line's worth while it waits, so that
// thousands of idle clients cost little; a block inside a message.
const (
	lineRoom  = maxCommandLine + 2
	blockRoom = 32 << 10
)

// inbox is what has been read and not been taken yet.
type inbox struct {
	src  io.Reader
	buf  []byte
	r, w int

	block *[]byte // buf, while it is borrowed
	line  []byte  // what was buf before
}

// reset begins with another source; nothing is kept.
func (i *inbox) reset(src io.Reader) { *i = inbox{src: src} }

// held is what can be taken; it stays valid until more, borrow or giveBack.
func (i *inbox) held() []byte { return i.buf[i.r:i.w] }

// take forgets the first n octets of held.
func (i *inbox) take(n int) { i.r += n }

// more reads once, into at least room octets where nothing is held.
func (i *inbox) more(room int) error {
	if i.r == i.w {
		i.r, i.w = 0, 0
		if len(i.buf) != room && i.block == nil {
			i.buf = make([]byte, room)
		}
	}
	if i.w == len(i.buf) {
		i.makeRoom()
	}
	for range 100 { // a Reader may give nothing now and then (io.Reader)
		n, err := i.src.Read(i.buf[i.w:])
		i.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// makeRoom moves what is held to the front, of a larger buffer where it is all.
func (i *inbox) makeRoom() {
	to := i.buf
	if i.r == 0 {
		to = make([]byte, 2*len(i.buf))
	}
	i.w = copy(to, i.held())
	i.r, i.buf = 0, to
}

// borrow gives it a block's room for a message, until giveBack.
func (i *inbox) borrow(blocks *sync.Pool) {
	if i.block != nil {
		return
	}
	b, ok := blocks.Get().(*[]byte)
	if !ok {
		fresh := make([]byte, blockRoom)
		b = &fresh
	}
	n := copy(*b, i.held()) // what is held is no more than an AUTH line
	i.line, i.block = i.buf, b
	i.buf, i.r, i.w = *b, 0, n
}

// giveBack returns the block. What is held of the commands behind the message
// stays.
func (i *inbox) giveBack(blocks *sync.Pool) {
	if i.block == nil {
		return
	}
	held, to := i.held(), i.line
	if len(to) < len(held) {
		to = make([]byte, len(held))
	}
	n := copy(to, held)
	blocks.Put(i.block)
	i.block, i.line = nil, nil
	i.buf, i.r, i.w = to, 0, n
}
