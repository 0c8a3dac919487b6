package load

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchLen  = 64
	queryLen  = 160
	replyLen  = 2048
	clientLen = 8  // of a client cookie
	cookieLen = 24 // of a full one
)

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// slot is one query that may be on its way.
type slot struct {
	msg    [queryLen]byte
	length int
	end    int // of the question
	sent   int64
	turn   uint16 // how often the slot was used: the upper bits of the id
	number uint32
	kind   kind
	source uint16
	floor  uint32 // the version known when it was asked
	busy   bool
	unsure bool // when it was sent: the system call took long
}

// source is an own address and the cookie it was given.
type source struct {
	addr   [4]byte
	cookie [cookieLen]byte
	proven bool
}

// Client asks. It belongs to one goroutine, but for Version and Seen.
type Client struct {
	Version atomic.Uint32 // the newest version of the changing name that may be served

	cfg     Config
	fd      int
	zone    []byte
	sources []source
	next    int // the source whose turn it is
	rng     uint64
	slots   []slot
	free    []uint16
	turns   int // bits of an id that are the slot's number
	seen    uint32
	result  Result
	calm    *calm // of a run at a steady rate

	out, in     [batchLen]mmsghdr
	outVec      [batchLen]unix.Iovec
	inVec       [batchLen]unix.Iovec
	outControl  [batchLen][32]byte
	inControl   [batchLen][64]byte
	replies     [batchLen][replyLen]byte
	destination unix.RawSockaddrInet4
	clock       unix.Timespec
	poll        [1]unix.PollFd
}

// New opens a client's socket.
func New(cfg Config) (*Client, error) {
	cfg.defaults()
	c := &Client{cfg: cfg, rng: cfg.Seed | 1<<40, slots: make([]slot, cfg.Window)}
	for 1<<c.turns < cfg.Window {
		c.turns++
	}
	for i := range c.slots {
		c.free = append(c.free, uint16(i))
	}
	for _, a := range cfg.Sources {
		c.sources = append(c.sources, source{addr: a.As4()})
	}
	if len(c.sources) == 0 {
		c.sources = make([]source, 1)
	}
	for i := range c.sources {
		binary.BigEndian.PutUint64(c.sources[i].cookie[:], c.random())
	}
	for label := range splitLabels(cfg.Zone) {
		c.zone = append(append(c.zone, byte(len(label))), label...)
	}
	c.zone = append(c.zone, 0)
	if err := c.open(); err != nil {
		return nil, err
	}
	c.prepare()
	return c, nil
}

func splitLabels(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for at := 0; at < len(s); {
			end := at
			for end < len(s) && s[end] != '.' {
				end++
			}
			if !yield(s[at:end]) {
				return
			}
			at = end + 1
		}
	}
}

func (c *Client) open() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	c.fd = fd
	// Room for a whole window both ways; the bounds of the system are for
	// others than root.
	for _, opt := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, 16<<20) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, map[int]int{unix.SO_RCVBUFFORCE: unix.SO_RCVBUF, unix.SO_SNDBUFFORCE: unix.SO_SNDBUF}[opt], 4<<20)
		}
	}
	if c.cfg.Rate > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return fmt.Errorf("stamps: %w", err)
		}
	}
	if len(c.cfg.Sources) == 0 {
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(c.cfg.Server.Port()), Addr: c.cfg.Server.Addr().As4()}); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		return nil
	}
	// Where the addresses are local, whole networks of them, any can be used.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1); err != nil {
		return fmt.Errorf("free binding: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// prepare makes the headers; after a call only what changes is set again.
func (c *Client) prepare() {
	c.destination = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: c.cfg.Server.Addr().As4()}
	port := c.cfg.Server.Port()
	c.destination.Port = port>>8 | port<<8
	for i := range batchLen {
		out, in := &c.out[i].hdr, &c.in[i].hdr
		out.Iov, in.Iov = &c.outVec[i], &c.inVec[i]
		out.SetIovlen(1)
		in.SetIovlen(1)
		c.inVec[i].Base = &c.replies[i][0]
		c.inVec[i].SetLen(replyLen)
		if len(c.cfg.Sources) == 0 {
			continue
		}
		out.Name, out.Namelen = (*byte)(unsafe.Pointer(&c.destination)), unix.SizeofSockaddrInet4
		head := (*unix.Cmsghdr)(unsafe.Pointer(&c.outControl[i][0]))
		head.Level, head.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		head.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		out.Control = &c.outControl[i][0]
		out.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	}
	c.poll[0] = unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN}
}

