package dkim

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"postern/internal/lookup/lookuptest"
)

const plain = "From: a@example.com\r\nSubject: x\r\n"

// seed gives the same keys in every run.
func seed() io.Reader { return rand.NewChaCha8([32]byte{1}) }

func rsaKey(t *testing.T, bits int) (crypto.Signer, string) {
	t.Helper()
	key, err := rsa.GenerateKey(seed(), bits)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

func edKey(t *testing.T) (crypto.Signer, string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(seed())
	if err != nil {
		t.Fatal(err)
	}
	return key, "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(pub)
}

// sign returns header with a signature field in front.
func sign(t *testing.T, header, body string, o dkim.SignOptions) string {
	t.Helper()
	if o.Domain == "" {
		o.Domain = "example.com"
	}
	if o.Selector == "" {
		o.Selector = "s"
	}
	o.HeaderKeys = []string{"From", "Subject"}
	var out bytes.Buffer
	if err := dkim.Sign(&out, strings.NewReader(header+"\r\n"+body), &o); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out.String(), "\r\n"+body)
}

func verify(t *testing.T, world lookuptest.Map, header, body string) Result {
	t.Helper()
	got, err := Verify(t.Context(), world, time.Now(), []byte(header), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestStatus(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	p := strings.TrimPrefix(txt, "v=DKIM1; k=ed25519; ")
	ok := lookuptest.Map{"s._domainkey.example.com TXT": {txt}}
	record := func(txts ...string) lookuptest.Map {
		return lookuptest.Map{"s._domainkey.example.com TXT": txts}
	}
	signed := sign(t, plain, "hello\r\n", dkim.SignOptions{Signer: key})
	for name, c := range map[string]struct {
		world  lookuptest.Map
		header string
		body   string
		want   Status
		reason string
	}{
		"body changed":                {ok, signed, "hello!\r\n", Fail, "body hash did not verify"},
		"header changed":              {ok, strings.Replace(signed, "Subject: x", "Subject: y", 1), "hello\r\n", Fail, "signature did not verify"},
		"no key":                      {lookuptest.Map{}, signed, "hello\r\n", PermError, "no key for signature"},
		"key cannot be looked up":     {record("SERVFAIL"), signed, "hello\r\n", TempError, "key unavailable"},
		"two keys (6376, 3.6.2.2)":    {record(txt, txt), signed, "hello\r\n", PermError, "multiple TXT"},
		"revoked (6376, 3.6.1)":       {record("v=DKIM1; k=ed25519; p="), signed, "hello\r\n", PermError, "revoked"},
		"other service":               {record(txt + "; s=tlsrpt"), signed, "hello\r\n", PermError, "inappropriate service"},
		"pass":                        {ok, signed, "hello\r\n", Pass, ""},
		"tabs in the key":             {record("v=DKIM1; k=ed25519;\tp=" + p[2:20] + "\t" + p[20:]), signed, "hello\r\n", Pass, ""},
		"more empty lines at the end": {ok, signed, "hello\r\n\r\n\r\n", Pass, ""},
		"no body at all":              {ok, sign(t, plain, "", dkim.SignOptions{Signer: key}), "", Pass, ""},
		"domain in capitals":          {record(txt), sign(t, plain, "b\r\n", dkim.SignOptions{Signer: key, Domain: "EXAMPLE.Com"}), "b\r\n", Pass, ""},
		"no From in h=":               {ok, "DKIM-Signature: v=1; a=ed25519-sha256; d=example.com; s=s; h=to; bh=; b=\r\n" + plain, "x", PermError, "From field not signed"},
		"sha1 (RFC 8301)":             {ok, "DKIM-Signature: v=1; a=rsa-sha1; d=example.com; s=s; h=from; bh=; b=\r\n" + plain, "x", PermError, "too weak"},
		"l= leaves a part unsigned":   {ok, "DKIM-Signature: v=1; a=ed25519-sha256; d=example.com; s=s; h=from; l=0; bh=; b=\r\n" + plain, "x", Policy, "body length"},
		"future":                      {ok, "DKIM-Signature: v=2; d=x; s=s\r\n" + plain, "x", PermError, "version"},
		"too many names":              {ok, "DKIM-Signature: v=1; d=example.com; h=" + strings.Repeat("a:", maxNames) + "from\r\n" + plain, "x", PermError, "too many names"},
		"too many tags":               {ok, "DKIM-Signature: " + strings.Repeat(";", maxTags+1) + "\r\n" + plain, "x", PermError, "too many tags"},
	} {
		got := verify(t, c.world, c.header, c.body)
		if len(got.Signatures) != 1 || got.Signatures[0].Status != c.want || !strings.Contains(got.Signatures[0].Reason, c.reason) {
			t.Errorf("%s: got %+v, want %s %q", name, got, c.want, c.reason)
		}
	}
	if got := verify(t, ok, plain, "hello\r\n"); len(got.Signatures) != 0 {
		t.Errorf("unsigned: %+v", got)
	}
}

func TestDescribed(t *testing.T) {
	t.Parallel()
	key, txt := rsaKey(t, 2048)
	world := lookuptest.Map{"Sel._domainkey.example.com TXT": {txt}, "sel._domainkey.example.com TXT": {txt + "; t=y:s"}}
	got := verify(t, world, sign(t, plain, "x\r\n", dkim.SignOptions{Signer: key, Selector: "Sel", Domain: "Example.COM"}), "x\r\n")
	s := got.Signatures[0]
	if s.Status != Pass || s.Domain != "example.com" || s.Selector != "Sel" || s.Algorithm != "rsa-sha256" || len(s.B) != 8 || !s.Testing {
		t.Errorf("got %+v", s)
	}
}

func TestExactDomainKey(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	signed := sign(t, plain, "x\r\n", dkim.SignOptions{Signer: key, Identifier: "a@sub.example.com"})
	for flags, want := range map[string]Status{"": Pass, "; t=s": PermError} {
		got := verify(t, lookuptest.Map{"s._domainkey.example.com TXT": {txt + flags}}, signed, "x\r\n")
		if got.Signatures[0].Status != want {
			t.Errorf("key %q, i= below d= (RFC 6376, Section 3.6.1): %+v", flags, got.Signatures[0])
		}
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	world := lookuptest.Map{"s._domainkey.example.com TXT": {txt}}
	signed := sign(t, plain, "x\r\n", dkim.SignOptions{Signer: key, Expiration: time.Now().Add(time.Hour)})
	for name, c := range map[string]struct {
		now  time.Time
		want Status
	}{
		"now":                     {time.Now(), Pass},
		"after x=":                {time.Now().Add(2 * time.Hour), PermError},
		"long before it was made": {time.Now().Add(-2 * time.Hour), Policy},
	} {
		got, err := Verify(t.Context(), world, c.now, []byte(signed), strings.NewReader("x\r\n"))
		if err != nil || got.Signatures[0].Status != c.want {
			t.Errorf("%s: %+v %v, want %s", name, got, err, c.want)
		}
	}
}

func TestShortKey(t *testing.T) {
	t.Parallel()
	// 512-bit key, made for this test; Go no longer makes such.
	const short = "v=DKIM1; k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ=="
	got := verify(t, lookuptest.Map{"s._domainkey.example.com TXT": {short}},
		"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s; h=from; bh=; b=\r\n"+plain, "x")
	if s := got.Signatures[0]; s.Status != PermError || !strings.Contains(s.Reason, "too short") {
		t.Errorf("RFC 8301, Section 3.2: got %+v", s)
	}
}

func TestManySignatures(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	header := plain
	for range MaxSignatures + 3 {
		header = sign(t, header, "x\r\n", dkim.SignOptions{Signer: key})
	}
	r := &lookuptest.Recorder{Map: lookuptest.Map{"s._domainkey.example.com TXT": {txt}}}
	got, err := Verify(t.Context(), r, time.Now(), []byte(header), strings.NewReader("x\r\n"))
	if err != nil || len(got.Signatures) != MaxSignatures || got.Ignored != 3 {
		t.Fatalf("got %d, ignored %d, %v", len(got.Signatures), got.Ignored, err)
	}
	for _, s := range got.Signatures {
		if s.Status != Pass {
			t.Errorf("got %+v", s)
		}
	}
	if len(r.Asked()) != 1 {
		t.Errorf("one key, asked %d times", len(r.Asked()))
	}
}

func TestRefusedAmongOthers(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	header := "DKIM-Signature: h=" + strings.Repeat("a:", 300) + "\r\n" + sign(t, plain, "x\r\n", dkim.SignOptions{Signer: key})
	got := verify(t, lookuptest.Map{"s._domainkey.example.com TXT": {txt}}, header, "x\r\n")
	if len(got.Signatures) != 2 || got.Signatures[0].Status != PermError || got.Signatures[1].Status != Pass {
		t.Errorf("got %+v", got)
	}
}

// TestBlankLinesCostTheirSquare floods a body with empty lines. They are counted,
// and what is signed with them verifies.
func TestBlankLinesCostTheirSquare(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	world := lookuptest.Map{"s._domainkey.example.com TXT": {txt}}
	flood := strings.Repeat("\r\n", 1<<16)
	for _, body := range []string{"x\r\n", "x\r\n" + flood + "y\r\n"} {
		signed := sign(t, plain, body, dkim.SignOptions{Signer: key, BodyCanonicalization: dkim.CanonicalizationRelaxed})
		if got := verify(t, world, signed, body+flood); got.Signatures[0].Status != Pass {
			t.Errorf("at the end they do not count: %+v", got.Signatures[0])
		}
		if got := verify(t, world, signed, body+flood+"z\r\n"); got.Signatures[0].Status != Fail {
			t.Errorf("in the middle they do: %+v", got.Signatures[0])
		}
	}
}

func TestReadError(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	header := sign(t, sign(t, plain, "x\r\n", dkim.SignOptions{Signer: key}), "x\r\n", dkim.SignOptions{Signer: key})
	want := errors.New("disk")
	_, err := Verify(t.Context(), lookuptest.Map{"s._domainkey.example.com TXT": {txt}}, time.Now(), []byte(header),
		io.MultiReader(strings.NewReader("x\r\n"), iotest.ErrReader(want)))
	if !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

func TestTellApart(t *testing.T) {
	t.Parallel()
	sigs := []Signature{{B: "abcdefgh1234zzzz"}, {B: "abcdefgh5678zzzz"}, {B: "x"}}
	tellApart(sigs)
	if sigs[0].B != "abcdefgh1234" || sigs[1].B != "abcdefgh5678" || sigs[2].B != "x" {
		t.Errorf("RFC 6008, Section 4: got %+v", sigs)
	}
}

// endless is a body that does not end by itself, and whose reader notices if
// it is read on after the time is over.
type endless struct {
	end  func() // called at the third read
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.read++; e.read == 3 {
		e.end()
	}
	if e.read > 4 {
		return 0, io.EOF
	}
	return copy(p, "hello hello hello\r\n"), nil
}

// TestHashingWentOnAfterTheTimeWasOver ends the context in the middle of a
// body: it is not read further, and nobody is told that the body was changed.
func TestHashingWentOnAfterTheTimeWasOver(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	header := sign(t, plain, "hello\r\n", dkim.SignOptions{Signer: key})
	header = "DKIM-Signature: v=1; d=example.com; s=gone; h=from; a=ed25519-sha256; bh=; b=\r\n" + sign(t, header, "hello\r\n", dkim.SignOptions{Signer: key})
	ctx, cancel := context.WithCancel(t.Context())
	body := &endless{end: cancel}
	got, err := Verify(ctx, lookuptest.Map{"s._domainkey.example.com TXT": {txt}}, time.Now(), []byte(header), body)
	if err != nil || len(got.Signatures) != 3 {
		t.Fatalf("%+v %v", got, err)
	}
	if body.read != 3 {
		t.Errorf("read %d times, want 3", body.read)
	}
	for i, want := range []Status{PermError, TempError, TempError} {
		if s := got.Signatures[i]; s.Status != want || want == TempError && s.Reason != "time-out" {
			t.Errorf("%d: %+v, want %s", i, s, want)
		}
	}
}

// counted is a body that knows how much of it was read.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// TestTenSignaturesOverALargeBodyCostSeconds: the body is read once for all of
// them, and what is beyond the bound is not asked about.
func TestTenSignaturesOverALargeBodyCostSeconds(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	large := strings.Repeat("hello\r\n", 1<<16)
	header := plain
	for i := range MaxSignatures + 2 {
		header = sign(t, header, large, dkim.SignOptions{Signer: key, Selector: fmt.Sprintf("s%d", i)})
	}
	world := lookuptest.Map{}
	for i := range MaxSignatures + 2 {
		world[fmt.Sprintf("s%d._domainkey.example.com TXT", i)] = []string{txt}
	}
	r := &lookuptest.Recorder{Map: world}
	body := &counted{Reader: strings.NewReader(large)}
	got, err := Fetch(t.Context(), r, []byte(header)).Verify(t.Context(), time.Now(), body)
	if err != nil || len(got.Signatures) != MaxSignatures || got.Ignored != 2 || len(r.Asked()) != MaxSignatures || body.n != len(large) {
		t.Errorf("%d verified, %d ignored, %d keys, %d octets read, %v", len(got.Signatures), got.Ignored, len(r.Asked()), body.n, err)
	}
	for _, s := range got.Signatures {
		if s.Status != Pass {
			t.Errorf("%+v", s)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s; h=from; bh=x; b=y\r\nFrom: a@b\r\n", "body\r\n")
	f.Fuzz(func(t *testing.T, header, body string) {
		got, err := Verify(t.Context(), lookuptest.Map{}, time.Now(), []byte(header), strings.NewReader(body))
		if err != nil {
			return
		}
		for _, s := range got.Signatures {
			if s.Status == Pass {
				t.Fatal("passed without a key")
			}
		}
	})
}
