package verdict

import (
	"fmt"
	"strings"
	"time"
)

// Scan is what one scanner found in a message.
type Scan struct {
	Scanner string // "clamd", "rspamd"
	Outcome ScanOutcome
	Name    string // of what was found, or the scanner's own word; printable
	Open    bool   // the operator takes what this scanner could not scan
	Took    time.Duration
	Err     error // why it could not
}

// ScanOutcome is what a scanner says of a message. The zero value is that it
// said nothing.
type ScanOutcome uint8

// The outcomes.
const (
	ScanNone     ScanOutcome = iota
	ScanClean                // nothing to say against it
	ScanVirus                // something dangerous
	ScanSpam                 // to be refused
	ScanLater                // to be tried again later
	ScanSuspect              // to be marked, or set aside
	ScanFailed               // it did not answer, or not usefully
	ScanTooLarge             // it never scans one so large
)

var scanWords = [...]string{"none", "clean", "virus", "spam", "later", "suspect", "failed", "too-large"}

// String is the outcome's word for log and metric.
func (o ScanOutcome) String() string { return scanWords[o&7] }

// String is the scan in one word for the log: "rspamd:spam(reject 17.3/15)".
func (s Scan) String() string {
	out := s.Scanner + ":" + s.Outcome.String()
	if s.Name != "" {
		out += "(" + s.Name + ")"
	}
	return fmt.Sprintf("%s:%dms", out, s.Took.Milliseconds())
}

// The reason words of scanners.
const (
	ReasonVirus        = "scan-virus"
	ReasonSpam         = "scan-spam"
	ReasonScanLater    = "scan-later"
	ReasonSuspect      = "scan-suspect"
	ReasonScanFailed   = "scan-failed"
	ReasonScanTooLarge = "scan-too-large"
)

// Weigh adds what scanners found to a decision: it can only get worse. What is
// refused for good goes before what is to come again.
func Weigh(d Decision, scans []Scan) Decision {
	if d.Reply != nil {
		return d
	}
	for _, s := range scans {
		if next := weigh(s); rank(next.Action) > rank(d.Action) {
			d = next
		}
	}
	return d
}

func rank(a Action) int {
	return [...]int{Undecided: 0, Accept: 1, Quarantine: 2, Defer: 3, Reject: 4}[a]
}

func weigh(s Scan) Decision {
	switch s.Outcome {
	case ScanVirus:
		return refuse(550, "5.7.1", ReasonVirus, "the message holds something dangerous: "+quotable(s.Name))
	case ScanSpam:
		return refuse(550, "5.7.1", ReasonSpam, "the message was refused as spam")
	case ScanLater:
		return refuse(451, "4.7.1", ReasonScanLater, "please try again later")
	case ScanSuspect:
		return Decision{Action: Quarantine, Reason: ReasonSuspect}
	case ScanTooLarge:
		if !s.Open {
			return refuse(552, "5.3.4", ReasonScanTooLarge, "the message is too large to be scanned")
		}
	case ScanFailed, ScanNone:
		if !s.Open {
			d := refuse(451, "4.3.0", ReasonScanFailed, "the message cannot be scanned now, try again later")
			d.Reply.Cause = s.Err
			return d
		}
	}
	return Decision{Action: Accept}
}

// quotable is a scanner's name for something, as a stranger may read it.
func quotable(name string) string {
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, name)
	return name[:min(len(name), 100)]
}
