package spf

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// kind is what a mechanism looks at (RFC 7208, Section 5). The zero value is none.
type kind uint8

const (
	unknown kind = iota
	kindAll
	kindInclude
	kindA
	kindMX
	kindPTR
	kindIP
	kindExists
)

var kinds = map[string]kind{
	"all": kindAll, "include": kindInclude, "a": kindA, "mx": kindMX,
	"ptr": kindPTR, "ip4": kindIP, "ip6": kindIP, "exists": kindExists,
}

// mechanism is one term that may match.
type mechanism struct {
	kind   kind
	name   string // as it is called, for the explanation
	result Status // what a match means
	target macro  // the domain; empty: the one that is evaluated
	bits4  int    // of "a" and "mx": how much of an IPv4 address counts
	bits6  int
	prefix netip.Prefix // of "ip4" and "ip6"
}

// record is one policy, of sound syntax from end to end.
type record struct {
	mechanisms []mechanism
	redirect   macro
	redirects  bool
}

// isRecord reports whether a text is a policy of this version (RFC 7208, Section 4.5).
func isRecord(txt string) bool {
	const version = "v=spf1"
	return len(txt) >= len(version) && strings.EqualFold(txt[:len(version)], version) &&
		(len(txt) == len(version) || txt[len(version)] == ' ')
}

// parse reads a policy. A fault anywhere in it voids all of it, also behind what
// would have matched (RFC 7208, Section 4.6).
func parse(txt string) (record, error) {
	var r record
	seen := map[string]bool{}
	for term := range strings.SplitSeq(txt[len("v=spf1"):], " ") {
		if term == "" {
			continue
		}
		name, value, ok := cutModifier(term)
		if !ok {
			m, err := parseMechanism(term)
			if err != nil {
				return record{}, fmt.Errorf("%q: %w", clipped(term), err)
			}
			r.mechanisms = append(r.mechanisms, m)
			continue
		}
		// RFC 7208, Section 6: these two stand once at most, others are passed
		// over. What exp= leads to is not fetched, but must be written soundly.
		known := name == "redirect" || name == "exp"
		if known && seen[name] {
			return record{}, fmt.Errorf("%q: a second one", clipped(term))
		}
		seen[name] = true
		read := parseMacro
		if known {
			read = parseDomainSpec
		}
		m, err := read(value)
		if err != nil {
			return record{}, fmt.Errorf("%q: %w", clipped(term), err)
		}
		if name == "redirect" {
			r.redirect, r.redirects = m, true
		}
	}
	return r, nil
}

// clipped is a term as an explanation shows it.
func clipped(term string) string { return term[:min(len(term), 60)] }

// cutModifier takes "name=value" apart (RFC 7208, Section 12). A mechanism has no
// equals sign before a colon or a slash.
func cutModifier(term string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(term, "=")
	if !ok || name == "" || !isAlpha(name[0]) {
		return "", "", false
	}
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && c != '-' && c != '_' && c != '.' {
			return "", "", false
		}
	}
	return strings.ToLower(name), value, true
}

var errTerm = fmt.Errorf("no such mechanism")

func parseMechanism(term string) (mechanism, error) {
	m := mechanism{result: Pass, bits4: 32, bits6: 128}
	rest := term
	if at := strings.IndexByte("+-~?", rest[0]); at >= 0 {
		m.result = [...]Status{Pass, Fail, SoftFail, Neutral}[at]
		rest = rest[1:]
	}
	end := strings.IndexAny(rest, ":/")
	if end < 0 {
		end = len(rest)
	}
	m.name = strings.ToLower(rest[:end])
	m.kind, rest = kinds[m.name], rest[end:]
	var err error
	switch m.kind {
	case unknown:
		return m, errTerm
	case kindAll:
		if rest != "" {
			return m, fmt.Errorf("all takes nothing")
		}
	case kindIP:
		m.prefix, err = parsePrefix(m.name, rest)
	case kindA, kindMX:
		if rest, err = m.cutBits(rest); err == nil {
			err = m.setTarget(rest, true)
		}
	case kindPTR:
		err = m.setTarget(rest, true)
	case kindInclude, kindExists:
		err = m.setTarget(rest, false)
	}
	return m, err
}

// setTarget reads the domain behind a colon.
func (m *mechanism) setTarget(s string, optional bool) (err error) {
	if s == "" && optional {
		return nil
	}
	spec, ok := strings.CutPrefix(s, ":")
	if !ok {
		return fmt.Errorf("a domain is missing")
	}
	m.target, err = parseDomainSpec(spec)
	return err
}

// cutBits takes "/24//64" off the end. A slash before anything but such a number
// belongs to the domain (RFC 7208, Section 5.3).
func (m *mechanism) cutBits(s string) (string, error) {
	rest, number, found := cutNumber(s, "//")
	if found {
		n, err := bits(number, 128)
		if err != nil {
			return "", err
		}
		m.bits6, s = n, rest
	}
	if rest, number, found = cutNumber(s, "/"); found && !strings.HasSuffix(rest, "/") {
		n, err := bits(number, 32)
		if err != nil {
			return "", err
		}
		m.bits4, s = n, rest
	}
	return s, nil
}

func cutNumber(s, mark string) (rest, number string, found bool) {
	at := strings.LastIndex(s, mark)
	if at < 0 || strings.Trim(s[at+len(mark):], "0123456789") != "" {
		return s, "", false
	}
	return s[:at], s[at+len(mark):], true
}

func bits(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	// RFC 7208, Section 12: no leading zero.
	if err != nil || n < 0 || n > most || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("/%s is no length", s)
	}
	return n, nil
}

func parsePrefix(name, s string) (netip.Prefix, error) {
	text, ok := strings.CutPrefix(s, ":")
	if !ok {
		return netip.Prefix{}, fmt.Errorf("an address is missing")
	}
	text, length, ranged := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.Is4() != (name == "ip4") {
		return netip.Prefix{}, fmt.Errorf("no address of %s", name)
	}
	n := addr.BitLen()
	if ranged {
		if n, err = bits(length, n); err != nil {
			return netip.Prefix{}, err
		}
	}
	return netip.PrefixFrom(addr, n).Masked(), nil
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isAlnum(c byte) bool { return isAlpha(c) || '0' <= c && c <= '9' }
