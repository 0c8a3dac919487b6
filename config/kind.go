package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is what a value means: how it looks in TOML, what it is called in a
// problem, an example, and the rule for its text.
type kind struct {
	shape shape
	noun  string
	like  string
	check func(s string) (hint string, ok bool) // strings only; hint "" stands for like
}

func kindText() kind { return kind{shape: isString, noun: "a text", like: `"a text"`} }

func kindWord() kind { return kind{shape: isString, noun: "a word", like: `"a word"`} }

func kindFlag() kind { return kind{shape: isBool, noun: "true or false", like: "true"} }

func kindCount() kind { return kind{shape: isInt, noun: "a number", like: "10"} }

func kindPath() kind {
	return kind{isString, "path", `"a/path"`, func(s string) (string, bool) {
		return "", s != "" && !strings.ContainsRune(s, 0)
	}}
}

func kindFilePath() kind {
	return kind{isString, "file", `"file:PATH"`, func(s string) (string, bool) {
		return "", strings.TrimPrefix(s, "file:") != "" && !strings.ContainsRune(s, 0)
	}}
}

func kindSecret() kind {
	return kind{isString, "secret reference", `"file:PATH", "cred:NAME" or "env:NAME"`, func(s string) (string, bool) {
		scheme, rest, _ := strings.Cut(s, ":")
		return "", rest != "" && slices.Contains([]string{"file", "cred", "env"}, scheme)
	}}
}

func kindDuration() kind {
	return kind{isString, "duration", `"12h" or "90d"`, func(s string) (string, bool) {
		_, ok := parseDuration(s)
		return "", ok
	}}
}

func kindSize() kind {
	return kind{isString, "size", `"25MB" or "1GiB"`, func(s string) (string, bool) {
		_, ok := parseSize(s)
		return "", ok
	}}
}

func kindRate() kind {
	return kind{isString, "rate", `"20000/h" or "10/10m"`, func(s string) (string, bool) {
		_, ok := parseRate(s)
		return "", ok
	}}
}

func kindLimit() kind {
	return kind{isString, "rate", `"60/m", or "off"`, func(s string) (string, bool) {
		_, ok := parseRate(s)
		return "", ok || s == "off"
	}}
}

func kindAddress() kind {
	return kind{isString, "address", `"192.0.2.1" or "2001:db8::1"`, func(s string) (string, bool) {
		a, err := netip.ParseAddr(s)
		return "", err == nil && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
	}}
}

func kindAddressPort() kind {
	return kind{isString, "address", `"192.0.2.1:53" or "[2001:db8::1]:53"`, func(s string) (string, bool) {
		a, err := netip.ParseAddrPort(s)
		return "", err == nil && a.Addr().Zone() == "" && !a.Addr().IsMulticast()
	}}
}

func kindPrefix() kind {
	return kind{isString, "prefix", `"10.0.0.0/8", "fd00::/8" or an address`, checkPrefix}
}

func kindClient() kind {
	return kind{isString, "client set", `a name of [networks], "any", "loopback", "self", or a prefix`, func(s string) (string, bool) {
		if isNetworkName(s) {
			return "", true
		}
		return checkPrefix(s)
	}}
}

func kindName() kind {
	return kind{isString, "name", "letters, digits, - and _", func(s string) (string, bool) { return "", isPlainName(s) }}
}

func kindHostname() kind {
	return kind{isString, "host name", `"edge.example.net"`, func(s string) (string, bool) { return checkHostname(s) }}
}

func kindDomain() kind {
	return kind{isString, "domain name", `"example.net"`, checkDomain}
}

func kindZoneName() kind {
	return kind{isString, "zone name", `"example.net"`, checkZoneName}
}

func kindNextHop() kind {
	return kind{isString, "next hop", `"smtp://10.0.0.5:25", "smtps://…", "lmtp://…" or "maildir:PATH"`, func(s string) (string, bool) {
		_, hint, ok := parseNextHop(s)
		return hint, ok
	}}
}

func kindSender() kind {
	return kind{isString, "sender", `"user@example.net", "@example.net" or "<>"`, func(s string) (string, bool) {
		return "", s == "<>" || isMailbox(s)
	}}
}

func kindRecipient() kind {
	return kind{isString, "recipient", `"user@example.net" or "@example.net"`, func(s string) (string, bool) { return "", isMailbox(s) }}
}

func kindRecipients() kind {
	return kind{isString, "recipients", `"any"`, func(s string) (string, bool) {
		return "", s == "any" || s == "verify" || strings.HasPrefix(s, "file:") || strings.HasPrefix(s, "ldap:")
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
