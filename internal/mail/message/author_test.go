package message

import (
	"errors"
	"strings"
	"testing"
)

func TestAuthorsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines []string
		want  error
	}{
		"none (RFC 5322, Section 3.6)": {[]string{"Subject: x"}, ErrNoFrom},
		"two fields":                   {[]string{"From: a@b.example", "From: a@b.example"}, ErrManyFrom},
		"two, one in obsolete form":    {[]string{"From: a@b.example", "FROM : c@d.example"}, ErrManyFrom},
		"no address":                   {[]string{"From: just a name"}, ErrFromSyntax},
		"no domain":                    {[]string{"From: root"}, ErrFromSyntax},
		"bare angle":                   {[]string{"From: x <>"}, ErrFromSyntax},
		"two angles":                   {[]string{"From: <a@b.example> <c@d.example>"}, ErrFromSyntax},
		"text after the angle":         {[]string{"From: <a@b.example> evil@d.example"}, ErrFromSyntax},
		"open angle":                   {[]string{"From: x <a@b.example"}, ErrFromSyntax},
		"open quote":                   {[]string{`From: "x <a@b.example>`}, ErrFromSyntax},
		"open comment":                 {[]string{"From: a@b.example (x"}, ErrFromSyntax},
		"open group":                   {[]string{"From: team: a@b.example"}, ErrFromSyntax},
		"group in a group":             {[]string{"From: a: b: c@d.example;;"}, ErrFromSyntax},
		"two at signs":                 {[]string{"From: a@b@c.example"}, ErrFromSyntax},
		"dots in a row":                {[]string{"From: a@b..example"}, ErrFromSyntax},
		"encoded whole":                {[]string{"From: =?utf-8?q?a=40b=2Eexample?="}, ErrFromSyntax},
		"control":                      {[]string{"From: a\x01@b.example"}, ErrFromSyntax},
		"bytes that are not UTF-8":     {[]string{"From: a@b\xff.example"}, ErrFromSyntax},
		"words before the at sign":     {[]string{"From: John a@b.example"}, ErrFromSyntax},
		"an address without end":       {[]string{"From: " + strings.Repeat("a", 300) + "@b.example"}, ErrFromSyntax},
		"nothing but delimiters":       {[]string{"From: " + strings.Repeat("a:;,", 20000) + "a@b.example"}, ErrFromSyntax},
		"a long list":                  {[]string{"From: " + strings.Repeat("a@b.example,", 101)}, ErrFromSyntax},
	} {
		if got, err := parse(t, c.lines...).Authors(); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v %v, want %v", name, got, err, c.want)
		}
	}
}

func TestAuthors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ from, want string }{
		"plain":                         {"a@b.example", "a@b.example"},
		"angle":                         {"A Name <a@B.Example>", "a@b.example"},
		"quoted name with a trap":       {`"x <evil@evil.example>, y" <a@b.example>`, "a@b.example"},
		"comment with a trap":           {"a@b.example (<evil@evil.example> \\) (nested))", "a@b.example"},
		"comments around dots (4.4)":    {"a (x) . b @ (y) c . (z) example", "a.b@c.example"},
		"encoded words":                 {"=?utf-8?q?evil=40evil=2Eexample?= <a@b.example>", "a@b.example"},
		"dots in the name (4.1)":        {"J. Q. Public <a@b.example>", "a@b.example"},
		"route (4.4)":                   {"<@x.example,@y.example:a@b.example>", "a@b.example"},
		"quoted local":                  {`"a@evil.example b"@b.example`, `"a@evil.example b"@b.example`},
		"quoted local, dotted":          {`"a".b@c.example`, "a.b@c.example"},
		"list":                          {"a@b.example, C <c@d.example>", "a@b.example c@d.example"},
		"empty elements (4.4)":          {", a@b.example,, c@d.example,", "a@b.example c@d.example"},
		"group (RFC 6854)":              {"Team: a@b.example, C <c@d.example>;", "a@b.example c@d.example"},
		"empty group (RFC 6854)":        {"Nobody:;", ""},
		"U-labels (RFC 6532)":           {"ü@bücher.example", "ü@xn--bcher-kva.example"},
		"literal":                       {"a@[192.0.2.1]", "a@[192.0.2.1]"},
		"address in the name's place":   {"a@one.example <b@two.example>", "a@one.example b@two.example"},
		"the same twice":                {"b@two.example <b@two.example>", "b@two.example b@two.example"},
		"name with an at sign and text": {"a@one via list <b@two.example>", "b@two.example"},
		"bytes in the name":             {"\xa4\xa2 <a@b.example>", "a@b.example"},
	} {
		list, err := parse(t, "From: "+c.from).Authors()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, a := range list {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestFoldedFrom(t *testing.T) {
	t.Parallel()
	list, err := parse(t, "From: A", "\tName", " <a@b.example>").Authors()
	if err != nil || len(list) != 1 || list[0].Domain != "b.example" {
		t.Errorf("got %v %v", list, err)
	}
}

func TestSenders(t *testing.T) {
	t.Parallel()
	list, err := parse(t, "Sender: a@b.example", "sender: c@d.example", "Resent-from: e@f.example", "RESENT-SENDER : g@h.example").Senders()
	if err != nil || len(list) != 4 {
		t.Errorf("every Sender field counts: %v %v", list, err)
	}
	if _, err := parse(t, "Sender: <x").Senders(); err == nil {
		t.Error("malformed Sender was let through")
	}
	if _, err := parse(t, "Resent-From: <x").Senders(); err == nil {
		t.Error("malformed Resent-From was let through")
	}
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{
		"a@b.example", `"x" <a@b.example>`, "g: a@b, <c@d.example>;", "<@a,@b:c@d.example>",
		"a (b (c) \\) ) @ d . example", "a@[192.0.2.1]", "ü@bücher.example",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseList(s)
		if err != nil {
			return
		}
		for _, a := range list {
			if strings.ContainsAny(a.String(), "\r\n\x00") || a.Domain == "" {
				t.Fatalf("%q gave %q", s, a)
			}
		}
	})
}
