package config

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// File is a configuration as written: every key and value with its position.
type File struct {
	Name     string // as problems name it
	Dir      string // relative paths are relative to it
	root     *node
	lines    []int // offset of the first byte of each line
	problems []Problem
}

// maxFile bounds what is read: a configuration is written by hand.
const maxFile = 1 << 20

// shape is what a value looks like in TOML.
type shape int

const (
	isString shape = iota + 1
	isBool
	isInt
	isOther // a float or a date: no key takes one
	isArray
	isTable
	isTables // an array of tables, [[x]]
)

func (s shape) String() string {
	return [...]string{
		"nothing", "a string", "true or false", "a number", "a float or a date",
		"a list", "a table", "a list of tables",
	}[s]
}

// made tells how a table came to be, which decides what may still add to it.
type made int

const (
	implied   made = iota // named on the way to another: [a.b] makes a
	byHeader              // [a]
	byDots                // a.b = 1 makes a
	inBraces              // { }
	byHeaders             // an entry of [[a]]
)

// node is a value, and for a table its keys in the order written.
type node struct {
	shape shape
	at    int // offset
	key   int // offset of the key or header that names it; that of the value in a list

	text   string // isString
	number int64  // isInt
	truth  bool   // isBool
	items  []*node
	names  []string
	fields map[string]*node
	made   made

	bad bool // a problem of it is known
}

func newTable(at int, made made) *node {
	return &node{shape: isTable, at: at, key: at, made: made, fields: map[string]*node{}}
}

// field returns what a table holds under name, or nil. It is safe on nil.
func (n *node) field(name string) *node {
	if n == nil {
		return nil
	}
	return n.fields[name]
}

func (n *node) put(name string, v *node) {
	n.names = append(n.names, name)
	n.fields[name] = v
}

// readTree makes a File of data. Syntax errors and keys that are written twice
// are in its problems; what is sound is in the tree all the same.
func readTree(data []byte, name, dir string) *File {
	f := &File{Name: name, Dir: dir, root: newTable(0, byHeader), lines: []int{0}}
	if len(data) > maxFile {
		f.errorAt(0, fmt.Sprintf("the file is larger than %d bytes", maxFile), "is it the right file?")
		return f
	}
	for i, b := range data {
		if b == '\n' {
			f.lines = append(f.lines, i+1)
		}
	}
	// Clipped, for the parser finds offsets by the capacity of slices.
	t := treeReader{file: f, data: slices.Clip(data), table: f.root}
	for base := 0; base < len(data); {
		base = t.readFrom(base)
	}
	return f
}

// treeReader turns the parser's expressions into nodes.
type treeReader struct {
	file  *File
	data  []byte
	base  int // offset of what the parser sees
	p     unstable.Parser
	table *node // what keys are added to; nil when its header was refused
}

// readFrom parses from base up to the end or the first syntax error, and
// returns where to go on: at the next line that begins with a header, since
// only there it is known in which table we are.
func (t *treeReader) readFrom(base int) int {
	t.base = base
	t.p.Reset(t.data[base:])
	for t.p.NextExpression() {
		switch e := t.p.Expression(); e.Kind {
		case unstable.KeyValue:
			t.keyValue(t.table, e)
		case unstable.Table, unstable.ArrayTable:
			t.header(e)
		}
	}
	err := t.p.Error()
	if err == nil {
		return len(t.data)
	}
	at := base
	var pe *unstable.ParserError
	if errors.As(err, &pe) && pe.Highlight != nil {
		at = len(t.data) - cap(pe.Highlight)
	}
	at = max(base, min(at, len(t.data)-1))
	hint := ""
	if bytes.HasPrefix(t.data, []byte("\xff\xfe")) || bytes.HasPrefix(t.data, []byte("\xfe\xff")) {
		hint = "it looks like UTF-16: save it as UTF-8"
	}
	t.file.errorAt(at, "not TOML: "+err.Error(), hint)
	t.table = nil
	next := bytes.Index(t.data[at:], []byte("\n["))
	if next < 0 {
		return len(t.data)
	}
	return at + next + 1
}

// offset returns where a node of the parser begins in the file. The parser
// gives no range for a list: it begins where its key says (see valueAt).
func (t *treeReader) offset(n *unstable.Node) int { return t.base + int(n.Raw.Offset) }

// valueAt returns the offset of the value behind the last part of a key.
func (t *treeReader) valueAt(key *unstable.Node) int {
	i := t.offset(key) + int(key.Raw.Length)
	for i < len(t.data)-1 && strings.IndexByte(" \t=", t.data[i]) >= 0 {
		i++
	}
	return i
}

