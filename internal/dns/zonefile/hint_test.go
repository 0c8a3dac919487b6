package zonefile

import (
	"strings"
	"testing"
)

// TestHintsGuessWhatWasMeant: what people write by mistake is answered with what they meant.
func TestHintsGuessWhatWasMeant(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rule, text, problem, hint string }{
		{"a name that is not in the first column", "$TTL 1\nb A 192.0.2.1\n www A 192.0.2.2\n", "z:3:2: ERR bad-type", "a new name begins in the first column"},
		{"# for a comment", "$TTL 1\n# the web server\n", "z:2:3: ERR bad-type", "a comment begins with a semicolon"},
		{"// for a comment", "$TTL 1\n// web\n", "z:2:4: ERR bad-type", "a comment begins with a semicolon"},
		{"a merge that was left", "$TTL 1\n=======\n", "z:2:1: ERR no-type", "two versions of the file were merged here"},
		{"a web page", "<html><body>404</body></html>\n", "z:1:1: ERR no-type", "is this a zone file?"},
		{"a blank that is none", "$TTL 1\nwww A\u00a0192.0.2.1\n", "z:2:5: ERR bad-type", "U+00A0"},
		{"a blank that is none, in the owner's place", "$TTL 1\nwww 1\u202f A 192.0.2.1\n", "z:2:5: ERR bad-type", "U+202F"},
		{"a blank that is none, behind the owner", "$TTL 1\nwww\u00a0A 192.0.2.1\n", "z:2:8: ERR bad-type", "U+00A0"},
		{"TTL with a fraction", "www 1.5h A 192.0.2.1\n", "z:1:5: ERR bad-type", "a TTL is seconds"},
		{"TTL below zero", "www -5 A 192.0.2.1\n", "z:1:5: ERR bad-type", "a TTL is seconds"},
		{"a letter of the type too few", "www 1 AAA 2001:db8::1\n", "z:1:7: ERR bad-type", "is AAAA meant?"},
		{"two letters that changed places", "www 1 CANME ns\n", "z:1:7: ERR bad-type", "is CNAME meant?"},
		{"another letter", "www 1 CNAMF ns\n", "z:1:7: ERR bad-type", "is CNAME meant?"},
		{"no type that is near", "www 1 NOTATYPE ns\n", "z:1:7: ERR bad-type", "(" + typeHint + ")"},
		{"ALIAS", "@ 1 ALIAS shop.test.\n", "z:1:5: ERR bad-type", "write the A and AAAA here"},
		{"leading zeros", "www 1 A 192.0.02.010\n", "z:1:9: ERR bad-data", "without leading zeros"},
		{"a number above 255", "www 1 A 192.0.2.256\n", "z:1:9: ERR bad-data", "four numbers from 0 to 255"},
		{"a port", "www 1 A 192.0.2.1:80\n", "z:1:9: ERR bad-data", "has no port"},
		{"a network", "www 1 A 192.0.2.0/24\n", "z:1:9: ERR bad-data", "not a network"},
		{"a final dot", "www 1 A 192.0.2.1.\n", "z:1:9: ERR bad-data", "no final dot"},
		{"a name for an address", "www 1 A web\n", "z:1:9: ERR bad-data", "is a CNAME"},
		{"a TTL behind the type", "www 1 A 300\n", "z:1:9: ERR bad-data", "is it a TTL?"},
		{"an interface", "www 1 AAAA fe80::1%eth0\n", "z:1:12: ERR bad-data", "without %eth0"},
		{"brackets", "www 1 AAAA [2001:db8::1]\n", "z:1:12: ERR bad-data", "the address alone"},
		{"typographic quotes", "x 1 TXT \u201cv=spf1\u201d\n", "z:1:9: WARN txt-quotes", "write straight ones"},
		{"UTF-16", "\xff\xfe$\x00T\x00\n\x00\n\x00", "z:1:1: ERR syntax the file is in UTF-16", "save it as UTF-8"},
		{"a program", "\x7fELF\x02\x01\x01\x00\x00\n", "z:1:8: ERR syntax zero octet", "is this a text file?"},
	} {
		_, problems := parse(t, c.text, Options{})
		if len(problems) != 1 || !strings.HasPrefix(problems[0].String(), c.problem) || !strings.Contains(problems[0].String(), c.hint) {
			t.Errorf("%s: %v, want %q with %q", c.rule, problems, c.problem, c.hint)
		}
	}
}

func TestOneStroke(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"AAA", "AAAA", true}, {"TXTT", "TXT", true}, {"XTT", "TXT", true}, {"TXR", "TXT", true}, {"NX", "MX", true},
		{"TXT", "TXT", false}, {"", "AB", false}, {"MX", "TXT", false}, {"CNAME", "CANEM", false},
	} {
		if oneStroke(c.a, c.b) != c.want || oneStroke(c.b, c.a) != c.want {
			t.Errorf("%q and %q", c.a, c.b)
		}
	}
}
