package keyring

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/dns/dnssec"
	"postern/internal/secret"
)

func source(file, text string) Source { return Source{file, secret.New([]byte(text))} }

// kept are files of testdata, or a panic: they are there.
func kept(files ...string) []Source {
	var all []Source
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			panic(err)
		}
		all = append(all, Source{file, secret.New(text)})
	}
	return all
}

const (
	bindKSK = "bind/Kexample.test.+008+47234"
	bindZSK = "bind/Kexample.test.+008+05596"
	bindCSK = "bind/Kexample.test.+013+05388"
	bindEd  = "bind/Kexample.test.+015+55124"
	knotKSK = "knot/2d0029129ba965e32f62b3724dcae4dffcd224a0.pem"
	knotZSK = "knot/5effaca2f1ed64c0c64da5775d2f52268b2bb2a4.pem"
	knotCSK = "knot/63391aba216dc2e30feb4cd99dff9b966a5a9325.pem"
)

func twoSources() []Source {
	return kept(bindKSK+".key", bindKSK+".private", bindZSK+".key", bindZSK+".private")
}

// textOf is a file of testdata with a change.
func textOf(t *testing.T, file, old, new string) string {
	t.Helper()
	text := golden(t, file)
	if !strings.Contains(text, old) {
		t.Fatalf("%s has no %q", file, old)
	}
	return strings.Replace(text, old, new, 1)
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	public, private := kept(bindCSK + ".key")[0], kept(bindCSK + ".private")[0]
	list := golden(t, "knot/list")
	soon := noon().Add(time.Hour).Format(bindTime)
	timed := func(line string) []Source {
		return []Source{public, source("p.private", golden(t, bindCSK+".private")+line+"\n")}
	}
	ksk, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := x509.MarshalPKCS8PrivateKey(ksk)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		sources []Source
		want    string
	}{
		"nothing":               {nil, "no private key in the files"},
		"an empty file":         {[]Source{source("x", "")}, "no key in it"},
		"junk":                  {[]Source{source("x", "what\x00is(this")}, "neither a private key"},
		"another record":        {[]Source{source("x", "example.test. IN A 192.0.2.1\n")}, "want DNSKEY"},
		"a key of another zone": {[]Source{source("x", textOf(t, bindCSK+".key", "\nexample.test.", "\nexample.com."))}, "a key of example.com."},
		"no public part":        {[]Source{private}, "no public part"},
		"another's public part": {append(kept(bindEd+".key"), private), "no public part"},
		"no private part":       {[]Source{public}, "no private key in the files"},
		"one private part lacks": {append(kept(bindKSK+".key", bindKSK+".private"), public),
			"tag 5388 has no private part"},
		"one file twice":         {[]Source{public, private, private}, "there twice"},
		"an included file":       {[]Source{source("x", "$INCLUDE /etc/passwd\n")}, "neither a private key"},
		"our own file":           {kept(goldens()[0]), "of Postern's"},
		"a revoked key":          {[]Source{private, source("x", textOf(t, bindCSK+".key", " 257 ", " 385 "))}, "revoked"},
		"a key of no zone":       {[]Source{private, source("x", textOf(t, bindCSK+".key", " 257 ", " 1 "))}, "flags 1"},
		"another protocol":       {[]Source{private, source("x", textOf(t, bindCSK+".key", " 257 3 ", " 257 4 "))}, "protocol 4"},
		"algorithm 10":           {[]Source{public, source("x", textOf(t, bindCSK+".private", "13 (ECDSAP256SHA256)", "10 (RSASHA512)"))}, "10 (RSASHA512)"},
		"algorithm 7 of records": {[]Source{private, source("x", textOf(t, bindZSK+".key", " 3 8 ", " 3 7 "))}, "7 (RSASHA1-NSEC3-SHA1)"},
		"no algorithm":           {[]Source{source("x", textOf(t, bindCSK+".private", "Algorithm:", "A:"))}, "no algorithm"},
		"a hardware token":       {[]Source{source("x", "Private-key-format: v1.3\nAlgorithm: 13\nEngine: cGtjczExAA==\nLabel: eA==\n")}, "hardware token"},
		"private key cut short":  {[]Source{source("x", textOf(t, bindCSK+".private", "dQQ3", ""))}, ""},
		"private key too long":   {[]Source{source("x", textOf(t, bindCSK+".private", "PrivateKey: ", "PrivateKey: AAAA"))}, "35 octets"},
		"private key of zero":    {[]Source{source("x", "Private-key-format: v1.3\nAlgorithm: 13\nPrivateKey: AAAA\n")}, "range"},
		"short seed":             {[]Source{source("x", textOf(t, bindEd+".private", "PrivateKey: WU7u", "PrivateKey: "))}, "29 octets"},
		"RSA without a part":     {[]Source{source("x", textOf(t, bindZSK+".private", "Prime2", "P"))}, "Prime2"},
		"RSA of strange parts":   {[]Source{source("x", textOf(t, bindZSK+".private", "Prime2: uH2s", "Prime2: uH2t"))}, "do not belong together"},
		"RSA exponent":           {[]Source{source("x", textOf(t, bindZSK+".private", "PublicExponent: AQAB", "PublicExponent: AQAAAAE="))}, "exponent"},
		"RSA of 1024 bits":       {smallRSA(t), "1024 bits: want 2048"},
		"a time that is none":    {timed("Inactive: soon"), "is no time"},
		"inactive":               {timed("Inactive: 20261122100000"), "inactive since 2026-11-22T10:00:00Z: a roll is under way"},
		"to be deleted":          {timed("Delete: 20261122120000"), "a roll is under way"},
		"revoked by time":        {timed("Revoke: 20261122120000"), "a roll is under way"},
		"not yet active":         {[]Source{public, source("p", textOf(t, bindCSK+".private", "Activate: 20261122060259", "Activate: "+soon))}, "activate only from"},
		"standing by":            {[]Source{public, source("p", textOf(t, bindCSK+".private", "Activate: 20261122060259\n", ""))}, "not in use yet"},
		"on its way out":         {[]Source{public, private, source("bind/Kexample.test.+013+05388.state", golden(t, bindCSK+".state")+"GoalState: hidden\n")}, "on its way out"},
		"a state without roles":  {[]Source{public, private, source("x.state", "; nothing\n")}, "neither KSK"},
		"PEM alone":              {kept(knotKSK), "keymgr -e ZONE list"},
		"PEM cut short":          {[]Source{source("x", textOf(t, knotKSK, "-----END", ""))}, "cut short"},
		"PEM with a passphrase":  {[]Source{source("x", strings.ReplaceAll(golden(t, knotKSK), "PRIVATE", "ENCRYPTED PRIVATE"))}, "passphrase"},
		"PEM of SEC 1":           {[]Source{source("x", strings.ReplaceAll(golden(t, knotKSK), "PRIVATE", "EC PRIVATE"))}, "PKCS #8"},
		"a certificate":          {[]Source{source("x", strings.ReplaceAll(golden(t, knotKSK), "PRIVATE KEY", "CERTIFICATE"))}, "PKCS #8"},
		"two keys in a PEM":      {[]Source{source("x", golden(t, knotKSK)+golden(t, knotCSK))}, "behind"},
		"another curve":          {append(kept("knot/list"), source("x", string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: p224})))), "no public part"},
		"a line lacks":           {append(kept(knotKSK), source("l", "id ksk=yes zsk=no algorithm=13\n")), "no tag"},
		"no roles in a line":     {append(kept(knotKSK), source("l", "id ksk=no zsk=no tag=1 algorithm=13\n")), "neither KSK nor ZSK"},
		"only public there":      {append(kept(knotKSK), source("l", strings.ReplaceAll(list, "public-only=no", "public-only=yes"))), "only the public part"},
		"times in words":         {append(kept(knotKSK), source("l", strings.ReplaceAll(list, "publish=1795327379", "publish=+1d"))), "no time in seconds"},
		"retired":                {append(kept(knotKSK, knotZSK, knotCSK), source("l", strings.ReplaceAll(list, " retire=0", " retire=1795327379"))), "retire since"},
		"never active":           {append(kept(knotKSK, knotZSK, knotCSK), source("l", strings.ReplaceAll(list, " active=1795327379", " active=0"))), "not in use yet"},
		"too many files":         {slices.Repeat(kept(knotKSK), maxSources+1), "at most"},
		"of two, one is broken":  {append(twoSources(), private), "no public part"},
	} {
		r := opened(t, filepath.Join(t.TempDir(), "k"))
		keys, err := r.Import(parsed(t, "example.test"), noon(), c.sources...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v; want %q", what, keys, err, c.want)
		}
		if got := files(t, r.dir); len(got) != 0 {
			t.Errorf("%s: written all the same: %v", what, got)
		}
	}
}

