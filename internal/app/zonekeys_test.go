package app

import (
	"errors"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/resolver"
	"postern/internal/dns/resolver/validate"
	"postern/internal/dns/rollover"
)

// TestParentFrom: only what validates is believed, and nothing is taken for the
// proof that there is no DS but one.
func TestParentFrom(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0)
	aged := &dns.DS{Hdr: dns.RR_Header{Ttl: 17}, KeyTag: 4711}
	failed := errors.New("no route")
	for name, c := range map[string]struct {
		d    resolver.Delegation
		err  error
		want rollover.Security
		ds   int
		fail bool
	}{
		"nobody answers":       {resolver.Delegation{Security: validate.Unknown, Reason: validate.NoReply}, failed, rollover.Unknown, 0, true},
		"unknown, no error":    {resolver.Delegation{Security: validate.Unknown, Reason: validate.NoReply}, nil, rollover.Unknown, 0, false},
		"bogus":                {resolver.Delegation{Security: validate.Bogus, Reason: validate.SignatureWrong}, nil, rollover.Bogus, 0, false},
		"DS":                   {resolver.Delegation{Security: validate.Secure, Standing: validate.Signed, DS: []*dns.DS{aged}, TTL: 3600}, nil, rollover.Secure, 1, false},
		"proof of none":        {resolver.Delegation{Security: validate.Secure, Standing: validate.Unsigned}, nil, rollover.Insecure, 0, false},
		"parent is not signed": {resolver.Delegation{Security: validate.Insecure, Reason: validate.NoDS}, nil, rollover.Insecure, 0, false},
		"no anchor":            {resolver.Delegation{Security: validate.Unknown, Reason: validate.NoAnchor}, nil, rollover.Unknown, 0, false},
		"negative anchor":      {resolver.Delegation{Security: validate.Insecure, Reason: validate.NegativeAnchor}, nil, rollover.Unknown, 0, false},
		"the root":             {resolver.Delegation{}, resolver.ErrRootZone, rollover.Insecure, 0, false},
	} {
		c.d.At = at
		p, err := parentFrom(c.d, c.err)
		if p.Security != c.want || len(p.DS) != c.ds || (err != nil) != c.fail || !p.At.Equal(at) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if c.ds > 0 && (p.DS[0].Hdr.Ttl != 3600 || aged.Hdr.Ttl != 17) {
			t.Errorf("%s: TTL %d, and %d where it came from", name, p.DS[0].Hdr.Ttl, aged.Hdr.Ttl)
		}
	}
}
