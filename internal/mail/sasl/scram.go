package sasl

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The names of the two mechanisms (RFC 7677).
const (
	ScramName     = "SCRAM-SHA-256"
	ScramPlusName = "SCRAM-SHA-256-PLUS"
)

// What can be wrong with a run of SCRAM beyond a malformed message.
var (
	// ErrBinding is a channel binding that is not that of this connection, or of
	// a kind that we do not have.
	ErrBinding = errors.New("channel binding does not match")
	// ErrDowngrade is a client that could bind and believes that we could not:
	// somebody in between has changed the list of mechanisms (RFC 5802, Section 6).
	ErrDowngrade = errors.New("the list of mechanisms was changed on the way")
)

// Bindings are the channel bindings of a connection; an empty one is not there.
type Bindings struct {
	Exporter []byte // tls-exporter (RFC 9266)
	EndPoint []byte // tls-server-end-point (RFC 5929, Section 4)
}

// Any reports whether there is one, so that the -PLUS mechanism can be offered.
func (b Bindings) Any() bool { return len(b.Exporter)+len(b.EndPoint) > 0 }

// named returns the binding of that name, nil for one we do not have.
// tls-unique is none of ours: RFC 9266, Section 1 says why.
func (b Bindings) named(name string) []byte {
	switch name {
	case "tls-exporter":
		return b.Exporter
	case "tls-server-end-point":
		return b.EndPoint
	}
	return nil
}

// Scram is one run of SCRAM-SHA-256 or SCRAM-SHA-256-PLUS, the server's side
// (RFC 5802, RFC 7677): First, Challenge and Final, in that order.
type Scram struct {
	plus     bool
	bindings Bindings
	bound    []byte // what the client's last message must repeat
	bare     string // the client's first message without its header
	nonce    string
	server   string // our first message
}

// StartScram begins a run of the named mechanism, in any letter case; false is a
// name of neither, or -PLUS where there is nothing to bind to.
func StartScram(mechanism string, b Bindings) (*Scram, bool) {
	switch strings.ToUpper(mechanism) {
	case ScramName:
		return &Scram{bindings: b}, true
	case ScramPlusName:
		return &Scram{plus: true, bindings: b}, b.Any()
	}
	return nil, false
}

// First takes the client's first message and returns who it claims to be.
func (x *Scram) First(message []byte) (identity string, err error) {
	if len(message) > 2*maxField || !utf8.Valid(message) || bytes.IndexByte(message, 0) >= 0 {
		return "", ErrMalformed
	}
	flag, rest, ok1 := strings.Cut(string(message), ",")
	authzid, bare, ok2 := strings.Cut(rest, ",")
	if !ok1 || !ok2 {
		return "", ErrMalformed
	}
	binding, err := x.flag(flag)
	if err != nil {
		return "", err
	}
	if identity, err = x.readBare(bare); err != nil {
		return "", err
	}
	if authzid != "" && authzid != "a=" { // GNU SASL writes the latter for none
		name, ok := strings.CutPrefix(authzid, "a=")
		if name, err = saslname(name); !ok || err != nil {
			return "", ErrMalformed
		}
		if name != identity {
			return "", ErrAuthzid
		}
	}
	x.bound = append([]byte(flag+","+authzid+","), binding...)
	return identity, nil
}

// flag reads the channel binding flag (RFC 5802, Sections 6 and 7).
func (x *Scram) flag(flag string) ([]byte, error) {
	name, binds := strings.CutPrefix(flag, "p=")
	switch {
	case binds && x.plus:
		if b := x.bindings.named(name); len(b) > 0 {
			return b, nil
		}
		return nil, ErrBinding
	case flag == "y" && !x.plus && x.bindings.Any():
		return nil, ErrDowngrade
	case (flag == "n" || flag == "y") && !x.plus:
		return nil, nil
	}
	return nil, ErrMalformed // binding under the wrong mechanism, or none at all
}

// readBare reads client-first-message-bare. An extension that is mandatory is
// one that we do not know (RFC 5802, Section 5.1); others are passed over.
func (x *Scram) readBare(bare string) (identity string, err error) {
	parts := strings.Split(bare, ",")
	if len(parts) < 2 || strings.HasPrefix(bare, "m=") {
		return "", ErrMalformed
	}
	name, ok1 := strings.CutPrefix(parts[0], "n=")
	nonce, ok2 := strings.CutPrefix(parts[1], "r=")
	if !ok1 || !ok2 || !isNonce(nonce) || !areExtensions(parts[2:]) {
		return "", ErrMalformed
	}
	x.bare, x.nonce = bare, nonce
	return saslname(name)
}

// areExtensions checks the form attr-val (RFC 5802, Section 7).
func areExtensions(parts []string) bool {
	for _, p := range parts {
		if len(p) < 3 || p[1] != '=' || p[0]|0x20 < 'a' || p[0]|0x20 > 'z' {
			return false
		}
	}
	return true
}

// isNonce reports printable ASCII without commas, of some length.
func isNonce(s string) bool {
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' || s[i] == ',' {
			return false
		}
	}
	return len(s) >= 8 && len(s) <= 256
}

// saslname decodes =2C and =3D, the only escapes there are.
func saslname(s string) (string, error) {
	var b strings.Builder
	for s != "" {
		before, after, escaped := strings.Cut(s, "=")
		b.WriteString(before)
		if !escaped {
			break
		}
		switch {
		case strings.HasPrefix(after, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(after, "3D"):
			b.WriteByte('=')
		default:
			return "", ErrMalformed
		}
		s = after[2:]
	}
	if out := b.String(); valid([]byte(out)) {
		return out, nil
	}
	return "", ErrMalformed
}

// Challenge returns our first message. The nonce is fresh random text, without
// commas.
func (x *Scram) Challenge(s Stored, nonce string) string {
	x.nonce += nonce
	x.server = "r=" + x.nonce + ",s=" + base64.StdEncoding.EncodeToString(s.Salt) + ",i=" + strconv.Itoa(s.Iterations)
	return x.server
}

// Final takes the client's last message and returns which of the keys it was
// made with, and our own proof for the client; -1 where it was none. It does the
// same work whether there are keys or not.
func (x *Scram) Final(message []byte, keys []Keys) (which int, proof string, err error) {
	text := string(message)
	at := strings.LastIndex(text, ",p=")
	if len(text) > 4*maxField || !utf8.Valid(message) || at < 0 {
		return -1, "", ErrMalformed
	}
	given, err := base64.StdEncoding.Strict().DecodeString(text[at+3:])
	if err != nil || len(given) != sha256.Size {
		return -1, "", ErrMalformed
	}
	parts := strings.Split(text[:at], ",")
	if len(parts) < 2 || parts[1] != "r="+x.nonce || !areExtensions(parts[2:]) {
		return -1, "", ErrMalformed
	}
	bound, ok := strings.CutPrefix(parts[0], "c=")
	if !ok {
		return -1, "", ErrMalformed
	}
	if bound != base64.StdEncoding.EncodeToString(x.bound) {
		return -1, "", ErrBinding
	}
	which, proof = x.judge(given, x.bare+","+x.server+","+text[:at], keys)
	return which, proof, nil
}

func (x *Scram) judge(given []byte, message string, keys []Keys) (which int, proof string) {
	which = -1
	if len(keys) == 0 {
		(Keys{}).proves(given, message) // the time that one password takes
	}
	for i, k := range keys {
		if k.proves(given, message) {
			which, proof = i, "v="+base64.StdEncoding.EncodeToString(mac(k.Server[:], message))
		}
	}
	return which, proof
}
