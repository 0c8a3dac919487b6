package listen

import (
	"bytes"
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// bundledLen is the longest reply that leaves in a bundle. It passes any path
	// whole (RFC 8200, Section 5: 1,280 octets, 48 of them headers), so that a
	// bundle is never refused for its length.
	bundledLen = 1232
	// bundleLen is the most that one bundle holds, a little under what the length
	// of a datagram can say (RFC 768).
	bundleLen = 65000
	// bundleMost is how many replies the system takes as one (UDP_MAX_SEGMENTS).
	bundleMost = 64
	// bins is the size of the table that finds the bundle for a reply.
	bins = 128
)

// bundling reports whether the system knows of bundles: one that does not (Linux
// before 4.18) would send each as one long datagram.
func bundling(raw syscall.RawConn) bool {
	var err error
	ctl := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) })
	return ctl == nil && err == nil
}

// bundles are the replies of one batch on their way out. Those of one length to
// one socket are handed over as one, and the system parts them again where they
// leave the machine (UDP_SEGMENT, udp(7)). Whoever hears them gets the same
// datagrams; but the way out, its route and its filters are walked once. It helps
// where much is asked from few sockets, as load balancers do.
type bundles struct {
	off     bool // the system, or the way out, does not take them
	doubted bool // it has just refused one

	queued int
	asked  [MaxBurst]*unix.Msghdr // header of the question
	vecs   [MaxBurst]unix.Iovec
	next   [MaxBurst]uint8 // reply of the same bundle

	made  int
	all   [MaxBurst]bundle
	bin   [bins]uint8 // newest bundle of the bin, counted from 1
	sent  int         // bundles
	out   [MaxBurst]mmsghdr
	parts [MaxBurst]unix.Iovec // vecs, bundle by bundle
}

// bundle is a list of replies.
type bundle struct {
	first, last, count uint8
	control            [controlLen + 24]byte // source address and length of each
}

// add queues the reply to the question that came with that header.
func (b *bundles) add(asked *unix.Msghdr, msg []byte) {
	i := b.queued
	b.queued++
	b.asked[i] = asked
	b.vecs[i].Base = &msg[0]
	b.vecs[i].SetLen(len(msg))
	name := unsafe.Slice(asked.Name, asked.Namelen)
	port := uint(binary.NativeEndian.Uint16(name[2:]))
	bin := &b.bin[(port^port>>7^uint(len(msg)))%bins]
	if *bin > 0 {
		if k := &b.all[*bin-1]; b.joins(k, asked, name, len(msg)) {
			b.next[k.last] = uint8(i)
			k.last = uint8(i)
			k.count++
			return
		}
	}
	b.alone(uint8(i))
	if !b.off && len(msg) <= bundledLen {
		*bin = uint8(b.made)
	}
}

// joins reports whether a reply of that length goes the way of a bundle, which
// has room for it.
func (b *bundles) joins(k *bundle, asked *unix.Msghdr, name []byte, length int) bool {
	other, count := b.asked[k.first], int(k.count)+1
	return int(b.vecs[k.first].Len) == length && count <= bundleMost && count*length <= bundleLen &&
		bytes.Equal(name, unsafe.Slice(other.Name, other.Namelen)) && bytes.Equal(control(asked), control(other))
}

// control returns the control message a question came with: where it was sent to.
func control(h *unix.Msghdr) []byte {
	if h.Control == nil {
		return nil
	}
	return unsafe.Slice(h.Control, h.Controllen)
}

// seal makes the headers.
func (b *bundles) seal() {
	n := 0
	for i := range b.made {
		k := &b.all[i]
		asked := b.asked[k.first]
		h := &b.out[i].hdr
		h.Name, h.Namelen = asked.Name, asked.Namelen
		h.Control, h.Controllen = asked.Control, 0
		if asked.Control != nil {
			h.Controllen = asked.Controllen
		}
		h.Iov = &b.parts[n]
		h.SetIovlen(int(k.count))
		if k.count > 1 {
			k.measure(h, int(b.vecs[k.first].Len))
		}
		for at, more := k.first, k.count; more > 0; at, more = b.next[at], more-1 {
			b.parts[n] = b.vecs[at]
			n++
		}
	}
}

// measure says in a header how long each reply of the bundle is.
func (k *bundle) measure(h *unix.Msghdr, length int) {
	at := copy(k.control[:controlLen], control(h))
	head := (*unix.Cmsghdr)(unsafe.Pointer(&k.control[at]))
	head.Level, head.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	head.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&k.control[at+unix.CmsgLen(0)])) = uint16(length)
	h.Control = &k.control[0]
	h.SetControllen(at + unix.CmsgSpace(2))
}

// refused is told that the system did not take the first bundle that is left. A
// reply by itself is given up, and what is left of bundles is sent one by one: the
// refusal may be of one address only, or of bundles. It returns how many replies
// are given up.
func (b *bundles) refused(why syscall.Errno) int {
	if b.all[b.sent].count == 1 {
		b.sent++
		b.doubted = false
		return 1
	}
	// EIO: the way out cannot sum up what it has to part, as where IPsec wraps it.
	// EINVAL: it is narrower than any that IPv6 may pass.
	b.doubted = why == unix.EIO || why == unix.EINVAL
	b.part()
	return 0
}

// taken is told that the system took some. If that was the first reply of a bundle
// it had refused, then bundles are what it does not take.
func (b *bundles) taken(n int) {
	if n > 0 && b.doubted {
		b.off, b.doubted = true, false
	}
}

// part makes a bundle of its own of each reply that is left.
func (b *bundles) part() {
	var left [MaxBurst]uint8
	n := 0
	for i := b.sent; i < b.made; i++ {
		k := &b.all[i]
		for at, more := k.first, k.count; more > 0; at, more = b.next[at], more-1 {
			left[n] = at
			n++
		}
	}
	b.made = b.sent
	for _, at := range left[:n] {
		b.alone(at)
	}
	b.seal()
}

// alone makes a bundle of one reply.
func (b *bundles) alone(i uint8) {
	k := &b.all[b.made]
	k.first, k.last, k.count = i, i, 1
	b.made++
}

// count returns the replies in some of the bundles.
func (b *bundles) count(from, to int) (n int) {
	for i := from; i < to; i++ {
		n += int(b.all[i].count)
	}
	return n
}

// clear forgets what was queued. It returns how many of the replies that were
// sent were not alone.
func (b *bundles) clear() (together int) {
	for i := range b.sent {
		if n := int(b.all[i].count); n > 1 {
			together += n
		}
	}
	b.queued, b.made, b.sent, b.doubted = 0, 0, 0, false
	b.bin = [bins]uint8{}
	return together
}
