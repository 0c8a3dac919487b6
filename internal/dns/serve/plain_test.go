package serve

import (
	"testing"

	"postern/internal/dns/wire"
)

// TestPlainIsFit: what takes the short way past unfit is fit, and what is fit
// and common takes it.
func TestPlainIsFit(t *testing.T) {
	t.Parallel()
	short := 0
	for _, class := range []uint16{0, 1, 3, 4, 254, 255} {
		for version := range uint8(2) {
			for rrtype := range 1 << 16 {
				q := &wire.Query{End: 20, Class: class, Type: uint16(rrtype), EDNS: true, Version: version}
				rcode, _ := unfit(q)
				if !plain(q) {
					continue
				}
				if short++; rcode != wire.NoError {
					t.Fatalf("class %d, type %d, version %d is refused with %d", class, rrtype, version, rcode)
				}
			}
		}
	}
	if short < 200 {
		t.Errorf("only %d types take the short way", short)
	}
	if plain(&wire.Query{Class: 1, Type: 1}) {
		t.Error("a message without a question")
	}
}
