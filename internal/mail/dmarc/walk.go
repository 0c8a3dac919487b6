package dmarc

import (
	"context"
	"strings"

	"postern/internal/lookup"
)

// maxLabels is where a longer name is cut to: at most 8 questions for a walk
// (RFC 9989, Section 4.10).
const maxLabels = 7

// found is a record and the name it stands at.
type found struct {
	at     string
	record *Record
}

// walker asks for records and remembers the answers for one message: an author
// domain, its envelope and its signatures mostly share their parents.
type walker struct {
	r    lookup.Resolver
	seen map[string]*Record // nil: no record there
}

// at returns the record at a name, nil if there is none or several.
func (w *walker) at(ctx context.Context, name string) (*Record, error) {
	if r, ok := w.seen[name]; ok {
		return r, nil
	}
	answer, err := w.r.Query(ctx, "_dmarc."+name, lookup.TXT)
	if err != nil && lookup.IsTemporary(err) {
		return nil, err
	}
	// A name that cannot be asked for, being too long with its prefix, has no
	// record.
	var one *Record
	records := 0
	for _, rr := range answer.Records {
		if r, ok := ParseRecord(rr.Text); ok {
			one, records = r, records+1
		}
	}
	if records != 1 {
		one = nil
	}
	w.seen[name] = one
	return one, nil
}

// walk finds the records from start up to its top-level name, longest name
// first; a record that says whether its name is a public suffix ends it (RFC
// 9989, Section 4.10). With stop, it ends at the first record that stands at
// start itself.
func (w *walker) walk(ctx context.Context, start string, stop bool) ([]found, error) {
	var out []found
	for name := start; name != ""; name = above(name) {
		r, err := w.at(ctx, name)
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue
		}
		out = append(out, found{name, r})
		if r.Suffix != SuffixUnknown || stop && name == start {
			break
		}
	}
	return out, nil
}

// above is the next name of a walk, "" after the single label.
func above(name string) string {
	labels := strings.Split(name, ".")
	if len(labels) == 1 {
		return ""
	}
	return strings.Join(labels[max(1, len(labels)-maxLabels):], ".")
}

// organization is the organizational domain that a whole walk from start shows
// (RFC 9989, Section 4.10.2).
func organization(start string, records []found) string {
	for _, f := range records {
		switch {
		case f.record.Suffix == SuffixNo:
			return f.at
		case f.record.Suffix == SuffixYes && f.at != start:
			return oneBelow(start, f.at)
		}
	}
	if len(records) > 0 {
		return records[len(records)-1].at
	}
	return start
}

// oneBelow is the ancestor of name, or name itself, with one label more than
// suffix.
func oneBelow(name, suffix string) string {
	head := strings.TrimSuffix(name, "."+suffix)
	return head[strings.LastIndexByte(head, '.')+1:] + "." + suffix
}

// policy picks the record that applies to author (RFC 9989, Section 4.10.1):
// its own, else the organizational domain's, else the public suffix's.
func policy(author string, records []found) (found, bool) {
	if len(records) == 0 {
		return found{}, false
	}
	org := organization(author, records)
	suffix := found{}
	for _, f := range records {
		switch {
		case f.at == author:
			return f, true
		case f.at == org:
			return f, true
		case f.record.Suffix == SuffixYes:
			suffix = f
		}
	}
	return suffix, suffix.record != nil
}
