package config

import (
	"regexp"
	"strings"
)

// unsaid stands for what a problem does not repeat.
const unsaid = "…"

// quotedText finds what stands in quotes in a message or a hint.
var quotedText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// said is a refused value as a problem may repeat it. A secret that was written
// in place of a reference stays unsaid, and so does who logs in at a server, and
// with what.
func (k kind) said(s string) string {
	switch {
	case k.noun == kindSecret().noun:
		return unsaid
	case k.server && strings.ContainsAny(s, "@?#"):
		return scheme(s) + unsaid
	}
	return withoutLogin(s)
}

// withoutLogin leaves out of a text what could be a password in a URL, or in
// what was meant as one: what stands before an @, and in a query. Nothing of the
// rest is kept either, for a password may hold any of these characters.
func withoutLogin(s string) string {
	at := strings.LastIndexByte(s, '@')
	login := at >= 0 && strings.ContainsAny(s[:at], ":/ ")
	_, query, _ := strings.Cut(s, "?")
	if login || strings.Contains(query, "=") || strings.Contains(s, "://") && strings.ContainsAny(s, "@?#") {
		return scheme(s) + unsaid
	}
	return s
}

// scheme is what a URL begins with, two slashes and all; "" of anything else.
func scheme(s string) string {
	word, _, ok := strings.Cut(s, "://")
	if !ok || strings.Trim(strings.ToLower(word), "abcdefghijklmnopqrstuvwxyz0123456789+-.") != "" {
		return ""
	}
	return word + "://"
}

// sayable leaves logins out of whatever a message quotes: also a name that the
// admin chose, or a value that stands where another kind belongs.
func sayable(message string) string {
	return quotedText.ReplaceAllStringFunc(message, func(q string) string {
		return `"` + withoutLogin(q[1:len(q)-1]) + `"`
	})
}
