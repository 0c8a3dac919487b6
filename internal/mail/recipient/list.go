package recipient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/mail/address"
)

// Bounds of a file of recipients.
const (
	maxFile    = 64 << 20
	maxEntries = 500_000
	maxTargets = 100 // of one alias, in the end
	maxDepth   = 10  // aliases of aliases
	maxProblem = 10  // told of one file
)

// list is what a file says. It is not changed once made.
//
//	ann                     ann exists; so does ann+anything
//	ann@example.net         the same, for one of several domains
//	info: ann, bob          an alias
//	sales-*: ann            whoever else begins so
//	*: ann                  whoever else; without a target: exists
type list struct {
	domain string
	names  map[string]entry // by local part in lower case
	rules  []rule           // longest prefix first
}

type entry struct {
	line    int
	targets []address.Address // none: a mailbox
}

type rule struct {
	prefix string
	entry
}

// find returns where mail for a local part goes; nothing: nobody of that name.
// Letter case is not looked at: no server that people use tells Ann from ann
// (RFC 5321, Section 2.4, leaves it to the host).
func (l *list) find(to address.Address) []address.Address {
	if e, detail, _, ok := l.entry(to); ok {
		return e.of(to, detail)
	}
	return nil
}

// entry returns the one for an address, the detail that goes along, and what the
// line calls it.
func (l *list) entry(to address.Address) (e entry, detail, as string, ok bool) {
	local := strings.ToLower(to.Local)
	if e, ok := l.names[local]; ok {
		return e, "", local, true
	}
	// RFC 5233, Section 1: the detail is the mailbox's own affair.
	if base, detail, ok := strings.Cut(local, "+"); ok && base != "" {
		if e, ok := l.names[base]; ok {
			return e, to.Local[len(to.Local)-len(detail):], base, true
		}
	}
	for _, r := range l.rules {
		if strings.HasPrefix(local, r.prefix) {
			return r.entry, "", r.prefix + "*", true
		}
	}
	return entry{}, "", "", false
}

// of is where an entry sends mail; a detail goes along with it.
func (e entry) of(to address.Address, detail string) []address.Address {
	if len(e.targets) == 0 {
		return []address.Address{to}
	}
	out := slices.Clone(e.targets)
	for i := range out {
		if detail != "" && !strings.Contains(out[i].Local, "+") {
			out[i].Local += "+" + detail
		}
	}
	return out
}

// parseList reads a file. It tells all problems, up to a bound, as FILE:LINE.
func parseList(file, domain string, ours []string, r io.Reader) (*list, error) {
	p := &listParser{file: file, ours: ours, list: &list{domain: domain, names: map[string]entry{}}}
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(p.problems) < maxProblem {
		p.line++
		p.take(lines.Text())
		if len(p.list.names)+len(p.list.rules) > maxEntries {
			return nil, fmt.Errorf("%s: more than %d entries", file, maxEntries)
		}
	}
	if err := lines.Err(); err != nil {
		p.line++
		p.problem("%v", err)
	}
	slices.SortStableFunc(p.list.rules, func(a, b rule) int { return len(b.prefix) - len(a.prefix) })
	p.resolve()
	return p.list, errors.Join(p.problems...)
}

type listParser struct {
	file     string
	line     int
	ours     []string
	list     *list
	problems []error
}

func (p *listParser) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("%s:%d: %s", p.file, p.line, fmt.Sprintf(format, args...)))
}

func (p *listParser) take(text string) {
	if text = strings.TrimSpace(text); text == "" || text[0] == '#' {
		return
	}
	name, rest, aliased := strings.Cut(text, ":")
	name = strings.TrimSpace(name)
	e := entry{line: p.line}
	if aliased {
		if e.targets = p.targets(rest); len(e.targets) == 0 {
			return
		}
	}
	if before, after, _ := strings.Cut(name, "@"); strings.HasSuffix(before, "*") {
		p.rule(strings.TrimSuffix(before, "*"), after, e)
		return
	}
	a, ok := p.address(name)
	if !ok || a.Domain != p.list.domain {
		return
	}
	local := strings.ToLower(a.Local)
	if old, twice := p.list.names[local]; twice {
		p.problem("%s stands in line %d already", a, old.line)
		return
	}
	p.list.names[local] = e
}

func (p *listParser) rule(prefix, domain string, e entry) {
	if domain != "" && !strings.EqualFold(domain, p.list.domain) {
		if !slices.Contains(p.ours, strings.ToLower(domain)) {
			p.problem("%s is not one of mail.domains", domain)
		}
		return
	}
	if strings.ContainsAny(prefix, "* \t\"<>") {
		p.problem("a * stands at the end only")
		return
	}
	prefix = strings.ToLower(prefix)
	if i := slices.IndexFunc(p.list.rules, func(r rule) bool { return r.prefix == prefix }); i >= 0 {
		p.problem("%s* stands in line %d already", prefix, p.list.rules[i].line)
		return
	}
	p.list.rules = append(p.list.rules, rule{prefix, e})
}

