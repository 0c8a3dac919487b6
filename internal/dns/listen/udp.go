package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"postern/internal/metrics"
)

const (
	// MaxBurst is how many datagrams one system call may bring or take away.
	MaxBurst = 64
	// queryLen is the longest datagram read: queries are short, and no option
	// of theirs comes near this.
	queryLen = 4096
	// replyLen has room for the longest UDP reply; see wire.MaxUDP.
	replyLen = 2048
	// pause is waited after an error of the socket that may pass.
	pause = 20 * time.Millisecond
)

// packets reads and writes datagrams in batches. It belongs to one goroutine.
type packets interface {
	// read waits for datagrams and returns how many there are.
	read() (int, error)
	// burst has the datagrams answered from the one of that number on, and
	// queues the replies. It returns the number of the next: less than all
	// where one has brought the handler down.
	burst(h Bare, req *Request, from int, tooLong *metrics.Counter) (next int)
	// flush sends the queued replies and returns how many were sent and not. now
	// is when the batch was read.
	flush(now time.Time) (sent, failed int)
	// later returns what WriteMsgUDPAddrPort needs to answer the i-th by itself.
	later(i int) (oob []byte, client netip.AddrPort)
}

// udpSocket is one UDP socket of a listener.
type udpSocket struct {
	conn     *net.UDPConn
	local    netip.AddrPort
	packets  packets
	counters *Counters
	pending  sync.WaitGroup
}

// read reads until the socket is closed or its read deadline passes.
func (u *udpSocket) read(handlers *handlers, stop <-chan struct{}) {
	h, made := handlers.handler(nil, 0)
	answers := bare(h)
	req := Request{Transport: UDP, from: u, Local: u.local}
	for {
		n, err := u.packets.read()
		if err != nil {
			if u.ended(err, stop) {
				return
			}
			continue
		}
		u.counters.UDPReceived.Add(uint64(n))
		if next, count := handlers.handler(h, made); count != made {
			h, made, answers = next, count, bare(next)
		}
		req.At = time.Now()
		for next := 0; next < n; {
			next = u.packets.burst(answers, &req, next, &u.counters.UDPTooLong)
		}
		sent, failed := u.packets.flush(req.At)
		u.counters.UDPSent.Add(uint64(sent))
		if failed > 0 {
			u.counters.UDPSendErrors.Add(uint64(failed))
		}
	}
}

// ended reports whether a read error is the end. Any other is taken for
// passing, and reading goes on after a pause.
func (u *udpSocket) ended(err error, stop <-chan struct{}) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-stop:
		return true
	case <-t.C:
		return false
	}
}

// keep implements keeper.
func (u *udpSocket) keep(r *Request) *Pending {
	oob, client := u.packets.later(r.slot)
	u.pending.Add(1)
	p := &Pending{Request: *r}
	p.Msg = append([]byte(nil), r.Msg...)
	p.from = nil
	p.send = func(msg []byte) {
		defer u.pending.Done()
		if len(msg) == 0 {
			return
		}
		if _, _, err := u.conn.WriteMsgUDPAddrPort(msg, oob, client); err != nil {
			u.counters.UDPSendErrors.Inc()
			return
		}
		u.counters.UDPSent.Inc()
	}
	return p
}

// plain is packets one by one, for where there is nothing better.
type plain struct {
	conn   *net.UDPConn
	local  netip.Addr
	in     [queryLen]byte
	out    [replyLen]byte
	n      int
	client netip.AddrPort
	queued []byte
}

func (p *plain) read() (int, error) {
	n, client, err := p.conn.ReadFromUDPAddrPort(p.in[:])
	if err != nil {
		return 0, fmt.Errorf("read: %w", err)
	}
	p.n, p.client = n, netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	return 1, nil
}

func (p *plain) burst(h Bare, req *Request, _ int, tooLong *metrics.Counter) (next int) {
	next = 1
	defer contain(h)
	if p.n == len(p.in) {
		tooLong.Inc()
		return next
	}
	req.Msg, req.Client, req.slot = p.in[:p.n], p.client, 0
	if reply := h.ServeBare(req, p.out[:0]); len(reply) > 0 {
		p.queued = reply
	}
	return next
}

// contain is deferred around ServeBare.
func contain(h Bare) {
	if cause := recover(); cause != nil {
		h.Failed(cause)
	}
}

func (p *plain) flush(time.Time) (sent, failed int) {
	if p.queued == nil {
		return 0, 0
	}
	_, err := p.conn.WriteToUDPAddrPort(p.queued, p.client)
	p.queued = nil
	if err != nil {
		return 0, 1
	}
	return 1, 0
}

func (p *plain) later(int) ([]byte, netip.AddrPort) { return nil, p.client }
