// Package xfr brings zones to secondaries, ours to others and others' to us.
//
// Out: it makes the messages of a transfer, whole (AXFR) or as differences
// (IXFR), decides who may have one, tells secondaries of new versions (NOTIFY),
// and asks them what they serve. Full, Changes and Datagram are pure: they pack
// a zone's records straight into messages, one buffer at a time, and never hold
// a zone twice. Rules says which peer may have what; a transfer belongs to one
// zone in one view (VIEWS), and who is in no rule hears what he would hear of a
// zone that does not exist. Out bounds the transfers at one time, and how many
// of them pack at once, so that questions are answered meanwhile; whoever calls
// it brings the goroutine. Notifier owns its goroutines; Stop ends them.
//
// In: a Refresher keeps the zones of primaries. What it does about each, and
// when, is upkeep: rules that know no clock. It asks for the serial (poll), takes
// a transfer (fetch) and reads its messages (reading, records, form), which are
// pure too and believe nothing: every octet is of the zone asked for, proven
// where there is a key, or the transfer is refused with a Reason. Lanes bound
// what runs at one time, of all and of one primary. Heard takes the NOTIFY of
// others. A Refresher owns its goroutines; Stop ends them.
//
// It never changes a zone: what was transferred is for others to judge, to keep
// and to serve. RFC 1982 (serials), RFC 1995 (IXFR), RFC 1996 (NOTIFY), RFC 5936
// (AXFR), RFC 7314 (EXPIRE), RFC 8945 (TSIG, by package tsig), RFC 9103
// (transfers within TLS, strict and mutual).
package xfr

import (
	"context"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Source knows what is published.
type Source interface {
	// Content returns what the zone holds in that view, nil where it has no
	// good state, and what it changed by of late, the oldest step first: each
	// begins where the one before ends, the last ends at the content. It does
	// not wait. The caller changes nothing of it.
	Content(zone name.Name, view string) (*zone.Zone, []zone.Delta)
}

// Historian is a Source that remembers longer.
type Historian interface {
	// Since returns what the zone changed by since it had that serial, in one
	// piece; false where that is not known. It may wait for the disk.
	Since(ctx context.Context, zone name.Name, view string, serial uint32) (zone.Delta, bool)
}
