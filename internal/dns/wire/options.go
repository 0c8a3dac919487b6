package wire

import "encoding/binary"

// Options is what the OPT record of a reply may carry. Those the reply has no
// room for are left out, so no option ever makes a reply too long.
type Options struct {
	Limit     int              // length of the whole reply at most; 0: no bound
	HasCookie bool             // Cookie is sent (RFC 7873)
	Cookie    [FullCookie]byte // client cookie and server cookie
	NSID      string           // told those who ask (RFC 5001); empty: nobody
	Alive     uint16           // idle time of the connection, in 100 ms, told those who ask (RFC 7828); 0: nobody
	HasExpire bool             // Expire is sent to those who ask (RFC 7314)
	Expire    uint32           // for how many seconds the zone is good
	EDE       EDE              // why there is no better reply (RFC 8914); 0: nothing is said
	Block     int              // the length is padded to a multiple of it, for those who pad (RFC 8467); 0: never
}

// EDE is an info-code of RFC 8914. 0, "Other Error", says nothing without a
// text, and no text is sent: it could carry a name.
type EDE uint16

// Codes of RFC 8914, Section 4 that are sent without the resolver's word.
const (
	NotReady     EDE = 14
	Prohibited   EDE = 18
	NotAuthority EDE = 20
	NotSupported EDE = 21
	NoReachable  EDE = 22
	InvalidData  EDE = 24
)

// Lengths of options with their headers.
const (
	optionHeader = 4
	keepaliveLen = optionHeader + 2
	edeLen       = optionHeader + 2
	expireLen    = optionHeader + 4
	cookieLen    = optionHeader + FullCookie
)

// Reserve returns how many octets Finish adds for the OPT record, but for a
// reason and padding, which take what is left.
func (q *Query) Reserve(o *Options) int {
	if !q.EDNS {
		return 0
	}
	n := OptLen
	if o.HasCookie {
		n += cookieLen
	}
	if q.NSID && o.NSID != "" {
		n += optionHeader + len(o.NSID)
	}
	if q.Alive && o.Alive != 0 {
		n += keepaliveLen
	}
	if q.Expire && o.HasExpire {
		n += expireLen
	}
	return n
}

// appendOPT appends the OPT record. The order of options is fixed: what the
// client needs most comes first, and padding last (RFC 7830, Section 3).
func (q *Query) appendOPT(reply []byte, rcode int, o *Options) []byte {
	do := byte(0)
	if q.DO {
		do = 0x80 // RFC 3225, Section 3: copied
	}
	reply = append(reply, 0, 0, typeOPT, MaxUDP>>8, MaxUDP&0xFF, byte(rcode>>4), 0, do, 0, 0, 0)
	if o == nil {
		return reply
	}
	base := len(reply)
	limit := o.Limit
	if limit == 0 {
		limit = MaxTCP
	}
	if o.HasCookie && base+cookieLen <= limit {
		reply = append(reply, 0, optionCookie, 0, FullCookie)
		reply = append(reply, o.Cookie[:]...)
	}
	if q.NSID && o.NSID != "" && len(reply)+optionHeader+len(o.NSID) <= limit {
		reply = append(reply, 0, optionNSID, byte(len(o.NSID)>>8), byte(len(o.NSID)))
		reply = append(reply, o.NSID...)
	}
	if q.Alive && o.Alive != 0 && len(reply)+keepaliveLen <= limit {
		reply = append(reply, 0, optionKeepalive, 0, 2, byte(o.Alive>>8), byte(o.Alive))
	}
	if q.Expire && o.HasExpire && len(reply)+expireLen <= limit {
		reply = append(reply, 0, optionExpire, 0, 4)
		reply = binary.BigEndian.AppendUint32(reply, o.Expire)
	}
	if o.EDE != 0 && len(reply)+edeLen <= limit {
		reply = append(reply, 0, optionEDE, 0, 2, byte(o.EDE>>8), byte(o.EDE))
	}
	// RFC 7830, Section 4: whoever pads is answered padded.
	if q.Padded && o.Block > 0 && len(reply)+optionHeader <= limit {
		reply = pad(reply, o.Block, q.Tail, limit)
	}
	if len(reply) > base {
		binary.BigEndian.PutUint16(reply[base-2:], uint16(len(reply)-base))
	}
	return reply
}

// pad appends a padding option that makes the length, with the tail that is
// still to come, a multiple of block, or limit where that is less (RFC 8467,
// Section 4.1).
func pad(reply []byte, block, tail, limit int) []byte {
	size := len(reply) + optionHeader
	fill := min((size+tail+block-1)/block*block-tail, limit) - size
	reply = append(reply, 0, optionPadding, byte(fill>>8), byte(fill))
	for range fill {
		reply = append(reply, 0) // RFC 7830, Section 3: octets of 0x00
	}
	return reply
}
