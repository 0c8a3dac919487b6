package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestManualIsTrue holds the pages of the manual against the schema: keys they
// name exist, and their examples load.
func TestManualIsTrue(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../internal/manual/pages/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages", err)
	}
	keys, examples := 0, 0
	for _, page := range pages {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`([a-z_]+(?:\\.(?:[a-z_]+|\\*))+)`").FindAllStringSubmatch(string(data), -1) {
			keys++
			if !knownKey(m[1]) {
				t.Errorf("%s names the key %s, which does not exist or is not available", page, m[1])
			}
		}
		for i, part := range strings.Split(string(data), "```toml\n") {
			if i == 0 {
				continue
			}
			examples++
			text, _, _ := strings.Cut(part, "```")
			for _, p := range parsed(text) {
				if p.Blocks() {
					t.Errorf("%s: example %d: %s", page, i, p)
				}
			}
		}
	}
	if keys < 20 || examples < 3 {
		t.Errorf("found only %d keys and %d examples", keys, examples)
	}
}

func parsed(text string) []Problem {
	_, problems := Parse([]byte(text), "example", "/nonexistent")
	return problems
}

func knownKey(dotted string) bool {
	at := levels()
	parts := strings.Split(dotted, ".")
	for i, p := range parts {
		if k, ok := at.sorted[p]; ok && i == len(parts)-1 {
			return !k.soon
		}
		if at = at.subs[p]; at == nil {
			return false
		}
	}
	return !at.soon
}