// Close closes the socket.
func (c *Client) Close() { _ = unix.Close(c.fd) } // nothing was written that could be lost

// random is xorshift64*: it need not be good, but quick.
func (c *Client) random() uint64 {
	c.rng ^= c.rng >> 12
	c.rng ^= c.rng << 25
	c.rng ^= c.rng >> 27
	return c.rng * 2685821657736338717
}

func (c *Client) now() int64 {
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &c.clock) // it cannot fail
	return c.clock.Nano()
}

// Run asks for a while and waits for the last replies. It may be called again;
// what it knows of cookies stays.
func (c *Client) Run(during time.Duration) (*Result, error) { return c.run(during, 0) }

// Ask asks that many questions and waits for the last replies.
func (c *Client) Ask(n int) (*Result, error) { return c.run(time.Hour, n) }

func (c *Client) run(during time.Duration, limit int) (*Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	back, err := c.settle()
	if err != nil {
		return nil, err
	}
	defer back()
	c.result, c.calm = Result{}, nil
	if c.cfg.Rate > 0 {
		if c.calm, err = newCalm(during, c.cfg.Timeout); err != nil {
			return nil, err
		}
		defer c.calm.close()
	}
	begin := c.now()
	if c.calm != nil {
		c.calm.start(begin, &c.result)
	}
	end, swept := begin+int64(during), begin
	for {
		now := c.now()
		c.calm.tick(now)
		done := now >= end || limit > 0 && c.result.Sent >= uint64(limit)
		if done && len(c.free) == len(c.slots) {
			break
		}
		due := 0
		if !done {
			due = c.due(now - begin)
			if limit > 0 {
				due = min(due, limit-int(c.result.Sent))
			}
		}
		sent, err := c.send(due)
		if err != nil {
			return nil, err
		}
		got, err := c.receive()
		if err != nil {
			return nil, err
		}
		if now-swept > int64(min(c.cfg.Timeout, 100*time.Millisecond)) || done && now > end+int64(c.cfg.Timeout) {
			c.sweep(now)
			swept = now
		}
		if sent+got == 0 {
			if err := c.wait(now - begin); err != nil {
				return nil, err
			}
		}
	}
	c.result.Elapsed = time.Duration(min(c.now(), max(end, begin)) - begin)
	if limit > 0 {
		c.result.Elapsed = time.Duration(c.now() - begin)
	}
	c.calm.end()
	r := c.result
	return &r, nil
}

// settle moves the thread to its core, and returns what moves it back.
func (c *Client) settle() (back func(), err error) {
	if c.cfg.Core == 0 {
		return func() {}, nil
	}
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("cores: %w", err)
	}
	only.Set(c.cfg.Core - 1)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return nil, fmt.Errorf("core %d: %w", c.cfg.Core, err)
	}
	return func() { _ = unix.SchedSetaffinity(0, &before) }, nil // as it was
}

// due returns how many queries may go out now.
func (c *Client) due(since int64) int {
	n := min(len(c.free), batchLen)
	if c.cfg.Rate == 0 {
		return n
	}
	owed := int(since/1000*int64(c.cfg.Rate)/1e6) - int(c.result.Sent)
	if owed > len(c.free) {
		c.result.Blocked++
	}
	return max(min(n, owed), 0)
}

// wait sleeps until a reply comes, or a query is due.
func (c *Client) wait(since int64) error {
	pause := int64(min(c.cfg.Timeout, 20*time.Millisecond))
	if c.cfg.Rate > 0 {
		pause = max(int64(c.result.Sent+1)*1e9/int64(c.cfg.Rate)-since, 1000)
	}
	t := unix.NsecToTimespec(min(pause, int64(20*time.Millisecond)))
	if _, err := unix.Ppoll(c.poll[:], &t, nil); err != nil && err != unix.EINTR {
		return fmt.Errorf("wait: %w", err)
	}
	return nil
}

// sweep gives up what has waited too long.
func (c *Client) sweep(now int64) {
	for i := range c.slots {
		if s := &c.slots[i]; s.busy && now-s.sent > int64(c.cfg.Timeout) {
			c.result.Lost++
			c.calm.lost(s.sent)
			c.release(i)
		}
	}
}

func (c *Client) release(i int) {
	c.slots[i].busy = false
	c.slots[i].turn++
	c.free = append(c.free, uint16(i))
}

// Require makes every answer wrong that is older than this version.
func (c *Client) Require(version uint32) { c.seen = version }
