package gate

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"postern/internal/dns/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func secret(t testing.TB, s string) Secret { return Secret(unhex(t, s)) }

// The examples of RFC 9018, Appendix A.
func TestRFC9018AppendixA(t *testing.T) {
	t.Parallel()
	const first, second, third = "e5e973e5a6b2a43f48e7dc849e37bfcf", "dd3bdf9344b678b185a6f5cb60fca715", "445536bcd2513298075a5d379663c962"
	for _, c := range []struct {
		name, client string
		now          uint32
		current      string
		other        string
		sent         string
		want         Standing
		made         string
	}{
		{"A.1 learning a new server cookie", "198.51.100.100", 1559731985, first, "", "2464c4abcf10c957", Unproven, "2464c4abcf10c957010000005cf79f111f8130c3eee29480"},
		{"A.2 renewed after 40 minutes", "198.51.100.100", 1559734385, first, "", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", Renew, "2464c4abcf10c957010000005cf7a871d4a564a1442aca77"},
		{"A.3 reserved octets set by another server", "203.0.113.203", 1559734700, first, "", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", Unproven, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"},
		{"A.4 IPv6, a new secret", "2001:db8:220:1:59de:d0f4:8769:82b8", 1559741961, third, second, "22681ab97d52c298010000005cf7c57926556bd0934c72f8", Renew, "22681ab97d52c298010000005cf7c609a6bb79d16625507a"},
	} {
		s := Secrets{Current: secret(t, c.current)}
		if c.other != "" {
			s.Other, s.HasOther = secret(t, c.other), true
		}
		sent, client := unhex(t, c.sent), netip.MustParseAddr(c.client)
		if got := s.Check(sent, client, c.now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if len(sent) == wire.FullCookie {
			at := binary.BigEndian.Uint32(sent[12:])
			if got := s.Check(sent, client, at); !got.Proven() {
				t.Errorf("%s: %v at its own time", c.name, got)
			}
		}
		var made [wire.FullCookie]byte
		if s.Make(&made, sent, client, c.now); hex.EncodeToString(made[:]) != c.made {
			t.Errorf("%s: made %x, want %s", c.name, made, c.made)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const now = 1_800_000_000
	old, cur, other := secret(t, "00112233445566778899aabbccddeeff"), secret(t, "e5e973e5a6b2a43f48e7dc849e37bfcf"), secret(t, "ffffffffffffffffffffffffffffffff")
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	made := func(key Secret, client netip.Addr, at uint32, edits ...func([]byte)) []byte {
		var b [wire.FullCookie]byte
		s := Secrets{Current: key}
		s.Make(&b, []byte("clientxx"), client, at)
		for _, edit := range edits {
			edit(b[:])
		}
		return b[:]
	}
	s := Secrets{Current: cur, Other: old, HasOther: true}
	for _, c := range []struct {
		name   string
		cookie []byte
		client netip.Addr
		now    uint32
		want   Standing
	}{
		{"none", nil, four, now, NoCookie},
		{"client cookie alone", []byte("clientxx"), four, now, Unproven},
		{"server cookie of another length", make([]byte, 40), four, now, Unproven},
		{"all zero", make([]byte, 24), four, now, Unproven},
		{"another version", made(cur, four, now, func(b []byte) { b[8] = 2 }), four, now, Unproven},
		{"another client cookie", made(cur, four, now, func(b []byte) { b[0]++ }), four, now, Unproven},
		{"another hash", made(cur, four, now, func(b []byte) { b[23]++ }), four, now, Unproven},
		{"another half of the hash", made(cur, four, now, func(b []byte) { b[16]++ }), four, now, Unproven},
		{"reserved octets changed", made(cur, four, now, func(b []byte) { b[9]++ }), four, now, Unproven},
		{"another address", made(cur, four, now), netip.MustParseAddr("192.0.2.2"), now, Unproven},
		{"another family", made(cur, four, now), six, now, Unproven},
		{"another secret", made(other, four, now), four, now, Unproven},
		{"an hour and a second old", made(cur, four, now), four, now + 3601, Unproven},
		{"over five minutes ahead", made(cur, four, now), four, now - 301, Unproven},
		{"fresh", made(cur, four, now), four, now, Valid},
		{"IPv4-mapped", made(cur, four, now), netip.MustParseAddr("::ffff:192.0.2.1"), now, Valid},
		{"IPv6", made(cur, six, now), six, now, Valid},
		{"five minutes ahead", made(cur, four, now), four, now - 300, Valid},
		{"half an hour old", made(cur, four, now), four, now + 1800, Valid},
		{"over half an hour old", made(cur, four, now), four, now + 1801, Renew},
		{"an hour old", made(cur, four, now), four, now + 3600, Renew},
		{"the other secret", made(old, four, now), four, now, Renew},
		{"time wraps around (RFC 1982)", made(cur, four, 0xFFFFFFF0), four, 16, Valid},
	} {
		if got := s.Check(c.cookie, c.client, c.now); got != c.want || got.Proven() != (c.want >= Valid) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	// Roll-over: who has not heard of the new secret yet loses nothing.
	next := Secrets{Current: cur, Other: other, HasOther: true}
	if got := next.Check(made(other, four, now), four, now); !got.Proven() {
		t.Errorf("a cookie of the secret to come: %v", got)
	}
	if got := next.Check(made(old, four, now), four, now); got.Proven() {
		t.Errorf("a cookie of the secret before the last: %v", got)
	}
}

func TestSecretDoesNotPrint(t *testing.T) {
	t.Parallel()
	s := Secrets{Current: secret(t, "e5e973e5a6b2a43f48e7dc849e37bfcf")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, s); strings.Contains(got, "e9") || strings.Contains(got, "233") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte("clientxx"), uint32(7))
	f.Add(make([]byte, 24), uint32(7))
	f.Fuzz(func(t *testing.T, cookie []byte, now uint32) {
		s := Secrets{Current: Secret{1}, HasOther: true}
		if got := s.Check(cookie, netip.AddrFrom4([4]byte{192, 0, 2, 1}), now); got.Proven() && len(cookie) != wire.FullCookie {
			t.Fatal(got)
		}
	})
}
