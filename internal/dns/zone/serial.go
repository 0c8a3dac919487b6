package zone

// SerialLess reports whether serial a is before b (RFC 1982, Section 3.2).
// Where the two are exactly half the space apart neither is before the other.
func SerialLess(a, b uint32) bool {
	d := b - a
	return d != 0 && d < 1<<31
}

// NextSerial returns the serial after s. Zero is passed over: some take it
// for "none".
func NextSerial(s uint32) uint32 {
	if s++; s == 0 {
		s = 1
	}
	return s
}
