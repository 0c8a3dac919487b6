package zonefile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

const generateHint = "$GENERATE FIRST-LAST[/STEP] OWNER [TTL] [IN] TYPE DATA, where $ or ${OFFSET,WIDTH,BASE} is the number, BASE one of d o x X n N, and \\$ a dollar"

// maxWidth is how wide a number may be padded: no name takes more.
const maxWidth = 128

// generate writes one record for each number of a range, as BIND has it: the
// line is a template and each record is read as if it stood in the file
// there, so $TTL, origin and positions are those of the line. The first
// record that cannot be read ends it.
func (p *parser) generate(e entry, s *scope) {
	head, args := e.tokens[0], e.tokens[1:]
	if len(args) < 4 {
		p.fail(s, head, "bad-generate", fmt.Sprintf("$GENERATE has %d items, at least 4 are needed", len(args)), generateHint)
		return
	}
	first, last, step, ok := generateRange(args[0].text)
	if !ok {
		p.fail(s, args[0], "bad-generate", fmt.Sprintf("%s is no range", args[0].quoted()), "FIRST-LAST, such as 1-254, or with a step 0-100/10; FIRST is not above LAST")
		return
	}
	count := (last-first)/step + 1
	switch {
	case count > p.opts.MaxGenerate:
		p.fail(s, args[0], "too-large", fmt.Sprintf("$GENERATE would make %d records, the limit for one line (MaxGenerate) is %d", count, p.opts.MaxGenerate), "split the range over several lines")
		return
	case count > p.opts.MaxGenerated-p.generated:
		p.fail(s, args[0], "too-large", fmt.Sprintf("$GENERATE would make %d records more, the limit for all lines of a zone (MaxGenerated) is %d", count, p.opts.MaxGenerated), "use a wildcard, or write the records out")
		return
	}
	p.generated += count
	template := unquote(append([]token{}, args[1:]...))
	owner, ownerText, lost := s.owner, s.ownerText, s.lost
	for n := first; !p.done; n += step {
		line := make([]token, len(template))
		for i, t := range template {
			text, why := substitute(t.text, n)
			if why != "" {
				p.fail(s, t, "bad-generate", why, generateHint)
				return
			}
			line[i] = token{text: text, line: t.line, col: t.col, cut: t.cut && n == first} // warned of once
		}
		if !p.record(entry{tokens: line}, s) || n > last-step {
			break
		}
	}
	s.owner, s.ownerText, s.lost, s.written = owner, ownerText, lost, ""
}

// unquote opens data of several items that stands within one pair of quotes,
// as BIND wants it there (MX "10 mail$"); text keeps its quotes.
func unquote(template []token) []token {
	n := len(template) - 1
	text, quoted := strings.CutPrefix(template[n].text, `"`)
	text, closed := strings.CutSuffix(text, `"`)
	t, known := parseType(strings.ToUpper(template[n-1].text))
	if !quoted || !closed || !known || t == dns.TypeTXT || t == dns.TypeSPF || strings.ContainsAny(text, `"\\`) {
		return template
	}
	quote := template[n]
	template = template[:n]
	for item := range strings.FieldsSeq(text) {
		template = append(template, token{text: item, line: quote.line, col: quote.col})
	}
	return template
}

func generateRange(text string) (first, last, step int, ok bool) {
	text, by, stepped := strings.Cut(text, "/")
	from, to, ranged := strings.Cut(text, "-")
	a, errA := strconv.ParseUint(from, 10, 31)
	b, errB := strconv.ParseUint(to, 10, 31)
	c, errC := uint64(1), error(nil)
	if stepped {
		c, errC = strconv.ParseUint(by, 10, 31)
	}
	ok = ranged && errA == nil && errB == nil && errC == nil && a <= b && c > 0
	return int(a), int(b), int(c), ok
}

// substitute puts the number in place of $ and ${…}; why is what is wrong.
func substitute(text string, n int) (out, why string) {
	if !strings.Contains(text, "$") {
		return text, ""
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			if text[i] != '$' {
				b.WriteByte(c)
			}
			b.WriteByte(text[i])
		case c != '$':
			b.WriteByte(c)
		case strings.HasPrefix(text[i:], "$$"): // the old way to write a dollar
			i++
			b.WriteByte('$')
		case strings.HasPrefix(text[i:], "${"):
			inner, _, closed := strings.Cut(text[i+2:], "}")
			if !closed {
				return "", `"${" is never closed`
			}
			number, ok := format(inner, n)
			if !ok {
				return "", fmt.Sprintf("${%s} with the number %d is no number", inner, n)
			}
			b.WriteString(number)
			i += 2 + len(inner)
		default:
			b.WriteString(strconv.Itoa(n))
		}
	}
	return b.String(), ""
}

// format writes n as OFFSET,WIDTH,BASE says, of which the last may be left
// out.
func format(modifier string, n int) (string, bool) {
	parts := strings.Split(modifier, ",")
	offset, err := strconv.ParseInt(parts[0], 10, 32)
	width, base := 0, "d"
	if err == nil && len(parts) > 1 {
		width, err = strconv.Atoi(parts[1])
	}
	if len(parts) > 2 {
		base = parts[2]
	}
	n += int(offset)
	if err != nil || n < 0 || width < 0 || width > maxWidth || len(parts) > 3 || len(base) != 1 || !strings.Contains("doxXnN", base) {
		return "", false
	}
	if base == "n" || base == "N" {
		return nibbles(n, width, base == "N"), true
	}
	return fmt.Sprintf("%0*"+base, width, n), true
}

// nibbles writes hexadecimal digits as labels, the lowest first, as ip6.arpa
// has them. The width counts digits and dots.
func nibbles(n, width int, upper bool) string {
	digits := "0123456789abcdef"
	if upper {
		digits = "0123456789ABCDEF"
	}
	var b strings.Builder
	for {
		b.WriteByte(digits[n&15])
		n >>= 4
		width--
		if width <= 0 && n == 0 {
			return b.String()
		}
		b.WriteByte('.')
		width--
		if width <= 0 && n == 0 { // a width that ends in a dot
			return b.String()
		}
	}
}
