package inspect

import (
	"context"
	"net/netip"
	"strings"

	"postern/internal/lookup"
	"postern/internal/mail/spf"
	"postern/internal/mail/verdict"
)

// maxNames is how many reverse names of a client are confirmed.
const maxNames = 5

// reverseName finds a name of the client that leads back to its address (RFC
// 8601, Section 3: iprev). It is evidence for a reader, never a reason to
// refuse.
func reverseName(ctx context.Context, r lookup.Resolver, client netip.Addr) verdict.Reverse {
	answer, err := r.Query(ctx, spf.ReverseName(client), lookup.PTR)
	switch {
	case err != nil && lookup.IsTemporary(err):
		return verdict.Reverse{Status: verdict.ReverseTempError}
	case len(answer.Records) == 0: // RFC 8601, Section 2.7.3: there is nothing to compare
		return verdict.Reverse{Status: verdict.ReversePermError}
	}
	out := verdict.Reverse{Status: verdict.ReverseFail}
	kind := lookup.AAAA
	if client.Is4() {
		kind = lookup.A
	}
	for n, record := range answer.Records {
		if n == maxNames {
			break
		}
		forward, err := r.Query(ctx, record.Host, kind)
		if err != nil {
			out.Status = verdict.ReverseTempError
			continue
		}
		for _, a := range forward.Records {
			if a.Addr == client {
				return verdict.Reverse{Status: verdict.ReversePass, Name: strings.TrimSuffix(record.Host, ".")}
			}
		}
	}
	return out
}
