package load

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// headerLen is that of a DNS message.
const headerLen = 12

// maxSending is how long sending a batch may take for its time to count: where
// it takes longer the client was kept from its core, before the query was sent
// or after.
const maxSending = 300 * time.Microsecond

// send sends n queries, fewer where the socket is full.
func (c *Client) send(n int) (int, error) {
	if n <= 0 {
		return 0, nil
	}
	// The newest used first, so that few slots keep warm.
	taken := c.free[len(c.free)-n:]
	for i, at := range taken {
		s := &c.slots[at]
		c.compose(s, uint16(at))
		c.outVec[i].Base = &s.msg[0]
		c.outVec[i].SetLen(s.length)
		if len(c.cfg.Sources) > 0 {
			copy(c.outControl[i][unix.CmsgLen(0)+4:], c.sources[s.source].addr[:])
		}
	}
	now := c.now()
	for i, at := range taken {
		s := &c.slots[at]
		s.sent, s.busy, s.unsure = now, true, false
		c.result.OctetsOut += uint64(s.length)
		c.out[i].len = 0
	}
	c.free = c.free[:len(c.free)-n]
	sent, errno := mmsg(unix.SYS_SENDMMSG, c.fd, &c.out, n)
	if errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR && errno != unix.ECONNREFUSED && errno != unix.ENOBUFS {
		return 0, fmt.Errorf("send: %w", errno)
	}
	if c.cfg.Rate > 0 && c.now()-now > int64(maxSending) {
		for _, at := range taken[:sent] {
			c.slots[at].unsure = true
		}
	}
	for i := n - 1; i >= sent; i-- { // not sent: as if never picked
		s := &c.slots[taken[i]]
		s.busy = false
		c.result.OctetsOut -= uint64(s.length)
		c.free = append(c.free, taken[i])
	}
	c.result.Sent += uint64(sent)
	return sent, nil
}

// compose writes the next query into a slot.
func (c *Client) compose(s *slot, at uint16) {
	q := c.pick()
	s.number, s.kind, s.floor = q.number, q.kind, c.seen
	s.source = uint16(c.next)
	if c.next++; c.next == len(c.sources) {
		c.next = 0
	}
	b := append(s.msg[:0], 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(b, s.turn<<c.turns|at)
	b = q.append(b, c.zone)
	if c.cfg.Case {
		c.mix(b[headerLen:])
	}
	b = append(b, byte(q.qtype>>8), byte(q.qtype), 0, 1)
	s.end = len(b)
	if c.cfg.EDNS {
		b[11] = 1
		b = append(b, 0, 0, 41, 1232>>8, 1232&255, 0, 0, 0x80, 0)
		b = c.cookie(b, &c.sources[s.source])
	}
	s.length = len(b)
}

// cookie writes the length of the options, and the COOKIE option.
func (c *Client) cookie(b []byte, from *source) []byte {
	length := clientLen
	switch {
	case c.cfg.Cookies == NoCookie:
		return append(b, 0, 0)
	case c.cfg.Cookies == ServerCookie && from.proven:
		length = cookieLen
	}
	b = append(b, 0, byte(length+4), 0, 10, 0, byte(length))
	return append(b, from.cookie[:length]...)
}

// mix gives the letters of a name random case. Its length octets are below
// the letters.
func (c *Client) mix(name []byte) {
	coins := c.random()
	for i, ch := range name {
		if ch >= 'a' && ch <= 'z' {
			name[i] = ch &^ byte(coins&1<<5)
			coins = coins>>1 | coins<<63
		}
	}
}
