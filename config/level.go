package config

import (
	"cmp"
	"slices"
	"strings"
)

// level is one depth of the schema: the keys and the tables that may stand
// there.
type level struct {
	section // zero for a table that only leads to others
	sorted  map[string]key
	subs    map[string]*level
}

func newLevel() *level { return &level{sorted: map[string]key{}, subs: map[string]*level{}} }

// levels turns the schema into a tree.
func levels() *level {
	root := newLevel()
	for _, s := range schema() {
		at := root
		for part := range strings.SplitSeq(s.path, ".") {
			if at.subs[part] == nil {
				at.subs[part] = newLevel()
			}
			at = at.subs[part]
		}
		at.section = s
		for _, k := range s.keys {
			at.sorted[k.name] = k
		}
	}
	return root
}

// key returns the key of that name, or the one for names the admin chooses.
func (l *level) key(name string) (key, bool) {
	k, ok := l.sorted[name]
	if !ok {
		k, ok = l.sorted["*"]
	}
	return k, ok
}

// sub returns the table of that name, or the one for names the admin chooses.
func (l *level) sub(name string) *level {
	if s := l.subs[name]; s != nil {
		return s
	}
	return l.subs["*"]
}

// nearest returns the known name at this level that was probably meant, or "".
func (l *level) nearest(name string) string {
	var best string
	least := slips(name) + 1
	for _, known := range l.known() {
		if d := distance(strings.ToLower(name), known); d < least {
			best, least = known, d
		}
	}
	return best
}

func (l *level) known() []string {
	var names []string
	for n := range l.sorted {
		names = append(names, n)
	}
	for n := range l.subs {
		names = append(names, n)
	}
	slices.Sort(names)
	return slices.DeleteFunc(names, func(n string) bool { return n == "*" })
}

// homes returns the tables below l that have a key of exactly that name.
func (l *level) homes(name string) []string {
	var found []string
	if _, ok := l.sorted[name]; ok {
		found = append(found, l.header())
	}
	for _, n := range l.subNames() {
		found = append(found, l.subs[n].homes(name)...)
	}
	return found
}

func (l *level) subNames() []string {
	var names []string
	for n := range l.subs {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// header is the line that opens the section: [a.b] or [[a.b]], with NAME for
// what the admin chooses.
func (s section) header() string { return bracket(strings.ReplaceAll(s.path, "*", "NAME"), s.list) }

func bracket(path string, list bool) string {
	if list {
		return "[[" + path + "]]"
	}
	return "[" + path + "]"
}

// slips is how many wrong letters a word of that length may have and still be
// recognised.
func slips(word string) int {
	if len(word) < 3 {
		return 0
	}
	return max(1, len(word)/3)
}

// distance is the number of letters to insert, drop, replace or swap with
// their neighbour to make a of b.
func distance(a, b string) int {
	prev2, prev := []int(nil), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev = prev, row
	}
	return prev[len(b)]
}

// closest returns the word of words that was probably meant, or "".
func closest(word string, words []string) string {
	if len(words) == 0 || word == "" {
		return ""
	}
	best := slices.MinFunc(words, func(a, b string) int { return cmp.Compare(distance(word, a), distance(word, b)) })
	if distance(word, best) > slips(word) {
		return ""
	}
	return best
}
