package ldap

import (
	"fmt"
	"strings"
	"testing"

	"postern/internal/mail/address"
)

var ann = address.Address{Local: "ann", Domain: "city.example"}

// described writes an encoded filter as RFC 4515 has it, with every octet of a
// value escaped that is not a letter, a digit, or one of "@.-:= ".
func described(t *testing.T, b []byte) string {
	t.Helper()
	e, rest, err := next(b)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%x: %v, %d octets follow", b, err, len(rest))
	}
	switch e.tag {
	case and, or, not:
		out := "(" + map[byte]string{and: "&", or: "|", not: "!"}[e.tag]
		for body := e.body; len(body) > 0; {
			_, after, err := next(body)
			if err != nil {
				t.Fatal(err)
			}
			out += described(t, body[:len(body)-len(after)])
			body = after
		}
		return out + ")"
	case present:
		return "(" + string(e.body) + "=*)"
	case substrings:
		attr, body := must(t, e.body, tagOctets)
		body, _ = must(t, body, tagSequence)
		return "(" + string(attr) + "=" + describedParts(t, body) + ")"
	case extensible:
		return describedMatch(t, e.body)
	}
	sign, ok := map[byte]string{equal: "=", atLeast: ">=", atMost: "<=", approximate: "~="}[e.tag]
	if !ok {
		t.Fatalf("tag %#x", e.tag)
	}
	attr, body := must(t, e.body, tagOctets)
	v, body := must(t, body, tagOctets)
	if len(body) > 0 {
		t.Fatalf("%x follows", body)
	}
	return "(" + string(attr) + sign + escaped(v) + ")"
}

func must(t *testing.T, b []byte, tag byte) (body, rest []byte) {
	t.Helper()
	body, rest, err := expect(b, tag)
	if err != nil {
		t.Fatal(err)
	}
	return body, rest
}

func describedParts(t *testing.T, body []byte) string {
	t.Helper()
	out, last := "", byte(0x80)
	for len(body) > 0 {
		e, rest, err := next(body)
		if err != nil || e.tag < last || e.tag > 0x82 {
			t.Fatalf("parts out of order: %#x after %#x, %v", e.tag, last, err)
		}
		if e.tag != 0x80 {
			out += "*"
		}
		out, last, body = out+escaped(e.body), e.tag, rest
	}
	if last != 0x82 {
		out += "*"
	}
	return out
}

func describedMatch(t *testing.T, body []byte) string {
	t.Helper()
	parts := map[byte]string{}
	for len(body) > 0 {
		e, rest, err := next(body)
		if err != nil {
			t.Fatal(err)
		}
		parts[e.tag], body = string(e.body), rest
	}
	out := "(" + parts[0x82]
	if parts[0x84] == "\xff" {
		out += ":dn"
	}
	if parts[0x81] != "" {
		out += ":" + parts[0x81]
	}
	return out + ":=" + escaped([]byte(parts[0x83])) + ")"
}

func escaped(b []byte) string {
	var out strings.Builder
	for _, c := range b {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("@.-:= ", c) >= 0 {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, `\%02x`, c)
		}
	}
	return out.String()
}

// TestBadFilter: RFC 4515, Section 3, and what asks for nobody.
func TestBadFilter(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "(", ")", "()", "mail={address}", "(mail)", "(mail={address}", "(mail={address}))", "(mail={address})(a=b)", "(mail={address}) ",
		"(&)", "(|)", "(!)", "(&(mail={address})", "(!(mail={address})(a=b))", "(&mail={address})", "(={address})", "(a b={address})", "(-a={address})",
		"(mail={address}\x00)", "(mail=({address})", "(mail=\\2{address})", "(mail=\\zz{address})", "(mail={address}\\)", "(mail={address}\\2)",
		"(mail={address)", "(mail=address})", "(mail={adress})", "(mail={})", "(mail={Address})",
		"(mail=*)", "(mail=%s)", "(mail={domain})", "(mail={address})\n", "(a:=)", "(:={address})", "(:dn:={address})", "(a:b c:={address})",
		"(mail={address}**)", "(mail>={address}*)", "(mail:={address}*)", "(mail=**)",
		strings.Repeat("(!", 30) + "(mail={address})" + strings.Repeat(")", 30),
		"(mail={address}" + strings.Repeat("x", maxFilter) + ")",
	} {
		if f, err := ParseFilter(bad); err == nil {
			t.Errorf("%q was read as %s", bad, described(t, f.For(ann)))
		}
	}
}