// smallRSA are files of Knot's for a key that is too short.
func smallRSA(t *testing.T) []Source {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	text, err := formatPrivate(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := dnssec.NewKey(parsed(t, "example.test"), 256, dnssec.RSASHA256, private)
	if err != nil {
		t.Fatal(err)
	}
	return []Source{{"p", text}, source("k", key.DNSKEY.String())}
}

// roles are the keys of a ring as "role algorithm tag".
func roles(r *Ring) string {
	var all []string
	for _, i := range r.List() {
		all = append(all, fmt.Sprintf("%s %d %d", i.Role, i.Alg, i.Tag))
	}
	return strings.Join(all, ", ")
}

func TestImportOfKeptFiles(t *testing.T) {
	t.Parallel()
	list := golden(t, "knot/list")
	for what, c := range map[string]struct {
		sources []Source
		want    string
	}{
		"BIND's KSK and ZSK":          {twoSources(), "ksk 8 47234, zsk 8 5596"},
		"in another order":            {kept(bindZSK+".private", bindKSK+".private", bindKSK+".key", bindZSK+".key"), "ksk 8 47234, zsk 8 5596"},
		"BIND's CSK with its state":   {kept(bindCSK+".key", bindCSK+".private", bindCSK+".state"), "csk 13 5388"},
		"BIND's CSK without it":       {kept(bindCSK+".key", bindCSK+".private"), "csk 13 5388"},
		"told that it is a KSK":       {append(kept(bindCSK+".key", bindCSK+".private"), source(bindCSK+".state", "KSK: yes\nZSK: no\n")), "ksk 13 5388"},
		"a ZSK of Ed25519":            {kept(bindEd+".key", bindEd+".private"), "zsk 15 55124"},
		"a KSK of another algorithm":  {kept(bindEd+".key", bindEd+".private", bindKSK+".key", bindKSK+".private"), "csk 8 47234, zsk 15 55124"},
		"zeros in front left away":    {zeroless(t), "csk 13"},
		"Knot's keys and list":        {kept(knotKSK, knotZSK, knotCSK, "knot/list"), "csk 15 29553, ksk 13 43727, zsk 8 50814"},
		"Knot's keys and records":     {kept(knotKSK, knotZSK, knotCSK, "knot/dnskey"), "csk 13 43727, csk 15 29553, zsk 8 50814"},
		"Knot's keys with both":       {kept(knotKSK, knotZSK, knotCSK, "knot/dnskey", "knot/list"), "csk 15 29553, ksk 13 43727, zsk 8 50814"},
		"a KSK that waits for its DS": {append(kept(knotKSK), source("l", strings.Replace(strings.Split(list, "\n")[0], " active=1795327379", " active=0", 1))), "ksk 13 43727"},
		"a key that is gone":          {append(kept(knotKSK), source("l", strings.Split(list, "\n")[0]+"\n"+strings.Replace(strings.Split(list, "\n")[1], "remove=0", "remove=1795327379", 1))), "ksk 13 43727"},
	} {
		r := opened(t, filepath.Join(t.TempDir(), "k"))
		z := parsed(t, "example.test")
		keys, err := r.Import(z, noon(), c.sources...)
		if err != nil || !strings.HasPrefix(roles(r), c.want) || len(keys) != len(r.List()) {
			t.Errorf("%s: got %v, %v: %s", what, keys, err, roles(r))
			continue
		}
		for _, k := range keys {
			trySigning(t, k, map[uint16]Role{256: ZSK, 257: CSK}[k.Flags])
		}
		if got := roles(opened(t, r.dir)); got != roles(r) {
			t.Errorf("%s: after a restart %s", what, got)
		}
		// Once more changes nothing.
		if again, err := r.Import(z, noon(), c.sources...); err != nil || len(again) != 0 || int(r.Counters.Imported.Value()) != len(keys) {
			t.Errorf("%s again: %v, %v", what, again, err)
		}
	}
}

// zeroless are files of a key whose private part begins with a zero octet that
// was not written.
func zeroless(t *testing.T) []Source {
	t.Helper()
	raw := make([]byte, 32)
	copy(raw[1:], "a number that is short by a byte")
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		t.Fatal(err)
	}
	key, err := dnssec.NewKey(parsed(t, "example.test"), 257, dnssec.ECDSAP256SHA256, private)
	if err != nil {
		t.Fatal(err)
	}
	return []Source{
		source("k", key.DNSKEY.String()),
		source("p", "Private-key-format: v1.2\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: "+base64Text(raw[1:])+"\n"),
	}
}

