package ldap

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRead: RFC 4511, Sections 4.1.1, 4.1.9 and 5.1.
func TestRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wire string
		want Message
	}{
		"success":                              {"30 0c 02 01 02 65 07 0a 01 00 04 00 04 00", Message{2, SearchDone, 0, ""}},
		"lengths that are longer than need be": {"30 84 00 00 00 10 02 01 02 65 84 00 00 00 07 0a 01 00 04 00 04 00", Message{2, SearchDone, 0, ""}},
		"no such object, and what it says":     {"30 0f 02 01 07 65 0a 0a 01 20 04 00 04 03 61 0a 62", Message{7, SearchDone, 32, "a b"}},
		"a bind, with credentials":             {"30 0e 02 01 01 61 09 0a 01 31 04 00 04 00 87 00", Message{1, BindDone, 49, ""}},
		"an entry":                             {"30 0b 02 01 02 64 06 04 02 63 6e 30 00", Message{2, Entry, 0, ""}},
		"a reference":                          {"30 05 02 01 02 73 00", Message{2, Reference, 0, ""}},
		"with a control":                       {"30 0e 02 01 02 65 07 0a 01 00 04 00 04 00 a0 00", Message{2, SearchDone, 0, ""}},
		"a notice of disconnection":            {"30 0e 02 01 00 78 09 0a 01 34 04 00 04 00 8a 00", Message{0, Extended, 52, ""}},
	} {
		got, err := Read(bufio.NewReader(bytes.NewReader(unhex(t, c.wire))))
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	for name, wire := range map[string]string{
		"nothing":                      "",
		"half a head":                  "30",
		"cut off":                      "30 0c 02 01 02 65",
		"of no definite length":        "30 80 02 01 02 65 07 0a 01 00 04 00 04 00 00 00",
		"a length of five octets":      "30 85 00 00 00 00 0c 02 01 02 65 07 0a 01 00 04 00 04 00",
		"four gigabytes":               "30 84 ff ff ff ff 02 01 02",
		"too long":                     "30 84 00 01 00 01 02 01 02",
		"a value longer than all":      "30 0c 02 01 02 65 84 ff ff ff f0 00 00 00",
		"a value longer than the rest": "30 0c 02 01 02 65 08 0a 01 00 04 00 04 00",
		"not a sequence":               "31 0c 02 01 02 65 07 0a 01 00 04 00 04 00",
		"no number":                    "30 0c 04 01 02 65 07 0a 01 00 04 00 04 00",
		"a number without octets":      "30 0b 02 00 65 07 0a 01 00 04 00 04 00",
		"a number of five octets":      "30 10 02 05 01 01 01 01 01 65 07 0a 01 00 04 00 04 00",
		"a negative number":            "30 0c 02 01 82 65 07 0a 01 00 04 00 04 00",
		"a negative result":            "30 0c 02 01 02 65 07 0a 01 ff 04 00 04 00",
		"a result without its texts":   "30 08 02 01 02 65 03 0a 01 00",
		"a tag of several octets":      "30 0c 02 01 02 7f 65 07 01 00 04 00 04 00",
		"a request":                    "30 05 02 01 02 42 00",
		"no operation":                 "30 03 02 01 02",
	} {
		if got, err := Read(bufio.NewReader(bytes.NewReader(unhex(t, wire)))); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

// TestRequests holds what is sent against octets written out by hand.
func TestRequests(t *testing.T) {
	t.Parallel()
	f, err := ParseFilter("(cn={local})")
	if err != nil {
		t.Fatal(err)
	}
	bind, err := Bind(1, "cn=x", []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		got        []byte
	}{
		{"bind", "30 12 02 01 01 60 0d 02 01 03 04 04 63 6e 3d 78 80 02 70 77", bind},
		{"unbind", "30 05 02 01 03 42 00", Unbind(3)},
		{"StartTLS", "30 1d 02 01 01 77 18 80 16 31 2e 33 2e 36 2e 31 2e 34 2e 31 2e 31 34 36 36 2e 32 30 30 33 37", StartTLS(1)},
		{"search", "30 2d 02 02 01 2c 63 27 04 04 64 63 3d 78 0a 01 02 0a 01 00 02 01 01 02 01 05 01 01 ff a3 09 04 02 63 6e 04 03 61 6e 6e 30 05 04 03 31 2e 31", Search(300, "dc=x", f.For(ann), 5)},
	} {
		if want := unhex(t, c.want); !bytes.Equal(c.got, want) {
			t.Errorf("%s: % x\nwant % x", c.name, c.got, want)
		}
	}
	// RFC 4513, Section 5.1.2: a server says yes to that, and knows nobody.
	for name, password := range map[string]string{"cn=x": "", "": "pw"} {
		if _, err := Bind(1, name, []byte(password)); err == nil {
			t.Errorf("binds as %q with %q", name, password)
		}
	}
}

func TestCode(t *testing.T) {
	t.Parallel()
	for c, want := range map[Code]string{0: "success", 49: "invalid credentials", 4711: "result 4711"} {
		if c.String() != want {
			t.Errorf("%d is %q", int32(c), c)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\x00\x04\x00\x04\x00"))
	f.Add([]byte("\x30\x84\x00\x00\x00\x10\x02\x01\x02\x65\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bufio.NewReader(bytes.NewReader(wire))
		m, err := Read(r)
		if err == nil && (m.ID < 0 || m.Result < 0 || strings.ContainsAny(m.Text, "\r\n\x00")) {
			t.Errorf("%+v", m)
		}
	})
}
