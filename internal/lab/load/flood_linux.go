package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Victim is what was sent in the name of one /24, and what it got for it.
type Victim struct {
	Network   netip.Prefix
	Questions uint64
	In, Out   uint64 // octets of DNS messages, to the server and from it
}

// maxVictims is how many networks an id tells apart.
const maxVictims = 1 << 10

// Flood asks without waiting for replies, at Config.Rate or as fast as it can,
// in the name of each of Config.Sources in turn, and counts what comes back to
// them, which must be local. What is sent in the first while, warm, is not
// counted, nor are the replies to that.
func (c *Client) Flood(during, warm time.Duration) ([]Victim, error) {
	victims, of, err := c.victims()
	if err != nil {
		return nil, err
	}
	if len(c.slots) < batchLen {
		return nil, errors.New("a flood needs a window")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	back, err := c.settle()
	if err != nil {
		return nil, err
	}
	defer back()
	c.result = Result{}
	begin := c.now()
	counting := func(now int64) bool { return now-begin >= int64(warm) }
	// The last replies are waited for, a moment.
	for now := begin; now < begin+int64(during+200*time.Millisecond); now = c.now() {
		n := 0
		if now < begin+int64(during) {
			n = batchLen
			if c.cfg.Rate > 0 {
				n = min(n, int((now-begin)/1000*int64(c.cfg.Rate)/1e6)-int(c.result.Sent))
			}
		}
		sent, err := c.shout(n, victims, of, counting(now))
		if err != nil {
			return nil, err
		}
		got, err := c.overhear(victims)
		if err != nil {
			return nil, err
		}
		if sent+got == 0 {
			if err := c.wait(now - begin); err != nil {
				return nil, err
			}
		}
	}
	return victims, nil
}

// victims returns the networks of the sources, and which each belongs to.
func (c *Client) victims() ([]Victim, []uint16, error) {
	known := map[netip.Prefix]uint16{}
	var all []Victim
	of := make([]uint16, len(c.sources))
	for i := range c.sources {
		network := netip.PrefixFrom(netip.AddrFrom4(c.sources[i].addr), 24).Masked()
		at, ok := known[network]
		if !ok {
			at = uint16(len(all))
			known[network] = at
			all = append(all, Victim{Network: network})
		}
		of[i] = at
	}
	if len(all) >= maxVictims {
		return nil, nil, fmt.Errorf("%d networks are too many", len(all))
	}
	return all, of, nil
}

// counted is set in the id of what is counted; the rest of it is the victim's.
const counted = 1 << 15

// shout sends n questions.
func (c *Client) shout(n int, victims []Victim, of []uint16, count bool) (int, error) {
	if n <= 0 {
		return 0, nil
	}
	for i := range n {
		s := &c.slots[i]
		c.compose(s, 0)
		id := of[s.source]
		if count {
			id |= counted
		}
		binary.BigEndian.PutUint16(s.msg[:], id)
		c.outVec[i].Base = &s.msg[0]
		c.outVec[i].SetLen(s.length)
		copy(c.outControl[i][unix.CmsgLen(0)+4:], c.sources[s.source].addr[:])
	}
	sent, errno := mmsg(unix.SYS_SENDMMSG, c.fd, &c.out, n)
	if errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR && errno != unix.ENOBUFS {
		return 0, fmt.Errorf("send: %w", errno)
	}
	c.result.Sent += uint64(sent)
	for i := range sent {
		if s := &c.slots[i]; count {
			v := &victims[of[s.source]]
			v.Questions++
			v.In += uint64(s.length)
		}
	}
	return sent, nil
}

// overhear takes in what the victims get.
func (c *Client) overhear(victims []Victim) (int, error) {
	n, errno := mmsg(unix.SYS_RECVMMSG, c.fd, &c.in, batchLen)
	if errno == unix.EAGAIN || errno == unix.EINTR || errno == unix.ECONNREFUSED {
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("receive: %w", errno)
	}
	for i := range n {
		id := binary.BigEndian.Uint16(c.replies[i][:])
		if at := int(id &^ counted); id&counted != 0 && at < len(victims) {
			victims[at].Out += uint64(c.in[i].len)
		}
	}
	return n, nil
}
