package xfr

import (
	"reflect"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// What is taken from a message as it is, is what zone.Normalise makes of it,
// and what it refuses is refused.
func TestReadIsNormal(t *testing.T) {
	t.Parallel()
	var r records
	origin := name.Name("\x07example\x00")
	sig := "A 13 2 60 20300101000000 20250101000000 7 "
	for line, fit := range map[string]bool{
		"A.example. 1 IN A 192.0.2.1": true, "a.example. 1 IN TXT \"x\"": true, "a.example. 1 IN SRV 0 1 2 Host.example.": true,
		"Example. 1 IN RRSIG " + sig + "Example. AAECAw==": true, "a.example. 2147483648 IN RRSIG " + sig + "example. AAECAw==": false,
		"a.example. 1 IN NSEC B.example. A TYPE999": true, "a.example. 1 IN NSEC b.example.": true, "a.example. 2147483648 IN NSEC b.example. A": false,
		"a.example. 1 IN DS 1 13 2 00ff": true, "a.example. 1 IN NSEC3 1 1 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A": true,
		"a.example. 1 IN NSEC3 1 1 3 aabb 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A": true,
		`a.example. 1 IN RRSIG \# 0`:                                          false, `a.example. 1 IN NSEC \# 0`: false,
		`a.example. 1 IN NSEC3 \# 6 010100000000`: false,
	} {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		msg := make([]byte, 512)
		end, err := dns.PackRR(rr, msg, 0, nil, false)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got, off, err := r.read(msg[:end], 0, origin)
		if (err == nil) != fit {
			t.Errorf("%s: %v", line, err)
		}
		if err != nil {
			continue
		}
		if want, _, err := zone.Normalise(rr); err != nil || off != end || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, normalised %#v, %v", line, got, want, err)
		}
	} // A bitmap that ends in zeros would be written without them (RFC 4034, Section
	// 4.1.2).
	msg := "\x01a\x07example\x00\x00\x2f\x00\x01\x00\x00\x00\x01\x00\x0f\x01b\x07example\x00\x00\x02\x40\x00"
	if rr, _, err := r.read([]byte(msg), 0, origin); err == nil {
		t.Errorf("%v with a bitmap that is too long", rr)
	}
}
