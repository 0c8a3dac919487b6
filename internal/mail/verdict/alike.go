package verdict

import (
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Alike returns the domain of ours that a stranger's name could be taken for by
// a reader, "" if there is none: written with other letters of the same look, one
// slip of the finger away, or with ours as a part that stands out. Names are
// A-labels; ours and what lies below is not a stranger's.
func Alike(name string, ours []string) string {
	if name == "" || strings.HasPrefix(name, "[") {
		return ""
	}
	for _, d := range ours {
		if within(name, d) {
			return ""
		}
	}
	looks := look(name)
	for _, d := range ours {
		own := look(d)
		tail := lastLabels(looks, strings.Count(own, ".")+1)
		first, _, _ := strings.Cut(own, ".")
		switch {
		case tail == own,
			len(first) >= 5 && oneSlip(tail, own),
			// city.example.evil.test, city-example.test
			strings.HasPrefix(looks, own+"."), strings.Contains(looks, "."+own+"."),
			len(first) >= 5 && strings.HasPrefix(looks, strings.ReplaceAll(own, ".", "")+"."):
			return d
		}
	}
	return ""
}

// lookalikes are letters as a reader sees them: those of other scripts, and
// digits, by the Latin letter they look like.
var lookalikes = strings.NewReplacer(
	"а", "a", "е", "e", "о", "o", "р", "p", "с", "c", "у", "y", "х", "x", "ѕ", "s", "ј", "j", "һ", "h", "ԁ", "d", "ԛ", "q", "ԝ", "w",
	"к", "k", "м", "m", "т", "t", "в", "b", "н", "h", "г", "r", "п", "n", "і", "l",
	"ο", "o", "α", "a", "ν", "v", "ρ", "p", "τ", "t", "ι", "l", "κ", "k", "υ", "u", "ε", "e", "η", "n", "ω", "w", "χ", "x",
	"ı", "l", "ł", "l", "ø", "o", "đ", "d", "ħ", "h", "ɡ", "g", "ɑ", "a", "ß", "b",
	"0", "o", "1", "l", "i", "l", "3", "e", "5", "s", "-", "",
)

// pairs are two letters that look like one, once those are replaced.
var pairs = strings.NewReplacer("rn", "m", "vv", "w", "cl", "d")

// look is a name as it looks: without marks on letters, and without hyphens.
func look(name string) string {
	if u, err := idna.ToUnicode(name); err == nil {
		name = u
	}
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKD.String(name))
	return pairs.Replace(lookalikes.Replace(name))
}

func lastLabels(name string, n int) string {
	labels := strings.Split(name, ".")
	return strings.Join(labels[max(0, len(labels)-n):], ".")
}

// oneSlip tells whether one letter was added, left out, changed, or two were
// exchanged.
func oneSlip(a, b string) bool {
	x, y := []rune(a), []rune(b)
	if len(x) > len(y) {
		x, y = y, x
	}
	if len(y)-len(x) > 1 || a == b {
		return false
	}
	i := 0
	for i < len(x) && x[i] == y[i] {
		i++
	}
	if len(x) < len(y) {
		return string(x[i:]) == string(y[i+1:])
	}
	if string(x[i+1:]) == string(y[i+1:]) {
		return true
	}
	return i+1 < len(x) && x[i] == y[i+1] && x[i+1] == y[i] && string(x[i+2:]) == string(y[i+2:])
}
