package manage

import (
	"context"
	"strings"

	"postern/internal/mail/envelope"
	"postern/internal/mail/trail"
)

// Trail finds what the log said about messages; *trail.Trail is one.
type Trail interface {
	Find(ctx context.Context, query string) (trail.Found, error)
}

// TraceArgs is a queue id, an address or a Message-ID.
type TraceArgs struct {
	Query string `json:"query"`
}

// Trace is all about the messages that were found: what was done, oldest first,
// and where those stand that are still in the queue.
type Trace struct {
	Lines []trail.Line `json:"lines"`
	Queue []Message    `json:"queue"`
	More  bool         `json:"more,omitempty"` // there was more than is told
}

func (d *Desk) trace(ctx context.Context, a TraceArgs) (Trace, error) {
	if strings.Trim(a.Query, "<> ") == "" {
		return Trace{}, &Error{Reason: ReasonUsage, Text: "say which message: a queue id, an address or a Message-ID"}
	}
	found, err := d.cfg.Trail.Find(ctx, a.Query)
	if err != nil {
		return Trace{}, err
	}
	out := Trace{Lines: found.Lines, Queue: []Message{}, More: found.More}
	if len(found.IDs) == 0 {
		found.IDs = []string{a.Query} // what came before there was a trail
	}
	for _, id := range found.IDs {
		if e, err := d.cfg.Queue.Show(envelope.ID(id)); err == nil { // else it is done
			out.Queue = append(out.Queue, messageOf(e))
		}
	}
	if out.Lines == nil {
		out.Lines = []trail.Line{}
	}
	return out, nil
}
