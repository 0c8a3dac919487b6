package smtpd

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"postern/internal/mail/sasl"
	"postern/internal/mail/smtpline"
)

// The replies of AUTH (RFC 4954, Sections 4 and 6).
var (
	authTwice     = smtpline.Refuse(503, "5.5.1", "auth-twice", "you are logged in already")
	authInMail    = smtpline.Refuse(503, "5.5.1", "sequence", "AUTH is not allowed inside a transaction")
	authNoTLS     = smtpline.Refuse(530, "5.7.0", "needs-tls", "STARTTLS first")
	authUnknown   = smtpline.Refuse(504, "5.5.4", "auth-mechanism", "mechanism not offered")
	authSyntax    = smtpline.Refuse(501, "5.5.2", "auth-syntax", "malformed response")
	authCancelled = smtpline.Refuse(501, "5.7.0", "auth-cancelled", "cancelled")
	authOther     = smtpline.Refuse(535, "5.7.8", "auth-authzid", "acting for somebody else is not possible")
)

func (c *conn) offersAuth() bool {
	_, can := c.session.(Authenticator)
	return can && c.info.TLS != nil
}

func (c *conn) auth(ctx context.Context, arg string) *smtpline.Reply {
	who, can := c.session.(Authenticator)
	switch {
	case !can:
		return notImplemented
	case c.info.TLS == nil:
		return authNoTLS
	case c.info.Helo == "":
		return helloFirst
	case c.info.User != "":
		return authTwice
	case c.inMail:
		return authInMail
	}
	creds, r := c.exchange(arg)
	if r == nil && !c.broken {
		r = who.Auth(ctx, creds.Identity, creds.Password)
		if r.Positive() {
			c.srv.Counters.AuthOK.Inc()
			c.info.User = creds.Identity
			return &smtpline.Reply{Code: 235, Enhanced: "2.7.0", Text: "logged in"}
		}
	}
	if c.broken {
		return nil
	}
	c.srv.Counters.AuthFailed.Inc()
	if c.authFails++; c.authFails >= c.conf.Limits.AuthFails && !r.Close {
		c.srv.Counters.Limited.Inc()
		c.answer(r)
		return tooManyAuth
	}
	return r
}

// exchange runs the mechanism to its credentials. Neither is ever logged.
func (c *conn) exchange(arg string) (sasl.Credentials, *smtpline.Reply) {
	name, initial, hasInitial := strings.Cut(arg, " ")
	x, known := sasl.Start(name)
	if !known {
		return sasl.Credentials{}, authUnknown
	}
	var response []byte // nil: none yet
	if hasInitial {
		var r *smtpline.Reply
		if response, r = decode(strings.TrimLeft(initial, " "), true); r != nil {
			return sasl.Credentials{}, r
		}
	}
	for {
		challenge, done, err := x.Next(response)
		switch {
		case err != nil:
			r := *authSyntax
			if errors.Is(err, sasl.ErrAuthzid) {
				r = *authOther
			}
			r.Cause = err
			return sasl.Credentials{}, &r
		case done:
			return x.Credentials(), nil
		}
		var r *smtpline.Reply
		if response, r = c.challenge(challenge); r != nil || c.broken {
			return sasl.Credentials{}, r
		}
	}
}

// challenge sends one and returns the client's response.
func (c *conn) challenge(text string) ([]byte, *smtpline.Reply) {
	c.write(&smtpline.Reply{Code: 334, Text: base64.StdEncoding.EncodeToString([]byte(text))})
	line, err := c.pipe.line(c.conf.Limits.Command, true)
	if err != nil {
		c.hangUp(err)
		c.broken = true
		return nil, nil
	}
	if string(line) == "*" {
		return nil, authCancelled
	}
	return decode(string(line), false)
}

// decode reads a base64 response. An initial one of "=" is the empty response
// (RFC 4954, Section 4).
func decode(s string, initial bool) ([]byte, *smtpline.Reply) {
	if initial && s == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, authSyntax
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}
