package message

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestBracketed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                     "[]",
		"Anna <anna@b.test>":                   "[anna@b.test]",
		"Anna <3 Bob <anna@b.test>":            "[anna@b.test]",
		"<<anna@b.test>>":                      "[anna@b.test]",
		"<a@b.test> (<c@d.test>) <e@f.test>":   "[a@b.test c@d.test e@f.test]",
		"<not an address@b.test> <@handle>":    "[]",
		"<a@b.test":                            "[]",
		"a@b.test>":                            "[a@b.test]",
		"a > b <c@d.test>":                     "[c@d.test]",
		strings.Repeat("<a@b.test>", 200)[:30]: "[a@b.test a@b.test a@b.test]",
	} {
		if got, err := bracketed(text); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
	if all, err := bracketed(strings.Repeat("<a@b.test>", maxMailboxes)); err != nil || len(all) != maxMailboxes {
		t.Errorf("%d of many, %v", len(all), err)
	}
	// None hides behind many others.
	if _, err := bracketed(strings.Repeat("<a@b.test>", maxMailboxes) + "<c@d.test>"); !errors.Is(err, errBrackets) {
		t.Errorf("one more: %v", err)
	}
	if _, err := bracketed("x <@a.test,@b.test:c@d.test>"); !errors.Is(err, errRoute) {
		t.Errorf("a route: %v", err)
	}
}
