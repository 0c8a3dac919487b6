package address

import (
	"errors"
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"empty":                         "",
		"no domain":                     "user",
		"no local part":                 "@example.test",
		"empty quotes":                  `""@example.test`,
		"two at signs":                  "a@b@c.test",
		"leading dot":                   ".a@example.test",
		"trailing dot":                  "a.@example.test",
		"double dot":                    "a..b@example.test",
		"space":                         "a b@example.test",
		"brackets":                      "<a@example.test>",
		"CR":                            "a\r@example.test",
		"CR in quotes":                  "\"a\r\nb\"@example.test",
		"NUL in quotes":                 "\"a\x00b\"@example.test",
		"NUL in the domain":             "a@exam\x00ple.test",
		"control in the domain":         "a@exam\x01ple.test",
		"DEL":                           "a\x7f@example.test",
		"C1 control":                    "a\u0085@example.test",
		"line separator":                "\"a\u2028b\"@example.test",
		"quote without end":             `"a@example.test`,
		"text after the quote":          `"a"b@example.test`,
		"backslash at the end":          `"a\`,
		"backslash outside quotes":      `a\@b@example.test`,
		"escaped non-ASCII":             `"\ü"@example.test`,
		"not UTF-8":                     "a\xff@example.test",
		"empty label":                   "a@example..test",
		"final dot":                     "a@example.test.",
		"hyphen first":                  "a@-example.test",
		"hyphen last":                   "a@example-.test",
		"long label":                    "a@" + strings.Repeat("x", 64) + ".test",
		"address without its brackets":  "a@192.0.2.1",
		"literal without end":           "a@[192.0.2.1",
		"literal of nonsense":           "a@[300.0.2.1]",
		"IPv6 literal without its tag":  "a@[2001:db8::1]",
		"IPv4 under the IPv6 tag":       "a@[IPv6:192.0.2.1]",
		"literal with a zone":           "a@[IPv6:fe80::1%eth0]",
		"general literal":               "a@[x400:c=us]",
		"percent in the domain":         "a@b%c.test",
		"parameter smuggled":            "a@b.test NOTIFY=NEVER",
		"too long":                      strings.Repeat("x", 250) + "@example.test",
		"too long once in A-labels":     strings.Repeat("x", 230) + "@bücher.example.test",
		"U-label that IDNA disallows":   "a@exa\u2028mple.test",
		"domain of one space":           "a@ ",
		"comment":                       "a(b)@example.test",
		"source route":                  "@a.test:b@example.test",
		"semicolon in the local part":   "a;b@example.test",
		"bang path without a domain":    "host!user",
		"angle bracket in domain":       "a@b.test>",
		"quoted local, no at":           `"a b"`,
		"literal then text":             "a@[192.0.2.1]x",
		"underscore label with newline": "a@_\n.test",
	} {
		if a, err := Parse(in); err == nil || !errors.Is(err, ErrSyntax) || !a.IsZero() {
			t.Errorf("%s: Parse(%q) = %+v, %v; want an error", name, in, a, err)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct {
		a   Address
		out string
	}{
		"User@Example.TEST":        {Address{"User", "example.test"}, "User@example.test"},
		"a.b+c@example.test":       {Address{"a.b+c", "example.test"}, "a.b+c@example.test"},
		`"a b"@example.test`:       {Address{"a b", "example.test"}, `"a b"@example.test`},
		`"plain"@example.test`:     {Address{"plain", "example.test"}, "plain@example.test"},
		`"a\"b\\c"@example.test`:   {Address{`a"b\c`, "example.test"}, `"a\"b\\c"@example.test`},
		`"\p\l\a\in"@example.test`: {Address{"plain", "example.test"}, "plain@example.test"},
		`"v@evil.test> X"@ours.test`: {
			Address{"v@evil.test> X", "ours.test"}, `"v@evil.test> X"@ours.test`,
		},
		`".dots."@example.test`:       {Address{".dots.", "example.test"}, `".dots."@example.test`},
		"a@[192.0.2.1]":               {Address{"a", "[192.0.2.1]"}, "a@[192.0.2.1]"},
		"a@[ipv6:2001:DB8:0:0::1]":    {Address{"a", "[IPv6:2001:db8::1]"}, "a@[IPv6:2001:db8::1]"},
		"a@bücher.test":               {Address{"a", "xn--bcher-kva.test"}, "a@xn--bcher-kva.test"},
		"a@BÜCHER.test":               {Address{"a", "xn--bcher-kva.test"}, "a@xn--bcher-kva.test"},
		"δοκιμή@example.test":         {Address{"δοκιμή", "example.test"}, "δοκιμή@example.test"},
		"a@under_score.example.test":  {Address{"a", "under_score.example.test"}, "a@under_score.example.test"},
		"a@localhost":                 {Address{"a", "localhost"}, "a@localhost"},
		"user%other.test@ours.test":   {Address{"user%other.test", "ours.test"}, "user%other.test@ours.test"},
		"other.test!user@ours.test":   {Address{"other.test!user", "ours.test"}, "other.test!user@ours.test"},
		"prvs=123=user/x@example.net": {Address{"prvs=123=user/x", "example.net"}, "prvs=123=user/x@example.net"},
	} {
		a, err := Parse(in)
		if err != nil || a != want.a || a.String() != want.out {
			t.Errorf("Parse(%q) = %+v (%s), %v; want %+v (%s)", in, a, a, err, want.a, want.out)
		}
	}
}

func TestEqual(t *testing.T) { // alone: it counts allocations
	user := Address{"User", "example.test"}
	if !user.Equal(Address{"User", "Example.Test"}) {
		t.Error("RFC 5321, Section 2.4: domains are the same in any letter case")
	}
	if user.Equal(Address{"user", "example.test"}) {
		t.Error("RFC 5321, Section 2.4: local parts are not")
	}
	if (Address{"a@b", "c"}).Key() == (Address{"a", "b@c"}).Key() {
		t.Error("two different addresses have one key")
	}
	// Each of a thousand recipients is compared with those before it.
	if n := testing.AllocsPerRun(10, func() { _ = user.Equal(Address{"User", "example.org"}) }); n > 0 {
		t.Errorf("comparing takes %v allocations", n)
	}
}

// An address put together by hand cannot carry a line end into a command or a
// header.
func TestStringOfHandMadeAddress(t *testing.T) {
	t.Parallel()
	for _, a := range []Address{
		{"a\r\nRCPT TO:<b", "example.test"},
		{"a", "example.test>\r\nDATA"},
		{"a\x00", "b c"},
	} {
		if s := a.String(); strings.ContainsAny(s, "\r\n\x00") || strings.Contains(a.Domain, ">") && strings.Contains(s, ">") {
			t.Errorf("String of %+v = %q", a, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a@b.test", `"a b"@c.test`, "a@[IPv6:::1]", "ü@bücher.test", `"\""@x`, "a@b@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		out := a.String()
		if strings.ContainsAny(out, "\r\n\x00") || len(out) > MaxLen {
			t.Fatalf("Parse(%q) writes %q", s, out)
		}
		again, err := Parse(out)
		if err != nil || again != a {
			t.Fatalf("Parse(%q) = %+v; its %q reads back as %+v, %v", s, a, out, again, err)
		}
	})
}
