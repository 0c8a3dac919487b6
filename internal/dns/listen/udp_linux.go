package listen

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"postern/internal/metrics"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// sockaddrLen is enough for both families.
const sockaddrLen = unix.SizeofSockaddrInet6

// controlLen is enough for one IP_PKTINFO or IPV6_PKTINFO.
const controlLen = 64

// stagger keeps the heads of the buffers apart in the processor's first cache:
// at a multiple of 4,096 octets from each other, a dozen would fill their place.
const stagger = 192

// batch is packets by recvmmsg and sendmmsg. The headers are made once; after
// a read only what the kernel changed is set again. The calls never block:
// the runtime's poller waits, so that a quiet socket holds no thread and a
// busy one gives way to reloads and TCP.
type batch struct {
	raw      syscall.RawConn
	local    netip.Addr
	wildcard bool
	v6       bool
	linger   linger
	counters *Counters
	stay     bool // before the next read

	in       [MaxBurst]mmsghdr
	inVec    [MaxBurst]unix.Iovec
	names    [MaxBurst][sockaddrLen]byte
	controls [MaxBurst][controlLen]byte
	queries  [MaxBurst][queryLen + stagger]byte
	replies  [MaxBurst][replyLen + stagger]byte

	bundles bundles

	message func(i int) []byte // made once, like the two below

	got        int
	errno      syscall.Errno
	recv, send func(fd uintptr) bool // made once: a closure a call would be garbage a call
}

func newPackets(conn *net.UDPConn, local netip.Addr, wildcard bool, counters *Counters) (packets, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("raw connection: %w", err)
	}
	b := &batch{raw: raw, local: local, wildcard: wildcard, v6: local.Is6(), counters: counters}
	b.recv, b.send, b.message = b.recvmmsg, b.sendmmsg, b.query
	for i := range b.in {
		h := &b.in[i].hdr
		b.inVec[i].Base = &b.queries[i][0]
		b.inVec[i].SetLen(queryLen)
		h.Name, h.Iov = &b.names[i][0], &b.inVec[i]
		h.SetIovlen(1)
		if wildcard {
			h.Control = &b.controls[i][0]
		}
	}
	b.got = MaxBurst
	b.bundles.asked, b.bundles.names = &b.in, &b.names
	b.bundles.short = !b.v6 && !wildcard
	b.bundles.off = !bundling(raw)
	b.bundles.reset()
	return b, nil
}

func (b *batch) read() (int, error) {
	for i := range b.got {
		h := &b.in[i].hdr
		h.Namelen, h.Flags = sockaddrLen, 0
		if b.wildcard {
			h.SetControllen(controlLen)
		}
	}
	b.got, b.errno = 0, 0
	if err := b.raw.Read(b.recv); err != nil {
		return 0, fmt.Errorf("read: %w", err)
	}
	if b.errno != 0 {
		return 0, fmt.Errorf("recvmmsg: %w", b.errno)
	}
	return b.got, nil
}

func (b *batch) recvmmsg(fd uintptr) bool {
	if b.stay {
		b.stay = false
		b.counters.UDPLingered.Inc()
		sleep(lingerFor)
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.in[0])), MaxBurst, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.got = int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			b.linger.waited()
			return false
		default:
			b.errno = errno
			return true
		}
	}
}

// sleep holds the thread, and with it the right to run: the runtime's own
// sleep is of a millisecond where nothing else runs.
func sleep(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0) // cut short by a signal: all the better
}

func (b *batch) burst(h Bare, req *Request, from int, tooLong *metrics.Counter) (next int) {
	next = from
	defer func() {
		if cause := recover(); cause != nil {
			h.Failed(cause)
			next++ // without a reply to that one
		}
	}()
	if from == 0 {
		b.bundles.begin(b.got)
	}
	seen := 0
	if ahead, ok := h.(Ahead); ok && from == 0 && b.got > 1 && ahead.Ahead(b.got, b.message) {
		seen = 1
	}
	for ; next < b.got; next++ {
		i := next
		in := &b.in[i]
		if in.hdr.Flags&unix.MSG_TRUNC != 0 {
			tooLong.Inc()
			continue
		}
		req.Msg, req.Client, req.slot, req.Seen = b.queries[i][:in.len], b.client(i), i, seen*(i+1)
		if b.wildcard {
			req.Local = netip.AddrPortFrom(b.asked(i), req.Local.Port())
		}
		if reply := h.ServeBare(req, b.replies[i][:0:replyLen]); len(reply) > 0 {
			if b.bundles.active {
				b.bundles.add(i, reply)
			} else {
				b.bundles.plain(&in.hdr, reply)
			}
		}
	}
	return next
}

// query is the i-th datagram.
func (b *batch) query(i int) []byte { return b.queries[i][:b.in[i].len] }

func (b *batch) client(i int) netip.AddrPort {
	sa := &b.names[i]
	port := binary.BigEndian.Uint16(sa[2:])
	if b.v6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(sa[8:24])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), port)
}

// asked returns the address the i-th datagram was sent to, and makes its
// control message fit to be sent back: the source address stays, the
// interface is left to routing unless the address means nothing without it.
func (b *batch) asked(i int) netip.Addr {
	c := &b.controls[i]
	if int(b.in[i].hdr.Controllen) < unix.CmsgLen(unix.SizeofInet4Pktinfo) {
		return b.local
	}
	head := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
	data := unsafe.Pointer(&c[unix.CmsgLen(0)])
	switch {
	case head.Level == unix.IPPROTO_IP && head.Type == unix.IP_PKTINFO:
		info := (*unix.Inet4Pktinfo)(data)
		info.Ifindex = 0
		return netip.AddrFrom4(info.Spec_dst)
	case head.Level == unix.IPPROTO_IPV6 && head.Type == unix.IPV6_PKTINFO:
		info := (*unix.Inet6Pktinfo)(data)
		addr := netip.AddrFrom16(info.Addr)
		if !addr.IsLinkLocalUnicast() {
			info.Ifindex = 0
		}
		return addr
	}
	return b.local
}

func (b *batch) flush(now time.Time) (sent, failed int) {
	b.stay = b.linger.due(b.got, now)
	out := &b.bundles
	out.seal()
	for out.sent < out.made {
		b.errno = 0
		before := out.sent
		if err := b.raw.Write(b.send); err != nil {
			failed += out.count(out.sent, out.made) // closed while we were at it
			break
		}
		sent += out.count(before, out.sent)
		out.taken(out.sent - before)
		if b.errno != 0 {
			failed += out.refused(b.errno)
		}
	}
	if together := out.clear(); together > 0 {
		b.counters.UDPBundled.Add(uint64(together))
	}
	return sent, failed
}

func (b *batch) sendmmsg(fd uintptr) bool {
	out := &b.bundles
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&out.out[out.sent])), uintptr(out.made-out.sent), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			out.sent += int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			b.errno = errno
			return true
		}
	}
}

func (b *batch) later(i int) ([]byte, netip.AddrPort) {
	client := b.client(i)
	if scope := binary.NativeEndian.Uint32(b.names[i][24:]); b.v6 && scope != 0 {
		zone := strconv.FormatUint(uint64(scope), 10)
		client = netip.AddrPortFrom(client.Addr().WithZone(zone), client.Port())
	}
	if !b.wildcard {
		return nil, client
	}
	return append([]byte(nil), b.controls[i][:b.in[i].hdr.Controllen]...), client
}
