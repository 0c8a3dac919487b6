package app

import (
	"testing"

	"postern/internal/mail/address"
	"postern/internal/mail/deliver"
	"postern/internal/mail/mx"
	"postern/internal/mail/route"
	"postern/internal/mail/smtpd"
)

// TestCarrying: what the next hops are known to lack is refused; what none was
// asked about is not.
func TestCarrying(t *testing.T) {
	t.Parallel()
	verified := route.TLS{Mode: route.Required}
	c := carrying{map[string][]route.Hop{
		"box.example":    {{Protocol: route.Maildir, Path: "/mail"}},
		"plain.example":  {{Protocol: route.SMTP, Host: "a.example", Port: 25}},
		"secure.example": {{Protocol: route.SMTP, Host: "b.example", Port: 25, TLS: verified}},
		"mixed.example":  {{Protocol: route.SMTP, Host: "a.example", Port: 25}, {Protocol: route.SMTPS, Host: "c.example", Port: 465, TLS: verified}},
	}, &deliver.Announced{}}
	for domain, want := range map[string]deliver.Abilities{
		"box.example": {UTF8: true, RequireTLS: true}, "plain.example": {UTF8: true}, "secure.example": {UTF8: true, RequireTLS: true},
		"mixed.example": {UTF8: true, RequireTLS: true}, "elsewhere.example": {UTF8: true},
	} {
		if got := c.can(domain); got != want {
			t.Errorf("%s: %+v, want %+v", domain, got, want)
		}
	}
	if o := c.offers(); o != (smtpd.Offers{UTF8: true, RequireTLS: true}) {
		t.Errorf("%+v", o)
	}
	if o := c.offersOurs(); o != (smtpd.Offers{UTF8: true, RequireTLS: true}) {
		t.Errorf("%+v", o)
	}
	tls := smtpd.MailParams{RequireTLS: true}
	for domain, want := range map[string]bool{"box.example": true, "secure.example": true, "plain.example": false, "elsewhere.example": false} {
		r := c.refuseOurs(address.Address{Local: "x", Domain: domain}, tls)
		if r.Positive() != want || !want && r.Enhanced != "5.7.30" {
			t.Errorf("REQUIRETLS of our own for %s: %v", domain, r)
		}
		if r := c.refuseOurs(address.Address{Local: "\u00fc", Domain: domain}, smtpd.MailParams{UTF8: true, Size: 1 << 40}); r != nil {
			t.Errorf("%s: %v", domain, r)
		}
	}
	delete(c.hops, "box.example")
	delete(c.hops, "secure.example")
	delete(c.hops, "mixed.example")
	if o := c.offers(); o != (smtpd.Offers{UTF8: true}) {
		t.Errorf("%+v", o)
	}
	if o := c.offersOurs(); o != (smtpd.Offers{UTF8: true}) {
		t.Errorf("%+v", o)
	}
	if r := c.refuse(address.Address{Local: "x", Domain: "plain.example"}, mx.Needs{RequireTLS: true}); r == nil || r.Enhanced != "5.7.30" {
		t.Errorf("%v", r)
	}
	if r := c.refuse(address.Address{Local: "x", Domain: "plain.example"}, mx.Needs{UTF8: true, Size: 1 << 40}); r != nil {
		t.Errorf("%v of a hop that nobody has spoken to", r)
	}
}
