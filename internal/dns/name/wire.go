package name

// FromWire reads the name at msg[off:], following compression pointers, and
// returns it with the offset after it. Every pointer must point before the
// place it was reached from (RFC 1035, Section 4.1.4: "a prior occurrence"),
// so the work is bounded by the message.
func FromWire(msg []byte, off int) (Name, int, error) {
	if off < 0 {
		return "", 0, ErrWire
	}
	var buf [maxName]byte
	n, next, limit := 0, 0, len(msg)
	for {
		if off >= limit {
			return "", 0, ErrWire
		}
		c := int(msg[off])
		switch c & 0xC0 {
		case 0x00:
			if off+1+c > len(msg) {
				return "", 0, ErrWire
			}
			if n+1+c > maxName || (c > 0 && n+1+c == maxName) {
				return "", 0, ErrLong
			}
			buf[n] = byte(c)
			for i := range c {
				buf[n+1+i] = lower(msg[off+1+i])
			}
			n, off = n+1+c, off+1+c
			if c == 0 {
				if next == 0 {
					next = off
				}
				return Name(buf[:n]), next, nil
			}
		case 0xC0:
			if off+2 > len(msg) {
				return "", 0, ErrWire
			}
			target := (c&0x3F)<<8 | int(msg[off+1])
			if next == 0 {
				next = off + 2
			}
			if target >= off {
				return "", 0, ErrWire
			}
			// The labels read from here on must not run into the pointer again.
			off, limit = target, off
		default:
			return "", 0, ErrWire
		}
	}
}
