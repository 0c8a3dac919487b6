package serve

import (
	"postern/internal/dns/answer"
	"postern/internal/dns/listen"
	"postern/internal/dns/wire"
)

// glance is what is known about a message of a burst before its turn. It may be
// of an earlier burst: Request.Seen says whether it is of this one.
type glance struct {
	query   wire.Query
	verdict wire.Verdict
	hint    answer.Hint
}

// Ahead implements listen.Ahead. It guesses that the next questions are for the
// zone that was asked last: each look is taken for all of them, before the next
// look is taken for any. Where the zone is not signed one look is all there is,
// and to look ahead costs more than it saves.
func (h *handler) Ahead(count int, message func(i int) []byte) bool {
	if h.near = h.made.Zone; h.near == nil || !h.near.Proves() {
		return false
	}
	if h.glances == nil {
		h.glances = make([]glance, listen.MaxBurst)
	}
	glances := h.glances[:count]
	for i := range glances {
		g := &glances[i]
		g.verdict = g.query.Parse(message(i))
	}
	for i := range glances {
		if g := &glances[i]; g.verdict == wire.OK {
			h.near.Look(&g.query, &g.hint)
		}
	}
	for i := range glances {
		if g := &glances[i]; g.verdict == wire.OK {
			h.near.Draw(&g.query, &g.hint)
		}
	}
	return true
}

// hint is what is known ahead about the message's name in that zone, or nil.
func (h *handler) hint(r *listen.Request, zone *answer.Zone) *answer.Hint {
	if r.Seen > 0 && zone == h.near {
		return &h.glances[r.Seen-1].hint
	}
	return nil
}
