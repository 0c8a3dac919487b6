package xfr

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/tsig"
	"postern/internal/dns/zone"
)

// Primary is another name server that gives us zones.
type Primary struct {
	Name   string
	Addr   []netip.AddrPort // where it is asked, in this order
	Key    name.Name        // signs what we ask, and proves what it says; "": nothing is signed
	TLS    *tls.Config      // all that is asked of it goes within TLS (RFC 9103); nil: UDP and TCP
	Source []netip.Addr     // our own addresses for that, one a family; none: the system's choice
}

// Inbound is one zone in one view that is fed by transfers.
type Inbound struct {
	Zone       name.Name
	View       string
	Primaries  []*Primary // tried in turn
	MaxRecords int        // of one transfer; whoever takes it holds the zone against it too; 0: 5,000,000
	Catalog    bool       // a primary that refuses its SOA by UDP is asked by TCP: Knot gives that of a catalog to nobody otherwise
	MaxOctets  int64      // of one transfer, as it came; 0: 1 GiB
}

// Held is what we have of such a zone.
type Held struct {
	SOA     *dns.SOA  // as the primary gave it
	Expires time.Time // as Take or Fresh said last; zero: not known, the SOA's expire begins now
}

// Incoming is what one transfer brought. It is sound in itself: of the zone,
// of class IN, begun and ended by the same SOA, proven where there is a key.
// Whether it fits what we have, zone.Apply tells; whether it is fit to be
// served, whoever takes it.
type Incoming struct {
	SOA *dns.SOA
	// Full is the whole zone, its SOA first and once; nil where Deltas are given.
	// Records are as zone.Normalise makes them.
	Full []dns.RR
	// Deltas are to be applied, in this order, to what we have.
	Deltas  []zone.Delta
	Expires time.Time // when what it brought expires, unless a later check finds it fresh
	From    netip.AddrPort
	Primary string
}

// RefresherConfig is what a Refresher needs. Its functions are called from
// several goroutines at once, but never for the same zone and view.
type RefresherConfig struct {
	// Zones are those that are fed by transfers; called at the start and after
	// Follow.
	Zones func() []Inbound
	// Have returns what we have of a zone, also where it has expired; false:
	// nothing.
	Have func(zone name.Name, view string) (Held, bool)
	// Take takes a transfer. nil: it is durable and served. An error that is
	// zone.ErrMisfit means that the deltas do not fit what we have: the whole zone
	// is asked for.
	Take func(ctx context.Context, in Inbound, brought Incoming) error
	// Fresh hears that a primary still has what we have, which is good until
	// then; where it had expired it is served again.
	Fresh func(ctx context.Context, in Inbound, until time.Time) error
	// Expired hears, once, that nobody has vouched for the zone for too long:
	// it is not to be served any more.
	Expired func(zone name.Name, view string)

	Keys       func() *tsig.Keys // with those that the primaries name
	Transfers  int               // at one time; 0: 10
	PerPrimary int               // of one primary; 0: 2
	Checks     int               // questions for a serial at one time, of one primary a quarter of them; 0: 32
	Most       int               // zones that are followed; 0: 50,000
	Longest    time.Duration     // of one transfer; then it is broken off; 0: 2 h
	Idle       time.Duration     // within a transfer, until the next message is whole; 0: 30 s

	Exchange Exchange // nil: by UDP
	Dial     Dial     // nil: by TCP
	// Now tells the time; nil: time.Now. Where it is given, it is looked at
	// every second, since it may leap.
	Now  func() time.Time
	Rand io.Reader    // ids and jitter; nil: crypto/rand
	Log  *slog.Logger // nil: silent
}

// Dial connects, from one of our addresses where that is valid.
type Dial func(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)

// InState is how a zone that is fed by transfers stands.
type InState uint8

// States.
const (
	Missing InState = iota // nothing was taken yet
	Fresh                  // the last check found it fresh, or brought it
	Stale                  // the last check failed; served until it expires
	Expired                // nobody vouched for it for too long; not served
)

// String is the state as a word.
func (s InState) String() string {
	return [...]string{Missing: "missing", Fresh: "fresh", Stale: "stale", Expired: "expired"}[s]
}

// InStanding is how one zone in one view stands with its primaries.
type InStanding struct {
	Zone    name.Name
	View    string
	State   InState
	Serial  uint32         // that we have
	Primary string         // the one that last answered well; "": none yet
	Address netip.AddrPort // of it
	Checked time.Time      // when that was; zero: not since the start
	Next    time.Time      // the next check; in the past: it waits for its turn, or is under way
	Expires time.Time      // zero: there is nothing that could
	Tried   time.Time      // the last check, good or not
	Reason  string         // why it did not succeed: of each primary a reason word, and what is behind it; "" where it did
	Running string         // "check" or "transfer" where one is under way
}
