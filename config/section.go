package config

import (
	"path/filepath"
	"time"
)

// table is a section as it stands in the file, or as it would by default: n is
// nil when it is not written. Its readers give what is written, else the
// default of the schema. What was refused already counts as not written.
type table struct {
	n  *node
	l  *level
	at int // where problems of it point when there is nothing better
}

func section0(f *File, root *level) table { return table{n: f.root, l: root} }

// sub returns the section of that name, which need not be written.
func (t table) sub(name string) table {
	s := table{l: t.l.sub(name), at: t.at}
	if n := t.n.field(name); n != nil && !n.bad && n.shape == isTable {
		s.n, s.at = n, n.key
	}
	return s
}

// each returns the entries of [[name]].
func (t table) each(name string) []table {
	n := t.n.field(name)
	if n == nil || n.bad || n.shape != isTables {
		return nil
	}
	var entries []table
	for _, e := range n.items {
		entries = append(entries, table{n: e, l: t.l.sub(name), at: e.key})
	}
	return entries
}

// names returns the names the admin chose at this level, in the order written.
func (t table) names() []string {
	if t.n == nil {
		return nil
	}
	var names []string
	for _, name := range t.n.names {
		if !t.n.fields[name].bad {
			names = append(names, name)
		}
	}
	return names
}

// written returns a value that stands in the file and was not refused.
func (t table) written(name string) *node {
	if n := t.n.field(name); n != nil && !n.bad {
		return n
	}
	return nil
}

// value returns what is written, else the default, else nil.
func (t table) value(name string) *node {
	if n := t.written(name); n != nil {
		return n
	}
	k, _ := t.l.key(name)
	n := nodeOf(k.def)
	if n != nil {
		n.at, n.key = t.at, t.at
	}
	return n
}

// where is the offset for a problem of that key.
func (t table) where(name string) int {
	if n := t.n.field(name); n != nil {
		return n.at
	}
	return t.at
}

func (t table) text(name string) string {
	if n := t.value(name); n != nil {
		return n.text
	}
	return ""
}

func (t table) flag(name string) bool {
	n := t.value(name)
	return n != nil && n.truth
}

func (t table) count(name string) int {
	if n := t.value(name); n != nil {
		return int(n.number)
	}
	return 0
}

// list returns the sound entries of a list.
func (t table) list(name string) []*node {
	n := t.value(name)
	if n == nil {
		return nil
	}
	var items []*node
	for _, e := range n.items {
		if !e.bad {
			items = append(items, e)
		}
	}
	return items
}

// nobody returns a list that is written, has nothing wrong in it, and still
// came to nothing.
func (t table) nobody(name string, count int) *node {
	n := t.written(name)
	if n == nil || count > 0 || len(t.list(name)) < len(n.items) {
		return nil
	}
	return n
}

func (t table) texts(name string) []string {
	var texts []string
	for _, n := range t.list(name) {
		texts = append(texts, n.text)
	}
	return texts
}

func (t table) duration(name string) time.Duration {
	d, _ := parseDuration(t.text(name))
	return d
}

func (t table) size(name string) int64 {
	n, _ := parseSize(t.text(name))
	return n
}

// rate is the zero Rate for "off".
func (t table) rate(name string) Rate {
	r, _ := parseRate(t.text(name))
	return r
}

// path is absolute, or "" when there is none.
func (t table) path(name, dir string) string { return absolute(t.text(name), dir) }

func absolute(path, dir string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
