package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/dns/dnssec"
	"postern/internal/secret"
)

// Whatever is printed in whatever way, no private part is in it.
func TestNothingPrintsAKey(t *testing.T) {
	t.Parallel()
	seed := []byte("0123456789abcdefghijklmnopqrstuv")
	text := "Private-key-format: v1.3\nAlgorithm: 15 (ED25519)\nPrivateKey: " + base64.StdEncoding.EncodeToString(seed) + "\n"
	f, err := parseBindPrivate(text)
	if err != nil {
		t.Fatal(err)
	}
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	r.create = stub(f.private)
	k := made(t, r, parsed(t, "example.test"), CSK, dnssec.ED25519)
	if _, err := dnssec.NewSignatory(k); err != nil {
		t.Fatal(err)
	}
	type deep struct {
		inner  any
		Outer  any
		Signer any
		hidden signer
	}
	source := Source{"file", secret.New([]byte(text))}
	shut, ok := k.Signer.(signer)
	if !ok {
		t.Fatalf("signer is %T", k.Signer)
	}
	values := []any{k, &k, []dnssec.Key{k}, k.Signer, &shut, r, r.state.Load(), r.List(), source, deep{k, k, k.Signer, shut}, deep{r, *r.state.Load(), &shut, shut}}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%c", "%U", "%T", "%p"} {
			check(t, verb, fmt.Sprintf(verb, v), seed)
		}
		if b, err := json.Marshal(v); err == nil {
			check(t, "JSON", string(b), seed)
		}
		if b, err := xml.Marshal(v); err == nil {
			check(t, "XML", string(b), seed)
		}
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("text", "key", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("json", "key", v)
		check(t, "log", b.String(), seed)
	}
}

func check(t *testing.T, how, text string, seed []byte) {
	t.Helper()
	var numbers []string
	for _, c := range seed[:6] {
		numbers = append(numbers, fmt.Sprint(c))
	}
	part := seed[2:14] // of no form that depends on where it begins
	for _, form := range []string{
		string(part), hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)), base64.StdEncoding.EncodeToString(seed[:12]),
		strings.Join(numbers, " "), strings.Join(numbers, ","), strings.Join(numbers, ", "), "0x30, 0x31, 0x32", "PRIVATE KEY",
	} {
		if strings.Contains(text, form) {
			t.Errorf("%s shows %q in %.300q", how, form, text)
		}
	}
}

// What an importer says about a file that it cannot read does not quote it.
func TestErrorsOfAnImportDoNotQuoteKeys(t *testing.T) {
	t.Parallel()
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	hush := "q7mnJcRPHZnEno3RuWjJpGt"
	for _, text := range []string{
		hush, "PrivateKey: " + hush, "Private-key-format: v1.3\n" + hush, "Private-key-format: v1.3\nAlgorithm: 13\nPrivateKey: " + hush + "!",
		"Private-key-format: v1.3\nAlgorithm: 8\nModulus: " + hush, "-----BEGIN PRIVATE KEY-----\n" + hush + "\n-----END PRIVATE KEY-----\n",
		"-----BEGIN " + hush, magic + "1\n" + hush, "x ksk=" + hush + " algorithm=13 tag=1", "example.test. IN DNSKEY 257 3 13 " + hush + " !",
	} {
		_, err := r.Import(parsed(t, "example.test"), noon(), Source{"key", secret.New([]byte(text))})
		if err == nil || strings.Contains(err.Error(), hush[:16]) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
