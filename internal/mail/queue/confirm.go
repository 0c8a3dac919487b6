package queue

import (
	"context"

	"postern/internal/mail/deliver"
	"postern/internal/mail/dsn"
	"postern/internal/mail/spool"
)

// confirm tells the sender of deliveries where it asked for that and the next
// hop will not (RFC 3461, Sections 5.2.2 and 5.2.3), before they are written
// down. Whom a failure would not be told is not told of success either. A notice
// that cannot be stored is not worth a second delivery: it is only logged.
func (q *Queue) confirm(j job, m *spool.Message, fates []fate) {
	env := j.env
	if env.From.IsZero() || env.NoBounce {
		return
	}
	header := m.Header()
	if env.RequireTLS {
		header = nil // RFC 8689, Section 5
	}
	report := q.report(env, header)
	for i := range fates {
		f := &fates[i]
		if f.result.Outcome != deliver.Delivered || f.result.Tells || !env.NotifyOf(f.state.Rcpt).WantsSuccess() {
			continue
		}
		told := q.told(env, f)
		told.Action, told.Text, told.Code = dsn.Relayed, "", 0
		if f.result.Code == 0 { // no server: it lies in the mailbox
			told.Action, told.RemoteMTA = dsn.Delivered, ""
		} else {
			told.Note = "The mail server there does not tell what becomes of it."
		}
		report.Recipients = append(report.Recipients, told)
	}
	if len(report.Recipients) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.ctx), bounceTime)
	defer cancel()
	if err := q.cfg.Bounce(ctx, dsn.Build(report)); err != nil {
		q.cfg.Log.Error("success of a delivery not told", "queue_id", env.ID, "from", env.From.String(), "err", err)
		return
	}
	q.Counters.Confirmed.Inc()
	q.cfg.Log.Info("sender told of success", "queue_id", env.ID, "from", env.From.String(), "rcpts", len(report.Recipients))
}
