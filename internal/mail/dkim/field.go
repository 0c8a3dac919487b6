package dkim

import (
	"bytes"
	"strings"
)

const fieldName = "DKIM-Signature"

// sigField is where a signature field stands in the header and, if it is not
// worth the work of verifying, why.
type sigField struct {
	start   int
	refused string
}

// scan reads the tags of the topmost signature fields, as many as are verified.
func scan(header []byte, most int) (Result, []sigField) {
	var out Result
	var fields []sigField
	for at := 0; at < len(header); {
		n := fieldLen(header[at:])
		raw := header[at : at+n]
		if name, value, ok := bytes.Cut(raw, []byte(":")); ok && bytes.EqualFold(bytes.TrimSpace(name), []byte(fieldName)) {
			if len(fields) == most {
				out.Ignored++
			} else {
				sig, refused := describe(string(value))
				out.Signatures = append(out.Signatures, sig)
				fields = append(fields, sigField{at, refused})
			}
		}
		at += n
	}
	tellApart(out.Signatures)
	return out, fields
}

// fieldLen is the length of the field at the start of b with its folding.
func fieldLen(b []byte) int {
	at := 0
	for {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return len(b)
		}
		at += i + 1
		if at == len(b) || b[at] != ' ' && b[at] != '\t' {
			return at
		}
	}
}

// describe reads what is reported of a signature, and refuses one that would
// cost too much.
func describe(value string) (sig Signature, refused string) {
	if strings.Count(value, ";") > maxTags {
		return sig, "too many tags"
	}
	for part := range strings.SplitSeq(value, ";") {
		tag, v, _ := strings.Cut(part, "=")
		switch v = strip(v); strip(tag) {
		case "d":
			sig.Domain = canonical(v)
		case "s":
			sig.Selector = v
		case "a":
			sig.Algorithm = strings.ToLower(v)
		case "b":
			sig.B = v
		case "h":
			if strings.Count(v, ":") >= maxNames {
				refused = "too many names in h="
			}
		}
	}
	return sig, refused
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

// veil returns the header with the names of the signature fields changed that
// the library must not work on: those refused and those beyond the bound. A
// signature over such a field fails with it, which is no loss.
func veil(header []byte, fields []sigField) []byte {
	out := bytes.Clone(header)
	next := 0
	for at := 0; at < len(out); {
		n := fieldLen(out[at:])
		name, _, ok := bytes.Cut(out[at:at+n], []byte(":"))
		switch {
		case !ok || !bytes.EqualFold(bytes.TrimSpace(name), []byte(fieldName)):
		case next < len(fields) && fields[next].refused == "":
			next++
		default:
			next++
			out[at] = 'X'
		}
		at += n
	}
	return out
}
