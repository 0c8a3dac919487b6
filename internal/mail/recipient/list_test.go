package recipient

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/mail/address"
)

func addr(t *testing.T, s string) address.Address {
	t.Helper()
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var ours = []string{"city.example", "town.example"}

func TestBadLists(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"not an address":        {"ann\nbob bob\n", "f:2: "},
		"a foreign domain":      {"ann@other.example", "f:1: other.example is not one of mail.domains"},
		"a foreign target":      {"ann: ann@other.example", "f:1: other.example is not one of mail.domains"},
		"twice":                 {"ann\nANN@city.example", "f:2: ANN@city.example stands in line 1 already"},
		"a rule twice":          {"*: ann\nann\n*", "f:3: * stands in line 1 already"},
		"a star in the middle":  {"a*b*: ann", "f:1: a * stands at the end only"},
		"a rule elsewhere":      {"*@other.example", "f:1: other.example is not one of mail.domains"},
		"nobody's alias":        {"info: ann", "f:1: ann@city.example is nobody in this file"},
		"no target":             {"info:", "f:1: "},
		"a circle":              {"a: b\nb: c\nc: a", "aliases go round in a circle"},
		"a circle by a detail":  {"a: b+x\nb: a+y", "aliases go round in a circle"},
		"a line without an end": {strings.Repeat("x", 1<<17), "f:1: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parseList("f", "city.example", ours, strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestListFinds(t *testing.T) {
	t.Parallel()
	const text = `
		# people
		ann
		Bob.Smith@city.example
		carl@town.example
		sales: ann, bob.smith
		all: sales, carl@town.example
		office: office, ann
		me+tag
		shop-*: ann
		shop-old-*
		"odd name"
		`
	l, err := parseList("f", "city.example", ours, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{
		"nobody@city.example":        "",
		"an@city.example":            "",
		"carl@city.example":          "", // of the other domain
		"+ann@city.example":          "",
		"me@city.example":            "",
		"ann@city.example":           "ann@city.example",
		"Ann@city.example":           "Ann@city.example",
		"ann+lists@city.example":     "ann+lists@city.example",
		"ann+a+b@city.example":       "ann+a+b@city.example",
		"ann+@city.example":          "ann+@city.example",
		"bob.smith@city.example":     "bob.smith@city.example",
		"me+TAG@city.example":        "me+TAG@city.example",
		"sales@city.example":         "ann@city.example bob.smith@city.example",
		"Sales+Q3@city.example":      "ann+Q3@city.example bob.smith+Q3@city.example",
		"all@city.example":           "ann@city.example bob.smith@city.example carl@town.example",
		"office@city.example":        "ann@city.example office@city.example",
		"shop-new@city.example":      "ann@city.example",
		"shop-old-1@city.example":    "shop-old-1@city.example",
		`"odd name"@city.example`:    `"odd name"@city.example`,
		`"odd name+x"@city.example`:  `"odd name+x"@city.example`,
		`"no such one"@city.example`: "",
	} {
		var got []string
		for _, a := range l.find(addr(t, to)) {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", to, got, want)
		}
	}
}

func TestCatchAll(t *testing.T) {
	t.Parallel()
	l, err := parseList("f", "city.example", ours, strings.NewReader("*: ann\nann\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := l.find(addr(t, "whoever@city.example")); len(got) != 1 || got[0].Local != "ann" {
		t.Errorf("got %v", got)
	}
}

// TestFileKeeper: who the file does not know is refused, postmaster and abuse
// never are; an edit is taken, a bad one is not, and a vanished file is none.
func TestFileKeeper(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "people")
	write := func(text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	noon := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	write("ann\nabuse: ann\n", noon)
	k := keeper(t, &inner{}, Domain{Name: "city.example", Mode: File, File: file})
	want := func(what, to, reason string) {
		t.Helper()
		_, r := k.Find(t.Context(), addr(t, to))
		if got := reasonOf(r); got != reason {
			t.Errorf("%s: %s: %q, want %q", what, to, got, reason)
		}
	}
	want("listed", "ann@city.example", "")
	want("not listed", "bob@city.example", "user-unknown")
	want("RFC 5321, Section 4.5.1", "PostMaster@city.example", "")
	want("another domain is not ours to know", "x@town.example", "")
	if to, _ := k.Find(t.Context(), addr(t, "abuse@city.example")); len(to) != 1 || to[0].Local != "ann" {
		t.Errorf("abuse goes to %v", to)
	}
	if n := k.Counters.Unknown.Value(); n != 1 {
		t.Errorf("%d unknown counted, want 1", n)
	}

	look := func() {
		for _, d := range k.all() {
			k.reread(d)
		}
	}
	write("ann\nbob\n", noon.Add(time.Second))
	look()
	want("added", "bob@city.example", "")
	write("bob bob\n", noon.Add(2*time.Second))
	look()
	want("the last good file serves on", "bob@city.example", "")
	if s := k.Standings()[0]; s.State != Stale || s.Known != 2 {
		t.Errorf("standing %+v", s)
	}
	look()
	if n := k.Counters.FileFaults.Value(); n != 1 {
		t.Errorf("the same fault told %d times", n)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	look()
	want("a vanished file changes nothing", "ann@city.example", "")
	write("carl\n", noon.Add(3*time.Second))
	look()
	want("back", "carl@city.example", "")
	want("and without who is gone", "ann@city.example", "user-unknown")
	if s := k.Standings()[0]; s.State != Fine || s.Known != 1 {
		t.Errorf("standing %+v", s)
	}
}

func TestPrepareRefuses(t *testing.T) {
	t.Parallel()
	k := keeper(t, &inner{}, Domain{Name: "city.example"})
	if _, err := k.Prepare([]Domain{{Name: "city.example", Mode: File, File: "/none/such"}}); err == nil {
		t.Error("a file that is not there, no error")
	}
	if _, r := k.Find(t.Context(), addr(t, "x@city.example")); r != nil {
		t.Errorf("the configuration before is gone: %v", r)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("nothing to call with, no error")
	}
}

// TestAliasesAcrossDomains: what leads into another domain of ours with a file is
// looked for there; circles end.
func TestAliasesAcrossDomains(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var domains []Domain
	for name, text := range map[string]string{
		"city.example": "ann\nboth: ann, sales@town.example\nlost: nobody@town.example\nhalf: ann, nobody@town.example\nring: ring@town.example\nboss: postmaster@town.example\nout: zoe@free.example\n",
		"town.example": "carl\nsales: carl, ann@city.example\nring: ring@city.example\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		domains = append(domains, Domain{Name: name, Mode: File, File: file})
	}
	k := keeper(t, &inner{}, append(domains, Domain{Name: "free.example"})...)
	for to, want := range map[string]string{
		"both@city.example":   "ann@city.example ann@city.example carl@town.example",
		"both+x@city.example": "ann+x@city.example ann+x@city.example carl+x@town.example",
		"lost@city.example":   "user-unknown",
		"half@city.example":   "ann@city.example",
		"ring@city.example":   "ring@city.example",
		"boss@city.example":   "postmaster@town.example",
		"out@city.example":    "zoe@free.example",
		"sales@town.example":  "ann@city.example carl@town.example",
		"nobody@town.example": "user-unknown",
		"Abuse@town.example":  "Abuse@town.example",
	} {
		targets, r := k.Find(t.Context(), addr(t, to))
		got := reasonOf(r)
		for _, a := range targets {
			got += " " + a.String()
		}
		if strings.TrimSpace(got) != want {
			t.Errorf("%s: %s, want %s", to, got, want)
		}
	}
}
