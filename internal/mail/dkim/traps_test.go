package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"

	"postern/internal/lookup/lookuptest"
)

// forge signs by hand: field is a signature field whose bh= and b= are empty and
// stand last, in that order.
func forge(t *testing.T, key crypto.Signer, field, header, body string) string {
	t.Helper()
	s := readSignature([]byte(field))
	h := newBodyHash(s.bodyCanon)
	_, _ = h.Write([]byte(body))
	field = strings.Replace(field, "bh=;", "bh="+base64.StdEncoding.EncodeToString(h.finish())+";", 1)
	s.raw = []byte(field)
	sum := readFields([]byte(field + header)).hash(s)
	opts := crypto.SignerOpts(crypto.SHA256)
	if _, ok := key.(ed25519.PrivateKey); ok {
		opts = crypto.Hash(0)
	}
	sig, err := key.Sign(nil, sum, opts)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(field, "\r\n") + base64.StdEncoding.EncodeToString(sig) + "\r\n" + header
}

// TestWhatVerifiersStumbleOver are forms that are right, and that verifiers in
// use take for wrong, or the other way round.
func TestWhatVerifiersStumbleOver(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	rsa1, rsaTxt := rsaKey(t, 2048)
	tags := func(more string) string {
		return "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com; s=s; h=From:Subject; " + more + " bh=; b=\r\n"
	}
	for name, c := range map[string]struct {
		field  string
		txt    string
		signer crypto.Signer
		want   Status
		reason string
	}{
		"l= that covers everything":                    {tags("l=5;"), txt, key, Policy, "body length"},
		"x= in the past":                               {tags("t=1; x=2;"), txt, key, PermError, "expired"},
		"x= before t=":                                 {tags("t=9; x=2;"), txt, key, PermError, "expired before"},
		"t= in the future":                             {tags("t=99999999999;"), txt, key, Policy, "future"},
		"x= without end":                               {tags("x=" + strings.Repeat("9", 30) + ";"), txt, key, PermError, "malformed x="},
		"i= of another domain":                         {tags("i=@example.org;"), txt, key, PermError, "domain mismatch"},
		"i= that only ends alike":                      {tags("i=@badexample.com;"), txt, key, PermError, "domain mismatch"},
		"i= whose quoted-printable hides the domain":   {tags("i=a=40example.org;"), txt, key, PermError, "domain mismatch"},
		"i= cut short":                                 {tags("i=a=4;"), txt, key, PermError, "malformed i="},
		"a tag twice":                                  {tags("d=example.com;"), txt, key, PermError, "malformed tags"},
		"a tag without a value":                        {tags("z;"), txt, key, PermError, "malformed tags"},
		"q= of an unknown kind alone":                  {tags("q=http/x;"), txt, key, PermError, "query method"},
		"key of another kind":                          {tags(""), rsaTxt, key, PermError, "key algorithm"},
		"key for another hash":                         {tags(""), txt + "; h=sha1", key, PermError, "hash algorithm"},
		"key of another version":                       {tags(""), strings.Replace(txt, "DKIM1", "DKIM2", 1), key, PermError, "version"},
		"key without p=":                               {tags(""), "v=DKIM1; k=ed25519", key, PermError, "no p="},
		"text that is no key":                          {tags(""), "hello", key, PermError, "syntax"},
		"key of seven octets":                          {tags(""), "k=ed25519; p=AAAAAAAAAA==", key, PermError, "Ed25519 key of 7"},
		"i= in other letter case than d=":              {tags("i=@EXAMPLE.Com;"), txt, key, Pass, ""},
		"i= below d=, in other letter case":            {tags("i=A@Sub.Example.COM;"), txt, key, Pass, ""},
		"i= in quoted-printable":                       {tags("i=a=2Bb=40x@example.com;"), txt, key, Pass, ""},
		"t=s and i= in other letter case":              {tags("i=@EXAMPLE.com;"), txt + "; t=s", key, Pass, ""},
		"b= inside another tag (z= copies the header)": {tags("z=Subject:b=20x|From:ab=3Dc;"), txt, key, Pass, ""},
		"tags folded everywhere":                       {tags("i\r\n\t=\r\n @example.com\r\n ;"), txt, key, Pass, ""},
		"unknown tags":                                 {tags("r=y; zz=1;"), txt, key, Pass, ""},
		"q= with others":                               {tags("q=http/x:dns/txt;"), txt, key, Pass, ""},
		"simple, by default":                           {strings.Replace(tags(""), "c=relaxed/relaxed; ", "", 1), txt, key, Pass, ""},
		"relaxed header, simple body":                  {strings.Replace(tags(""), "relaxed/relaxed", "relaxed", 1), txt, key, Pass, ""},
		"algorithm in capitals":                        {strings.Replace(tags(""), "ed25519-sha256", "Ed25519-SHA256", 1), txt, key, Pass, ""},
		"key without v=":                               {tags(""), strings.TrimPrefix(txt, "v=DKIM1; "), key, Pass, ""},
		"key for every service":                        {tags(""), txt + "; s=*", key, Pass, ""},
		"key for mail among others":                    {tags(""), txt + "; s=tlsrpt:email", key, Pass, ""},
		"tabs and folds in the key":                    {tags(""), strings.Replace(txt, "p=", "p=\t \r\n", 1), key, Pass, ""},
		"RSA":                                          {strings.Replace(tags(""), "ed25519", "rsa", 1), rsaTxt, rsa1, Pass, ""},
		"RSA key without k=":                           {strings.Replace(tags(""), "ed25519", "rsa", 1), strings.Replace(rsaTxt, "k=rsa; ", "", 1), rsa1, Pass, ""},
	} {
		body := "hello \t \r\n\r\n . \r\n"
		header := forge(t, c.signer, c.field, plain, body)
		got := verify(t, lookuptest.Map{"s._domainkey.example.com TXT": {c.txt}}, header, body)
		if len(got.Signatures) != 1 || got.Signatures[0].Status != c.want || !strings.Contains(got.Signatures[0].Reason, c.reason) {
			t.Errorf("%s: %+v, want %s %q", name, got, c.want, c.reason)
		}
	}
}