// TestFilter: RFC 4515, Section 4, has most of these.
func TestFilter(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"(mail={address})":                              "(mail=ann@city.example)",
		"(cn={local}@{domain})":                         "(cn=ann@city.example)",
		"(proxyAddresses=smtp:{address})":               "(proxyAddresses=smtp:ann@city.example)",
		"(!(cn={local}))":                               "(!(cn=ann))",
		"(&(objectClass=Person)(|(sn={local})(cn=b*)))": "(&(objectClass=Person)(|(sn=ann)(cn=b*)))",
		"(o=univ*of*{local}*h)":                         "(o=univ*of*ann*h)",
		"(o=*{local}*)":                                 "(o=*ann*)",
		"(o=*{local})":                                  "(o=*ann)",
		"(&(mail={address})(seeAlso=))":                 "(&(mail=ann@city.example)(seeAlso=))",
		"(&(mail={address})(x=*))":                      "(&(mail=ann@city.example)(x=*))",
		"(cn:caseExactMatch:={local})":                  "(cn:caseExactMatch:=ann)",
		"(cn:={local})":                                 "(cn:=ann)",
		"(sn:dn:2.4.6.8.10:={local})":                   "(sn:dn:2.4.6.8.10:=ann)",
		"(o:dn:={local})":                               "(o:dn:=ann)",
		"(:1.2.3:={local})":                             "(:1.2.3:=ann)",
		"(:DN:2.4.6.8.10:={local})":                     "(:dn:2.4.6.8.10:=ann)",
		"(&(mail={address})(!(userAccountControl:1.2.840.113556.1.4.803:=2)))":  "(&(mail=ann@city.example)(!(userAccountControl:1.2.840.113556.1.4.803:=2)))",
		`(|(o=Parens R Us \28for all your parenthetical needs\29)(cn={local}))`: `(|(o=Parens R Us \28for all your parenthetical needs\29)(cn=ann))`,
		`(|(cn=*\2A*)(cn={local}))`:              `(|(cn=*\2a*)(cn=ann))`,
		`(|(bin=\00\00\00\04)(cn={local}))`:      `(|(bin=\00\00\00\04)(cn=ann))`,
		`(cn=\7b{local}\7D)`:                     `(cn=\7bann\7d)`,
		"(|(age>=7)(age<=9)(sn~=x)(cn={local}))": "(|(age>=7)(age<=9)(sn~=x)(cn=ann))",
		"(mail;lang-de={address})":               "(mail;lang-de=ann@city.example)",
		"(1.3.6.1={address})":                    "(1.3.6.1=ann@city.example)",
	} {
		f, err := ParseFilter(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := described(t, f.For(ann)); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

// TestAnAddressIsOnlyAValue: no local part, however it is spelt, changes what is
// asked (CWE-90).
func TestAnAddressIsOnlyAValue(t *testing.T) {
	t.Parallel()
	f, err := ParseFilter("(&(mail={address})(!(disabled=TRUE)))")
	if err != nil {
		t.Fatal(err)
	}
	for _, local := range []string{
		"*", "*)(objectClass=*", "ann)(|(a=*", `\2a`, "{local}", "{address}", "a*b", ")(", "x\x00y", "ann))(&(a=b", "münchen", "%s", " ",
		strings.Repeat("a", 64), strings.Repeat("*", 200),
	} {
		to := address.Address{Local: local, Domain: "city.example"}
		want := "(&(mail=" + escaped([]byte(local)) + "@city.example)(!(disabled=TRUE)))"
		if got := described(t, f.For(to)); got != want {
			t.Errorf("%q asks %s", local, got)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add("(&(mail={address})(!(a:dn:=b)))", "ann")
	f.Add("(o=*{local}*x)", "*)(")
	f.Fuzz(func(t *testing.T, text, local string) {
		filter, err := ParseFilter(text)
		if err != nil {
			return
		}
		// Whom it is about does not change its form.
		shape := func(local string) string {
			s := described(t, filter.For(address.Address{Local: local, Domain: "d"}))
			return strings.Map(func(r rune) rune {
				if strings.ContainsRune("()&|!*", r) {
					return r
				}
				return -1
			}, s)
		}
		if a, b := shape("x"), shape(local); a != b {
			t.Errorf("%q: %s, for %q %s", text, a, local, b)
		}
	})
}
