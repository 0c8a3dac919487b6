package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func mmsg(call uintptr, fd int, headers *[batchLen]mmsghdr, n int) (int, unix.Errno) {
	done, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&headers[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(done), 0
}

// receive takes in the replies that are there.
func (c *Client) receive() (int, error) {
	if c.cfg.Rate > 0 {
		for i := range c.in {
			c.in[i].hdr.Control = &c.inControl[i][0]
			c.in[i].hdr.SetControllen(len(c.inControl[i]))
		}
	}
	n, errno := mmsg(unix.SYS_RECVMMSG, c.fd, &c.in, batchLen)
	if errno == unix.EAGAIN || errno == unix.EINTR || errno == unix.ECONNREFUSED {
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("receive: %w", errno)
	}
	now := c.now()
	for i := range n {
		at := now
		if c.cfg.Rate > 0 {
			at = c.stamp(i, now)
		}
		c.take(c.replies[i][:min(c.in[i].len, replyLen)], at)
	}
	return n, nil
}

// stamp returns when the kernel had the i-th datagram.
func (c *Client) stamp(i int, now int64) int64 {
	head := (*unix.Cmsghdr)(unsafe.Pointer(&c.inControl[i][0]))
	if c.in[i].hdr.Controllen < uint64(unix.CmsgLen(16)) || head.Level != unix.SOL_SOCKET || head.Type != unix.SO_TIMESTAMPNS {
		return now
	}
	return (*unix.Timespec)(unsafe.Pointer(&c.inControl[i][unix.CmsgLen(0)])).Nano()
}

// take weighs one reply.
func (c *Client) take(msg []byte, at int64) {
	if len(msg) < headerLen {
		c.wrong(nil, msg, "short")
		return
	}
	id := binary.BigEndian.Uint16(msg)
	i := int(id & (1<<c.turns - 1))
	if i >= len(c.slots) || !c.slots[i].busy || id>>c.turns != c.slots[i].turn<<c.turns>>c.turns {
		c.result.Late++
		return
	}
	s := &c.slots[i]
	c.result.Answered++
	c.result.OctetsIn += uint64(len(msg))
	c.result.Rcodes[msg[3]&15]++
	c.result.Latency.Add(time.Duration(at - s.sent))
	if !s.unsure {
		c.calm.add(time.Duration(at - s.sent))
	}
	from := &c.sources[s.source]
	if c.cfg.Cookies == ServerCookie && !from.proven {
		// The option lies at the end; our half of it is random.
		if p := bytes.LastIndex(msg, from.cookie[:clientLen]); p > s.end && p+cookieLen <= len(msg) && msg[p-1] == cookieLen {
			copy(from.cookie[:], msg[p:])
			from.proven = true
		}
	}
	if why := c.check(s, msg); why != "" {
		c.wrong(s, msg, why)
	}
	c.release(i)
}

func (c *Client) wrong(s *slot, msg []byte, why string) {
	c.result.Wrong++
	if c.result.Sample == "" {
		c.result.Sample = fmt.Sprintf("%s: %x", why, msg)
		if s != nil {
			c.result.Sample = fmt.Sprintf("%s: to %x: %x", why, s.msg[:s.length], msg)
		}
	}
}

// Flags of a header, and rcodes.
const (
	flagQR   = 0x80
	flagAA   = 0x04
	flagTC   = 0x02
	nxdomain = 3
)

// check returns what is wrong with a reply.
func (c *Client) check(s *slot, msg []byte) string {
	if msg[2]&flagQR == 0 || msg[2]&flagTC != 0 {
		return "flags"
	}
	if len(msg) < s.end || !bytes.Equal(msg[headerLen:s.end], s.msg[headerLen:s.end]) {
		return "another question"
	}
	want, aa := byte(0), byte(flagAA)
	if s.kind == denial {
		want = nxdomain
	} else if s.kind == referral {
		aa = 0
	}
	if msg[3]&15 != want {
		return "rcode"
	}
	if msg[2]&flagAA != aa {
		return "authority"
	}
	answers, authority := binary.BigEndian.Uint16(msg[6:]), binary.BigEndian.Uint16(msg[8:])
	switch s.kind {
	case denial, nodata:
		if answers != 0 || authority == 0 {
			return "counts"
		}
		return ""
	case referral:
		if answers != 0 || authority != 1 || binary.BigEndian.Uint16(msg[10:]) == 0 {
			return "counts"
		}
		return ""
	case alias:
		if answers < 1 {
			return "counts"
		}
		return ""
	}
	if answers != 1 {
		return "counts"
	}
	return c.data(s, rdata(msg, s.end))
}

// rdata returns that of the record at an offset; nil where there is none.
func rdata(msg []byte, at int) []byte {
	for at < len(msg) && msg[at] != 0 && msg[at] < 0xC0 {
		at += int(msg[at]) + 1
	}
	if at >= len(msg) {
		return nil
	}
	if msg[at] >= 0xC0 {
		at++
	}
	if at += 11; at > len(msg) {
		return nil
	}
	if n := int(binary.BigEndian.Uint16(msg[at-2:])); at+n <= len(msg) {
		return msg[at : at+n]
	}
	return nil
}

// data returns what is wrong with the one record of an answer.
func (c *Client) data(s *slot, data []byte) string {
	switch {
	case s.kind == exchange:
		if len(data) > 2 && data[1] == 10 {
			return ""
		}
	case s.kind == address6:
		if len(data) == 16 && binary.BigEndian.Uint32(data) == 0x20010db8 && binary.BigEndian.Uint32(data[12:]) == s.number {
			return ""
		}
	case len(data) != 4:
	case s.kind == wild && [4]byte(data) == [4]byte{192, 0, 2, 9}:
		return ""
	case s.kind == address && [4]byte(data) == host4(s.number):
		return ""
	case s.kind == changing && data[0] == 10:
		version := binary.BigEndian.Uint32(data) & 0xFFFFFF
		if version < s.floor {
			return "older than one seen before"
		}
		if version > c.Version.Load() {
			return "newer than any"
		}
		if version > c.seen {
			c.seen = version
			c.result.Versions++
			c.calm.version()
		}
		return ""
	}
	return "data"
}
