package verdict

import (
	"testing"

	"golang.org/x/net/idna"
)

func TestAlike(t *testing.T) {
	t.Parallel()
	ours := []string{"city.example", "stadtwerke.example.net", "bank.test"}
	for name, want := range map[string]string{
		"":                              "",
		"[192.0.2.1]":                   "",
		"city.example":                  "", // ours
		"mail.city.example":             "",
		"other.example":                 "",
		"example.org":                   "",
		"capacity.example":              "", // holds ours, and is another word
		"bang.test":                     "", // four letters: too short to slip in
		"c1ty.example":                  "city.example",
		"clty.example":                  "city.example",
		alabels(t, "\u0441ity.example"): "city.example", // a Cyrillic letter
		alabels(t, "c\u00efty.example"): "city.example", // a letter with two dots
		"mail.c1ty.example":             "city.example",
		"city.example.evil.test":        "city.example",
		"login.city.example.evil.test":  "city.example",
		"ci-ty.example":                 "city.example",
		"stadtwerke.exarnple.net":       "stadtwerke.example.net",
		"stadtwreke.example.net":        "stadtwerke.example.net",
		"stadtwerk.example.net":         "stadtwerke.example.net",
		"stadtwerkee.example.net":       "stadtwerke.example.net",
		"stadtwerke-example-net.test":   "stadtwerke.example.net",
		"8ank.test":                     "",
	} {
		if got := Alike(name, ours); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func alabels(t *testing.T, name string) string {
	t.Helper()
	a, err := idna.ToASCII(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func FuzzAlike(f *testing.F) {
	f.Add("city.example")
	f.Add("xn--ity-rdd.example")
	f.Fuzz(func(t *testing.T, name string) {
		if got := Alike(name, []string{"city.example"}); got != "" && got != "city.example" {
			t.Fatalf("%q: %q", name, got)
		}
	})
}
