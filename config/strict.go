package config

import (
	"fmt"
	"slices"
	"strings"
)

// strict holds the tree against the schema: every key known, available, of the
// right type, and its text sound. What it refuses it marks, so that later
// steps do not complain about it again.
type strict struct {
	file *File
	root *level
	opts Options
}

func (s strict) table(n *node, l *level, path []string) {
	for _, name := range n.names {
		v, at := n.fields[name], append(slices.Clip(path), name)
		if sub := l.sub(name); sub != nil {
			s.section(v, sub, at)
		} else if k, ok := l.key(name); ok {
			s.key(v, k, at)
		} else {
			s.unknown(v, l, path, name)
		}
	}
	for _, k := range l.keys {
		if k.need && n.fields[k.name] == nil {
			s.file.errorAt(n.key, fmt.Sprintf("%s has no %s", bracket(dotted(path), l.list), k.name), "like "+k.name+" = "+tomlOf(k.eg))
		}
	}
}

func (s strict) section(v *node, l *level, path []string) {
	switch {
	case l.soon:
		s.soon(v, dotted(path))
	case l.knob && !s.opts.TestKnobs:
		v.bad = true
		s.file.errorAt(v.key, bracket(dotted(path), false)+" is for tests only", "serve takes it with --test-knobs")
	case l.list:
		if v.shape == isArray && !slices.ContainsFunc(v.items, func(e *node) bool { return e.shape != isTable }) {
			v.shape = isTables
		}
		if v.shape != isTables {
			s.wrongType(v, dotted(path), "a list of tables", "begin each with "+bracket(dotted(path), true))
			return
		}
		for _, entry := range v.items {
			s.table(entry, l, path)
		}
	case v.shape != isTable:
		s.wrongType(v, dotted(path), "a table", "begin it with "+bracket(dotted(path), false))
	default:
		s.table(v, l, path)
	}
}

func (s strict) unknown(v *node, l *level, path []string, name string) {
	v.bad = true
	what := "key"
	if v.shape == isTable || v.shape == isTables {
		what = "table"
	}
	where := ""
	if len(path) > 0 {
		where = " in " + bracket(dotted(path), l.list)
	}
	hint := ""
	if near := l.nearest(name); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	} else if homes := s.root.homes(name); len(homes) == 1 {
		hint = "it belongs in " + homes[0]
	} else {
		hint = "postern config reference lists what there is"
	}
	s.file.errorAt(v.key, fmt.Sprintf("unknown %s %q%s", what, name, where), hint)
}

func (s strict) key(v *node, k key, path []string) {
	name := dotted(path)
	like := "like " + k.kind.like
	if len(k.words) > 0 {
		like = "want " + oneOf(k.words)
	}
	switch {
	case k.soon:
		s.soon(v, name)
	case k.list && v.shape != isArray:
		hint := ""
		if v.shape == k.kind.shape && v.shape == isString {
			hint = "write [" + quoted(k.kind.said(v.text)) + "]"
		}
		s.wrongType(v, name, "a list", hint)
	case !k.list && v.shape != k.kind.shape:
		s.wrongType(v, name, k.kind.shape.String(), like)
	case !k.list:
		s.value(v, k, name)
	default:
		seen := map[string]bool{}
		for _, e := range v.items {
			if e.shape != k.kind.shape {
				s.wrongType(e, "an entry of "+name, k.kind.shape.String(), like)
				continue
			}
			s.value(e, k, name)
			if said := tomlOfNode(e); seen[said] && !e.bad {
				s.refuse(e, said+" stands twice in "+name, "")
			} else {
				seen[said] = true
			}
		}
	}
	if !v.bad && k.only != nil && tomlOfNode(v) != tomlOf(k.only) {
		v.bad = true
		s.file.errorAt(v.at, fmt.Sprintf("%s = %s is not available yet", name, tomlOfNode(v)), "today only "+tomlOf(k.only))
	}
}

// value checks one value, which has the right shape.
func (s strict) value(v *node, k key, name string) {
	switch {
	case v.bad: // the tree says why
	case len(k.words) > 0 && slices.Contains(k.later, v.text):
		s.refuse(v, fmt.Sprintf("%s = %q is not available yet", name, v.text), "today "+oneOf(k.words))
	case len(k.words) > 0 && !slices.Contains(k.words, v.text):
		hint := "want " + oneOf(k.words)
		if near := closest(v.text, k.words); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		s.refuse(v, fmt.Sprintf("bad %s %q", name, v.text), hint)
	case k.kind.shape == isInt:
		s.within(v, k, v.number, fmt.Sprint(v.number), name, func(n int64) string { return fmt.Sprint(n) })
	case k.kind.check != nil:
		if hint, ok := k.kind.check(v.text); !ok {
			if hint == "" {
				hint = "want " + k.kind.like
			}
			s.refuse(v, fmt.Sprintf("bad %s %q", k.kind.noun, k.kind.said(v.text)), hint)
			return
		}
		if n, ok := parseSize(v.text); ok && k.kind.noun == kindSize().noun {
			s.within(v, k, n, v.text, name, sizeText)
		}
	}
}

// within holds a number against the bounds of its key.
func (s strict) within(v *node, k key, n int64, said, name string, text func(int64) string) {
	if n < k.min {
		s.refuse(v, fmt.Sprintf("%s = %s is too small", name, said), "at least "+text(k.min))
	} else if k.max > 0 && n > k.max {
		s.refuse(v, fmt.Sprintf("%s = %s is too large", name, said), "at most "+text(k.max))
	}
}

func (s strict) refuse(v *node, message, hint string) {
	v.bad = true
	s.file.errorAt(v.at, message, hint)
}

func (s strict) soon(v *node, name string) {
	v.bad = true
	s.file.errorAt(v.key, name+" is not available yet", "leave it out")
}

func (s strict) wrongType(v *node, name, want, hint string) {
	s.refuse(v, fmt.Sprintf("wrong type for %s: want %s, not %s", name, want, v.shape), hint)
}

// oneOf lists words for a person: "a", "b" or "c".
func oneOf(words []string) string {
	quotedWords := make([]string, len(words))
	for i, w := range words {
		quotedWords[i] = quoted(w)
	}
	if n := len(words) - 1; n > 0 {
		return strings.Join(quotedWords[:n], ", ") + " or " + quotedWords[n]
	}
	return strings.Join(quotedWords, "")
}
