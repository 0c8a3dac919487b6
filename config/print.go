package config

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed default.toml
var defaultText []byte

//go:embed reference.toml
var referenceText []byte

// Default returns a small configuration to begin with: only what exists.
func Default() []byte { return bytes.Clone(defaultText) }

// Reference returns every key with its meaning, default and place. It is made
// from the schema.
func Reference() []byte { return bytes.Clone(referenceText) }

// makeReference writes the annotated reference. What has a default stands
// there with it; what has none is shown in a comment.
func makeReference() []byte {
	var b bytes.Buffer
	b.WriteString("# The configuration of Postern: every key, its default and its meaning.\n" +
		"# Keys without a default are shown in comments. Relative paths are relative to\n" +
		"# this file. Durations: 90d, 12h, 200ms. Sizes: 25MB, 1GiB. Rates: 20000/h,\n" +
		"# 10/10m. Secrets: file:PATH (readable by its owner alone), cred:NAME, env:NAME.\n")
	for _, s := range schema() {
		b.WriteString("\n# " + s.doc + "\n")
		header := bracket(exampleHeader(s), s.list)
		if s.soon {
			b.WriteString("# " + header + " is not available yet.\n")
			continue
		}
		mute := ""
		if s.knob || s.mute {
			mute = "# "
		}
		b.WriteString(mute + header + "\n")
		for _, k := range s.keys {
			referenceKey(&b, k, mute)
		}
	}
	return b.Bytes()
}

// exampleHeader fills the names that the admin chooses.
func exampleHeader(s section) string {
	parts := strings.Split(s.path, ".")
	eg := []string{s.eg}
	if strings.HasPrefix(s.path, "zone.*.view.*") {
		eg = []string{"example.test", s.eg}
	}
	for i, p := range parts {
		if p == "*" {
			parts[i], eg = eg[0], eg[1:]
			if parts[i] == "" {
				parts[i] = "NAME"
			}
		}
	}
	return dotted(parts)
}

func referenceKey(b *bytes.Buffer, k key, mute string) {
	if k.soon {
		fmt.Fprintf(b, "# %s: not available yet (%s)\n", k.name, k.doc)
		return
	}
	notes := []string{k.doc}
	if len(k.words) > 1 && !k.list {
		notes = append(notes, oneOf(k.words))
	}
	if k.min > 0 && k.kind.shape == isInt {
		notes = append(notes, fmt.Sprintf("%d to %d", k.min, k.max))
	}
	if k.min > 0 && k.kind.shape == isString {
		notes = append(notes, "at least "+sizeText(k.min))
	}
	if len(k.later) > 0 {
		notes = append(notes, "not available yet: "+strings.Join(k.later, ", "))
	}
	if k.only != nil {
		notes = append(notes, "other values are not available yet")
	}
	fmt.Fprintf(b, "# %s\n", strings.Join(notes, "; "))
	name, value := k.name, k.def
	if name == "*" {
		name = "internal"
	}
	if value == nil {
		value = k.eg
		if !k.need && !k.shown && k.name != "*" {
			mute = "# "
		}
	}
	switch {
	case value != nil:
		fmt.Fprintf(b, "%s%s = %s\n", mute, name, tomlOf(value))
	case k.only != nil:
		fmt.Fprintf(b, "# %s = %s\n", name, tomlOf(k.only))
	case len(k.words) > 0:
		fmt.Fprintf(b, "# %s = %s\n", name, quoted(k.words[0]))
	case k.list:
		fmt.Fprintf(b, "# %s = [%s]\n", name, firstWord(k.kind.like))
	default:
		fmt.Fprintf(b, "# %s = %s\n", name, firstWord(k.kind.like))
	}
}

// firstWord takes the first example of several.
func firstWord(like string) string {
	first, _, _ := strings.Cut(like, " or ")
	first, _, _ = strings.Cut(first, ", ")
	return first
}

// Effective writes what is in force as TOML: every key with what is written or
// its default, paths absolute. Secrets appear as references only. Read again,
// it gives the same configuration.
func Effective(c *Checked) []byte {
	e := effective{checked: c, root: levels()}
	for _, s := range schema() {
		if !s.soon {
			e.section(s, e.root, c.file.root, strings.Split(s.path, "."), nil)
		}
	}
	return bytes.TrimPrefix(e.b.Bytes(), []byte("\n"))
}

type effective struct {
	b       bytes.Buffer
	checked *Checked
	root    *level
}

// section walks down to every place where the section stands; one whose path
// has no name of the admin's stands somewhere even when it is not written.
func (e *effective) section(s section, l *level, n *node, rest, path []string) {
	if len(rest) == 0 {
		e.entries(s, l, n, path)
		return
	}
	l = l.subs[rest[0]]
	if rest[0] != "*" {
		e.section(s, l, n.field(rest[0]), rest[1:], append(path, rest[0]))
		return
	}
	names := []string{}
	if n != nil {
		names = n.names
	}
	if s.path == "dnssec.*" && e.checked.signsStandard() && !slices.Contains(names, standard) {
		names = append(slices.Clip(names), standard)
	}
	for _, name := range names {
		e.section(s, l, n.field(name), rest[1:], append(path, name))
	}
}

func (e *effective) entries(s section, l *level, n *node, path []string) {
	switch {
	case s.list && n != nil:
		for i, entry := range n.items {
			e.open(path, true)
			e.keys(table{n: entry, l: l}, i)
		}
	case s.list, s.knob && n == nil, n == nil && !s.defaults():
	default:
		e.open(path, false)
		e.keys(table{n: n, l: l}, 0)
	}
}

// defaults reports whether any key has a value that nobody wrote.
func (s section) defaults() bool {
	return slices.ContainsFunc(s.keys, func(k key) bool { return k.def != nil })
}

func (e *effective) open(path []string, list bool) {
	fmt.Fprintf(&e.b, "\n%s\n", bracket(dotted(path), list))
}

func (e *effective) keys(t table, index int) {
	for _, k := range t.l.keys {
		if k.name == "*" {
			for _, name := range t.names() {
				e.key(name, t.value(name), k)
			}
			continue
		}
		n := t.value(k.name)
		if t.l.path == "dnssec.*" && slices.Contains(otherModel(t), k.name) {
			continue // it must not be written
		}
		if n == nil && t.l.path == "listen" && k.name == "transport" {
			if said := e.checked.Listen[index].Transports; len(said) > 0 {
				n = nodeOf(said)
			}
		}
		e.key(k.name, n, k)
	}
}

func (e *effective) key(name string, n *node, k key) {
	if n == nil || k.soon {
		return
	}
	fmt.Fprintf(&e.b, "%s = %s\n", bareOrQuoted(name), tomlOfNode(final(n, k, e.checked.file.Dir)))
}

// final applies the rule of a kind to a value or to each of a list.
func final(n *node, k key, dir string) *node {
	if k.kind.final == nil {
		return n
	}
	c := *n
	if n.shape == isString {
		c.text = k.kind.final(n.text, dir)
	}
	c.items = nil
	for _, item := range n.items {
		c.items = append(c.items, final(item, k, dir))
	}
	return &c
}
