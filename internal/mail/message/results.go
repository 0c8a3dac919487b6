package message

import "strings"

// MethodResult is one result of an Authentication-Results field: "dmarc=pass
// header.from=example.com".
type MethodResult struct {
	Method, Result string            // in lower case, without a version
	Properties     map[string]string // "header.from", in lower case; "" where it stands twice
}

// maxResults bounds what is read of one field.
const maxResults = 100

// ParseResults reads what stands in an Authentication-Results field (RFC 8601,
// Section 2.2), comments left out and quotes undone: who says so, and what. False
// where it cannot be read for certain. It is for fields that somebody trusted has
// sealed: nothing else in such a field is worth reading.
func ParseResults(value string) (id string, results []MethodResult, ok bool) {
	tokens, err := lex(value)
	if err != nil {
		return "", nil, false
	}
	for n, words := range clauses(tokens) {
		switch {
		case n > maxResults:
			return "", nil, false
		case len(words) == 0:
			continue // a semicolon at the end
		case n == 0:
			id = canonicalID(words[0])
			continue
		}
		r, ok := readResult(words)
		if !ok {
			return "", nil, false
		}
		if r.Method != "none" {
			results = append(results, r)
		}
	}
	return id, results, id != ""
}

// clauses cuts tokens at semicolons into words. White space parts words but for
// that around an equals sign.
func clauses(tokens []token) [][]string {
	out := [][]string{nil}
	last := &out[0]
	open := false // the last word goes on
	for _, t := range tokens {
		if t.is(";") {
			out = append(out, nil)
			last, open = &out[len(out)-1], false
			continue
		}
		equals := t.kind == atom && strings.HasPrefix(t.text, "=")
		if len(*last) == 0 || t.spaced && !open && !equals {
			*last = append(*last, "")
		}
		(*last)[len(*last)-1] += t.text
		open = t.kind == atom && strings.HasSuffix(t.text, "=")
	}
	return out
}

func readResult(words []string) (MethodResult, bool) {
	method, result, found := strings.Cut(words[0], "=")
	method, _, _ = strings.Cut(strings.ToLower(method), "/")
	r := MethodResult{Method: method, Result: strings.ToLower(result), Properties: map[string]string{}}
	if !found {
		return r, method == "none" && len(words) == 1
	}
	for _, w := range words[1:] {
		name, v, found := strings.Cut(w, "=")
		if !found {
			return r, false
		}
		name = strings.ToLower(name)
		if _, twice := r.Properties[name]; twice {
			v = ""
		}
		r.Properties[name] = v
	}
	return r, method != "" && r.Result != ""
}
