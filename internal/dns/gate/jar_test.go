package gate

import (
	"net/netip"
	"testing"
	"time"

	"postern/internal/dns/wire"
)

// Whenever a cookie was made, it is good for an hour, on every server of the
// key, though their clocks differ a little; after two days no secret is left
// that knows it.
func TestJarRollsOver(t *testing.T) {
	t.Parallel()
	key, client := [32]byte{1}, netip.MustParseAddr("192.0.2.1")
	midnight := time.Unix(20000*24*3600, 0)
	for at := midnight.Add(-2 * time.Hour); at.Before(midnight.Add(14 * time.Hour)); at = at.Add(7 * time.Minute) {
		var cookie [wire.FullCookie]byte
		NewJar(key).At(at.Unix()).Make(&cookie, []byte("clientxx"), client, uint32(at.Unix()))
		for _, later := range []time.Duration{-5 * time.Minute, 0, 30 * time.Minute, time.Hour} {
			when := at.Add(later)
			if got := NewJar(key).At(when.Unix()).Check(cookie[:], client, uint32(when.Unix())); !got.Proven() {
				t.Fatalf("made at %v, %v later: %v", at, later, got)
			}
		}
		if got := NewJar(key).At(at.Add(48*time.Hour).Unix()).Check(cookie[:], client, uint32(at.Unix())); got.Proven() {
			t.Fatalf("made at %v, the secret is still in use", at)
		}
		if got := NewJar([32]byte{2}).At(at.Unix()).Check(cookie[:], client, uint32(at.Unix())); got.Proven() {
			t.Fatal("another key")
		}
	}
}

func TestJarKeepsItsSecrets(t *testing.T) {
	j, now := NewJar([32]byte{1}), time.Unix(1_800_000_000, 0)
	first := j.At(now.Unix())
	if n := testing.AllocsPerRun(100, func() { _ = j.At(now.Add(time.Minute).Unix()) }); n != 0 || j.At(now.Unix()) != first {
		t.Errorf("%v allocations", n)
	}
}
