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
	// bundleFrom is how many questions must have come together for bundles to be
	// worth their making.
	bundleFrom = 4
	// bundleRest is how many such batches are answered without, after one of whose
	// replies fewer than three in four could join another.
	bundleRest = 63
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
	rest    int  // batches to be answered without
	active  bool // this batch is bundled

	asked *[MaxBurst]mmsghdr           // headers of the questions
	names *[MaxBurst][sockaddrLen]byte // whom they came from
	short bool                         // the first eight octets of a name say it all, and there is no control

	queued int
	slot   [MaxBurst]uint8 // of the question
	next   [MaxBurst]uint8 // reply of the same bundle
	vecs   [MaxBurst]unix.Iovec

	made  int
	all   [MaxBurst]bundle
	bin   [bins]uint8 // newest bundle of the bin, counted from 1
	sent  int         // bundles
	out   [MaxBurst]mmsghdr
	parts [MaxBurst]unix.Iovec // vecs of bundles of several, one by one
}

// bundle is a list of replies.
type bundle struct {
	name                     uint64 // the first octets of whose it is: family, port and IPv4 address
	length                   int    // of each
	first, last, count, most uint8
	control                  [controlLen + 24]byte // source address and length of each
}

// begin is told how many questions have come together. Where they come from many
// sockets, as resolvers' do, to look for bundles is in vain: then it is done for few
// batches only.
func (b *bundles) begin(got int) {
	was := b.active
	b.active = !b.off && got >= bundleFrom && b.rest == 0
	if b.rest > 0 && got >= bundleFrom {
		b.rest--
	}
	if was && !b.active {
		b.reset()
	}
}

// reset makes the headers fit for single replies: whose it is and how long differs.
func (b *bundles) reset() {
	for i := range b.out {
		h := &b.out[i].hdr
		h.Control, h.Iov = nil, &b.vecs[i]
		h.SetControllen(0)
		h.SetIovlen(1)
	}
}

// add queues the reply to the question in that slot.
func (b *bundles) add(slot int, msg []byte) {
	i := b.queued & (MaxBurst - 1)
	b.queued++
	if !b.active {
		b.vecs[i].Base = &msg[0]
		b.vecs[i].SetLen(len(msg))
		in, out := &b.asked[slot].hdr, &b.out[i].hdr
		out.Name, out.Namelen = in.Name, in.Namelen
		if in.Control != nil {
			out.Control, out.Controllen = in.Control, in.Controllen
		}
		b.made++
		return
	}
	b.join(i, slot, msg)
}

// join has the i-th reply join others, if it can.
func (b *bundles) join(i, slot int, msg []byte) {
	b.slot[i] = uint8(slot)
	b.vecs[i].Base = &msg[0]
	b.vecs[i].SetLen(len(msg))
	name := binary.LittleEndian.Uint64(b.names[slot][:])
	bin := &b.bin[(name>>16^name>>23^uint64(len(msg)))%bins] // by port and length
	if *bin > 0 {
		k := &b.all[(*bin-1)&(MaxBurst-1)]
		if k.name == name && k.length == len(msg) && k.count < k.most && (b.short || b.same(i, int(k.first))) {
			b.next[k.last&(MaxBurst-1)] = uint8(i)
			k.last = uint8(i)
			k.count++
			return
		}
	}
	b.alone(i).name = name
	if len(msg) <= bundledLen {
		*bin = uint8(b.made)
	}
}

// alone makes a bundle of one reply.
func (b *bundles) alone(i int) *bundle {
	k := &b.all[b.made&(MaxBurst-1)]
	k.first, k.last, k.count, k.most = uint8(i), uint8(i), 1, bundleMost
	k.length = int(b.vecs[i&(MaxBurst-1)].Len)
	if k.length*bundleMost > bundleLen {
		k.most = uint8(bundleLen / k.length)
	}
	b.made++
	return k
}

// same reports whether two replies go the same way.
func (b *bundles) same(i, j int) bool {
	one, other := int(b.slot[i]), int(b.slot[j])
	return b.asked[one].hdr.Namelen == b.asked[other].hdr.Namelen && b.names[one] == b.names[other] &&
		bytes.Equal(control(&b.asked[one].hdr), control(&b.asked[other].hdr))
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
	if !b.active {
		return
	}
	n := 0
	for i := range b.made {
		k, h := &b.all[i], &b.out[i].hdr
		asked := &b.asked[b.slot[k.first&(MaxBurst-1)]&(MaxBurst-1)].hdr
		h.Name, h.Namelen = asked.Name, asked.Namelen
		h.Control, h.Controllen = asked.Control, 0
		if asked.Control != nil {
			h.Controllen = asked.Controllen
		}
		h.SetIovlen(int(k.count))
		if k.count == 1 {
			h.Iov = &b.vecs[k.first&(MaxBurst-1)]
			continue
		}
		h.Iov = &b.parts[n&(MaxBurst-1)]
		k.measure(h)
		for at, more := k.first, k.count; more > 0; more-- {
			b.parts[n&(MaxBurst-1)] = b.vecs[at&(MaxBurst-1)]
			at = b.next[at&(MaxBurst-1)]
			n++
		}
	}
}

// measure says in a header how long each reply of the bundle is.
func (k *bundle) measure(h *unix.Msghdr) {
	at := copy(k.control[:controlLen], control(h))
	head := (*unix.Cmsghdr)(unsafe.Pointer(&k.control[at]))
	head.Level, head.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	head.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&k.control[at+unix.CmsgLen(0)])) = uint16(k.length)
	h.Control = &k.control[0]
	h.SetControllen(at + unix.CmsgSpace(2))
}

// refused is told that the system did not take the first bundle that is left. A
// reply by itself is given up, and what is left of bundles is sent one by one: the
// refusal may be of one address only, or of bundles. It returns how many replies
// are given up.
func (b *bundles) refused(why syscall.Errno) int {
	if !b.active || b.all[b.sent].count == 1 {
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
		b.alone(int(at))
	}
	b.seal()
}

// count returns the replies in some of the bundles.
func (b *bundles) count(from, to int) (n int) {
	if !b.active {
		return to - from
	}
	for i := from; i < to; i++ {
		n += int(b.all[i].count)
	}
	return n
}

// clear forgets what was queued. It returns how many of the replies that were
// sent were not alone.
func (b *bundles) clear() (together int) {
	if b.active {
		for i := range b.sent {
			if n := int(b.all[i].count); n > 1 {
				together += n
			}
		}
		if b.made*4 > b.queued {
			b.rest = bundleRest
		}
		b.bin = [bins]uint8{}
	}
	b.queued, b.made, b.sent, b.doubted = 0, 0, 0, false
	return together
}
