package update

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Rule lets a key change these types at these names.
type Rule struct {
	Key   name.Name
	Names []Pattern
	Types []uint16
}

// Pattern is a name, or all names below one: "*.dyn.example.test". Those below
// are meant for hosts: the name itself, names with a label that begins with "_"
// (of services, keys, policies) and wildcards are not among them. Such a name
// is written itself, or with its labels after the "*.".
type Pattern struct {
	Name  name.Name
	Below bool
}

// ErrType is a type that no rule may name.
var ErrType = errors.New("it is made by signing, or is in no zone")

// ParsePattern reads a pattern.
func ParsePattern(text string) (Pattern, error) {
	rest, below := strings.CutPrefix(text, "*.")
	if text == "*" || text == "*." {
		rest, below = ".", true
	}
	n, err := name.Parse(rest)
	return Pattern{n, below}, err
}

// String is the pattern as it is written.
func (p Pattern) String() string {
	switch {
	case !p.Below:
		return p.Name.String()
	case p.Name == name.Root:
		return "*."
	}
	return "*." + p.Name.String()
}

// Covers reports whether a name is meant.
func (p Pattern) Covers(n name.Name) bool {
	if !p.Below || n == p.Name {
		return !p.Below && n == p.Name
	}
	if !n.IsBelow(p.Name) || n.IsWildcard() {
		return false
	}
	for ; n != p.Name; n = n.Parent() {
		if strings.HasPrefix(n.First(), "_") {
			return false
		}
	}
	return true
}

// ParseType reads a type that a rule may name: "A", "TYPE65280".
func ParseType(word string) (uint16, error) {
	t, ok := dns.StringToType[strings.ToUpper(word)]
	if !ok {
		digits, ok := strings.CutPrefix(strings.ToUpper(word), "TYPE")
		n, err := strconv.ParseUint(digits, 10, 16)
		if !ok || err != nil {
			return 0, errors.New("no such type")
		}
		t = uint16(n)
	}
	if Never(t) {
		return 0, ErrType
	}
	return t, nil
}

// Never reports whether no update may touch a type, whatever the rules: those
// that signing makes (RFC 3007, Section 4.3 would let keys in), those that no
// zone has, and the signatures and keys of old.
func Never(t uint16) bool {
	switch t {
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeDNSKEY,
		dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeZONEMD, dns.TypeSIG, dns.TypeNXT:
		return true
	}
	return meta(t)
}

// allowed reports whether a rule lets the key do it. Who removes all of a name
// must be allowed every type that is there, and where nothing is, the name.
func (s *State) allowed(u Record, key name.Name, rules []Rule) bool {
	mine := slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool {
		return r.Key != key || !slices.ContainsFunc(r.Names, func(p Pattern) bool { return p.Covers(u.Owner) })
	})
	may := func(t uint16) bool {
		return !Never(t) && slices.ContainsFunc(mine, func(r Rule) bool { return slices.Contains(r.Types, t) })
	}
	if u.Type != dns.TypeANY {
		return may(u.Type)
	}
	apex := u.Owner == s.zone.Origin()
	for t := range s.at(u.Owner) {
		if stays := apex && (t == dns.TypeSOA || t == dns.TypeNS); !stays && !may(t) {
			return false
		}
	}
	return len(mine) > 0
}
