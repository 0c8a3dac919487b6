// Package dmarc judges a message by the policy of its author domain (RFC
// 9989): it reads the records, walks the tree for policy and organizational
// domains, and tests the alignment of what SPF and DKIM passed. No public
// suffix list is needed.
//
// It asks through lookup.Resolver and keeps nothing; it decides what the
// domain's policy says, never what is done with the message (mail/verdict).
// It starts no goroutine.
package dmarc

import (
	"context"
	"slices"
	"strings"

	"postern/internal/lookup"
)

// MaxAuthors is how many author domains are judged. A From with more is not
// evaluated but fails as TooManyAuthors.
const MaxAuthors = 5

// Status is a result of RFC 9989, Section 5.3.6. The zero value is none.
type Status uint8

// The results. None: no policy applies.
const (
	None Status = iota
	Pass
	Fail
	TempError // the DNS did not answer: neither pass nor fail
)

var statusNames = [...]string{"none", "pass", "fail", "temperror"}

// String is the word of RFC 8601, Section 2.7.
func (s Status) String() string { return statusNames[s&3] }

// Outcome is how far a mechanism vouches for a domain.
type Outcome uint8

// The outcomes; all that is neither passed nor open counts as Not.
const (
	Not    Outcome = iota
	Passed         // it vouches
	Open           // a temporary error: it might have
)

// Identifier is a domain that SPF or DKIM has looked at.
type Identifier struct {
	Domain  string // A-labels, lower case, no final dot
	Outcome Outcome
}

// Input is what is judged.
type Input struct {
	Authors []string     // the domains of the header From, as A-labels
	SPF     Identifier   // the MAIL FROM domain, HELO's for the null sender
	DKIM    []Identifier // the d= of each signature
}

// Result is the judgement for one author domain, or for the worst of several.
type Result struct {
	Status         Status
	Author         string  // the author domain
	At             string  // where the record stands that applies; "" if none does
	Record         *Record // nil if none applies
	Published      Policy  // what the record asks for this author
	Applied        Policy  // the same after t=y; NotStated if no record applies
	SPF, DKIM      bool    // aligned and passed
	Org            string  // the author's organizational domain, where it was needed
	Nonexistent    bool    // the author domain does not exist, and np was asked
	TooManyAuthors bool
	Err            error // with TempError
}

// Evaluate judges a message. With several author domains the result is that
// of the one whose failing policy is strictest: a message must satisfy all of
// them (RFC 9989, Section 11.5, leaves it to us).
func Evaluate(ctx context.Context, r lookup.Resolver, in Input) Result {
	authors := unique(in.Authors)
	if len(authors) > MaxAuthors {
		return Result{TooManyAuthors: true}
	}
	w := &walker{r: r, seen: map[string]*Record{}}
	var worst Result
	for i, author := range authors {
		if got := w.evaluate(ctx, author, in); i == 0 || got.worse(worst) {
			worst = got
		}
	}
	return worst
}

func unique(domains []string) []string {
	var out []string
	for _, d := range domains {
		if d = strings.ToLower(d); !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// worse orders results by what they would have done.
func (r Result) worse(than Result) bool {
	if r.weight() != than.weight() {
		return r.weight() > than.weight()
	}
	return r.Status == Pass && than.Status == None
}

func (r Result) weight() int {
	switch r.Status {
	case Fail:
		return 2 * int(r.Applied) // 2, 4, 6
	case TempError:
		return 5 // a refusal stands, a quarantine waits for certainty
	}
	return 0
}

func (w *walker) evaluate(ctx context.Context, author string, in Input) Result {
	out := Result{Author: author}
	if strings.HasPrefix(author, "[") { // an address literal has no policy
		return out
	}
	records, err := w.walk(ctx, author, true)
	if err != nil {
		return out.temporary(err)
	}
	rule, ok := policy(author, records)
	if !ok || rule.record.void {
		return out
	}
	out.At, out.Record = rule.at, rule.record
	unsure := w.demand(ctx, &out)
	if err := w.align(ctx, &out, in); err != nil {
		return out.temporary(err)
	}
	if unsure != nil && out.Status == Fail {
		return out.temporary(unsure)
	}
	return out
}

func (r Result) temporary(err error) Result {
	r.Status, r.Err = TempError, err
	return r
}

// demand sets the policies (RFC 9989, Section 4.10.1). Whether the author
// domain exists is asked only where the answer matters.
func (w *walker) demand(ctx context.Context, out *Result) error {
	exists := true
	if out.Record.NP != NotStated && out.At != out.Author {
		answer, err := w.r.Query(ctx, out.Author, lookup.A)
		if err != nil && lookup.IsTemporary(err) {
			out.Published = out.Record.For(out.Author, out.At, true)
			out.Applied = out.Record.Applied(out.Published)
			return err
		}
		exists = err == nil && answer.Status != lookup.NXDomain // RFC 8020
	}
	out.Nonexistent = !exists
	out.Published = out.Record.For(out.Author, out.At, exists)
	out.Applied = out.Record.Applied(out.Published)
	return nil
}

// align sets the status: pass if SPF or any signature vouches for an aligned
// domain (RFC 9989, Section 4.4), open if one of them still might.
func (w *walker) align(ctx context.Context, out *Result, in Input) error {
	var firstErr error
	open := false
	test := func(id Identifier, strict bool) bool {
		if id.Outcome == Not || id.Domain == "" {
			return false
		}
		aligned, err := w.aligned(ctx, out, strings.ToLower(id.Domain), strict)
		if err != nil && firstErr == nil {
			firstErr = err
		}
		open = open || aligned && id.Outcome == Open
		return aligned && id.Outcome == Passed
	}
	out.SPF = test(in.SPF, out.Record.StrictSPF)
	for _, id := range in.DKIM {
		if test(id, out.Record.StrictDKIM) {
			out.DKIM = true
		}
	}
	switch {
	case out.SPF || out.DKIM:
		out.Status = Pass
	case firstErr != nil:
		return firstErr
	case open:
		out.Status = TempError
	default:
		out.Status = Fail
	}
	return nil
}

// aligned compares a domain with the author's. Equal names need no walk, nor
// does strict alignment; otherwise both organizational domains are found by
// their own walks. A domain outside the author's organization is not asked
// about: its walk could only end elsewhere, and a forger who signs with a name
// whose DNS fails must not make the outcome uncertain.
func (w *walker) aligned(ctx context.Context, out *Result, domain string, strict bool) (bool, error) {
	if domain == out.Author || strict {
		return domain == out.Author, nil
	}
	if out.Org == "" {
		org, err := w.organization(ctx, out.Author)
		if err != nil {
			return false, err
		}
		out.Org = org
	}
	if domain != out.Org && !strings.HasSuffix(domain, "."+out.Org) {
		return false, nil
	}
	org, err := w.organization(ctx, domain)
	return err == nil && org == out.Org, err
}

func (w *walker) organization(ctx context.Context, name string) (string, error) {
	if strings.HasPrefix(name, "[") {
		return name, nil
	}
	records, err := w.walk(ctx, name, false)
	if err != nil {
		return "", err
	}
	return organization(name, records), nil
}
