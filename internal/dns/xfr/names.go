package xfr

// names finds the names that a message holds already, so that they can be
// pointed to (RFC 1035, Section 4.1.4). It keeps where they begin, no octets:
// those are in the message.
type names struct {
	slots [slotCount]slot
	used  int

	// Of the name at hand: where its labels begin, and the hash of what begins
	// there.
	offsets [maxLabels]uint8
	hashes  [maxLabels]uint32
}

type slot struct {
	at  uint16 // 0: free; no name stands in a header
	tag uint16 // of the hash, so that octets are seldom compared for nothing
}

const (
	slotCount = 4096
	maxUsed   = slotCount * 3 / 4
	maxLabels = 128
	maxTarget = 1<<14 - 1 // RFC 1035, Section 4.1.4: what a pointer can reach
)

func (t *names) clear() {
	if t.used > 0 {
		t.slots, t.used = [slotCount]slot{}, 0
	}
}

// append appends the name n, in wire form and not compressed, to the message.
// Octets are compared as they are: letter case is kept (RFC 5936, Section 3.4).
func (t *names) append(msg, n []byte) []byte {
	for i, labels := 0, t.split(n); i < labels; i++ {
		from := int(t.offsets[i])
		if at := t.find(msg, t.hashes[i], n[from:], len(msg)); at != 0 {
			return append(msg, 0xC0|byte(at>>8), byte(at))
		}
		msg = append(msg, n[from:from+1+int(n[from])]...)
	}
	return append(msg, 0)
}

// split sets offsets and hashes, and returns the number of labels.
func (t *names) split(n []byte) int {
	labels := 0
	for i := 0; i < len(n) && n[i] != 0 && labels < maxLabels; i += 1 + int(n[i]) {
		t.offsets[labels] = uint8(i)
		labels++
	}
	h := uint32(2166136261)
	for i := labels - 1; i >= 0; i-- {
		from := int(t.offsets[i])
		for _, b := range n[from : from+1+int(n[from])] {
			h = (h ^ uint32(b)) * 16777619
		}
		t.hashes[i] = h
	}
	return labels
}

// find returns where the message holds n, or 0. Then n is to be written at
// next, and is known from now on, if a pointer reaches it.
func (t *names) find(msg []byte, hash uint32, n []byte, next int) int {
	tag := uint16(hash >> 16)
	i := hash % slotCount
	for ; t.slots[i].at != 0; i = (i + 1) % slotCount {
		if s := t.slots[i]; s.tag == tag && same(msg, int(s.at), n) {
			return int(s.at)
		}
	}
	if next <= maxTarget && t.used < maxUsed {
		t.slots[i] = slot{uint16(next), tag}
		t.used++
	}
	return 0
}

// same reports whether the name at msg[at:], which was written here, is n.
func same(msg []byte, at int, n []byte) bool {
	for at < len(msg) {
		c := int(msg[at])
		switch {
		case c >= 0xC0: // leads backwards
			at = (c&0x3F)<<8 | int(msg[at+1])
			continue
		case c != int(n[0]):
			return false
		case c == 0:
			return true
		case string(msg[at+1:at+1+c]) != string(n[1:1+c]):
			return false
		}
		at, n = at+1+c, n[1+c:]
	}
	return false // the name that is being written now
}
