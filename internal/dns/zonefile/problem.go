// Package zonefile reads zone files (RFC 1035, Section 5; RFC 2308, Section
// 4; RFC 3597, Section 5) and prints zones. Every record and every problem
// has its file, line and column, and one bad line does not hide the next.
//
// A lexer of our own splits the text into entries, and the data of the types
// that zones consist of is read here too. A record of a rare type is handed
// alone to the DNS library's RDATA parser, with its owner, TTL and class
// already settled, so no text can reach the library's file directives.
//
// It is pure: what $INCLUDE names is fetched through Options.Include. It
// never writes a file and starts no goroutine.
package zonefile

import (
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// The severities of a Problem.
const (
	ERR  = "ERR"
	WARN = "WARN"
	NOTE = "NOTE" // worth knowing, nothing to put right
)

// Problem is one thing that is wrong with a zone file. Line and Col count
// from one, Col in octets; Line 0 means the file as a whole,
// and is printed as its beginning.
type Problem struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Col      int    `json:"col"`
	Severity string `json:"severity"`
	Code     string `json:"code"` // a stable reason word
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"` // how to put it right

	// Tolerable marks an ERR that the zone can be served with all the same.
	Tolerable bool `json:"tolerable,omitempty"`
}

// Blocks reports whether the zone cannot be served.
func (p Problem) Blocks() bool { return p.Severity == ERR && !p.Tolerable }

// String is "FILE:LINE:COL: SEVERITY CODE message (hint)".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	b.WriteString(":" + strconv.Itoa(max(p.Line, 1)) + ":" + strconv.Itoa(max(p.Col, 1)))
	b.WriteString(": " + p.Severity + " " + p.Code + " " + p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Record is one record and where it was written.
type Record struct {
	RR        dns.RR    // normalised, see zone.Normalise
	Owner     name.Name // of RR; "" where nobody has read it yet, see Name
	File      string    // empty for records that come from no file
	Line, Col int32
}

// Name returns the record's owner name.
func (r Record) Name() (name.Name, error) {
	if r.Owner != "" {
		return r.Owner, nil
	}
	return name.Parse(r.RR.Header().Name)
}

// At returns a problem at the record's place.
func (r Record) At(severity, code, message, hint string) Problem {
	return Problem{File: r.File, Line: int(r.Line), Col: int(r.Col), Severity: severity, Code: code, Message: message, Hint: hint}
}
