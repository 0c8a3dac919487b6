package smtpd

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"

	"postern/internal/mail/sasl"
	"postern/internal/mail/smtpline"
)

// ScramAuthenticator is an Authenticator that knows users by SCRAM keys, too.
type ScramAuthenticator interface {
	Authenticator
	// OffersScram tells whether anybody could log in that way.
	OffersScram() bool
	// Scram begins a login: what the client is told and its proof held against.
	// It does not tell whether there is such a user.
	Scram(ctx context.Context, identity string) (sasl.Stored, *smtpline.Reply)
	// ScramDone ends what Scram began. which is the key that was proven, -1 for
	// none. A nil reply is a login.
	ScramDone(ctx context.Context, identity string, which int) *smtpline.Reply
}

var authRefused = smtpline.Refuse(535, "5.7.8", "bad-login", "wrong login or password")

// scramOffered returns the mechanisms that this connection can use now.
func (c *conn) scramOffered() (who ScramAuthenticator, bound sasl.Bindings, ok bool) {
	if who, ok = c.session.(ScramAuthenticator); !ok || c.conf.NoScram || !c.secured() || !who.OffersScram() {
		return nil, sasl.Bindings{}, false
	}
	return who, c.bindings(), true
}

// mechanisms is the AUTH line of EHLO. Clients that choose by themselves take
// the strongest, and with it the password of an app: which is why SCRAM is not
// offered before there is one.
func (c *conn) mechanisms() string {
	list := "PLAIN LOGIN"
	if _, bound, ok := c.scramOffered(); ok {
		list = sasl.ScramName + " " + list
		if bound.Any() {
			list = sasl.ScramPlusName + " " + list
		}
	}
	return list
}

// scram runs a login by SCRAM-SHA-256 (RFC 5802, Section 5). SMTP has no place
// for our last message beside 235, so it goes as one more challenge, whose
// response is empty (RFC 4954, Section 4).
func (c *conn) scram(ctx context.Context, who ScramAuthenticator, x *sasl.Scram, response []byte) (string, *smtpline.Reply) {
	var r *smtpline.Reply
	if response == nil {
		if response, r = c.challenge(""); r != nil || c.broken {
			return "", r
		}
	}
	identity, err := x.First(response)
	if err != nil {
		return "", scramRefused(err)
	}
	if r := c.knock(identity); r != nil {
		return "", r
	}
	stored, r := who.Scram(ctx, identity)
	if r != nil {
		return "", c.heard(identity, r)
	}
	if response, r = c.challenge(x.Challenge(stored, rand.Text())); r != nil || c.broken {
		return "", r
	}
	which, proof, err := x.Final(response, stored.Keys)
	if err != nil {
		return "", scramRefused(err)
	}
	if which >= 0 {
		// Not logged in before the client has heard our proof and is content.
		if response, r = c.challenge(proof); r != nil || c.broken {
			return "", r
		}
		if len(response) > 0 {
			return "", authSyntax
		}
	}
	return identity, c.heard(identity, who.ScramDone(ctx, identity, which))
}

// scramRefused is the reply for a message that cannot be used.
func scramRefused(err error) *smtpline.Reply {
	r := *authSyntax
	switch {
	case errors.Is(err, sasl.ErrAuthzid):
		r = *authOther
	case errors.Is(err, sasl.ErrBinding), errors.Is(err, sasl.ErrDowngrade):
		r = *authRefused
		r.Reason = "channel-binding"
	}
	r.Cause = err
	return &r
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
