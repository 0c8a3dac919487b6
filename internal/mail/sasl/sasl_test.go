package sasl

import (
	"errors"
	"strings"
	"testing"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		response string
		want     Credentials
		err      error
	}{
		"empty":                     {"", Credentials{}, ErrMalformed},
		"one part":                  {"user", Credentials{}, ErrMalformed},
		"two parts":                 {"user\x00pass", Credentials{}, ErrMalformed},
		"four parts":                {"\x00user\x00pass\x00", Credentials{}, ErrMalformed},
		"no identity":               {"\x00\x00pass", Credentials{}, ErrMalformed},
		"no password":               {"\x00user\x00", Credentials{}, ErrMalformed},
		"not UTF-8":                 {"\x00user\x00\xff", Credentials{}, ErrMalformed},
		"too long":                  {"\x00user\x00" + strings.Repeat("x", maxField+1), Credentials{}, ErrMalformed},
		"acting for another":        {"admin\x00user\x00pass", Credentials{}, ErrAuthzid},
		"authzid in another case":   {"USER\x00user\x00pass", Credentials{}, ErrAuthzid},
		"plain":                     {"\x00user\x00pass", Credentials{"user", "pass"}, nil},
		"authzid equal":             {"user\x00user\x00pass", Credentials{"user", "pass"}, nil},
		"password with odd letters": {"\x00ü@b\x00 p=ä ", Credentials{"ü@b", " p=ä "}, nil},
	} {
		x, _ := Start("plain")
		if _, done, err := x.Next(nil); done || err != nil {
			t.Fatalf("%s: the empty challenge: %v %v", name, done, err)
		}
		_, done, err := x.Next([]byte(c.response))
		if !errors.Is(err, c.err) || done != (c.err == nil) || x.Credentials() != c.want {
			t.Errorf("%s: %v %v %+v, want %+v %v", name, done, err, x.Credentials(), c.want, c.err)
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	for name, responses := range map[string][]string{"with challenges": {"", "user", "pass"}, "initial response": {"user", "pass"}} {
		x, _ := Start("LOGIN")
		var asked []string
		done := false
		for _, r := range responses {
			response := []byte(r)
			if r == "" {
				response = nil
			}
			challenge, end, err := x.Next(response)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			asked, done = append(asked, challenge), end
		}
		if !done || x.Credentials() != (Credentials{"user", "pass"}) || asked[len(asked)-2] != "Password:" {
			t.Errorf("%s: done %v, %+v, asked %q", name, done, x.Credentials(), asked)
		}
	}
	for _, bad := range []string{"", "\xff", "a\x00b", strings.Repeat("x", maxField+1)} {
		x, _ := Start("LOGIN")
		if _, _, err := x.Next([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("user name %q: %v", bad, err)
		}
	}
}

func TestUnknownMechanism(t *testing.T) {
	t.Parallel()
	for _, m := range []string{"", "CRAM-MD5", "PLAINS", "SCRAM-SHA-256"} {
		if _, ok := Start(m); ok {
			t.Errorf("%q started", m)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("a\x00a\x00b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, _ := Start("PLAIN")
		if b == nil {
			b = []byte{}
		}
		if _, done, err := x.Next(b); done != (err == nil) || done && x.Credentials().Password == "" {
			t.Fatalf("%q: %v %v", b, done, err)
		}
	})
}
