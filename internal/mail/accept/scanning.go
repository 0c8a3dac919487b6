package accept

import (
	"context"
	"io"
	"strings"

	"postern/internal/mail/envelope"
	"postern/internal/mail/scan"
	"postern/internal/mail/spool"
	"postern/internal/mail/verdict"
)

// scan has the scanners look at a message as it came, and adds what they found
// to the decision. It returns the facts for the log line, too.
func (a *Acceptor) scan(ctx context.Context, draft *spool.Draft, env *envelope.Envelope, reverse string, d verdict.Decision) (verdict.Decision, []any) {
	scans := a.cfg.Scanners.Scan(ctx, scan.Message{
		ID: draft.ID(), Envelope: env, Reverse: reverse, Size: draft.Size(),
		Open: func() io.Reader { return draft.Open() },
	})
	if len(scans) == 0 {
		return d, nil
	}
	var said []string
	for _, s := range scans {
		said = append(said, s.String())
	}
	return verdict.Weigh(d, scans), []any{"scan", strings.Join(said, " ")}
}
