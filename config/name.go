package config

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// isPlainName holds names the admin makes up: of views, networks, relays.
func isPlainName(s string) bool {
	return s != "" && len(s) <= 63 && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
}

// isNetworkName tells a name of [networks] from an address or a prefix: it has
// no dot, colon or slash.
func isNetworkName(s string) bool { return isPlainName(s) && !isAllDigits(s) }

func isAllDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// parsePrefix reads a prefix, or an address as a prefix of its full length. A
// mapped IPv4 address is IPv4.
func parsePrefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, false
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, true
}

func checkPrefix(s string) (hint string, ok bool) {
	p, ok := parsePrefix(s)
	if ok && p != p.Masked() {
		return "it has bits behind its length; did you mean " + quoted(p.Masked().String()) + "?", false
	}
	return "", ok
}

// canonical is the form in which the program keeps a domain name: lower case,
// no final dot. The root is ".".
func canonical(s string) string {
	if s == "." {
		return s
	}
	return strings.ToLower(strings.TrimSuffix(s, "."))
}

// checkDomain holds mail domains and names in DNS: RFC 1035, Section 2.3.4.
func checkDomain(s string) (hint string, ok bool) {
	s = canonical(s)
	if strings.IndexFunc(s, func(r rune) bool { return r > 0x7e }) >= 0 {
		return "write it in its xn-- form", false
	}
	if s == "" || len(s) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool { return r <= ' ' || r == '"' || r == '\\' || r == '@' }) {
			return "", false
		}
	}
	return "", true
}

// checkZoneName also takes the root.
func checkZoneName(s string) (hint string, ok bool) {
	if s == "." {
		return "", true
	}
	return checkDomain(s)
}

// checkHostname holds names of hosts: RFC 1123, Section 2.1.
func checkHostname(s string) (hint string, ok bool) {
	if hint, ok = checkDomain(s); !ok {
		return hint, false
	}
	s = canonical(s)
	for label := range strings.SplitSeq(s, ".") {
		if label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return "labels of letters, digits and inner hyphens", false
		}
	}
	if isAllDigits(s[strings.LastIndexByte(s, '.')+1:]) {
		return "an address is not a host name", false
	}
	return "", true
}

// isMailbox holds "user@domain" and "@domain".
func isMailbox(s string) bool {
	i := strings.LastIndexByte(s, '@')
	if i < 0 || i > 64 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '<' || r == '>' || r == 0x7f }) {
		return false
	}
	_, ok := checkHostname(s[i+1:])
	return ok
}

// canonicalMailbox folds the domain only: the local part is its owner's.
func canonicalMailbox(s string) string {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s
	}
	return s[:i+1] + canonical(s[i+1:])
}

// parseNextHop reads scheme://host[:port], lmtp:SOCKET and maildir:PATH. A path
// stays as it is written.
func parseNextHop(s string) (hop NextHop, hint string, ok bool) {
	if scheme, path, isPath := cutPath(s); isPath {
		return NextHop{Scheme: scheme, Path: path}, "", path != "" && filepath.Clean(path) != "/" && !strings.ContainsRune(path, 0)
	}
	return parseHostURL(s, map[string]int{"smtp": 25, "smtps": 465, "lmtp": 24})
}

// parseHostURL reads scheme://host[:port], with the schemes' usual ports.
func parseHostURL(s string, ports map[string]int) (hop NextHop, hint string, ok bool) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return hop, "", false
	}
	if u.User != nil {
		return hop, "user and secret are keys of their own", false
	}
	port, known := ports[u.Scheme]
	if !known {
		return hop, "", false
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return hop, "a port is 1 to 65535", false
		}
	}
	hop = NextHop{Scheme: u.Scheme, Host: canonical(u.Hostname()), Port: port}
	if a, err := netip.ParseAddr(hop.Host); err == nil {
		hop.Host = a.Unmap().String()
		return hop, "", a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
	}
	hint, ok = checkHostname(hop.Host)
	return hop, hint, ok
}

// parseDirectory reads ldap://host[:port] and ldaps://host[:port].
func parseDirectory(s string) (at NextHop, hint string, ok bool) {
	return parseHostURL(s, map[string]int{"ldap": 389, "ldaps": 636})
}

// cutPath splits a next hop that is a path.
func cutPath(s string) (scheme, path string, ok bool) {
	scheme, path, _ = strings.Cut(s, ":")
	ok = scheme == "maildir" || scheme == "lmtp" && !strings.HasPrefix(path, "//")
	return scheme, path, ok
}