func TestImportKeepsTimes(t *testing.T) {
	t.Parallel()
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	if _, err := r.Import(parsed(t, "example.test"), noon(), kept(bindCSK+".key", bindCSK+".private", knotKSK, "knot/list", knotZSK, knotCSK)...); err != nil {
		t.Fatal(err)
	}
	when := "2026-11-22T06:02:59Z"
	want := map[uint16][]Field{
		5388:  {{"origin", "bind"}, {"publish", when}, {"activate", when}},
		43727: {{"origin", "knot"}, {"publish", when}, {"ready", when}, {"active", when}},
		50814: {{"origin", "knot"}, {"publish", when}, {"active", when}},
	}
	for _, i := range opened(t, r.dir).List() {
		if w := want[i.Tag]; w != nil && !slices.Equal(i.Fields, w) {
			t.Errorf("key %d: %v", i.Tag, i.Fields)
		}
		if i.Tag == 5388 && i.Created.Format(time.RFC3339) != when {
			t.Errorf("key %d: created %v", i.Tag, i.Created)
		}
	}
}

func TestImportBesideOtherKeys(t *testing.T) {
	t.Parallel()
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	z := parsed(t, "example.test")
	sources := twoSources()
	keys, err := r.Import(z, noon(), sources...)
	if err != nil || keys[0].SEP() || !keys[1].SEP() {
		t.Fatalf("the key that the parent points at is not written last: %v, %v", keys, err)
	}
	// Half of a set, as a crash leaves it, is completed.
	if err := r.Remove(z, keys[1].Tag); err != nil {
		t.Fatal(err)
	}
	if again, err := r.Import(z, noon(), sources...); err != nil || len(again) != 1 || again[0].Tag != keys[1].Tag {
		t.Errorf("got %v, %v", again, err)
	}
	// The same key in another role is no key that is here.
	turned := source("x", textOf(t, bindKSK+".key", " 257 ", " 256 "))
	if again, err := r.Import(z, noon(), turned, kept(bindKSK + ".private")[0]); err == nil && again[0].Tag == keys[1].Tag {
		t.Errorf("got %v", again)
	}
}

