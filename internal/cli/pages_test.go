package cli

import (
	"errors"
	"strings"
	"testing"

	"postern/internal/manage"
)

// A zone that comes in pages is printed whole, or not at all.
func TestZoneInPages(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for what, c := range map[string]struct {
		serials    string // of the pages, as they are asked for; x: an error
		want, fail string
		asked      int
	}{
		"one page":                    {"1", "a", "", 1},
		"three":                       {"111", "abc", "", 3},
		"it changes once":             {"112222", "abc", "", 6},
		"it changes before the last":  {"12111", "abc", "", 5},
		"it never stands still":       {"12345678901234", "", "changed each of the 5 times", 10},
		"the server stops in between": {"11x", "", "broken", 3},
	} {
		asked, count := 0, strings.Count(c.want, "")-1
		if count <= 0 {
			count = 3
		}
		got, err := inPages(manage.ExportArgs{Zone: "a.example", Signed: true}, func(a manage.ExportArgs) (manage.ZonePage, error) {
			serial := c.serials[asked]
			asked++
			if serial == 'x' {
				return manage.ZonePage{}, broken
			}
			at := max(strings.Index("abc", a.From), 0)
			p := manage.ZonePage{Text: "abc"[at : at+1], Serial: uint32(serial)}
			if at+1 < count {
				p.Next = "abc"[at+1 : at+2]
			}
			if !a.Signed || a.Zone != "a.example" {
				t.Errorf("%s: asked for %+v", what, a)
			}
			return p, nil
		})
		if got != c.want || asked != c.asked || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: %q, %v, asked %d times", what, got, err, asked)
		}
	}
}
