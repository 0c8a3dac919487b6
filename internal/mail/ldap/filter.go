package ldap

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/internal/mail/address"
)

// Bounds of a filter.
const (
	maxFilter = 4096 // octets
	maxDepth  = 20   // parentheses in parentheses
)

// Filter is a filter (RFC 4515) whose values have places for an address:
// {address}, {local} and {domain}. A brace itself is written \7b.
type Filter struct {
	tag   byte
	parts []Filter // of and, or, not
	attr  string
	rule  string  // of an extensible match
	dn    bool    // its :dn
	value []value // one; of substrings: first, the middle ones, last
}

// value is a text, or a place for one, after another.
type value []piece

type piece struct {
	text string
	hole string // "address", "local", "domain"; "": text
}

const (
	and, or, not = 0xa0, 0xa1, 0xa2
	equal        = 0xa3
	substrings   = 0xa4
	atLeast      = 0xa5
	atMost       = 0xa6
	present      = 0x87
	approximate  = 0xa8
	extensible   = 0xa9
)

// ParseFilter reads a filter.
func ParseFilter(text string) (Filter, error) {
	if len(text) > maxFilter {
		return Filter{}, fmt.Errorf("a filter of more than %d octets", maxFilter)
	}
	p := &parser{rest: text}
	f, err := p.filter(1)
	if err == nil && p.rest != "" {
		err = fmt.Errorf("%q follows the filter", p.rest)
	}
	if err == nil && !f.asks() {
		err = errors.New("the filter asks for nobody in particular: no {address} or {local}")
	}
	return f, err
}

// asks reports a filter that depends on whom it is about.
func (f Filter) asks() bool {
	for _, v := range f.value {
		if slices.ContainsFunc(v, func(p piece) bool { return p.hole == "address" || p.hole == "local" }) {
			return true
		}
	}
	return slices.ContainsFunc(f.parts, Filter.asks)
}

type parser struct{ rest string }

func (p *parser) take(token string) bool {
	rest, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = rest
	}
	return ok
}

func (p *parser) want(token string) error {
	if p.take(token) {
		return nil
	}
	if p.rest == "" {
		return fmt.Errorf("the filter ends where a %s is missing", token)
	}
	return fmt.Errorf("no %s before %q", token, p.rest)
}

func (p *parser) filter(depth int) (f Filter, err error) {
	if depth > maxDepth {
		return f, fmt.Errorf("more than %d parentheses in each other", maxDepth)
	}
	if err := p.want("("); err != nil {
		return f, err
	}
	switch {
	case p.take("&"):
		f.tag, err = and, p.list(&f, depth)
	case p.take("|"):
		f.tag, err = or, p.list(&f, depth)
	case p.take("!"):
		var one Filter
		one, err = p.filter(depth + 1)
		f = Filter{tag: not, parts: []Filter{one}}
	default:
		f, err = p.item()
	}
	if err != nil {
		return f, err
	}
	return f, p.want(")")
}

// list reads one filter or more; that none is all, or nothing (RFC 4526), is not
// what somebody means who asks for a person.
func (p *parser) list(f *Filter, depth int) error {
	for len(f.parts) == 0 || strings.HasPrefix(p.rest, "(") {
		part, err := p.filter(depth + 1)
		if err != nil {
			return err
		}
		f.parts = append(f.parts, part)
	}
	return nil
}

// item reads ATTRIBUTE, how it is compared, and a value.
func (p *parser) item() (Filter, error) {
	i := strings.IndexAny(p.rest, "=()")
	if i <= 0 || p.rest[i] != '=' {
		return Filter{}, fmt.Errorf("no attribute and value in %q", p.rest)
	}
	left := p.rest[:i]
	p.rest = p.rest[i+1:]
	f := Filter{tag: equal}
	for suffix, tag := range map[string]byte{">": atLeast, "<": atMost, "~": approximate, ":": extensible} {
		if s, ok := strings.CutSuffix(left, suffix); ok {
			f.tag, left = tag, s
			break
		}
	}
	if f.tag == extensible {
		left = f.extend(left)
	}
	f.attr = left
	if !attribute(f.attr) && !(f.tag == extensible && f.attr == "" && f.rule != "") {
		return Filter{}, fmt.Errorf("bad attribute %q", left)
	}
	if f.rule != "" && !attribute(f.rule) {
		return Filter{}, fmt.Errorf("bad matching rule %q", f.rule)
	}
	return f, p.values(&f)
}

