package smtpd

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"time"

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
	return can && c.secured()
}

// secured reports a connection that a password may cross: under TLS, and not one
// of those that RFC 8996 has withdrawn, whatever its configuration allows.
func (c *conn) secured() bool { return c.info.TLS != nil && c.info.TLS.Version >= tls.VersionTLS12 }

func (c *conn) auth(ctx context.Context, arg string) *smtpline.Reply {
	who, can := c.session.(Authenticator)
	switch {
	case !can:
		return notImplemented
	case !c.secured():
		return authNoTLS
	case c.info.Helo == "":
		return helloFirst
	case c.info.User != "":
		return authTwice
	case c.inMail:
		return authInMail
	}
	user, r := c.login(ctx, who, arg)
	if c.broken {
		return nil
	}
	if r.Positive() {
		if !c.conf.guard.login(user, time.Now()) {
			c.srv.Counters.RefusedAccount.Inc()
			return accountBusy
		}
		c.srv.Counters.AuthOK.Inc()
		c.info.User = user
		c.earn()
		return &smtpline.Reply{Code: 235, Enhanced: "2.7.0", Text: "logged in"}
	}
	c.srv.Counters.AuthFailed.Inc()
	if c.authFails++; c.authFails >= c.conf.Limits.AuthFails && !r.Close {
		c.srv.Counters.Limited.Inc()
		c.answer(r)
		return tooManyAuth
	}
	return r
}

// login runs the mechanism that the client has chosen and returns who it is.
func (c *conn) login(ctx context.Context, who Authenticator, arg string) (string, *smtpline.Reply) {
	name, initial, hasInitial := strings.Cut(arg, " ")
	run := c.mechanism(ctx, who, name)
	if run == nil {
		return "", authUnknown
	}
	if !hasInitial {
		return run(nil)
	}
	response, r := decode(strings.TrimLeft(initial, " "), true)
	if r != nil {
		return "", r
	}
	return run(response)
}

// mechanism returns how to log in by the named mechanism, from the initial
// response on, which is nil where there is none; nil for one that is not offered.
func (c *conn) mechanism(ctx context.Context, who Authenticator, name string) func([]byte) (string, *smtpline.Reply) {
	if keeper, bound, ok := c.scramOffered(); ok {
		if x, known := sasl.StartScram(name, bound); known {
			return func(response []byte) (string, *smtpline.Reply) { return c.scram(ctx, keeper, x, response) }
		}
	}
	x, known := sasl.Start(name)
	if !known {
		return nil
	}
	return func(response []byte) (string, *smtpline.Reply) {
		creds, r := c.exchange(x, response)
		if r != nil || c.broken {
			return "", r
		}
		if r := c.knock(creds.Identity); r != nil {
			return "", r
		}
		return creds.Identity, c.heard(creds.Identity, who.Auth(ctx, creds.Identity, creds.Password))
	}
}

// exchange runs the mechanism to its credentials. Neither is ever logged.
func (c *conn) exchange(x *sasl.Exchange, response []byte) (sasl.Credentials, *smtpline.Reply) {
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
