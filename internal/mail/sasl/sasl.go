// Package sasl is the server's side of logging in, as pure state machines: of the
// two mechanisms that carry a password as it is, PLAIN (RFC 4616) and LOGIN
// (draft-murchison-sasl-login), responses in, challenges and in the end
// credentials out; and of SCRAM-SHA-256 with and without channel binding (RFC
// 5802, RFC 7677), which judges a proof by keys that the caller keeps. It looks
// nothing up, speaks no protocol and knows no TLS; who offers PLAIN in the clear
// is at fault.
package sasl

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
)

// Credentials are what a client claims.
type Credentials struct {
	Identity string
	Password string
}

// What can be wrong with a response.
var (
	ErrMalformed = errors.New("malformed response")
	// ErrAuthzid is a PLAIN authorisation identity that is neither empty nor
	// the identity itself: nobody may act for another.
	ErrAuthzid = errors.New("authorisation identity differs")
)

// maxField bounds an identity and a password (RFC 4616, Section 2 asks for at
// least 255).
const maxField = 1024

// Exchange is one run of a mechanism.
type Exchange struct {
	login bool
	step  int
	creds Credentials
}

// Start begins the named mechanism, in any letter case.
func Start(mechanism string) (*Exchange, bool) {
	switch strings.ToUpper(mechanism) {
	case "PLAIN":
		return &Exchange{}, true
	case "LOGIN":
		return &Exchange{login: true}, true
	}
	return nil, false
}

// Next takes the client's response, nil when it has sent none yet, and returns
// a challenge to send or done.
func (x *Exchange) Next(response []byte) (challenge string, done bool, err error) {
	if x.login {
		return x.nextLogin(response)
	}
	if response == nil {
		return "", false, nil
	}
	x.creds, err = parsePlain(response)
	return "", err == nil, err
}

// Credentials returns what the finished exchange has learned.
func (x *Exchange) Credentials() Credentials { return x.creds }

// parsePlain reads [authzid] NUL authcid NUL passwd.
func parsePlain(b []byte) (Credentials, error) {
	parts := bytes.Split(b, []byte{0})
	if len(parts) != 3 {
		return Credentials{}, ErrMalformed
	}
	for i, p := range parts {
		if !valid(p) && !(i == 0 && len(p) == 0) {
			return Credentials{}, ErrMalformed
		}
	}
	if len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]) {
		return Credentials{}, ErrAuthzid
	}
	return Credentials{string(parts[1]), string(parts[2])}, nil
}

// nextLogin asks for the user name and then for the password. Some clients send
// the name as an initial response.
func (x *Exchange) nextLogin(response []byte) (string, bool, error) {
	if response == nil && x.step == 0 {
		x.step = 1
		return "Username:", false, nil
	}
	if !valid(response) {
		return "", false, ErrMalformed
	}
	if x.step < 2 {
		x.creds.Identity = string(response)
		x.step = 2
		return "Password:", false, nil
	}
	x.creds.Password = string(response)
	return "", true, nil
}

func valid(b []byte) bool {
	return len(b) > 0 && len(b) <= maxField && utf8.Valid(b) && bytes.IndexByte(b, 0) < 0
}
