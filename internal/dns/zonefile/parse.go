package zonefile

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Options bound and extend Parse. The zero value allows no $INCLUDE.
type Options struct {
	// Include returns the text that $INCLUDE path names, and the name it goes
	// by in problems. It must refuse what lies outside the zone's directory.
	// Nil refuses every $INCLUDE.
	Include func(path string) (text []byte, file string, err error)

	MaxSize     int // octets of all files together; default 256 MiB
	MaxRecords  int // default 4 million
	MaxProblems int // what is reported; default 100
	MaxDepth    int // of $INCLUDE; default 8
	MaxIncludes int // files included; default 1000

	MaxGenerate  int // records that one $GENERATE makes; default 65536
	MaxGenerated int // records that all of them make; default 1 million
}

func (o Options) withDefaults() Options {
	set := func(v *int, to int) {
		if *v <= 0 {
			*v = to
		}
	}
	set(&o.MaxSize, 256<<20)
	set(&o.MaxRecords, 4_000_000)
	set(&o.MaxProblems, 100)
	set(&o.MaxDepth, 8)
	set(&o.MaxIncludes, 1000)
	set(&o.MaxGenerate, 1<<16)
	set(&o.MaxGenerated, 1_000_000)
	return o
}

// ErrOutside is what Options.Include returns for a path that leads out of the
// zone's directory.
var ErrOutside = errors.New("leads out of the zone's directory")

// Parse reads the zone file of the zone origin. The records are normalised
// and, as far as the file says, in the file's order. Where a problem blocks,
// the records are those of the lines without one.
func Parse(r io.Reader, file string, origin name.Name, opts Options) ([]Record, []Problem) {
	var src strings.Builder
	if _, err := io.Copy(&src, io.LimitReader(r, int64(opts.withDefaults().MaxSize)+1)); err != nil {
		return nil, []Problem{{File: file, Severity: ERR, Code: "unreadable", Message: err.Error(), Hint: "look at the owner and mode of the file"}}
	}
	return ParseText(src.String(), file, origin, opts)
}

// ParseText is Parse for who has the text.
func ParseText(src, file string, origin name.Name, opts Options) ([]Record, []Problem) {
	p := &parser{zone: origin, opts: opts.withDefaults()}
	p.all(src, file)
	return p.records, p.problems
}

// all reads a zone from its beginning to its end.
func (p *parser) all(src, file string) {
	p.size = p.opts.MaxSize
	// None is shorter than this: lists that grow are copied over and over.
	const shortest = 12
	p.records = make([]Record, 0, min(entries(src), len(src)/shortest+1, p.opts.MaxRecords))
	p.file(src, newScope(file, p.zone))
	p.settleTTLs()
	if len(p.records) < cap(p.records)*3/4 {
		p.records = slices.Clip(slices.Clone(p.records))
	}
}

// entries is about how many entries a text has: its lines, but those within
// parentheses, wherever these stand.
func entries(src string) int {
	count := 1
	for {
		open := strings.IndexByte(src, '(')
		if open < 0 {
			return count + strings.Count(src, "\n")
		}
		count += strings.Count(src[:open], "\n")
		src = src[open:]
		end := strings.IndexByte(src, ')')
		if end < 0 {
			return count
		}
		src = src[end:]
	}
}

// parser reads one zone: a file and what it includes.
type parser struct {
	zone     name.Name
	opts     Options
	arena    zone.Arena
	records  []Record
	problems []Problem
	done     bool // a bound was reached: nothing more is read
	size     int  // octets still allowed
	includes int
	depth    int

	generated int // records that $GENERATE made

	ttl       uint32 // $TTL, or the last TTL written
	ttlKnown  bool
	byDefault bool  // ttl comes from $TTL
	noTTL     []int // records that came before any TTL
	soaTTL    uint32
	soaSeen   bool

	wire, shown   [256]byte // the name that spell has read
	target        target
	data, scratch []byte // of the record at hand

	passed func(*lexer, *scope) // told of each entry of the zone file itself, once it is read; may be nil
}

