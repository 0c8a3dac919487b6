package listen

import (
	"bytes"
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// bundledLen is the longest reply that leaves in a bundle: of these a full batch
	// is not longer than a datagram can say (RFC 768), and each passes any path whole
	// (RFC 8200, Section 5). The system takes as many (UDP_MAX_SEGMENTS is 64).
	bundledLen = 65000 / MaxBurst
	// bundledFrom is the shortest. To look for company costs 60 to 100 instructions
	// a reply, for which the bound on what a question about a plain zone may cost
	// (1,500) has no room; what is signed is longer, and costs more anyway.
	bundledFrom = 150
	// bundleFrom is how many questions must have come together for bundles to be
	// worth their making.
	bundleFrom = 2
	// bundleTried is over how many replies it is judged whether bundles are worth
	// looking for: at least half must join another.
	bundleTried = 256
	// bundleRest is how many such batches are answered without where they do not.
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

// bundles are the replies of one batch on their way out. Longer ones of one length
// to one socket are handed over as one, and the system parts them again where they
// leave the machine (UDP_SEGMENT, udp(7)). Whoever hears them gets the same
// datagrams; but the way out, its route and its filters are walked once. It helps
// where much is asked from few sockets, as load balancers do.
type bundles struct {
	off     bool // the system, or the way out, does not take them
	doubted bool // it has just refused one
	rest    int  // batches to be answered without
	active  bool // this batch is bundled
	tried   int  // replies since that was judged
	went    int  // bundles they came to

	asked *[MaxBurst]mmsghdr           // headers of the questions
	names *[MaxBurst][sockaddrLen]byte // whom they came from
	short bool                         // the first eight octets of a name say it all, and there is no control

	queued int // replies
	made   int // bundles, as all that follows
	sent   int
	single [MaxBurst]unix.Iovec // of a batch without bundles
	bin    [bins]uint8          // newest of the bin, counted from 1
	all    [MaxBurst]bundle
	out    [MaxBurst]mmsghdr
}

// bundle is some replies of one length to one socket.
type bundle struct {
	key     uint64 // see join
	count   int
	slot    int // of the first one's question
	vecs    [MaxBurst]unix.Iovec
	control [controlLen + 24]byte // source address, and length of each
}

// begin is told how many questions have come together. Where they come from many
// sockets, as resolvers' do, or the replies are short, to look for bundles is in
// vain: then it is done for few batches only.
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
		h.Control, h.Iov = nil, &b.single[i]
		h.SetControllen(0)
		h.SetIovlen(1)
	}
}

// plain queues a reply in a batch without bundles.
func (b *bundles) plain(in *unix.Msghdr, msg []byte) {
	out, v := &b.out[b.made].hdr, &b.single[b.made]
	v.Base = &msg[0]
	v.SetLen(len(msg))
	out.Name, out.Namelen = in.Name, in.Namelen
	if !b.short {
		out.Control, out.Controllen = in.Control, in.Controllen
	}
	b.made++
}

// add queues the reply to the question in that slot.
func (b *bundles) add(slot int, msg []byte) {
	b.queued++
	if len(msg) >= bundledFrom && b.join(slot, msg) {
		return
	}
	v := &b.alone(slot).vecs[0]
	v.Base = &msg[0]
	v.SetLen(len(msg))
}

// alone makes a bundle for one reply.
func (b *bundles) alone(slot int) *bundle {
	i := b.made & (MaxBurst - 1)
	b.made++
	in, out := &b.asked[slot].hdr, &b.out[i].hdr
	out.Name, out.Namelen, out.Iov = in.Name, in.Namelen, &b.all[i].vecs[0]
	k := &b.all[i]
	k.count, k.slot = 1, slot
	return k
}

// join has a reply join those it can leave with. Else, if it may leave with later
// ones, the bundle that is made of it next is where they find it.
func (b *bundles) join(slot int, msg []byte) bool {
	// Length, port and IPv4 address, or the first half of it: the octets are family,
	// port, then the one or the other.
	key := binary.LittleEndian.Uint64(b.names[slot&(MaxBurst-1)][:])&^0xffff | uint64(len(msg))
	bin := &b.bin[(key^key>>16)%bins]
	if i := *bin; i > 0 {
		k := &b.all[(i-1)&(MaxBurst-1)]
		if k.key == key && (b.short || b.same(slot, k.slot)) {
			v := &k.vecs[k.count&(MaxBurst-1)]
			v.Base = &msg[0]
			v.SetLen(len(msg))
			k.count++
			return true
		}
	}
	if len(msg) <= bundledLen {
		b.all[b.made&(MaxBurst-1)].key = key
		*bin = uint8(b.made + 1)
	}
	return false
}

// same reports whether the replies to two questions go the same way.
func (b *bundles) same(one, other int) bool {
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

// seal tells the system of what is more than one reply.
func (b *bundles) seal() {
	if !b.active {
		return
	}
	for i := range b.made {
		k, h := &b.all[i], &b.out[i].hdr
		asked := &b.asked[k.slot].hdr
		h.SetIovlen(k.count)
		if k.count > 1 {
			k.measure(h, asked)
			continue
		}
		h.Control = asked.Control
		if h.SetControllen(0); asked.Control != nil {
			h.Controllen = asked.Controllen
		}
	}
}

// measure says in a header how long each reply of the bundle is, behind the source
// address that the questions were sent to.
func (k *bundle) measure(h, asked *unix.Msghdr) {
	at := copy(k.control[:controlLen], control(asked))
	head := (*unix.Cmsghdr)(unsafe.Pointer(&k.control[at]))
	head.Level, head.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	head.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&k.control[at+unix.CmsgLen(0)])) = uint16(k.vecs[0].Len)
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
	var vecs [MaxBurst]unix.Iovec
	var slots [MaxBurst]int
	n := 0
	for i := b.sent; i < b.made; i++ {
		k := &b.all[i]
		for _, v := range k.vecs[:k.count] {
			vecs[n], slots[n] = v, k.slot
			n++
		}
	}
	b.made = b.sent
	for i := range n {
		b.alone(slots[i]).vecs[0] = vecs[i]
	}
	b.seal()
}

// count returns the replies in some of the bundles.
func (b *bundles) count(from, to int) (n int) {
	if !b.active {
		return to - from
	}
	for i := from; i < to; i++ {
		n += b.all[i].count
	}
	return n
}

// judge has the next batches go without bundles where they do little.
func (b *bundles) judge() {
	b.tried, b.went = b.tried+b.queued, b.went+b.made
	if b.tried < bundleTried {
		return
	}
	if b.went*2 > b.tried {
		b.rest = bundleRest
	}
	b.tried, b.went = 0, 0
}

// clear forgets what was queued. It returns how many of the replies that were
// sent were not alone.
func (b *bundles) clear() (together int) {
	if b.active {
		for i := range b.sent {
			if n := b.all[i].count; n > 1 {
				together += n
			}
		}
		b.judge()
		b.bin = [bins]uint8{}
	}
	b.queued, b.made, b.sent, b.doubted = 0, 0, 0, false
	return together
}
