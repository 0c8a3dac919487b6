package message

import (
	"strings"

	"postern/internal/mail/address"
)

// OwnPrefix begins the names of the fields that only Postern writes.
const OwnPrefix = "X-Postern-"

// StripForged removes what only a trusted host inside may say: every
// Authentication-Results field whose authserv-id is ours (RFC 8601, Section 5)
// or cannot be read for certain, every Received-SPF and Return-Path (RFC 5321,
// Section 4.4: the latter belongs to final delivery), and our own mark. It
// reports how many fields went. ours gets an identifier in lower case, as
// A-labels, without a final dot.
func (h *Header) StripForged(ours func(id string) bool) (*Header, int) {
	return h.Without(func(f Field) bool {
		switch {
		case f.Is("Authentication-Results"):
			return claimsUs(f.Value(), ours)
		case f.Is("Received-SPF"), f.Is("Return-Path"):
			return true
		}
		return f.name >= len(OwnPrefix) && strings.EqualFold(string(f.raw[:len(OwnPrefix)]), OwnPrefix)
	})
}

// claimsUs tells whether some reader might take a result field's
// authserv-id (RFC 8601, Section 2.2) for ours. Comments, quotes, a version
// and white space make it readable in more than one way, so each is tried; one
// that does not parse counts as ours.
func claimsUs(value string, ours func(string) bool) bool {
	tokens, err := lex(value)
	if err != nil {
		return true
	}
	var first, all strings.Builder
	open := true
	for i, t := range tokens {
		if t.is(";") {
			break
		}
		if t.kind == special && t.text != "." {
			return true
		}
		if t.kind != quoted && strings.Contains(t.text, "=") {
			return true // "spf=pass …": a result without an authserv-id
		}
		if t.kind == quoted && strings.ContainsAny(t.text, "; \t,()") {
			return true // no name holds these, and a reader that knows no quotes ends it there
		}
		if i > 0 && t.spaced && !t.is(".") && !tokens[i-1].is(".") {
			open = false
		}
		if open {
			first.WriteString(t.text)
		}
		all.WriteString(t.text)
	}
	id := canonicalID(first.String())
	joined := canonicalID(strings.TrimRight(all.String(), "0123456789"))
	bare, _, _ := strings.Cut(id, "/")
	return id == "" || ours(id) || ours(joined) || ours(canonicalID(bare))
}

func canonicalID(s string) string {
	s = strings.ToLower(strings.Trim(s, " \t."))
	if a, err := address.ParseDomain(s); err == nil {
		return a
	}
	return s
}