func TestImportRefusesATagThatIsTaken(t *testing.T) {
	t.Parallel()
	r := opened(t, filepath.Join(t.TempDir(), "k"))
	z := parsed(t, "example.test")
	first, twin := twins(t, z)
	r.create = stub(first.private)
	made(t, r, z, CSK, dnssec.ECDSAP256SHA256)
	pem, err := formatPrivate(twin.private)
	if err != nil {
		t.Fatal(err)
	}
	sources := append(twoSources(), Source{"p", pem}, source("k", twin.key.DNSKEY.String()))
	if keys, err := r.Import(z, noon(), sources...); err == nil || !strings.Contains(err.Error(), ErrTag.Error()) || len(files(t, r.dir)) != 1 {
		t.Errorf("got %v, %v", keys, err)
	}
}

func FuzzImport(f *testing.F) {
	for _, s := range kept(bindKSK+".key", bindKSK+".private", bindCSK+".private", bindEd+".private", bindCSK+".state", knotKSK, knotCSK, "knot/list", "knot/dnskey") {
		f.Add(s.Name, s.Text.Reveal())
	}
	f.Fuzz(func(t *testing.T, file string, text []byte) {
		z := parsed(t, "example.test")
		trove := &trove{zone: z, states: make(map[string]state)}
		for _, s := range append(kept(bindCSK+".key", "knot/dnskey"), Source{file, secret.New(text)}) {
			if trove.read(s) != nil {
				return
			}
		}
		found, err := trove.match(noon())
		for _, a := range found {
			if err == nil && (a.Zone != z || checkFields(a.Fields) != nil || a.key.Signer == nil) {
				t.Errorf("imported %+v", a.Info)
			}
		}
	})
}
