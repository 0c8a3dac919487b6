// Package dsync holds the rules by which a child zone finds whom to tell that
// its CDS or CSYNC records have changed: the names that the parent publishes
// DSYNC records at, what is in them, and the NOTIFY message that goes there
// with the reply to it.
//
// It is pure: looking up, validating and sending is dns/resolver's.
//
// RFC 9859; RFC 1996.
package dsync

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Type is the type of a DSYNC record.
const Type = 66

// MaxEndpoints is how many endpoints of a parent are looked at.
const MaxEndpoints = 4

const schemeNotify = 1 // RFC 9859, Section 2.3

// ErrRecord is a DSYNC record that can not be read.
var ErrRecord = errors.New("not a DSYNC record")

// Endpoint is where notifications about records of one type go.
type Endpoint struct {
	Target name.Name
	Port   uint16
}

// String returns the endpoint as HOST:PORT.
func (e Endpoint) String() string { return fmt.Sprintf("%s:%d", e.Target, e.Port) }

// Names returns where the parent of the zone may publish, in the order they are
// asked (RFC 9859, Section 4.1): for the zone by itself, or a wildcard, then
// for all. Knowing the parent spares the first guess of that section.
func Names(zone, parent name.Name) []name.Name {
	all, ok := parent.Child("_dsync")
	if !ok || zone == parent || !zone.IsBelow(parent) {
		return nil
	}
	if own, ok := zone.Replace(parent, all); ok {
		return []name.Name{own, all}
	}
	return []name.Name{all} // the name would be too long
}

// Endpoints returns those of a DSYNC set that take notifications about a type.
// Records that are malformed, of another scheme, or lead nowhere are left out
// (RFC 9859, Section 2.3: scheme 0 is none).
func Endpoints(set []dns.RR, about uint16) []Endpoint {
	var out []Endpoint
	seen := map[Endpoint]bool{}
	for _, rr := range set {
		r, err := parse(rr)
		e := Endpoint{r.target, r.port}
		if err != nil || r.about != about || r.scheme != schemeNotify || r.port == 0 || r.target == name.Root || seen[e] {
			continue
		}
		if seen[e] = true; len(out) < MaxEndpoints {
			out = append(out, e)
		}
	}
	return out
}

type record struct {
	about  uint16
	scheme uint8
	port   uint16
	target name.Name
}

// parse reads a record (RFC 9859, Section 2.1), whose target is not
// compressed.
func parse(rr dns.RR) (record, error) {
	unknown, ok := rr.(*dns.RFC3597)
	if !ok || unknown.Hdr.Rrtype != Type {
		return record{}, ErrRecord
	}
	data, err := hex.DecodeString(unknown.Rdata)
	if err != nil || len(data) < 6 {
		return record{}, ErrRecord
	}
	r := record{about: binary.BigEndian.Uint16(data), scheme: data[2], port: binary.BigEndian.Uint16(data[3:])}
	target, end, err := name.FromWire(data, 5)
	if err != nil || end != len(data) {
		return record{}, ErrRecord
	}
	r.target = target
	return r, nil
}