// extend takes ":dn" and ":RULE" off the left side of an extensible match.
func (f *Filter) extend(left string) (attr string) {
	attr, more, _ := strings.Cut(left, ":")
	if word, rest, _ := strings.Cut(more, ":"); strings.EqualFold(word, "dn") {
		f.dn, more = true, rest
	}
	f.rule = more
	return attr
}

// attribute reports a name or a number of one, with options (RFC 4512, Section
// 2.5).
func attribute(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', i > 0 && (c == '-' || c == '.' || c == ';'):
		default:
			return false
		}
	}
	return s != ""
}

// values reads the right side, up to its parenthesis.
func (p *parser) values(f *Filter) error {
	all := []value{nil}
	for p.rest != "" && p.rest[0] != ')' {
		if p.take("*") {
			all = append(all, nil)
			continue
		}
		one, err := p.piece()
		if err != nil {
			return err
		}
		all[len(all)-1] = append(all[len(all)-1], one)
	}
	f.value = all
	if len(all) == 1 {
		return nil
	}
	if f.tag != equal {
		return errors.New("a * has a meaning after = alone; as itself it is \\2a")
	}
	f.tag = substrings
	if len(all) == 2 && all[0] == nil && all[1] == nil {
		f.tag, f.value = present, nil
		return nil
	}
	if slices.ContainsFunc(all[1:len(all)-1], func(v value) bool { return v == nil }) {
		return errors.New("two * follow each other")
	}
	return nil
}

// piece reads some text, or one place.
func (p *parser) piece() (piece, error) {
	switch c := p.rest[0]; c {
	case '(', 0:
		return piece{}, fmt.Errorf("%q in a value is written \\%02x", string(c), c)
	case '}':
		return piece{}, errors.New(`"}" in a value is written \7d`)
	case '\\': // RFC 4515, Section 3
		raw, err := hex.DecodeString(p.rest[1:min(3, len(p.rest))])
		if err != nil || len(raw) != 1 {
			return piece{}, fmt.Errorf("\\ wants two hexadecimal digits, at %q", p.rest)
		}
		p.rest = p.rest[3:]
		return piece{text: string(raw)}, nil
	case '{':
		name, rest, ok := strings.Cut(p.rest[1:], "}")
		if !ok || name != "address" && name != "local" && name != "domain" {
			return piece{}, fmt.Errorf("{address}, {local} and {domain} may stand there, not %q", p.rest)
		}
		p.rest = rest
		return piece{hole: name}, nil
	}
	i := strings.IndexAny(p.rest, "()*\\{}\x00")
	if i < 0 {
		i = len(p.rest)
	}
	one := piece{text: p.rest[:i]}
	p.rest = p.rest[i:]
	return one, nil
}

// For encodes the filter about one address (RFC 4511, Section 4.5.1.7).
func (f Filter) For(a address.Address) []byte {
	switch f.tag {
	case and, or, not:
		var parts [][]byte
		for _, part := range f.parts {
			parts = append(parts, part.For(a))
		}
		return wrap(f.tag, parts...)
	case present:
		return octets(present, f.attr)
	case substrings:
		return wrap(substrings, octets(tagOctets, f.attr), wrap(tagSequence, f.substrings(a)...))
	case extensible:
		return wrap(extensible, f.extensible(a)...)
	}
	return wrap(f.tag, octets(tagOctets, f.attr), octets(tagOctets, f.value[0].of(a)))
}

func (f Filter) substrings(a address.Address) [][]byte {
	const initial, anywhere, final = 0x80, 0x81, 0x82
	var parts [][]byte
	for i, v := range f.value {
		tag := byte(anywhere)
		switch i {
		case 0:
			tag = initial
		case len(f.value) - 1:
			tag = final
		}
		if v != nil {
			parts = append(parts, octets(tag, v.of(a)))
		}
	}
	return parts
}

func (f Filter) extensible(a address.Address) [][]byte {
	var parts [][]byte
	if f.rule != "" {
		parts = append(parts, octets(0x81, f.rule))
	}
	if f.attr != "" {
		parts = append(parts, octets(0x82, f.attr))
	}
	parts = append(parts, octets(0x83, f.value[0].of(a)))
	if f.dn {
		parts = append(parts, wrap(0x84, []byte{0xff}))
	}
	return parts
}

func (v value) of(a address.Address) string {
	var out strings.Builder
	for _, p := range v {
		switch p.hole {
		case "":
			out.WriteString(p.text)
		case "address":
			out.WriteString(a.Local + "@" + a.Domain)
		case "local":
			out.WriteString(a.Local)
		case "domain":
			out.WriteString(a.Domain)
		}
	}
	return out.String()
}
