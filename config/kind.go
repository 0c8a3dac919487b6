package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/mail/ldap"
)

// kind is what a value means: how it looks in TOML, what it is called in a
// problem, an example, and the rule for its text.
type kind struct {
	shape shape
	noun  string
	like  string
	check func(s string) (hint string, ok bool) // strings only; hint "" stands for like
	final func(s, dir string) string            // the text as Effective shows it; nil: as written

	server bool // it names a server: what a problem repeats of it holds no login (see said)
}

func kindText() kind { return kind{shape: isString, noun: "a text", like: `"a text"`} }

func kindWord() kind { return kind{shape: isString, noun: "a word", like: `"a word"`} }

func kindFlag() kind { return kind{shape: isBool, noun: "true or false", like: "true"} }

func kindCount() kind { return kind{shape: isInt, noun: "a number", like: "10"} }

func kindPath() kind {
	return kind{shape: isString, noun: "path", like: `"a/path"`, final: absolute, check: func(s string) (string, bool) {
		return "", s != "" && !strings.ContainsRune(s, 0)
	}}
}

// kindZoneFile is a path that is not relative to the configuration.
func kindZoneFile() kind {
	k := kindPath()
	k.final = nil
	return k
}

func kindFilePath() kind {
	return kind{shape: isString, noun: "file", like: `"file:PATH"`, final: finalFile, check: func(s string) (string, bool) {
		return "", strings.TrimPrefix(s, "file:") != "" && !strings.ContainsRune(s, 0)
	}}
}

func finalFile(s, dir string) string {
	return "file:" + absolute(strings.TrimPrefix(s, "file:"), dir)
}

// finalSecret shows a reference, never what is behind it.
func finalSecret(s, dir string) string {
	if path, ok := strings.CutPrefix(s, "file:"); ok {
		return finalFile(path, dir)
	}
	return s
}

func finalRecipients(s, dir string) string {
	if strings.HasPrefix(s, "file:") {
		return finalFile(s, dir)
	}
	return s
}

func finalSocket(s, dir string) string {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return "unix:" + absolute(path, dir)
	}
	return s
}

func finalName(s, _ string) string { return canonical(s) }

func finalHop(s, dir string) string {
	if scheme, path, ok := cutPath(s); ok {
		return scheme + ":" + absolute(path, dir)
	}
	return s
}

func kindSecret() kind {
	return kind{shape: isString, noun: "secret reference", final: finalSecret, like: `"file:PATH", "cred:NAME" or "env:NAME"`, check: func(s string) (string, bool) {
		scheme, rest, _ := strings.Cut(s, ":")
		return "", rest != "" && slices.Contains([]string{"file", "cred", "env"}, scheme)
	}}
}

func kindDuration() kind {
	return kind{shape: isString, noun: "duration", like: `"12h" or "90d"`, check: func(s string) (string, bool) {
		_, ok := parseDuration(s)
		return "", ok
	}}
}

// kindValidity is a duration of at least a day: signatures are renewed in time
// only if there is some. Beyond a year an old answer could be replayed for as
// long.
func kindValidity() kind {
	return kind{shape: isString, noun: "validity", like: `"auto", or "1d" to "366d"`, check: func(s string) (string, bool) {
		d, ok := parseDuration(s)
		return "", s == "auto" || ok && d >= 24*time.Hour && d <= 366*24*time.Hour
	}}
}

// kindLifetime is how long a key is used: a roll takes days, so one that is
// shorter than a week would never end.
func kindLifetime() kind {
	return kind{shape: isString, noun: "lifetime", like: `"manual", or "7d" to "3650d"`, check: func(s string) (string, bool) {
		d, ok := parseDuration(s)
		return "", s == "manual" || ok && d >= 7*24*time.Hour && d <= 3650*24*time.Hour
	}}
}

// kindSpan is a duration between two others.
func kindSpan(low, high string) kind {
	from, _ := parseDuration(low)
	to, _ := parseDuration(high)
	return kind{shape: isString, noun: "duration", like: fmt.Sprintf("%q to %q", low, high), check: func(s string) (string, bool) {
		d, ok := parseDuration(s)
		return "", ok && d >= from && d <= to
	}}
}

// kindAge is how old a password may grow: there must be time to warn of its end.
func kindAge() kind {
	return kind{shape: isString, noun: "age", like: `"off", or "7d" or more`, check: func(s string) (string, bool) {
		d, ok := parseDuration(s)
		return "", s == "off" || ok && d >= 7*24*time.Hour
	}}
}

func kindSize() kind {
	return kind{shape: isString, noun: "size", like: `"25MB" or "1GiB"`, check: func(s string) (string, bool) {
		_, ok := parseSize(s)
		return "", ok
	}}
}

