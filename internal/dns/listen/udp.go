package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	// batchLen is how many datagrams one system call may bring or take away.
	batchLen = 64
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
	// query returns the i-th: no message where it was too long.
	query(i int) (msg []byte, client netip.AddrPort, local netip.Addr)
	// room returns an empty buffer for the reply to the i-th.
	room(i int) []byte
	// reply queues a reply to the i-th.
	reply(i int, msg []byte)
	// flush sends the queued replies and returns how many were sent and not.
	flush() (sent, failed int)
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
	req := Request{Transport: UDP, from: u}
	for {
		n, err := u.packets.read()
		if err != nil {
			if u.ended(err, stop) {
				return
			}
			continue
		}
		u.counters.UDPReceived.Add(uint64(n))
		h, made = handlers.handler(h, made)
		for i := range n {
			var local netip.Addr
			req.Msg, req.Client, local = u.packets.query(i)
			if req.Msg == nil {
				u.counters.UDPTooLong.Inc()
				continue
			}
			req.Local, req.slot = netip.AddrPortFrom(local, u.local.Port()), i
			if reply := h.Serve(&req, u.packets.room(i)); len(reply) > 0 {
				u.packets.reply(i, reply)
			}
		}
		sent, failed := u.packets.flush()
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

func (p *plain) query(int) ([]byte, netip.AddrPort, netip.Addr) {
	if p.n == len(p.in) {
		return nil, p.client, p.local
	}
	return p.in[:p.n], p.client, p.local
}

func (p *plain) room(int) []byte { return p.out[:0] }

func (p *plain) reply(_ int, msg []byte) { p.queued = msg }

func (p *plain) flush() (sent, failed int) {
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
