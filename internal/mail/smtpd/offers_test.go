package smtpd

import (
	"strings"
	"testing"
)

// What hangs on the next hop is asked for at each EHLO; what was not announced
// is refused at MAIL (RFC 5321, Section 4.1.1.11). REQUIRETLS is for TLS alone.
func TestOffers(t *testing.T) {
	t.Parallel()
	d := &desk{}
	now := make(chan Offers, 1)
	secure := secured(t, d, STARTTLS)
	s := started(t, d, func(c *Config) {
		secure(c)
		c.Offers = func() Offers { return <-now }
	})
	p := dial(t, s)
	p.want(220)
	hello := func(o Offers, want, not string) {
		t.Helper()
		now <- o
		p.send("EHLO x\r\n")
		r := p.reply()
		if want != "" && !strings.Contains(r, want) || strings.Contains(r, not) {
			t.Errorf("%+v: %q", o, r)
		}
	}
	hello(Offers{RequireTLS: true}, "8BITMIME", "REQUIRETLS")
	p.send("MAIL FROM:<a@example.net> REQUIRETLS\r\nMAIL FROM:<a@example.net> SMTPUTF8\r\n")
	p.want(555, 555)
	hello(Offers{UTF8: true, RequireTLS: true}, "SMTPUTF8", "REQUIRETLS")
	p.send("MAIL FROM:<a@example.net> SMTPUTF8\r\n")
	p.want(250)
	p.send("STARTTLS\r\n")
	p.want(220)
	p = over(t, tlsClient(p))
	hello(Offers{RequireTLS: true}, "REQUIRETLS", "SMTPUTF8")
	p.send("MAIL FROM:<a@example.net> REQUIRETLS\r\n")
	p.want(250)
	hello(Offers{UTF8: true}, "SMTPUTF8", "REQUIRETLS")
	p.send("MAIL FROM:<a@example.net> REQUIRETLS\r\n")
	p.want(555)
}