func kindRate() kind {
	return kind{shape: isString, noun: "rate", like: `"20000/h" or "10/10m"`, check: func(s string) (string, bool) {
		_, ok := parseRate(s)
		return "", ok
	}}
}

func kindLimit() kind {
	return kind{shape: isString, noun: "rate", like: `"60/m", or "off"`, check: func(s string) (string, bool) {
		_, ok := parseRate(s)
		return "", ok || s == "off"
	}}
}

func kindPercent() kind {
	return kind{shape: isString, noun: "share", like: `"1%" to "100%"`, check: func(s string) (string, bool) {
		_, ok := parsePercent(s)
		return "", ok
	}}
}

// parsePercent reads "1%" to "100%".
func parsePercent(s string) (int, bool) {
	digits, ok := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 1 && n <= 100 && strconv.Itoa(n) == digits
}

func kindAddress() kind {
	return kind{shape: isString, noun: "address", server: true, like: `"192.0.2.1" or "2001:db8::1"`, check: func(s string) (string, bool) {
		a, err := netip.ParseAddr(s)
		return "", err == nil && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
	}}
}

func kindAddressPort() kind {
	return kind{shape: isString, noun: "address", server: true, like: `"192.0.2.1:53" or "[2001:db8::1]:53"`, check: func(s string) (string, bool) {
		a, err := netip.ParseAddrPort(s)
		return "", err == nil && a.Addr().Zone() == "" && !a.Addr().IsMulticast()
	}}
}

func kindSocket() kind {
	return kind{shape: isString, noun: "address", server: true, final: finalSocket, like: `"unix:/run/a.sock" or "127.0.0.1:11333"`, check: func(s string) (string, bool) {
		if path, ok := strings.CutPrefix(s, "unix:"); ok {
			return "", path != "" && !strings.ContainsRune(path, 0)
		}
		a, err := netip.ParseAddrPort(s)
		return "", err == nil && a.Port() != 0 && !a.Addr().IsUnspecified() && !a.Addr().IsMulticast()
	}}
}

func kindPrefix() kind {
	return kind{shape: isString, noun: "prefix", like: `"10.0.0.0/8", "fd00::/8" or an address`, check: checkPrefix}
}

func kindClient() kind {
	return kind{shape: isString, noun: "client set", like: `a name of [networks], "any", "loopback", "self", or a prefix`, check: func(s string) (string, bool) {
		if isNetworkName(s) {
			return "", true
		}
		return checkPrefix(s)
	}}
}

func kindBlocklist() kind {
	return kind{shape: isString, noun: "block list", like: `"zen.dnsbl.test=127.0.0.0/28"`, check: func(s string) (string, bool) {
		_, ok := parseBlocklist(s)
		return "", ok
	}}
}

// parseBlocklist reads "ZONE=PREFIX,PREFIX". Replies lie in 127.0.0.0/8 (RFC
// 5782, Section 2.1): a range beyond it would take a parked zone's wildcard for
// a listing, and without any range the refusal of a list for one.
func parseBlocklist(s string) (Blocklist, bool) {
	zone, ranges, found := strings.Cut(s, "=")
	if _, ok := checkHostname(zone); !found || !ok {
		return Blocklist{}, false
	}
	l := Blocklist{Zone: canonical(zone)}
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	for text := range strings.SplitSeq(ranges, ",") {
		p, ok := parsePrefix(strings.TrimSpace(text))
		if !ok || !p.Addr().Is4() || !loopback.Contains(p.Addr()) || p.Bits() < loopback.Bits() {
			return Blocklist{}, false
		}
		l.Replies = append(l.Replies, p)
	}
	return l, true
}

func kindForwarder() kind {
	return kind{shape: isString, noun: "forwarder", like: `"192.0.2.1", "192.0.2.0/24" or "forwarder.example"`, check: func(s string) (string, bool) {
		if p, ok := parsePrefix(s); ok {
			if p.Bits() == 0 {
				return "everybody is no exception", false
			}
			return "", true
		}
		if !strings.Contains(s, ".") {
			return "name its hosts or its domain", false
		}
		return checkHostname(s)
	}}
}

func kindName() kind {
	return kind{shape: isString, noun: "name", like: "letters, digits, - and _", check: func(s string) (string, bool) { return "", isPlainName(s) }}
}

func kindHostname() kind {
	return kind{shape: isString, noun: "host name", final: finalName, like: `"edge.example.net"`, check: func(s string) (string, bool) { return checkHostname(s) }}
}

func kindPin() kind {
	return kind{shape: isString, noun: "pin", like: `"sha256/…", the SHA-256 of a public key in base64`, check: func(s string) (string, bool) {
		_, ok := parsePin(s)
		return "", ok
	}}
}

