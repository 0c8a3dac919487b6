package load

import (
	"fmt"
	"math/bits"
	"strconv"
)

// Zone is the text of the zone that is asked about: hosts with an address
// each, half of them with one of IPv6, a tenth with MX; delegations, aliases
// and a wildcard; 1.72 records a host. version is in the changing name.
func Zone(origin string, hosts int, version uint32) []byte {
	b := make([]byte, 0, 40*hosts+1000)
	b = fmt.Appendf(b, "$ORIGIN %s.\n$TTL 3600\n%s", origin, ChangingLine(version))
	b = append(b, "@ IN SOA ns1 hostmaster 2026112101 7200 3600 1209600 300\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.1\nns1 AAAA 2001:db8::1\nns2 A 192.0.2.2\n"+
		"@ MX 10 mail\nmail A 192.0.2.3\n@ TXT \"v=spf1 mx -all\"\n*.w TXT \"wild\"\n*.w A 192.0.2.9\n"...)
	for i := range hosts {
		a := host4(uint32(i))
		b = fmt.Appendf(b, "h%d A %d.%d.%d.%d\n", i, a[0], a[1], a[2], a[3])
		if i%2 == 0 {
			b = fmt.Appendf(b, "h%d AAAA 2001:db8::%x:%x\n", i, i>>16, i&0xFFFF)
		}
		if i%10 == 0 {
			b = fmt.Appendf(b, "h%d MX 10 mail\n", i)
		}
		if i%20 == 0 {
			b = fmt.Appendf(b, "d%d NS ns1.d%d\nns1.d%d A 10.200.%d.%d\n", i, i, i, i>>8&255, i&255)
		}
		if i%50 == 0 {
			b = fmt.Appendf(b, "c%d CNAME h%d\n", i, i)
		}
	}
	return b
}

// ChangingLine is the record whose address tells a version.
func ChangingLine(version uint32) string {
	return fmt.Sprintf("changing 1 IN A 10.%d.%d.%d\n", version>>16&255, version>>8&255, version&255)
}

func host4(i uint32) [4]byte { return [4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)} }

// Types asked for.
const (
	typeA    = 1
	typeMX   = 15
	typeTXT  = 16
	typeAAAA = 28
)

// kind is what the reply to a question must be.
type kind uint8

const (
	address  kind = iota // exactly one address: that of the host
	address6             // its IPv6 address
	exchange             // one MX
	alias                // the alias, at least
	denial
	nodata
	referral
	wild
	changing
)

// question is one that was picked.
type question struct {
	letters string // of the first label, before number
	below   string // of the label after it, "" for none; the number is there if it is delegated
	number  uint32
	qtype   uint16
	kind    kind
}

// pick picks a question.
func (c *Client) pick() question {
	r := c.random()
	hi, _ := bits.Mul32(uint32(r), uint32(c.cfg.Hosts))
	return c.pickAt(hi, uint32(r>>32))
}

// pickAt picks one about a host; die is random.
func (c *Client) pickAt(i, die uint32) question {
	if c.cfg.Changing > 0 && int(die>>16%100) < c.cfg.Changing {
		return question{"changing", "", none, typeA, changing}
	}
	mix := c.cfg.Mix
	if mix == Mixed {
		switch die := die % 100; {
		case die < 75:
			mix = Positive
		case die < 80:
			return question{"c", "", i - i%50, typeA, alias}
		case die < 85:
			mix = Referral
		case die < 95:
			mix = NXDomain
		default:
			return question{"h", "", i, typeTXT, nodata}
		}
	}
	switch mix {
	case NXDomain:
		return question{"nx", "", i, typeA, denial}
	case Referral:
		return question{"www", "d", i - i%20, typeA, referral}
	case Wildcard:
		return question{"x", "w", i, typeA, wild}
	}
	switch die := die >> 8 % 10; {
	case die < 7:
		return question{"h", "", i, typeA, address}
	case die < 9:
		return question{"h", "", i - i%2, typeAAAA, address6}
	}
	return question{"h", "", i - i%10, typeMX, exchange}
}

// none is the number of a name without one.
const none = ^uint32(0)

// append writes the question's name in front of the zone's.
func (q question) append(b, zone []byte) []byte {
	b = q.label(b, q.letters, q.below != "d")
	if q.below != "" {
		b = q.label(b, q.below, q.below == "d")
	}
	return append(b, zone...)
}

func (q question) label(b []byte, letters string, numbered bool) []byte {
	at := len(b)
	b = append(append(b, 0), letters...)
	if numbered && q.number != none {
		b = strconv.AppendUint(b, uint64(q.number), 10)
	}
	b[at] = byte(len(b) - at - 1)
	return b
}
