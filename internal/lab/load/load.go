// Package load asks a name server as fast as one core can, or at a steady
// rate, over datagrams in batches, and looks at every reply: its id, its
// question to the letter case, its rcode and what it tells. It knows the zone
// it asks about, and writes it (Zone). Only tests and the benchmark import it.
//
// A Client is one goroutine on a thread of its own that allocates nothing
// while it runs: the time between a query and its reply is that of the kernel,
// which stamps what comes in, so that a pause of the client is not blamed on
// the server.
package load

import (
	"fmt"
	"net/netip"
	"time"
)

// Mix is what is asked for.
type Mix uint8

// Mixes.
const (
	Positive Mix = iota // addresses, some of IPv6, and some MX
	NXDomain
	Referral
	Wildcard
	Mixed // three quarters positive; aliases, referrals, no such name and no such type
)

var mixes = [...]string{"positive", "nxdomain", "referral", "wildcard", "mixed"}

// String returns the name of the mix.
func (m Mix) String() string { return mixes[m] }

// ParseMix returns the mix of that name.
func ParseMix(s string) (Mix, error) {
	for i, name := range mixes {
		if name == s {
			return Mix(i), nil
		}
	}
	return 0, fmt.Errorf("no mix %q, but %v", s, mixes)
}

// Cookies is what the COOKIE option of a query holds.
type Cookies uint8

// Cookies.
const (
	NoCookie     Cookies = iota
	ClientCookie         // only the client's: proves nothing
	ServerCookie         // the server's as well, as soon as it gave one
)

// Config says what to ask, of whom, and how.
type Config struct {
	Server   netip.AddrPort // of IPv4
	Sources  []netip.Addr   // own addresses, in turn; none: the system's choice
	Zone     string         // the origin, without the last dot; "": example.test
	Hosts    int            // of Zone; default 100000
	Mix      Mix
	Changing int // percent of the questions that go to the changing name (Version)

	EDNS    bool // EDNS, 1232 octets, DO
	Case    bool // random letter case
	Cookies Cookies

	Window  int           // unanswered at one time; default 200, at most 32768
	Rate    int           // queries a second; 0: as soon as the window allows
	Timeout time.Duration // after which a query is lost; default 1 s
	Core    int           // the core to run on, counted from 1; 0: any
	Seed    uint64
}

func (c *Config) defaults() {
	if c.Zone == "" {
		c.Zone = "example.test"
	}
	if c.Hosts == 0 {
		c.Hosts = 100_000
	}
	if c.Window == 0 {
		c.Window = 200
	}
	c.Window = min(c.Window, 1<<15)
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
}

// Result is what came of a run.
type Result struct {
	Sent, Answered uint64
	Lost           uint64 // without a reply for Config.Timeout
	Late           uint64 // replies to what was lost already, or to nothing
	Wrong          uint64 // replies that are not what the zone holds
	Blocked        uint64 // times the window was full when a query was due: Rate was not kept
	Versions       int    // of the changing name, each newer than the ones before
	Rcodes         [16]uint64
	OctetsIn       uint64 // of replies
	OctetsOut      uint64 // of queries
	Sample         string // one of the wrong
	Elapsed        time.Duration
	Latency        Histogram

	// Of a run at a steady rate: windows of time, those in which the host of
	// this machine took nothing of its processors, and what was seen in them.
	Windows, CalmWindows int
	Calm                 Histogram // as Latency, where the time of sending is sure
	CalmLost             uint64
	CalmVersions         int
}

// PerSecond is the rate of answers.
func (r *Result) PerSecond() float64 { return float64(r.Answered) / r.Elapsed.Seconds() }

// String is a line for people.
func (r *Result) String() string {
	s := fmt.Sprintf("%d asked, %d answered (%.0f/s), %d lost, %d wrong, %d late; p50 %v p99 %v p99.9 %v max %v",
		r.Sent, r.Answered, r.PerSecond(), r.Lost, r.Wrong, r.Late,
		r.Latency.At(0.5), r.Latency.At(0.99), r.Latency.At(0.999), r.Latency.At(1))
	if r.Windows > 0 {
		s += fmt.Sprintf("; in %d of %d windows the host took nothing: p50 %v p99 %v p99.9 %v max %v, %d lost",
			r.CalmWindows, r.Windows, r.Calm.At(0.5), r.Calm.At(0.99), r.Calm.At(0.999), r.Calm.At(1), r.CalmLost)
	}
	if r.Sample != "" {
		s += "; " + r.Sample
	}
	return s
}