// header goes to the table that [a.b] or [[a.b]] names.
func (t *treeReader) header(e *unstable.Node) {
	t.table = nil
	list := e.Kind == unstable.ArrayTable
	at, path := t.file.root, []string{}
	for it := e.Key(); it.Next(); {
		k := it.Node()
		name := string(k.Data)
		path = append(path, name)
		if it.IsLast() {
			t.table = t.enter(at, name, t.offset(k), path, list)
			return
		}
		next := at.field(name)
		if next == nil {
			next = newTable(t.offset(k), implied)
			at.put(name, next)
		}
		if next.shape == isTables {
			next = next.items[len(next.items)-1]
		}
		if next.shape != isTable || next.made == inBraces {
			t.twice(t.offset(k), path, next)
			return
		}
		at = next
	}
}

// enter opens the last part of a header in the table parent.
func (t *treeReader) enter(parent *node, name string, key int, path []string, list bool) *node {
	old := parent.field(name)
	switch {
	case list && old == nil:
		old = &node{shape: isTables, at: key, key: key}
		parent.put(name, old)
		fallthrough
	case list && old.shape == isTables:
		entry := newTable(key, byHeaders)
		old.items = append(old.items, entry)
		return entry
	case !list && old == nil:
		n := newTable(key, byHeader)
		parent.put(name, n)
		return n
	case !list && old.shape == isTable && old.made == implied:
		old.made, old.at, old.key = byHeader, key, key
		return old
	}
	t.twice(key, path, old)
	return nil
}

func (t *treeReader) twice(at int, path []string, old *node) {
	line, _ := t.file.position(old.key)
	hint := fmt.Sprintf("first in line %d", line)
	if old.shape == isTables {
		hint = fmt.Sprintf("it is a list since line %d: %s", line, bracket(dotted(path), true))
	}
	t.file.errorAt(at, dotted(path)+" is written twice", hint)
}

// keyValue adds one line, or one pair of an inline table, to a table.
func (t *treeReader) keyValue(table *node, e *unstable.Node) {
	if table == nil {
		return // its header was refused
	}
	var path []string
	for it := e.Key(); it.Next(); {
		k := it.Node()
		name := string(k.Data)
		path = append(path, name)
		old := table.field(name)
		switch {
		case it.IsLast() && old == nil:
			v := t.value(e.Value(), t.valueAt(k))
			v.key = t.offset(k)
			table.put(name, v)
		case it.IsLast():
			t.twice(t.offset(k), path, old)
		case old == nil:
			old = newTable(t.offset(k), byDots)
			table.put(name, old)
			table = old
		case old.shape != isTable || old.made != byDots:
			t.twice(t.offset(k), path, old)
			return
		default:
			table = old
		}
	}
}

// value makes a node of a parsed value; at is where it begins.
func (t *treeReader) value(v *unstable.Node, at int) *node {
	n := &node{at: at, key: at}
	switch v.Kind {
	case unstable.String:
		n.shape, n.text = isString, string(v.Data)
		if !utf8.Valid(v.Data) {
			n.bad = true
			t.file.errorAt(at, "not TOML: the string is not UTF-8", "")
		}
	case unstable.Bool:
		n.shape, n.truth = isBool, string(v.Data) == "true"
	case unstable.Integer:
		n.shape = isInt
		var ok bool
		if n.number, ok = integer(string(v.Data)); !ok {
			n.bad = true
			t.file.errorAt(at, "not TOML: bad number", "digits, without a zero in front; a text stands in quotes")
		}
	case unstable.Array:
		n.shape = isArray
		for it := v.Children(); it.Next(); {
			c := it.Node()
			where := at
			if c.Kind != unstable.Array {
				where = t.offset(c)
			}
			n.items = append(n.items, t.value(c, where))
		}
	case unstable.InlineTable:
		*n = *newTable(at, inBraces)
		for it := v.Children(); it.Next(); {
			t.keyValue(n, it.Node())
		}
	default:
		n.shape = isOther
	}
	return n
}

// integer reads a TOML integer, which may have a sign or be 0x, 0o or 0b, but
// has no leading zero.
func integer(s string) (int64, bool) {
	plain := strings.ReplaceAll(s, "_", "")
	digits := strings.TrimLeft(plain, "+-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(plain, 0, 64)
	return n, err == nil && n != math.MinInt64
}

// position turns an offset into a line and a column, from 1.
func (f *File) position(at int) (line, col int) {
	i, exact := slices.BinarySearch(f.lines, at)
	if !exact {
		i--
	}
	return i + 1, at - f.lines[i] + 1
}

func (f *File) problem(s Severity, at int, message, hint string) {
	line, col := f.position(at)
	f.problems = append(f.problems, Problem{File: f.Name, Line: line, Col: col, Severity: s, Message: sayable(message), Hint: sayable(hint)})
}

func (f *File) errorAt(at int, message, hint string) { f.problem(Error, at, message, hint) }

func (f *File) warnAt(at int, message, hint string) { f.problem(Warning, at, message, hint) }