// targets reads the right side of an alias. Mail is never sent on to the world
// from here: that would need another sender, or it breaks the author's SPF.
func (p *listParser) targets(text string) []address.Address {
	var all []address.Address
	for word := range strings.SplitSeq(text, ",") {
		a, ok := p.address(strings.TrimSpace(word))
		if !ok {
			return nil
		}
		all = append(all, a)
	}
	return all
}

// address reads one of our addresses; a name alone is of the file's domain.
func (p *listParser) address(text string) (address.Address, bool) {
	if !strings.Contains(text, "@") {
		text += "@" + p.list.domain
	}
	a, err := address.Parse(text)
	switch {
	case err != nil:
		p.problem("%v", err)
	case !slices.Contains(p.ours, a.Domain):
		p.problem("%s is not one of mail.domains", a.Domain)
	default:
		return a, true
	}
	return a, false
}

// resolve follows aliases of aliases, so that none needs following later.
func (p *listParser) resolve() {
	flat := make(map[string]entry, len(p.list.names))
	for name, e := range p.list.names {
		flat[name] = p.flatten(e, name)
	}
	for i, r := range p.list.rules {
		p.list.rules[i].entry = p.flatten(r.entry, "")
	}
	p.list.names = flat
}

func (p *listParser) flatten(e entry, name string) entry {
	if len(e.targets) == 0 {
		return e
	}
	p.line = e.line
	seen := map[string]bool{}
	if !p.follow(e.targets, name, 1, seen) {
		return e
	}
	e.targets = e.targets[:0:0]
	for key := range seen {
		a, err := address.Parse(key)
		if err != nil {
			p.problem("%v", err)
			continue
		}
		e.targets = append(e.targets, a)
	}
	slices.SortFunc(e.targets, func(a, b address.Address) int { return strings.Compare(a.String(), b.String()) })
	return e
}

// follow gathers the mailboxes that targets lead to. An alias that names itself
// means the mailbox of its name.
func (p *listParser) follow(targets []address.Address, from string, depth int, seen map[string]bool) bool {
	for _, a := range targets {
		local := strings.ToLower(a.Local)
		next, isName := p.list.names[local]
		switch {
		case a.Domain != p.list.domain, local == from, isName && len(next.targets) == 0:
			seen[a.String()] = true
		case isName && depth >= maxDepth:
			p.problem("aliases go round in a circle, or deeper than %d, at %s", maxDepth, a)
			return false
		case isName:
			if !p.follow(next.targets, local, depth+1, seen) {
				return false
			}
		case !p.followFound(a, local, depth, seen):
			return false
		}
		if len(seen) > maxTargets {
			p.problem("leads to more than %d addresses", maxTargets)
			return false
		}
	}
	return true
}

// followFound follows a target that is there by its sub-address or by a rule.
func (p *listParser) followFound(a address.Address, local string, depth int, seen map[string]bool) bool {
	found := p.list.find(a)
	switch {
	case len(found) == 0:
		p.problem("%s is nobody in this file", a)
		return false
	case len(found) == 1 && found[0] == a:
		seen[a.String()] = true
		return true
	case depth >= maxDepth:
		p.problem("aliases go round in a circle, or deeper than %d, at %s", maxDepth, a)
		return false
	}
	return p.follow(found, local, depth+1, seen)
}

// listed is the list of a file that may change.
type listed struct {
	file, domain string
	ours         []string

	mu    sync.RWMutex // guards what follows
	list  *list
	stamp stamp // of the file when it was looked at last
	bad   bool  // as it is now it cannot be used
}

type stamp struct {
	at   time.Time
	size int64
}

func openList(d Domain, ours []string) (*listed, error) {
	l := &listed{file: d.File, domain: d.Name, ours: ours}
	_, err := l.refresh()
	return l, err
}

func (l *listed) find(to address.Address) []address.Address {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.list.find(to)
}

func (l *listed) standing() (State, int) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	state := Fine
	if l.bad {
		state = Stale
	}
	return state, len(l.list.names) + len(l.list.rules)
}

func (l *listed) entries() int {
	_, n := l.standing()
	return n
}

// refresh reads the file if it has changed since it was looked at. An error is
// told once.
func (l *listed) refresh() (changed bool, err error) {
	info, err := os.Stat(l.file)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := stamp{}
	if err == nil {
		now = stamp{info.ModTime(), info.Size()}
	}
	if l.list != nil && now == l.stamp {
		return false, nil
	}
	l.stamp = now
	var next *list
	if err == nil {
		next, err = readList(l.file, l.domain, l.ours)
	}
	if l.bad = err != nil; l.bad {
		return false, fmt.Errorf("recipients of %s: %w", l.domain, err)
	}
	l.list = next
	return true, nil
}

func readList(file, domain string, ours []string) (*list, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxFile:
		return nil, fmt.Errorf("%s: larger than %d MB", file, maxFile>>20)
	}
	return parseList(file, domain, ours, bytes.NewReader(text))
}
