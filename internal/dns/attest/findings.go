package attest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"postern/internal/dns/name"
)

// maxPerCode is how many problems of one code are told.
const maxPerCode = 50

// findings gathers problems. The zero value is empty.
type findings struct {
	list  []Problem
	count map[string]int
}

func (f *findings) add(code string, at name.Name, rrtype uint16, format string, args ...any) {
	if f.count == nil {
		f.count = map[string]int{}
	}
	if f.count[code]++; f.count[code] <= maxPerCode {
		f.list = append(f.list, Problem{code, at, rrtype, fmt.Sprintf(format, args...)})
	}
}

// merge takes over what others found, in their order.
func (f *findings) merge(others []findings) {
	for _, o := range others {
		for _, p := range o.list {
			f.add(p.Code, p.Name, p.Type, "%s", p.Text)
		}
		for code, n := range o.count {
			f.count[code] += max(n-maxPerCode, 0)
		}
	}
}

// all returns the problems in the zone's order, those that were left out as
// one of each code.
func (f *findings) all() []Problem {
	for code, n := range f.count {
		if n <= maxPerCode {
			continue
		}
		for i := range f.list {
			if p := &f.list[i]; p.Code == code {
				p.Text += fmt.Sprintf("; %s of this kind are left out", plural(n-maxPerCode, "more problem"))
				break
			}
		}
	}
	slices.SortStableFunc(f.list, func(a, b Problem) int {
		return cmp.Or(a.Name.Compare(b.Name), int(a.Type)-int(b.Type), strings.Compare(a.Code, b.Code), strings.Compare(a.Text, b.Text))
	})
	return f.list
}
