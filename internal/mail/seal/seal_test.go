package seal

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/message"

	"github.com/emersion/go-msgauth/dkim"
)

const header = "From: A <a@example.com>\r\nTo: b@example.org,\r\n\tc@example.org\r\nSubject: =?utf-8?q?x?=\r\nDate: Sat, 1 Aug 2026 12:00:00 +0000\r\n" +
	"Message-ID: <1@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"

const body = "Hello,  world \r\n\r\n.dot\r\n\r\n\r\n"

func testKeys(t *testing.T) ([]Key, lookuptest.Map) {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, e, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := []Key{{"example.com", "r1", r}, {"example.com", "e1", e}}
	world := lookuptest.Map{}
	for _, k := range keys {
		txt, err := Record(k.Signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		world[k.Selector+"._domainkey.example.com TXT"] = []string{txt}
	}
	return keys, world
}

// check has the library verify, with an eye on each signature.
func check(t *testing.T, world lookuptest.Map, msg string) []error {
	t.Helper()
	got, err := dkim.VerifyWithOptions(strings.NewReader(msg), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		return world[name+" TXT"], nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	var out []error
	for _, v := range got {
		out = append(out, v.Err)
	}
	return out
}

func sealed(t *testing.T, keys []Key, header, body string) string {
	t.Helper()
	fields, err := Sign([]byte(header), strings.NewReader(body), keys)
	if err != nil {
		t.Fatal(err)
	}
	return string(fields) + header + "\r\n" + body
}

func TestSign(t *testing.T) {
	t.Parallel()
	keys, world := testKeys(t)
	msg := sealed(t, keys, header, body)
	if got := check(t, world, msg); len(got) != 2 || got[0] != nil || got[1] != nil {
		t.Fatalf("both signatures pass: %v", got)
	}
	for line := range strings.SplitSeq(msg, "\r\n") {
		if len(line) > message.MaxLine {
			t.Errorf("a line of %d octets", len(line))
		}
	}
	if !strings.Contains(msg, "a=rsa-sha256") || !strings.Contains(msg, "a=ed25519-sha256") || !strings.Contains(msg, "c=relaxed/relaxed") {
		t.Errorf("got %s", msg)
	}
}

// TestNothingCanBeAdded puts one more of each field in front, where readers
// look first.
func TestNothingCanBeAdded(t *testing.T) {
	t.Parallel()
	keys, world := testKeys(t)
	msg := sealed(t, keys[1:], header, body)
	for _, field := range []string{
		"From: evil@example.net", "Subject: y", "To: x@y", "Cc: x@y", "Reply-To: x@y", "Date: x", "Message-ID: <x@y>",
		"MIME-Version: 1.0", "Content-Type: text/html", "Content-Transfer-Encoding: base64",
	} {
		if got := check(t, world, field+"\r\n"+msg); got[0] == nil {
			t.Errorf("%s was added under the signature", field)
		}
	}
	for _, field := range []string{"Received: from x by y; z", "X-Other: 1", "Authentication-Results: x; none"} {
		if got := check(t, world, field+"\r\n"+msg); got[0] != nil {
			t.Errorf("%s may be added on the way: %v", field, got[0])
		}
	}
}

func TestOddMessages(t *testing.T) {
	t.Parallel()
	keys, world := testKeys(t)
	for name, c := range map[string]struct{ header, body string }{
		"no body":         {header, ""},
		"empty lines":     {header, "\r\n\r\n"},
		"only From":       {"From: a@example.com\r\n", "x"},
		"many To":         {"From: a@example.com\r\n" + strings.Repeat("To: b@example.org\r\n", 50), "x\r\n"},
		"many of all":     {"From: a@example.com\r\n" + strings.Repeat(strings.Join(once[1:], ": x\r\n")+": x\r\n", 30), "x\r\n"},
		"long lines":      {"From: a@example.com\r\nSubject: " + strings.Repeat("x", 5000) + "\r\n", strings.Repeat("y", 70000) + "\r\n"},
		"bytes beyond 7":  {"From: \xc3\xbc <a@example.com>\r\n", "\xff\xfe\r\n"},
		"spaced and bare": {"FROM : a@example.com\r\nsubject:\r\n", " \t\r\nx"},
	} {
		msg := sealed(t, keys, c.header, c.body)
		for _, err := range check(t, world, msg) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for line := range strings.SplitSeq(msg[:strings.Index(strings.ToLower(msg), "from")], "\r\n") {
			if len(line) > message.MaxLine {
				t.Errorf("%s: a line of %d octets", name, len(line))
			}
		}
	}
}

func TestSignFails(t *testing.T) {
	t.Parallel()
	keys, _ := testKeys(t)
	broken := errors.New("disk")
	if _, err := Sign([]byte(header), iotest.ErrReader(broken), keys); !errors.Is(err, broken) {
		t.Errorf("body cannot be read: %v", err)
	}
	if _, err := Sign([]byte("no field\r\n"), strings.NewReader(""), keys); !errors.Is(err, message.ErrMalformed) {
		t.Errorf("malformed header: %v", err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign([]byte(header), strings.NewReader(body), []Key{keys[0], {"example.com", "x", ec}}); err == nil {
		t.Error("an ECDSA key was taken")
	}
	if _, err := Record(ec.Public()); !errors.Is(err, ErrKind) {
		t.Errorf("record of an ECDSA key: %v", err)
	}
	if got, err := Sign([]byte(header), strings.NewReader(body), nil); err != nil || len(got) != 0 {
		t.Errorf("no keys: %q %v", got, err)
	}
}

// TestSmallReads signs a body larger than any buffer in small reads.
func TestSmallReads(t *testing.T) {
	t.Parallel()
	keys, world := testKeys(t)
	large := strings.Repeat("line of text \r\n", 20000) + "\r\n\r\n"
	fields, err := Sign([]byte(header), iotest.HalfReader(strings.NewReader(large)), keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range check(t, world, string(fields)+header+"\r\n"+large) {
		if err != nil {
			t.Error(err)
		}
	}
	if !bytes.HasSuffix(fields, []byte("\r\n")) {
		t.Error("fields end in CRLF")
	}
}
