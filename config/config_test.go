package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var renew = flag.Bool("update", false, "write reference.toml and the golden files anew")

// TestReferenceIsFresh keeps reference.toml what the schema says.
func TestReferenceIsFresh(t *testing.T) {
	t.Parallel()
	made := makeReference()
	if *renew {
		if err := os.WriteFile("reference.toml", made, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(made, Reference()) {
		t.Error("reference.toml is stale: go test ./config -run TestReferenceIsFresh -update")
	}
}

// TestExamplesLoad holds every file that users are given against the schema.
func TestExamplesLoad(t *testing.T) {
	t.Parallel()
	examples, err := filepath.Glob("*.toml")
	if err != nil || len(examples) < 3 {
		t.Fatal(examples, err)
	}
	for _, name := range examples {
		c, problems := Load(name)
		for _, p := range problems {
			if p.Severity == Error {
				t.Error(p)
			}
		}
		if c == nil {
			t.Errorf("%s: no configuration", name)
		}
	}
}

// TestEffectiveIsTheSame reads what Effective writes and wants it again.
func TestEffectiveIsTheSame(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"demo.toml", "default.toml", "reference.toml"} {
		c, problems := Load(name)
		if c == nil {
			t.Fatal(problems)
		}
		first := Effective(c)
		again, problems := Parse(first, "effective.toml", t.TempDir())
		if again == nil {
			t.Fatalf("%s: %v\n%s", name, problems, first)
		}
		if second := Effective(again); !bytes.Equal(first, second) {
			t.Errorf("%s: not the same:\n%s\n%s", name, first, second)
		}
	}
}