func kindDomain() kind {
	return kind{shape: isString, noun: "domain name", final: finalName, like: `"example.net"`, check: checkDomain}
}

func kindNextHop() kind {
	return kind{shape: isString, noun: "next hop", server: true, final: finalHop, like: `"smtp://10.0.0.5:25", "smtps://…", "lmtp://…", "lmtp:SOCKET" or "maildir:PATH"`, check: func(s string) (string, bool) {
		_, hint, ok := parseNextHop(s)
		return hint, ok
	}}
}

func kindSender() kind {
	return kind{shape: isString, noun: "sender", like: `"user@example.net", "@example.net" or "<>"`, check: func(s string) (string, bool) {
		return "", s == "<>" || isMailbox(s)
	}}
}

func kindRecipient() kind {
	return kind{shape: isString, noun: "recipient", like: `"user@example.net" or "@example.net"`, check: func(s string) (string, bool) { return "", isMailbox(s) }}
}

func kindDirectory() kind {
	return kind{shape: isString, noun: "directory server", server: true, like: `"ldaps://HOST:PORT" or "ldap://HOST:PORT"`, check: func(s string) (string, bool) {
		_, hint, ok := parseDirectory(s)
		return hint, ok
	}}
}

func kindFilter() kind {
	return kind{shape: isString, noun: "filter", like: `"(mail={address})"`, check: func(s string) (string, bool) {
		_, err := ldap.ParseFilter(s)
		if err != nil {
			return err.Error(), false
		}
		return "", true
	}}
}

func kindRecipients() kind {
	return kind{shape: isString, noun: "recipients", server: true, final: finalRecipients, like: `"any", "verify", "file:PATH" or "ldap:NAME"`, check: func(s string) (string, bool) {
		if name, ok := strings.CutPrefix(s, "ldap:"); ok {
			return "the name of a [mail.ldap.NAME]: letters, digits, - and _", isPlainName(name)
		}
		file, isFile := strings.CutPrefix(s, "file:")
		return "", s == "any" || s == "verify" || isFile && file != "" && !strings.ContainsRune(s, 0)
	}}
}

// parseDuration reads "90d", "12h", "1h30m", "200ms".
func parseDuration(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	var sum time.Duration
	for s != "" {
		digits := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if digits <= 0 {
			return 0, false
		}
		n, err := strconv.ParseInt(s[:digits], 10, 64)
		if err != nil {
			return 0, false
		}
		s = s[digits:]
		unit, length := durationUnit(s)
		if unit == 0 || n > int64(maxDuration/unit) || sum+time.Duration(n)*unit > maxDuration {
			return 0, false
		}
		sum, s = sum+time.Duration(n)*unit, s[length:]
	}
	return sum, true
}

// maxDuration is a hundred years: longer is a slip of the pen.
const maxDuration = 100 * 365 * 24 * time.Hour

func durationUnit(s string) (time.Duration, int) {
	switch {
	case strings.HasPrefix(s, "ms"):
		return time.Millisecond, 2
	case strings.HasPrefix(s, "s"):
		return time.Second, 1
	case strings.HasPrefix(s, "m"):
		return time.Minute, 1
	case strings.HasPrefix(s, "h"):
		return time.Hour, 1
	case strings.HasPrefix(s, "d"):
		return 24 * time.Hour, 1
	case strings.HasPrefix(s, "w"):
		return 7 * 24 * time.Hour, 1
	}
	return 0, 0
}

// parseSize reads "25MB" (decimal) and "25MiB" (binary).
func parseSize(s string) (int64, bool) {
	digits := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if digits <= 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	unit := map[string]int64{
		"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}[s[digits:]]
	const most = 1 << 50
	if err != nil || unit == 0 || n > most/unit {
		return 0, false
	}
	return n * unit, true
}

// parseRate reads "20000/h" and "10/10m".
func parseRate(s string) (Rate, bool) {
	count, window, ok := strings.Cut(s, "/")
	n, err := strconv.Atoi(count)
	if !ok || err != nil || n < 1 || count[0] == '+' {
		return Rate{}, false
	}
	if window != "" && (window[0] < '0' || window[0] > '9') {
		window = "1" + window
	}
	d, ok := parseDuration(window)
	return Rate{Count: n, Window: d}, ok && d > 0
}

// String is the rate as it is written: "10/10m".
func (r Rate) String() string {
	if r.Count == 0 {
		return "off"
	}
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if r.Window == u.unit {
			return fmt.Sprintf("%d/%s", r.Count, u.name)
		}
		if r.Window%u.unit == 0 {
			return fmt.Sprintf("%d/%d%s", r.Count, r.Window/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%d/%dms", r.Count, r.Window/time.Millisecond)
}
