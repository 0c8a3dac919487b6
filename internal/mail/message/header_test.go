package message

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func crlf(lines ...string) []byte {
	return []byte(strings.Join(lines, "\r\n") + "\r\n")
}

func parse(t *testing.T, lines ...string) *Header {
	t.Helper()
	h, err := Parse(crlf(lines...))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"mbox line":               {"From me Mon\r\nFrom: a@b.example\r\n", ErrMalformed},
		"starts folded":           {" From: a@b.example\r\n", ErrMalformed},
		"no name":                 {": x\r\n", ErrMalformed},
		"blank name":              {"\t: x\r\n", ErrMalformed},
		"space inside the name":   {"Fr om: x\r\n", ErrMalformed},
		"control in the name":     {"Fr\x01om: x\r\n", ErrMalformed},
		"bytes beyond ASCII":      {"Fr\xc3\xb6m: x\r\n", ErrMalformed},
		"empty line inside":       {"A: x\r\n\r\nB: y\r\n", ErrMalformed},
		"bare LF":                 {"A: x\nFrom: y\r\n", ErrMalformed},
		"bare CR":                 {"A: x\rFrom: y\r\n", ErrMalformed},
		"CR CR LF":                {"A: x\r\r\n", ErrMalformed},
		"NUL":                     {"A: x\x00\r\n", ErrMalformed},
		"no final CRLF":           {"A: x", ErrMalformed},
		"too many fields":         {strings.Repeat("A: x\r\n", MaxFields+1), ErrTooMany},
		"more than 256 KiB":       {"A: " + strings.Repeat("x", MaxHeader) + "\r\n", ErrTooLarge},
		"colon on the next line":  {"From\r\n : x\r\n", ErrMalformed},
		"colon after a long text": {"Some text that only looks: like\r\n", ErrMalformed},
	} {
		if _, err := Parse([]byte(c.raw)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestParseNamesTheLine(t *testing.T) {
	t.Parallel()
	_, err := Parse(crlf("A: 1", " 2", " 3", "B: 4", "oops"))
	if err == nil || !strings.Contains(err.Error(), "line 5") {
		t.Errorf("got %v, want line 5 named", err)
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	h := parse(t, "Subject: one", "\ttwo ", " three", "fRoM \t: a@b.example", "X-Empty:", "Received: x", "received: y")
	if got := h.Fields()[0].Value(); got != "one\ttwo  three" {
		t.Errorf("unfolded to %q (RFC 5322, Section 2.2.3)", got)
	}
	if f, ok := h.First("From"); !ok || f.Name() != "fRoM" || f.Value() != "a@b.example" {
		t.Errorf("From with space before the colon: %v %v", f, ok)
	}
	if f, ok := h.First("X-Empty"); !ok || f.Value() != "" {
		t.Errorf("empty field: %q %v", f.Value(), ok)
	}
	if h.Hops() != 2 || h.Count("subject") != 1 || len(h.Fields()) != 5 {
		t.Errorf("counted %d hops, %d fields", h.Hops(), len(h.Fields()))
	}
	if empty, err := Parse(nil); err != nil || len(empty.Fields()) != 0 {
		t.Errorf("a message without a header: %v", err)
	}
}

func TestEditsKeepTheRest(t *testing.T) {
	t.Parallel()
	h := parse(t, "A: 1", "Bcc: x", "\ty", "B: 2", " folded")
	out, n := h.Without(func(f Field) bool { return f.Is("bcc") })
	if want := crlf("A: 1", "B: 2", " folded"); n != 1 || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("dropped %d, left %q", n, out.Bytes())
	}
	if f, _ := out.First("B"); f.Value() != "2 folded" {
		t.Errorf("field after an edit: %q", f.Value())
	}
	added, err := out.Prepend("C: 3\r\n")
	if err != nil || !bytes.HasPrefix(added.Bytes(), []byte("C: 3\r\nA: 1\r\n")) {
		t.Errorf("prepend: %q %v", added.Bytes(), err)
	}
	if _, err := out.Prepend("C: 3\r\n\r\nbody"); err == nil {
		t.Error("a field with an empty line in it was let in")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("From: a@b.example\r\nSubject: x\r\n y\r\n"))
	f.Add([]byte("From me\r\n"))
	f.Add([]byte("A:\r\n \r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := Parse(raw)
		if err != nil {
			return
		}
		var whole []byte
		for _, field := range h.Fields() {
			whole = append(whole, field.Raw()...)
			if strings.ContainsAny(field.Value(), "\r\n\x00") {
				t.Fatalf("value %q", field.Value())
			}
		}
		if !bytes.Equal(whole, raw) {
			t.Fatalf("fields do not add up to the block")
		}
		_, _ = h.Authors()
		out, _ := h.StripForged(func(id string) bool { return id == "edge.example" })
		if _, err := Parse(out.Bytes()); err != nil {
			t.Fatalf("after stripping: %v", err)
		}
	})
}

func TestZeroFieldIsEmpty(t *testing.T) {
	t.Parallel()
	if f := (Field{}); f.Value() != "" || f.Name() != "" || f.Is("From") {
		t.Errorf("%q: %q", f.Name(), f.Value())
	}
}
