package config

import (
	"fmt"
	"strings"
	"testing"
)

// misplaced is how a password gets into a configuration where none belongs.
var misplaced = []string{
	"smtp://user:hunter2@192.0.2.1:25", "smtps://hunter2@192.0.2.1", "smtp://user:hun@hunter2@192.0.2.1", "smtp://user:x?hunter2@192.0.2.1",
	"smtp://user:x/hunter2@192.0.2.1", "smtp://user:x hunter2@192.0.2.1", `smtp://user:x\"hunter2@192.0.2.1`, "user:hunter2@192.0.2.1:25",
	"ldap://192.0.2.1/??sub?bindname=cn=a@b,x-bindpw=hunter2", "ldaps://cn=x:hunter2@192.0.2.1", "http://192.0.2.1:11333/?password=hunter2",
	"192.0.2.1:11333?password=hunter2", "http://user:hunter2@[::1]:99999", "smtp:user:hunter2@192.0.2.1", "ldap:user:hunter2@192.0.2.1",
}

// TestNoProblemRepeatsAPassword writes each of them for every key, in every
// shape, and for every name that the admin chooses: whatever is said of it, the
// password is not.
func TestNoProblemRepeatsAPassword(t *testing.T) {
	t.Parallel()
	said := 0
	try := func(text string) {
		c, problems := Options{TestKnobs: true}.Parse([]byte(text), "postern.toml", "/nonexistent")
		for _, p := range problems {
			said++
			if strings.Contains(p.String(), "hunter2") {
				t.Errorf("%s\n%s", text, p)
			}
		}
		if c == nil {
			return
		}
		for line := range strings.SplitSeq(string(Effective(c)), "\n") {
			// What is sound is shown: a user, or a name that DNS allows.
			if strings.Contains(line, "hunter2") && !strings.HasPrefix(line, "user = ") && !strings.HasPrefix(line, "[") {
				t.Errorf("%s\n is in force as\n%s", text, line)
			}
		}
	}
	for _, s := range schema() {
		header := bracket(exampleHeader(s), s.list)
		for i, v := range misplaced {
			if strings.Contains(s.path, "*") {
				named := s
				named.eg = strings.ReplaceAll(v, `\"`, `"`)
				try(bracket(exampleHeader(named), s.list) + "\n")
			}
			for _, value := range []string{`"%[1]s"`, `["%[1]s", "%[1]s"]`, `[["%[1]s"]]`} {
				all := header + "\n"
				for _, k := range s.keys {
					name := strings.ReplaceAll(k.name, "*", "internal")
					one := fmt.Sprintf("%s = "+value+"\n", name, v)
					all += one
					if i == 0 {
						try(header + "\n" + one)
					}
				}
				try(all)
			}
		}
	}
	if said < 1000 {
		t.Errorf("only %d problems: nothing was shown", said)
	}
}

// TestNoProblemRepeatsASecret writes a secret where its reference belongs, in
// ways that are not even TOML.
func TestNoProblemRepeatsASecret(t *testing.T) {
	t.Parallel()
	for _, value := range []string{`"hunter2"`, `"hunter2:x"`, `hunter2`, `"x" hunter2`, `'hunter2`, `"hunter2`, `00271828`, `2.71828hunter2`, `["hunter2"]`, `{ a = "hunter2" }`, `"file:"hunter2`, `true hunter2`} {
		for _, p := range parsed("[mail.route.\"example.test\"]\nnext_hop = [\"smtps://10.0.0.5\"]\nuser = \"u\"\nsecret = " + value + "\n") {
			if strings.Contains(p.String(), "hunter2") || strings.Contains(p.String(), "271828") {
				t.Errorf("%s: %s", value, p)
			}
		}
	}
}

// TestSaid wants what tells the admin which server is meant, as far as it can
// be told.
func TestSaid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind          kind
		written, said string
	}{
		{kindNextHop(), "smtp://u:p@10.0.0.5", "smtp://…"},
		{kindNextHop(), "p@10.0.0.5", "…"},
		{kindNextHop(), "smtp://10.0.0.5:0", "smtp://10.0.0.5:0"},
		{kindDirectory(), "ldaps://10.0.0.7/?x=y", "ldaps://…"},
		{kindSocket(), "p@127.0.0.1", "…"},
		{kindHostname(), "pass?word://x@y", "…"},
		{kindSecret(), "anything", "…"},
		{kindSender(), "<a@example.test>", "<a@example.test>"},
		{kindSender(), "mailto:a@example.test", "…"},
		{kindWord(), "why?", "why?"},
	} {
		if got := c.kind.said(c.written); got != c.said {
			t.Errorf("%s %q is said as %q, not %q", c.kind.noun, c.written, got, c.said)
		}
	}
}
