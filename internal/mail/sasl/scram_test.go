package sasl

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// The example of RFC 7677, Section 3.
const (
	exampleFirst  = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
	exampleNonce  = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	exampleServer = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	exampleFinal  = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	exampleProof  = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func exampleSalt(t *testing.T) []byte {
	t.Helper()
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	return salt
}

func derived(t *testing.T, password string, salt []byte) Keys {
	t.Helper()
	k, err := Derive(password, salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestScramExample(t *testing.T) {
	t.Parallel()
	salt := exampleSalt(t)
	x, ok := StartScram("scram-sha-256", Bindings{})
	if !ok {
		t.Fatal("unknown")
	}
	who, err := x.First([]byte(exampleFirst))
	if err != nil || who != "user" {
		t.Fatal(who, err)
	}
	keys := []Keys{derived(t, "another", salt), derived(t, "pencil", salt), derived(t, "a third", salt)}
	if got := x.Challenge(Stored{Salt: salt, Iterations: 4096}, exampleNonce); got != exampleServer {
		t.Fatalf("challenge %q", got)
	}
	which, proof, err := x.Final([]byte(exampleFinal), keys)
	if err != nil || which != 1 || proof != exampleProof {
		t.Errorf("%d %q %v", which, proof, err)
	}
	for name, keys := range map[string][]Keys{"others": keys[:1], "none": nil} {
		if which, proof, err := x.Final([]byte(exampleFinal), keys); err != nil || which != -1 || proof != "" {
			t.Errorf("%s: %d %q %v", name, which, proof, err)
		}
	}
}

func TestScramFirstRefuses(t *testing.T) {
	t.Parallel()
	both := Bindings{Exporter: []byte("exporter"), EndPoint: []byte("end point")}
	const bare = "n=user,r=0123456789"
	for name, c := range map[string]struct {
		mechanism string
		bindings  Bindings
		first     string
		want      error
	}{
		"empty":                         {ScramName, both, "", ErrMalformed},
		"no header":                     {ScramName, both, bare, ErrMalformed},
		"unknown flag":                  {ScramName, both, "x,," + bare, ErrMalformed},
		"y while PLUS is offered":       {ScramName, both, "y,," + bare, ErrDowngrade}, // RFC 5802, Section 6
		"binding under the plain name":  {ScramName, both, "p=tls-exporter,," + bare, ErrMalformed},
		"no binding under PLUS":         {ScramPlusName, both, "n,," + bare, ErrMalformed},
		"y under PLUS":                  {ScramPlusName, both, "y,," + bare, ErrMalformed},
		"tls-unique":                    {ScramPlusName, both, "p=tls-unique,," + bare, ErrBinding}, // RFC 9266, Section 1
		"a binding that is not there":   {ScramPlusName, Bindings{EndPoint: []byte("x")}, "p=tls-exporter,," + bare, ErrBinding},
		"another's authzid":             {ScramName, both, "n,a=boss," + bare, ErrAuthzid}, // CVE-2023-27582
		"authzid without its name":      {ScramName, both, "n,user," + bare, ErrMalformed},
		"mandatory extension":           {ScramName, both, "n,,m=x," + bare, ErrMalformed}, // RFC 5802, Section 5.1
		"no nonce":                      {ScramName, both, "n,,n=user", ErrMalformed},
		"short nonce":                   {ScramName, both, "n,,n=user,r=0123456", ErrMalformed},
		"nonce with a space":            {ScramName, both, "n,,n=user,r=0123 456789", ErrMalformed},
		"no name":                       {ScramName, both, "n,,n=,r=0123456789", ErrMalformed},
		"name with a bad escape":        {ScramName, both, "n,,n=us=2Der,r=0123456789", ErrMalformed},
		"name with a bare equals sign":  {ScramName, both, "n,,n=us=er,r=0123456789", ErrMalformed},
		"NUL":                           {ScramName, both, "n,,n=us\x00er,r=0123456789", ErrMalformed},
		"not UTF-8":                     {ScramName, both, "n,,n=us\xffer,r=0123456789", ErrMalformed},
		"long":                          {ScramName, both, "n,,n=" + strings.Repeat("x", maxField+1) + ",r=0123456789", ErrMalformed},
		"extension that is none":        {ScramName, both, "n,," + bare + ",!", ErrMalformed},
		"order of the parts":            {ScramName, both, "n,,r=0123456789,n=user", ErrMalformed},
		"first message in another case": {ScramName, both, "N,," + bare, ErrMalformed},
	} {
		x, _ := StartScram(c.mechanism, c.bindings)
		if who, err := x.First([]byte(c.first)); !errors.Is(err, c.want) || who != "" {
			t.Errorf("%s: %q, %v, want %v", name, who, err, c.want)
		}
	}
	if _, ok := StartScram(ScramPlusName, Bindings{}); ok {
		t.Error("PLUS without anything to bind to")
	}
	for _, name := range []string{"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256-", ""} {
		if _, ok := StartScram(name, both); ok {
			t.Errorf("%q is taken for SCRAM", name)
		}
	}
}

// client is the other side, enough of it to be right or wrong on purpose.
type client struct {
	header, bare, password string
	binding                []byte
}

func (c client) final(t *testing.T, server string) string {
	t.Helper()
	parts := strings.Split(server, ",")
	salt, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(parts[1], "s="))
	if err != nil {
		t.Fatal(err)
	}
	without := "c=" + base64.StdEncoding.EncodeToString(append([]byte(c.header), c.binding...)) + "," + parts[0]
	salted, err := pbkdf2.Key(sha256.New, c.password, salt, 4096, 32)
	if err != nil {
		t.Fatal(err)
	}
	key := mac(salted, "Client Key")
	stored := sha256.Sum256(key)
	proof := make([]byte, 32)
	subtle.XORBytes(proof, key, mac(stored[:], c.bare+","+server+","+without))
	return without + ",p=" + base64.StdEncoding.EncodeToString(proof)
}

func TestScramBindings(t *testing.T) {
	t.Parallel()
	b := Bindings{Exporter: []byte("of this connection"), EndPoint: []byte("of this certificate")}
	salt := []byte("salt of sixteen.")
	const bare = "n=us=2Ce=3Dr,r=fyko+d2lbbFgONRv9qkxdawL,x=ignored"
	for name, c := range map[string]struct {
		mechanism string
		client    client
		want      error
		in        bool
	}{
		"none offered to bind, none used": {ScramName, client{"n,,", bare, "secret", nil}, nil, true},
		"exporter":                        {ScramPlusName, client{"p=tls-exporter,,", bare, "secret", b.Exporter}, nil, true},
		"end point":                       {ScramPlusName, client{"p=tls-server-end-point,,", bare, "secret", b.EndPoint}, nil, true},
		"authzid that is empty":           {ScramPlusName, client{"p=tls-exporter,a=,", bare, "secret", b.Exporter}, nil, true},
		"authzid that is the identity":    {ScramPlusName, client{"p=tls-exporter,a=us=2Ce=3Dr,", bare, "secret", b.Exporter}, nil, true},
		"somebody between, exporter":      {ScramPlusName, client{"p=tls-exporter,,", bare, "secret", []byte("of another")}, ErrBinding, false},
		"somebody between, end point":     {ScramPlusName, client{"p=tls-server-end-point,,", bare, "secret", []byte("of another")}, ErrBinding, false},
		"the other binding's bytes":       {ScramPlusName, client{"p=tls-server-end-point,,", bare, "secret", b.Exporter}, ErrBinding, false},
		"wrong password":                  {ScramPlusName, client{"p=tls-exporter,,", bare, "Secret", b.Exporter}, nil, false},
	} {
		x, ok := StartScram(c.mechanism, b)
		if !ok {
			t.Fatal(name)
		}
		who, err := x.First([]byte(c.client.header + c.client.bare))
		if err != nil || who != "us,e=r" {
			t.Fatalf("%s: %q %v", name, who, err)
		}
		server := x.Challenge(Stored{Salt: salt, Iterations: 4096}, "server-nonce")
		which, _, err := x.Final([]byte(c.client.final(t, server)), []Keys{derived(t, "secret", salt)})
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || (which == 0) != c.in {
			t.Errorf("%s: %d, %v, want %v", name, which, err, c.want)
		}
	}
}

func TestScramFinalRefuses(t *testing.T) {
	t.Parallel()
	salt := exampleSalt(t)
	for name, final := range map[string]string{
		"empty":                    "",
		"no proof":                 "c=biws,r=rOprNGfwEbeRWgbNEkqO" + exampleNonce,
		"our nonce cut off":        strings.Replace(exampleFinal, exampleNonce, "", 1),
		"another nonce":            strings.Replace(exampleFinal, "rOprN", "rOprM", 1),
		"header of another flag":   strings.Replace(exampleFinal, "biws", "eSws", 1), // y,,
		"proof of another length":  strings.Replace(exampleFinal, "dHzb", "", 1),
		"proof that is not base64": strings.Replace(exampleFinal, "dHzb", "d!zb", 1),
		"something behind":         exampleFinal + ",x=y",
		"the parts turned round":   "r=rOprNGfwEbeRWgbNEkqO" + exampleNonce + ",c=biws,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		"proof changed by a bit":   strings.Replace(exampleFinal, "p=dHz", "p=eHz", 1),
		"extension slipped in":     strings.Replace(exampleFinal, ",p=", ",x=y,p=", 1),
	} {
		x, _ := StartScram(ScramName, Bindings{})
		if _, err := x.First([]byte(exampleFirst)); err != nil {
			t.Fatal(err)
		}
		x.Challenge(Stored{Salt: salt, Iterations: 4096}, exampleNonce)
		if which, proof, err := x.Final([]byte(final), []Keys{derived(t, "pencil", salt)}); which >= 0 || proof != "" {
			t.Errorf("%s: let in as %d, %v", name, which, err)
		}
	}
}

func FuzzScram(f *testing.F) {
	f.Add(exampleFirst, exampleFinal)
	f.Add("p=tls-exporter,a=user,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "c=,r=,p=")
	f.Fuzz(func(t *testing.T, first, final string) {
		for _, mechanism := range []string{ScramName, ScramPlusName} {
			x, _ := StartScram(mechanism, Bindings{Exporter: []byte("x")})
			if _, err := x.First([]byte(first)); err != nil {
				continue
			}
			x.Challenge(Stored{Salt: []byte("0123456789abcdef"), Iterations: 4096}, "nonce")
			if which, _, _ := x.Final([]byte(final), []Keys{{Stored: [32]byte{1}}}); which >= 0 {
				t.Fatalf("%q %q was let in", first, final)
			}
		}
	})
}