// TestInternationalNames has d= and s= as U-labels (RFC 8616).
func TestInternationalNames(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	field := "DKIM-Signature: v=1; a=ed25519-sha256; d=BÜCHER.example; s=straße; i=ü@bücher.example; h=From; bh=; b=\r\n"
	header := forge(t, key, field, plain, "x\r\n")
	got := verify(t, lookuptest.Map{"xn--strae-oqa._domainkey.xn--bcher-kva.example TXT": {txt}}, header, "x\r\n")
	if s := got.Signatures[0]; s.Status != Pass || s.Domain != "xn--bcher-kva.example" {
		t.Errorf("%+v", s)
	}
}

// TestFieldAddedToWhatIsSigned: a second From, Subject or To above or below a
// signed one.
func TestFieldAddedToWhatIsSigned(t *testing.T) {
	t.Parallel()
	key, txt := edKey(t)
	world := lookuptest.Map{"s._domainkey.example.com TXT": {txt}}
	for names, want := range map[string]Status{
		"From:Subject":              Pass, // a reader that shows the first one shows what nobody signed
		"From:From:Subject:Subject": Fail,
	} {
		field := "DKIM-Signature: v=1; a=ed25519-sha256; d=example.com; s=s; h=" + names + "; bh=; b=\r\n"
		header := forge(t, key, field, plain, "x\r\n")
		if got := verify(t, world, header, "x\r\n"); got.Signatures[0].Status != Pass {
			t.Fatalf("%s: %+v", names, got)
		}
		at := strings.Index(header, "From: a@")
		for _, added := range []string{"Subject: other\r\n", "from : evil@example.org\r\n"} {
			if got := verify(t, world, header[:at]+added+header[at:], "x\r\n"); got.Signatures[0].Status != want {
				t.Errorf("%s, %q added above: %+v, want %s", names, added, got.Signatures[0], want)
			}
			if got := verify(t, world, header+added, "x\r\n"); got.Signatures[0].Status != Fail {
				t.Errorf("%s, %q added below: %+v", names, added, got.Signatures[0])
			}
		}
	}
}

// TestKeyOfAnySize: a key may be as long as a record, and each bit of it costs.
func TestKeyOfAnySize(t *testing.T) {
	t.Parallel()
	for bits, want := range map[int]string{512: "too short", 1016: "too short", 1024: "", 4096: "", 8192: "", 8200: "too long", 65536: "too long"} {
		n := bytes.Repeat([]byte{0xff}, bits/8)
		k := key{kind: "rsa", rsa: &rsa.PublicKey{E: 65537, N: new(big.Int).SetBytes(n)}}
		if got := k.size(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%d bits: %q, want %q", bits, got, want)
		}
	}
}

// TestBodyInPieces: however a body is cut, its hash is the same (RFC 6376,
// Section 3.4.5 among them).
func TestBodyInPieces(t *testing.T) {
	t.Parallel()
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return string(h[:]) }
	for body, want := range map[string][2]string{
		" C \r\nD \t E\r\n\r\n\r\n": {" C \r\nD \t E\r\n", " C\r\nD E\r\n"}, // Section 3.4.5
		"":                          {"\r\n", ""},
		"\r\n":                      {"\r\n", ""},
		" \r\n\t\r\n":               {" \r\n\t\r\n", ""},
		"x":                         {"x\r\n", "x\r\n"},
		"x \r":                      {"x \r\r\n", "x \r\r\n"},
		"a\rb\r\n":                  {"a\rb\r\n", "a\rb\r\n"},
		"\r\n\r\nx\r\n \r\n":        {"\r\n\r\nx\r\n \r\n", "\r\n\r\nx\r\n"},
		"\r\n x\t\t\r\n":            {"\r\n x\t\t\r\n", "\r\n x\r\n"},
	} {
		for how, text := range map[canon]string{simple: want[0], relaxed: want[1]} {
			for cut := range len(body) + 1 {
				b := newBodyHash(how)
				_, _ = b.Write([]byte(body[:cut]))
				_, _ = b.Write([]byte(body[cut:]))
				if string(b.finish()) != sum(text) {
					t.Errorf("%q cut at %d, %d: not the hash of %q", body, cut, how, text)
				}
			}
		}
	}
}

func FuzzReadChain(f *testing.F) {
	f.Add("ARC-Seal: i=1; cv=none; a=rsa-sha256; d=a.example; s=s; b=x\r\nARC-Message-Signature: i=1; a=rsa-sha256; d=a.example; s=s; h=from; bh=x; b=y\r\nARC-Authentication-Results: i=1; a.example; none\r\n", "x\r\n")
	f.Fuzz(func(t *testing.T, header, body string) {
		c := ReadChain([]byte(header))
		if c == nil {
			return
		}
		if got, _, _ := c.Verify(t.Context(), lookuptest.Map{}, strings.NewReader(body)); got == Pass {
			t.Fatal("passed without a key")
		}
	})
}
