package zonefile

import (
	"bufio"
	"bytes"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Print writes the zone as a zone file: one record a line, all names
// absolute, the SOA first, the rest in canonical order.
func Print(w io.Writer, z *zone.Zone) error {
	_, err := PrintPage(w, z, "", math.MaxInt)
	return err
}

// PrintPage is Print for a part of a zone: from a name on, or from the beginning
// where that is "", and up to the first name after so many octets. It returns
// that name, from which the next part goes on, and "" where there is none.
func PrintPage(w io.Writer, z *zone.Zone, from name.Name, octets int) (next name.Name, err error) {
	b := bufio.NewWriter(w)
	write := func(rr dns.RR) {
		line := PrintRecord(rr)
		octets -= len(line) + 1
		// bufio keeps the first error for Flush.
		_, _ = b.WriteString(line)
		_ = b.WriteByte('\n')
	}
	if from == "" {
		from = z.Origin()
		write(z.SOA())
	}
	for node := range z.From(from) {
		if octets <= 0 && node.Name != from {
			return node.Name, b.Flush()
		}
		for i := range node.Sets {
			if node.Sets[i].Type == dns.TypeSOA {
				continue
			}
			for _, rr := range node.Sets[i].RRs {
				write(rr)
			}
		}
	}
	return "", b.Flush()
}

// PrintRecord is the record as it can be read again, by other programs too. What
// the library writes cannot always: it has words for types that are none, nothing
// for data that is empty where it must not be, the class of an unknown type as a
// number, which Knot does not read, and in names it leaves most octets that can
// be printed as they are, of which Knot reads few, and of which a dollar sign
// makes a directive of the line that it begins. A record that it has no words for
// is written by RFC 3597, Section 5.
func PrintRecord(rr dns.RR) string {
	line := strings.Replace(rr.String(), "\tCLASS1\t", "\tIN\t", 1)
	switch rr.(type) {
	case *dns.A, *dns.AAAA:
		return escaped(line, strings.IndexByte(line, '\t')) // most records, and nothing else to go wrong
	case *dns.NS, *dns.CNAME, *dns.PTR, *dns.MX, *dns.SOA:
		return escaped(line, len(line))
	case *dns.NSEC, *dns.DNAME, *dns.SRV:
		line = escaped(line, len(line))
	default:
		line = escaped(line, strings.IndexByte(line, '\t'))
	}
	if plainlyWritten(rr) {
		return line
	}
	if records, _ := ParseText(line+"\n", "", name.Root, Options{}); len(records) == 1 && same(records[0].RR, rr) {
		return line
	}
	generic := new(dns.RFC3597)
	if err := generic.ToRFC3597(rr); err != nil {
		return line // cannot be: the zone's records were packed before
	}
	line = strings.Replace(generic.String(), "\tCLASS1\t", "\tIN\t", 1)
	return escaped(line, strings.IndexByte(line, '\t'))
}

// escaped is a line whose first octets, which hold names, numbers and words
// alone, have nothing bare that a program might not take in a name.
func escaped(line string, octets int) string {
	plain := func(c byte) bool {
		return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || c == '.' || c == '\t' || c == ' ' || c == '-' || c == '_' || c == '*' || c == '/'
	}
	at := 0
	for at < octets && (plain(line[at]) || line[at] == '\\') {
		at++
	}
	if at == octets {
		return line
	}
	var b strings.Builder
	for i := 0; i < octets; i++ {
		switch c := line[i]; {
		case c == '\\':
			b.WriteByte(c)
			i++ // what follows is escaped already, or is the first of three digits
		case !plain(c):
			b.WriteByte('\\')
		}
		b.WriteByte(line[i])
	}
	return b.String() + line[octets:]
}

// plainlyWritten reports whether a record of those that signing adds is written
// as it can be read: all but those that name types without a word of their own.
func plainlyWritten(rr dns.RR) bool {
	known := func(t uint16) bool {
		read, ok := parseType(dns.Type(t).String())
		return ok && read == t
	}
	all := func(types []uint16) bool {
		return !slices.ContainsFunc(types, func(t uint16) bool { return !known(t) })
	}
	switch r := rr.(type) {
	case *dns.RRSIG:
		return r.Signature != "" && known(r.TypeCovered)
	case *dns.NSEC:
		return all(r.TypeBitMap)
	case *dns.NSEC3:
		return r.NextDomain != "" && all(r.TypeBitMap)
	}
	return false
}

// same reports whether two records are the same octets.
func same(a, b dns.RR) bool {
	x, errX := zone.AppendWire(nil, name.Root, a)
	y, errY := zone.AppendWire(nil, name.Root, b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