// scope is what one file may change for itself: RFC 1035, Section 5.1 gives
// the including file its origin back.
type scope struct {
	file      string
	origin    name.Name
	shown     string    // origin as text
	owner     name.Name // of the entry before; "" at first
	ownerText string
	written   string // that owner as the entry has it, if the origin is still the same
	lost      bool   // that entry's owner could not be read: lines that carry it are passed over
}

func newScope(file string, origin name.Name) *scope {
	return &scope{file: file, origin: origin, shown: origin.String()}
}

func (p *parser) add(problem Problem) {
	problem.Message = told(problem.Message)
	switch {
	case len(p.problems) < p.opts.MaxProblems:
		p.problems = append(p.problems, problem)
	case !p.done:
		p.done = true
		p.problems = append(p.problems, Problem{File: problem.File, Line: problem.Line, Col: problem.Col, Severity: ERR, Code: "too-many", Message: "too many problems, the rest is not read", Hint: "put these right first; one mistake early in a file may cause many"})
	}
}

// maxMessage bounds a problem's message: a word of the file can be as long as
// the file.
const maxMessage = 500

// told makes a message one line that a terminal can be given, whatever words
// of the file are in it. One that is too long is cut in its middle: what is
// wrong stands at the beginning or at the end.
func told(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage/2] + " ... " + s[len(s)-maxMessage/2:]
	}
	var b strings.Builder
	for i, r := range s {
		switch _, size := utf8.DecodeRuneInString(s[i:]); {
		case r == utf8.RuneError && size == 1, !unicode.IsPrint(r):
			for _, c := range []byte(s[i : i+size]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (p *parser) fail(s *scope, t token, code, message, hint string) {
	p.add(Problem{File: s.file, Line: t.line, Col: t.col, Severity: ERR, Code: code, Message: message, Hint: hint})
}

func (p *parser) warn(s *scope, t token, code, message, hint string) {
	p.add(Problem{File: s.file, Line: t.line, Col: t.col, Severity: WARN, Code: code, Message: message, Hint: hint})
}

func (p *parser) file(src string, s *scope) {
	if len(src) > p.size {
		p.add(Problem{File: s.file, Severity: ERR, Code: "too-large", Message: fmt.Sprintf("zone is larger than %d octets", p.opts.MaxSize), Hint: "split the zone by delegation"})
		p.done = true
		return
	}
	p.size -= len(src)
	if isUTF16(src) {
		p.add(Problem{File: s.file, Severity: ERR, Code: "syntax", Message: "the file is in UTF-16", Hint: "save it as UTF-8"})
		return
	}
	lex := p.lexer(src, s)
	for !p.done {
		e, ok := lex.next()
		if !ok {
			return
		}
		p.entry(e, s)
		if p.passed != nil && p.depth == 0 {
			p.passed(lex, s)
		}
	}
}

func isUTF16(src string) bool {
	return strings.HasPrefix(src, "\xff\xfe") || strings.HasPrefix(src, "\xfe\xff")
}

func (p *parser) lexer(src string, s *scope) *lexer {
	return newLexer(src, func(line, col int, code, message, hint string) {
		p.fail(s, token{line: line, col: col}, code, message, hint)
		s.owner, s.lost = "", true
	})
}

func (p *parser) entry(e entry, s *scope) {
	if !e.blank && strings.HasPrefix(e.tokens[0].text, "$") {
		p.directive(e, s)
	} else {
		p.record(e, s)
	}
}

func (p *parser) directive(e entry, s *scope) {
	head := e.tokens[0]
	args := e.tokens[1:]
	word := strings.ToUpper(head.text)
	switch word {
	case "$ORIGIN", "$TTL":
		if len(args) != 1 {
			p.fail(s, head, "syntax", word+" takes one value", "a comment begins with a semicolon")
			return
		}
	}
	switch word {
	case "$ORIGIN":
		p.setOrigin(args[0], s)
	case "$TTL":
		ttl, ok := parseTTL(args[0].text)
		if !ok {
			p.fail(s, args[0], "bad-ttl", fmt.Sprintf("%q is no TTL", args[0].text), ttlHint)
			return
		}
		p.ttl, p.ttlKnown, p.byDefault = ttl, true, true
	case "$INCLUDE":
		p.include(head, args, s)
	case "$GENERATE":
		p.generate(e, s)
	default:
		p.fail(s, head, "syntax", fmt.Sprintf("unknown directive %q", head.text), "known are $ORIGIN, $TTL, $INCLUDE and $GENERATE")
	}
}

func (p *parser) setOrigin(t token, s *scope) {
	n, err := absolute(t.text, s.origin)
	if err != nil {
		p.fail(s, t, "bad-name", fmt.Sprintf("$ORIGIN %s: %v", t.text, err), nameHint(err))
		return
	}
	if !n.IsBelow(p.zone) && !p.zone.IsBelow(n) {
		p.warn(s, t, "origin-outside", fmt.Sprintf("%s is outside the zone %s", n, p.zone), "a name without its final dot is relative to the origin before")
	}
	s.origin, s.shown, s.written = n, n.String(), ""
}

// include reads another file in place. Its owner and origin do not leak out.
func (p *parser) include(head token, args []token, s *scope) {
	if len(args) < 1 || len(args) > 2 {
		p.fail(s, head, "syntax", "$INCLUDE takes a file and perhaps an origin", "a comment begins with a semicolon")
		return
	}
	inner := newScope("", s.origin)
	inner.owner, inner.ownerText, inner.lost = s.owner, s.ownerText, s.lost
	if len(args) == 2 {
		n, err := absolute(args[1].text, s.origin)
		if err != nil {
			p.fail(s, args[1], "bad-name", fmt.Sprintf("origin %s: %v", args[1].text, err), nameHint(err))
			return
		}
		inner.origin, inner.shown = n, n.String()
	}
	path := strings.Trim(args[0].text, `"`)
	p.includes++
	switch {
	case p.opts.Include == nil:
		p.fail(s, args[0], "include", "$INCLUDE is not allowed here", "put the records into this file")
		return
	case p.depth >= p.opts.MaxDepth:
		p.fail(s, args[0], "include", fmt.Sprintf("$INCLUDE is nested more than %d deep", p.opts.MaxDepth), "does the file include itself?")
		return
	case p.includes > p.opts.MaxIncludes:
		p.fail(s, args[0], "include", fmt.Sprintf("more than %d files are included", p.opts.MaxIncludes), "merge some of them")
		p.done = true
		return
	}
	text, file, err := p.opts.Include(path)
	if err != nil {
		p.fail(s, args[0], "include", fmt.Sprintf("$INCLUDE %s: %v", path, err), "paths are relative to the zone's directory and stay below it")
		return
	}
	inner.file = file
	p.depth++
	p.file(string(text), inner)
	p.depth--
}

// settleTTLs gives the records that came before any TTL the SOA's minimum, as
// others do; RFC 2308, Section 4 asks for $TTL.
func (p *parser) settleTTLs() {
	if len(p.noTTL) == 0 {
		return
	}
	ttl, from := uint32(3600), "an hour"
	if p.soaSeen {
		ttl, from = p.soaTTL, "the SOA's minimum"
	}
	for _, i := range p.noTTL {
		p.records[i].RR.Header().Ttl = ttl
	}
	first := p.records[p.noTTL[0]]
	p.add(first.At(WARN, "no-ttl", fmt.Sprintf("no TTL is given; %s, %d s, is used for %d records", from, ttl, len(p.noTTL)), "begin the file with $TTL"))
}

func (p *parser) sawSOA(rr dns.RR) {
	if soa, ok := rr.(*dns.SOA); ok && !p.soaSeen {
		p.soaSeen, p.soaTTL = true, soa.Minttl
	}
}
