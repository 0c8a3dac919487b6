package config

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// FuzzParse wants no panic, positions inside the text, no configuration where
// a second opinion finds no TOML, and the same configuration from what is said
// to be in force.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"*.toml", "testdata/*.toml", "testdata/bad/*.txt"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
			for c := range bytes.SplitSeq(data, []byte("=== ")) {
				_, text, _ := bytes.Cut(c, []byte("\n"))
				text, _, _ = bytes.Cut(text, []byte("---\n"))
				f.Add(text)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("cred:")) {
			t.Skip("depends on the environment")
		}
		o := Options{TestKnobs: true}
		c, problems := o.Parse(data, "postern.toml", "/nonexistent")
		lines := bytes.Split(data, []byte("\n"))
		for _, p := range problems {
			if p.File == "postern.toml" && (p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > len(lines[p.Line-1])+1) {
				t.Fatalf("%v lies outside of the text", p)
			}
		}
		if c == nil {
			return
		}
		var second map[string]any
		if err := toml.Unmarshal(data, &second); err != nil {
			t.Fatalf("taken, but not TOML: %v", err)
		}
		first := Effective(c)
		again, problems := o.Parse(first, "effective.toml", "/elsewhere")
		if again == nil {
			t.Fatalf("what is in force is refused: %v\n%s", problems, first)
		}
		if now := Effective(again); !bytes.Equal(first, now) {
			t.Fatalf("what is in force changes:\n%s\n%s", first, now)
		}
	})
}
