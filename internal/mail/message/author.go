package message

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"postern/internal/mail/address"
)

// maxMailboxes bounds an address list; From lists of more than one are rare.
const maxMailboxes = 100

// The ways in which a message has no author that could be judged.
var (
	ErrNoFrom     = errors.New("no From field")
	ErrManyFrom   = errors.New("more than one From field")
	ErrFromSyntax = errors.New("malformed From field")
)

// Authors returns the addresses of the one From field (RFC 5322, Section
// 3.6.2), members of groups (RFC 6854) included; a group without members
// leaves the list empty. Where an unquoted address stands in the place of a
// display name, "a@one.example <b@two.example>", both are returned: programs
// disagree about which one is the author.
func (h *Header) Authors() ([]address.Address, error) {
	switch h.Count("From") {
	case 0:
		return nil, ErrNoFrom
	case 1:
	default:
		return nil, ErrManyFrom
	}
	f, _ := h.First("From")
	list, err := ParseList(f.Value())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFromSyntax, err)
	}
	return list, nil
}

// Senders returns the addresses of all fields beside From that say who has sent
// the message: Sender (RFC 5322, Section 3.6.2), and Resent-From and Resent-Sender
// (Section 3.6.6).
func (h *Header) Senders() ([]address.Address, error) {
	var out []address.Address
	for _, f := range h.fields {
		if !f.Is("Sender") && !f.Is("Resent-From") && !f.Is("Resent-Sender") {
			continue
		}
		list, err := ParseList(f.Value())
		if err != nil {
			return nil, fmt.Errorf("malformed %s field: %w", f.Name(), err)
		}
		out = append(out, list...)
	}
	return out, nil
}

// ParseList reads an address-list with the obsolete forms of RFC 5322, Section
// 4.4: routes, white space and comments around dots and at signs, empty list
// elements. Domains come back as A-labels.
func ParseList(value string) ([]address.Address, error) {
	tokens, err := lex(value)
	if err != nil {
		return nil, err
	}
	p := &listParser{tokens: tokens}
	for !p.done() {
		if err := p.element(); err != nil {
			return nil, err
		}
	}
	if p.inGroup {
		return nil, errors.New("group without an end")
	}
	return p.found, nil
}

type listParser struct {
	tokens  []token
	found   []address.Address
	inGroup bool
}

func (p *listParser) done() bool { return len(p.tokens) == 0 }

func (p *listParser) peek() token {
	if p.done() {
		return token{}
	}
	return p.tokens[0]
}

func (p *listParser) take() token {
	t := p.peek()
	if !p.done() {
		p.tokens = p.tokens[1:]
	}
	return t
}

// element reads one mailbox, the opening of a group, or a delimiter.
func (p *listParser) element() error {
	words := p.until(",;:<")
	switch t := p.take(); {
	case t.is("<"):
		return p.angle(words)
	case t.is(":"):
		if p.inGroup || len(words) == 0 || hasAt(words) {
			return errors.New("colon out of place")
		}
		p.inGroup = true
		return nil
	case t.is(";"):
		if !p.inGroup {
			return errors.New("semicolon out of place")
		}
		p.inGroup = false
	}
	if len(words) == 0 { // an empty element of RFC 5322, Section 4.4
		return nil
	}
	return p.add(words)
}

// until takes the tokens before the first of the given specials.
func (p *listParser) until(stops string) []token {
	n := 0
	for n < len(p.tokens) && !(p.tokens[n].kind == special && strings.Contains(stops, p.tokens[n].text)) {
		n++
	}
	words := p.tokens[:n]
	p.tokens = p.tokens[n:]
	return words
}

// angle reads what follows "<", the display name already taken.
func (p *listParser) angle(name []token) error {
	if hasAt(name) {
		if a, err := addrSpec(name); err == nil {
			p.found = append(p.found, a)
		}
	}
	spec := p.until("<>;")
	if !p.take().is(">") {
		return errors.New("angle bracket without an end")
	}
	if i := routeEnd(spec); i > 0 {
		spec = spec[i:]
	}
	if err := p.add(spec); err != nil {
		return err
	}
	if t := p.peek(); t.kind != end && !t.is(",") && !t.is(";") {
		return errors.New("text after the angle bracket")
	}
	if p.peek().is(",") {
		p.take()
	}
	return nil
}

// routeEnd is the length of an obs-route "@a,@b:" in front of an addr-spec.
func routeEnd(spec []token) int {
	if len(spec) == 0 || !spec[0].is("@") {
		return 0
	}
	for i, t := range spec {
		if t.is(":") {
			return i + 1
		}
	}
	return 0
}

func (p *listParser) add(words []token) error {
	a, err := addrSpec(words)
	if err != nil {
		return err
	}
	if len(p.found) >= maxMailboxes {
		return fmt.Errorf("more than %d addresses", maxMailboxes)
	}
	p.found = append(p.found, a)
	return nil
}

func hasAt(words []token) bool {
	for _, w := range words {
		if w.is("@") {
			return true
		}
	}
	return false
}

// addrSpec reads local-part "@" domain (RFC 5322, Section 3.4.1).
func addrSpec(words []token) (address.Address, error) {
	at := -1
	for i, w := range words {
		if w.is("@") {
			at = i
			break
		}
	}
	if at < 0 {
		return address.Address{}, errors.New("no address")
	}
	local, err := dotted(words[:at], quoted)
	if err != nil {
		return address.Address{}, fmt.Errorf("local part: %w", err)
	}
	text := ""
	if right := words[at+1:]; len(right) == 1 && right[0].kind == literal {
		text = right[0].text
	} else if text, err = dotted(right, atom); err != nil {
		return address.Address{}, fmt.Errorf("domain: %w", err)
	}
	if !utf8.ValidString(local) || !utf8.ValidString(text) {
		return address.Address{}, errors.New("not UTF-8")
	}
	domain, err := address.ParseDomain(text)
	if err != nil {
		return address.Address{}, err
	}
	a := address.Address{Local: local, Domain: domain}
	if len(a.String()) > address.MaxLen { // no mailbox; and replies and log lines repeat it
		return address.Address{}, fmt.Errorf("longer than %d octets", address.MaxLen)
	}
	return a, nil
}

// dotted joins words that have a dot between each two; a word is an atom or
// of the kind also.
func dotted(words []token, also kind) (string, error) {
	var b strings.Builder
	for i, w := range words {
		wantDot := i%2 == 1
		if wantDot != w.is(".") || !wantDot && w.kind != atom && w.kind != also {
			return "", errors.New("words out of place")
		}
		b.WriteString(w.text)
	}
	if len(words)%2 == 0 {
		return "", errors.New("empty, or a dot at its end")
	}
	return b.String(), nil
}
