package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// What the validator can check: see validate.KnownAlgorithm and KnownDigest.
var (
	anchorAlgorithms = []uint8{dns.RSASHA256, dns.RSASHA512, dns.ECDSAP256SHA256, dns.ECDSAP384SHA384, dns.ED25519}
	anchorDigests    = []uint8{dns.SHA256, dns.SHA384}
)

const anchorHint = `want lines such as ". IN DS 20326 8 2 E06D…", or DNSKEY`

// trustAnchors reads the DS and DNSKEY records of a file, one a line, each with
// its owner; ; begins a comment. They come out as such lines.
func (b *builder) trustAnchors(n *node) []string {
	path := absolute(n.text, b.file.Dir)
	data, err := readFile(path)
	if err != nil {
		b.file.errorAt(n.at, fmt.Sprintf("cannot read %s: %v", path, reason(err)), "")
		return nil
	}
	var out, owners []string
	usable := map[string]bool{}
	bad := func(line int, message, hint string) {
		b.file.problems = append(b.file.problems, Problem{File: path, Line: line, Col: 1, Message: message, Hint: hint})
	}
	line, firstOf, before := 0, map[string]int{}, len(b.file.problems)
	for text := range strings.Lines(string(data)) {
		line++
		text, _, _ = strings.Cut(text, ";")
		if strings.TrimSpace(text) == "" {
			continue
		}
		rr, why, hint := trustAnchor(text)
		if why != "" {
			bad(line, why, hint)
			continue
		}
		owner := dns.CanonicalName(rr.Header().Name)
		if firstOf[owner] == 0 {
			firstOf[owner], owners = line, append(owners, owner)
		}
		usable[owner] = usable[owner] || usableAnchor(rr)
		out = append(out, rr.String())
	}
	for _, owner := range owners {
		if !usable[owner] {
			bad(firstOf[owner], fmt.Sprintf("no trust anchor of %s has an algorithm and a digest that can be checked", owner), "want algorithm 8, 10, 13, 14 or 15 and digest type 2 or 4")
		}
	}
	if len(out) > 0 && firstOf["."] == 0 {
		b.file.warnAt(n.at, path+" has no trust anchor of the root: what the parents of most zones say is not validated", "it replaces the built-in anchor: put that of the root into it too")
	}
	if len(out) == 0 && len(b.file.problems) == before {
		b.file.errorAt(n.at, path+" holds no trust anchor", anchorHint)
	}
	return out
}

// trustAnchor reads one line, or says what is wrong with it.
func trustAnchor(text string) (rr dns.RR, why, hint string) {
	if text[0] == ' ' || text[0] == '\t' {
		return nil, "trust anchor without an owner", anchorHint
	}
	rr, err := dns.NewRR(text)
	if err != nil || rr == nil {
		return nil, "bad trust anchor", anchorHint
	}
	if rr.Header().Class != dns.ClassINET {
		return nil, "trust anchor of another class than IN", anchorHint
	}
	switch rr := rr.(type) {
	case *dns.DS:
		return rr, "", ""
	case *dns.DNSKEY:
		switch {
		case rr.Flags&dns.REVOKE != 0:
			return nil, "trust anchor is a revoked key", "take the zone's key of today"
		case rr.Flags&dns.ZONE == 0 || rr.Protocol != 3:
			return nil, "trust anchor is no zone key", "want flags 257 (or 256) and protocol 3"
		}
		return rr, "", ""
	}
	return nil, "trust anchor of type " + dns.Type(rr.Header().Rrtype).String(), anchorHint
}

func usableAnchor(rr dns.RR) bool {
	switch rr := rr.(type) {
	case *dns.DS:
		return slices.Contains(anchorAlgorithms, rr.Algorithm) && slices.Contains(anchorDigests, rr.DigestType)
	case *dns.DNSKEY:
		return slices.Contains(anchorAlgorithms, rr.Algorithm)
	}
	return false
}
