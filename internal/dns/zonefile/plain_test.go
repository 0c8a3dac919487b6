package zonefile

import (
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postern/internal/dns/zone"
)

// What plain takes is what the library and zone.Normalise make of it; the rest
// it leaves to them.
func TestPlainIsWhatTheLibraryReads(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 255)
	for line, taken := range map[string]bool{
		"A 192.0.2.1": true, "A 192.0.2.01": false, "A ::1": false, "A 1.2.3": false, `A \# 4 C0000201`: false, "A 192.0.2.1 x": false,
		"AAAA 2001:DB8::1": true, "AAAA ::": true, "AAAA ::ffff:192.0.2.1": false, "AAAA fe80::1%eth0": false, "AAAA 192.0.2.1": false,
		"NS ns": true, "NS @": true, "NS NS.Other.": true, "NS .": true, `NS a\.b`: false, "NS a..b": false, `NS "a"`: false, "NS " + long + ".": false,
		"CNAME *.w": true, "PTR _x-1.example.": true, "PTR a@b": false,
		"MX 10 Mail": true, "MX 65535 .": true, "MX 65536 mail": false, "MX -1 mail": false, "MX 0x1 mail": false,
		`TXT "Keep Case; (all)" ""`: true, `TXT "` + long + `"`: true, `TXT "` + long + `x"`: false,
		"TXT word": false, `TXT "a\"b"`: false, `TXT "a""b"`: false, "TXT \"\xe4\"": false, `TXT "a"b`: false,
		"SRV 1 2 3 host": false,
	} {
		records, _ := parse(t, "$TTL 300\nOwner."+long[:40]+" "+line+"\n", Options{})
		h := dns.RR_Header{Name: "owner." + long[:40] + ".example.", Class: dns.ClassINET, Ttl: 300}
		s := newScope("", parsed(t, "example."))
		e, _ := newLexer(line, func(int, int, string, string, string) {}).next()
		h.Rrtype, _ = parseType(e.tokens[0].text)
		got, ok := new(parser).plain(h, e.tokens[1:], s)
		if ok != taken {
			t.Errorf("%s: taken %v", line, ok)
		}
		if !ok {
			continue
		}
		full, ok := (&parser{zone: s.origin, opts: Options{}.withDefaults()}).full(h, parts{typ: e.tokens[0], data: e.tokens[1:]}, s)
		if !ok || !reflect.DeepEqual(got, full) {
			t.Errorf("%s: %#v, the library reads %#v", line, got, full)
		}
		if clean, _, err := zone.Normalise(got); err != nil || len(records) != 1 || !reflect.DeepEqual(got, clean) || !reflect.DeepEqual(got, records[0].RR) {
			t.Errorf("%s: %#v, normalised %#v, %v", line, got, clean, err)
		}
	}
}

// What skips zone.Normalise is what it would make.
func TestCanonicalIsNormal(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"SOA NS Admin 1 2h 1h 14d 5m", "SRV 1 2 3 Host", "DS 1 13 2 00FF", "DNSKEY 257 3 13 AAAA", "RRSIG A 13 2 60 20300101000000 1 7 Example. AAAA",
		`NSEC \065.B A RRSIG TYPE999`, "NSEC b", "NSEC @ A A", "SRV 0 0 0 .", "CDS 0 0 0 00", "CDNSKEY 0 3 0 AA==",
		"NSEC3 1 1 0 - 0P9mhaveqvm6t7vbl5lop2u3t2rp3tom A RRSIG", "NSEC3 1 0 12 AABBccdd 0P9M", "NSEC3 2 0 0 - 00 NSEC3PARAM",
	} {
		records, problems := parse(t, "$TTL 300\nOwner "+line+"\n", Options{})
		if len(records) != 1 || len(problems) > 0 {
			t.Errorf("%s: %v", line, problems)
			continue
		}
		if clean, _, err := zone.Normalise(records[0].RR); err != nil || !reflect.DeepEqual(records[0].RR, clean) {
			t.Errorf("%s: %#v, normalised %#v, %v", line, records[0].RR, clean, err)
		}
	}
}

// What spell takes is what absolute and name.Name make of it.
func TestSpellIsAbsolute(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("y", 63)
	for _, origin := range []string{".", "example.", `w\.x.Example.`, strings.Repeat(label+".", 3)} {
		s := newScope("", parsed(t, origin))
		for text, plain := range map[string]bool{
			"@": true, ".": true, "a": true, "A.b": true, "*.W-1._x": true, "a.": true, "Other.Test.": true, label: true, label + "." + label[:40]: true,
			label + ".": true, "": false, "..": false, ".a": false, "a..b": false, "a..": false, label + "y": false, label + "y.": false,
			`a\.b`: false, `\065`: false, "a b": false, `"a"`: false, "a@b": false, "\xe4": false, strings.Repeat("a.", 127): false, strings.Repeat("a.", 128): false, strings.Repeat("a", 300): false,
		} {
			p := new(parser)
			wire, shown, ok := p.spell(text, s)
			n, err := absolute(text, s.origin)
			if !ok {
				if plain && err == nil && len(n)+len(s.origin) < 200 {
					t.Errorf("%q below %s is left to absolute", text, origin)
				}
				continue
			}
			if !plain && err != nil || err != nil || string(n) != string(wire) || n.String() != string(shown) {
				t.Errorf("%q below %s: %q %s, want %q %v", text, origin, wire, shown, n, err)
			}
		}
	}
}
