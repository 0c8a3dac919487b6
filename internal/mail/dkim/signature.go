package dkim

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"postern/internal/mail/address"
)

// signature is one signature field, read, and what came of it. Status is None
// while nothing is decided.
type signature struct {
	Signature
	raw         []byte // the field as received
	kind        string // of key: "rsa" or "ed25519"
	names       []string
	headerCanon canon
	bodyCanon   canon
	auid        string // the domain of i=
	limited     bool   // l= is there
	made        int64  // t=; 0: not said
	expires     int64  // x=; 0: never
	bh, b       string // white space taken out
	bodyHash    []byte
	bytes       []byte
}

var errTags = errors.New("malformed tags")

// parseTags reads a tag-list (RFC 6376, Section 3.2). A tag that stands twice
// voids the list.
func parseTags(s string) (map[string]string, error) {
	if strings.Count(s, ";") > maxTags {
		return nil, errors.New("too many tags")
	}
	tags := map[string]string{}
	for part := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(part, "=")
		name = strings.Trim(name, space)
		if !ok && name == "" {
			continue
		}
		if _, twice := tags[name]; !ok || twice || name == "" {
			return nil, errTags
		}
		tags[name] = strings.Trim(value, space)
	}
	return tags, nil
}

// readSignature reads a DKIM-Signature field (RFC 6376, Section 3.5).
func readSignature(raw []byte) *signature {
	return readTagged(raw, func(tags map[string]string) string {
		if tags["v"] != "1" {
			return "incompatible signature version"
		}
		return ""
	})
}

// readTagged reads a signature field; special refuses what its kind may not
// say.
func readTagged(raw []byte, special func(map[string]string) string) *signature {
	s := &signature{raw: raw}
	_, value, _ := strings.Cut(string(raw), ":")
	tags, err := parseTags(value)
	if err != nil {
		s.Status, s.Reason = PermError, err.Error()
		return s
	}
	s.Domain, s.Selector, s.Algorithm = canonical(tags["d"]), strip(tags["s"]), strings.ToLower(strip(tags["a"]))
	s.bh, s.b = strip(tags["bh"]), strip(tags["b"])
	s.B = s.b
	if s.Reason = special(tags); s.Reason == "" {
		s.Reason = s.read(tags)
	}
	if s.Reason != "" {
		s.Status = PermError
	}
	return s
}

// read takes the tags that decide; the answer says what is wrong with them
// (RFC 6376, Section 6.1.1).
func (s *signature) read(tags map[string]string) string {
	if strings.Count(tags["h"], ":") >= maxNames {
		return "too many names in h="
	}
	for _, name := range []string{"a", "b", "bh", "d", "h", "s"} {
		if _, ok := tags[name]; !ok {
			return "signature missing required tag"
		}
	}
	s.names = strings.Split(strings.ToLower(strip(tags["h"])), ":")
	if !slices.Contains(s.names, "from") { // RFC 6376, Section 5.4
		return "From field not signed"
	}
	if s.Domain == "" {
		return "d= is not a domain name"
	}
	if s.Selector == "" {
		return "s= is empty"
	}
	if why := s.readAlgorithm(tags); why != "" {
		return why
	}
	_, s.limited = tags["l"]
	if why := s.readAgent(tags); why != "" {
		return why
	}
	return s.readTimes(tags)
}

func (s *signature) readAlgorithm(tags map[string]string) string {
	kind, hash, _ := strings.Cut(s.Algorithm, "-")
	s.kind = kind
	switch {
	case hash == "sha1":
		return "hash algorithm too weak: sha1" // RFC 8301, Section 3.1
	case hash != "sha256":
		return "unsupported hash algorithm"
	case kind != "rsa" && kind != "ed25519":
		return "unsupported key algorithm"
	}
	if q, ok := tags["q"]; ok && !slices.Contains(strings.Split(strings.ToLower(strip(q)), ":"), "dns/txt") {
		return "unsupported public key query method"
	}
	header, body, _ := strings.Cut(strings.ToLower(strip(tags["c"])), "/")
	var okHeader, okBody bool
	s.headerCanon, okHeader = canonOf(header)
	s.bodyCanon, okBody = canonOf(body)
	if !okHeader || !okBody {
		return "unsupported canonicalization algorithm"
	}
	return ""
}

// readAgent reads i=, whose domain must be that of d= or lie below it, however
// either is spelled: names are compared without regard to letter case (RFC 6376,
// Section 3.5), and i= is quoted-printable.
func (s *signature) readAgent(tags map[string]string) string {
	s.auid = s.Domain
	i, ok := tags["i"]
	if !ok {
		return ""
	}
	i, ok = unquote(strip(i))
	at := strings.LastIndexByte(i, '@')
	if !ok || at < 0 {
		return "malformed i="
	}
	s.auid = canonical(i[at+1:])
	if s.auid != s.Domain && !strings.HasSuffix(s.auid, "."+s.Domain) {
		return "domain mismatch"
	}
	return ""
}

// unquote decodes dkim-quoted-printable (RFC 6376, Section 2.11).
func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}

func (s *signature) readTimes(tags map[string]string) string {
	for _, t := range []struct {
		name string
		to   *int64
	}{{"t", &s.made}, {"x", &s.expires}} {
		v, ok := tags[t.name]
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strip(v), 10, 40) // 12 digits
		if err != nil {
			return "malformed " + t.name + "="
		}
		*t.to = int64(n)
	}
	if s.made > 0 && s.expires > 0 && s.expires < s.made {
		return "signature expired before it was made" // RFC 6376, Section 3.5, tag x
	}
	return ""
}

func (s *signature) topLevel() bool { return !strings.Contains(s.Domain, ".") }

// keyName is where the key stands, in canonical form, so that what is asked for
// does not depend on how the signer spelled it.
func (s *signature) keyName() string {
	selector := strings.ToLower(s.Selector)
	if a, err := address.ParseDomain(selector); err == nil { // RFC 8616, Section 4: U-labels
		selector = a
	}
	return selector + "._domainkey." + s.Domain
}

// tellApart cuts each b= to 8 characters, or as many more as make it differ
// from the others (RFC 6008, Section 4).
func tellApart(sigs []Signature) {
	n := 8
	for ; n < 64; n += 4 {
		seen := map[string]bool{}
		for _, s := range sigs {
			seen[s.B[:min(n, len(s.B))]] = true
		}
		if len(seen) == len(sigs) {
			break
		}
	}
	for i := range sigs {
		sigs[i].B = sigs[i].B[:min(n, len(sigs[i].B))]
	}
}

// canonical is a domain as A-labels in lower case, "" if it is none.
func canonical(s string) string {
	d, err := address.ParseDomain(strings.TrimSuffix(strip(s), "."))
	if err != nil || strings.HasPrefix(d, "[") {
		return ""
	}
	return d
}

const space = " \t\r\n"

func strip(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(space, r) {
			return -1
		}
		return r
	}, s)
}
