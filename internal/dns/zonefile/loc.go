package zonefile

import (
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// loc reads RFC 1876, Section 3. What may be left out has the RFC's defaults:
// no minutes and seconds, 1 m of size, precise to 10 km and 10 m.
func (d *data) loc() {
	latitude := d.angle("latitude", 90, "N", "S")
	longitude := d.angle("longitude", 180, "E", "W")
	altitude := d.metres("altitude", -100000_00, 42849672_95)
	sizes := [3]int64{1_00, 10000_00, 10_00}
	for i, what := range []string{"size", "horizontal precision", "vertical precision"} {
		if len(d.tokens) > 0 {
			sizes[i] = d.metres(what, 0, 90000000_00)
		}
	}
	d.wire = append(d.wire, 0, power(sizes[0]), power(sizes[1]), power(sizes[2]))
	d.put(uint64(dns.LOC_EQUATOR+latitude), 32)
	d.put(uint64(dns.LOC_PRIMEMERIDIAN+longitude), 32)
	d.put(uint64(altitude+dns.LOC_ALTITUDEBASE*100), 32)
}

// angle reads degrees, minutes and seconds up to the half of the globe they
// are in, and returns thousandths of a second.
func (d *data) angle(what string, most int64, plus, minus string) int64 {
	var total int64
	for i, u := range []struct {
		name        string
		digits      int // behind the point
		most, scale int64
	}{{"degrees", 0, most, 3600_000}, {"minutes", 0, 59, 60_000}, {"seconds", 3, 59_999, 1}, {plus + " or " + minus, 0, -1, 0}} {
		t, ok := d.next(u.name + " of the " + what)
		if !ok {
			return 0
		}
		if half := strings.ToUpper(t.text); i > 0 && (half == plus || half == minus) {
			if total > most*3600_000 {
				d.wrong(t, "", "the %s is above %d degrees", what, most)
			}
			if half == minus {
				return -total
			}
			return total
		}
		n, ok := fixed(t.text, u.digits)
		if !ok || n > u.most {
			d.wrong(t, "", "the %s cannot go on with %s: %s are awaited", what, t.quoted(), u.name)
			return 0
		}
		total += n * u.scale
	}
	return 0
}

// metres reads a length and returns centimetres.
func (d *data) metres(what string, least, most int64) int64 {
	t, ok := d.next(what)
	if !ok {
		return 0
	}
	text := strings.TrimSuffix(strings.TrimSuffix(t.text, "m"), "M")
	digits, negative := strings.CutPrefix(text, "-")
	n, ok := fixed(digits, 2)
	if negative {
		n = -n
	}
	if !ok || n < least || n > most {
		d.wrong(t, "", "the %s %s is no length in metres from %d to %.2f", what, t.quoted(), least/100, float64(most)/100)
		return 0
	}
	return n
}

// fixed reads a number with so many digits behind its point at most, and
// returns it in units of the last of them.
func fixed(text string, digits int) (int64, bool) {
	whole, part, point := strings.Cut(text, ".")
	if point && (part == "" || len(part) > digits) || strings.Trim(whole+part, "0123456789") != "" || whole == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", digits-len(part)), 10, 64)
	return n, err == nil
}

// power writes centimetres as one digit and a power of ten (RFC 1876, Section
// 2), the digits behind the first cut off.
func power(n int64) byte {
	exponent := byte(0)
	for ; n > 9; n /= 10 {
		exponent++
	}
	return byte(n)<<4 | exponent
}
