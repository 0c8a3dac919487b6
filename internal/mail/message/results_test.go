package message

import (
	"fmt"
	"testing"
)

func TestParseResults(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                           " [] false",
		"(only a comment":            " [] false",
		"edge.example; dmarc":        "edge.example [] false",
		"edge.example; dmarc=pass x": "edge.example [] false",
		"edge.example; none":         "edge.example [] true",
		"Edge.Example 1;":            "edge.example [] true",
		"edge.example; DMARC=Pass (p=reject) header.from=a.example":            "edge.example [dmarc=pass map[header.from:a.example]] true",
		"edge.example; dmarc / 1 = pass header.from = a.example":               "edge.example [] false",
		"edge.example; dmarc/1=pass header.from = \"a.example\"":               "edge.example [dmarc=pass map[header.from:a.example]] true",
		"edge.example; spf=fail smtp.mailfrom=a@b.example; dmarc=fail":         "edge.example [spf=fail map[smtp.mailfrom:a@b.example] dmarc=fail map[]] true",
		"edge.example; x=fail reason=\"; dmarc=pass header.from=v.example\"":   "edge.example [x=fail map[reason:; dmarc=pass header.from=v.example]] true",
		"edge.example; x=fail (; dmarc=pass header.from=v.example)":            "edge.example [x=fail map[]] true",
		"edge.example; dmarc=pass header.from=a.example header.from=b.example": "edge.example [dmarc=pass map[header.from:]] true",
	} {
		id, results, ok := ParseResults(in)
		var all []string
		for _, r := range results {
			all = append(all, fmt.Sprintf("%s=%s %v", r.Method, r.Result, r.Properties))
		}
		if !ok {
			all = nil
		}
		if got := fmt.Sprintf("%s %v %v", id, all, ok); ok && got != want || !ok && want[len(want)-5:] != "false" {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func FuzzParseResults(f *testing.F) {
	f.Add("edge.example; dmarc=pass header.from=a.example")
	f.Fuzz(func(t *testing.T, s string) {
		_, results, ok := ParseResults(s)
		for _, r := range results {
			if ok && r.Method == "" {
				t.Fatalf("%q: a result without a method", s)
			}
		}
	})
}
