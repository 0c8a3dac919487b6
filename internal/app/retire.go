package app

import (
	"postern/internal/mail/accept"
	"postern/internal/mail/mx"
	"postern/internal/mail/relay"
	"postern/internal/mail/submission"
)

// mailCounts is what rooms counted that a reload has replaced, so that no
// counter ever goes back.
type mailCounts struct {
	accept     accept.Counters
	mx         mx.Counters
	submission submission.Counters
	relay      relay.Counters
}

func (a *App) acceptCounters() []*accept.Counters {
	return []*accept.Counters{&a.retired.accept, &a.mail.Load().acceptor.Counters}
}

func (a *App) mxCounters() []*mx.Counters {
	all := []*mx.Counters{&a.retired.mx}
	if door := a.mail.Load().mx; door != nil {
		all = append(all, &door.Counters)
	}
	return all
}

func (a *App) submissionCounters() []*submission.Counters {
	return []*submission.Counters{&a.retired.submission, &a.mail.Load().submission.Counters}
}

func (a *App) relayCounters() []*relay.Counters {
	all := []*relay.Counters{&a.retired.relay}
	if door := a.mail.Load().relay; door != nil {
		all = append(all, &door.Counters)
	}
	return all
}

// retire keeps the counts of a world that has been replaced. What its last
// sessions still count is lost.
func (a *App) retire(w *mailWorld) {
	add(&a.retired.accept, &w.acceptor.Counters)
	add(&a.retired.submission, &w.submission.Counters)
	if w.mx != nil {
		add(&a.retired.mx, &w.mx.Counters)
	}
	if w.relay != nil {
		add(&a.retired.relay, &w.relay.Counters)
	}
}
