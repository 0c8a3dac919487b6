package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/mail/deliver"
	"postern/internal/mail/dsn"
	"postern/internal/mail/envelope"
	"postern/internal/mail/route"
	"postern/internal/mail/spool"
)

// Bounds of the parts of an attempt.
const (
	routeTime   = time.Minute
	bounceTime  = time.Minute
	bounceRetry = 5 * time.Minute
)

// fate is what an attempt decided for one recipient.
type fate struct {
	state  spool.State
	result deliver.Result
	gaveUp bool
	kept   bool // it failed, and waits for an operator
}

// attempt tries one job, tells the sender where it must, and writes the states
// down, in this order. It runs in a worker.
func (q *Queue) attempt(j job) {
	ctx, cancel := context.WithTimeout(j.ctx, q.cfg.AttemptTime)
	defer cancel()
	m, err := q.cfg.Spool.Load(j.env.ID)
	if err != nil {
		// Whether it is broken or gone shows at the next activation.
		q.cfg.Log.Error("message not readable", "queue_id", j.env.ID, "reason", "spool-read", "err", err)
		q.postpone(j, q.cfg.Now().Add(bounceRetry))
		return
	}
	defer func() {
		if err := m.Close(); err != nil {
			q.cfg.Log.Warn("message not closed", "queue_id", j.env.ID, "err", err)
		}
	}()
	if err := m.Check(); errors.Is(err, spool.ErrBroken) {
		q.broken(j, err)
		return
	} else if err != nil {
		q.cfg.Log.Error("message not readable", "queue_id", j.env.ID, "reason", "spool-read", "err", err)
		q.postpone(j, q.cfg.Now().Add(bounceRetry))
		return
	}
	results, until := q.try(ctx, j, m)
	if slices.ContainsFunc(results, func(r deliver.Result) bool { return r.Reason == deliver.ReasonBroken }) {
		if err := m.Check(); errors.Is(err, spool.ErrBroken) {
			q.broken(j, err)
		}
	}
	if j.ctx.Err() != nil && !anyFinal(results) {
		return // stopped or dropped: as if it had not been tried
	}
	fates := q.decide(j, results, until)
	if failed := failures(fates); len(failed) > 0 {
		if err := q.bounce(j, m, failed); err != nil {
			q.bounceFault(j, failed, err)
		}
	}
	q.confirm(j, m, fates)
	states := make([]spool.State, len(fates))
	for i, f := range fates {
		states[i] = f.state
	}
	q.record(states...)
	q.tell(j, fates)
}

// broken has a message moved aside whose file is not what was committed, once
// its other deliveries have ended. A worker calls it.
func (q *Queue) broken(j job, why error) {
	select {
	case q.ops <- func() { j.item.broken = why }:
	case <-q.quit: // the next start looks at all messages
	}
}

func anyFinal(results []deliver.Result) bool {
	for _, r := range results {
		if r.Outcome != deliver.Deferred {
			return true
		}
	}
	return false
}

// postpone puts off all recipients of a job without counting a try.
func (q *Queue) postpone(j job, until time.Time) {
	states := statesOf(q.cfg.Spool, j.env)
	var out []spool.State
	for _, i := range j.rcpts {
		st := states[i]
		st.Next = until
		out = append(out, st)
	}
	q.record(out...)
}

// try routes and delivers. A time means that no host was tried, and until when.
func (q *Queue) try(ctx context.Context, j job, m *spool.Message) ([]deliver.Result, time.Time) {
	routeCtx, cancel := context.WithTimeout(ctx, routeTime)
	plan, err := q.cfg.Router.Route(routeCtx, j.dest.domain)
	cancel()
	if err != nil {
		return all(j, unroutable(err)), time.Time{}
	}
	hops := plan.Hops
	if !j.force {
		var until time.Time
		if hops, until = q.sites.alive(plan.Hops, q.cfg.Now()); len(hops) == 0 {
			return all(j, deliver.Result{
				Outcome: deliver.Deferred, Enhanced: "4.4.1", Reason: "dead-host",
				Text: "the mail server does not answer", Static: plan.Static,
			}), until
		}
	}
	q.Counters.Attempts.Inc()
	report := q.cfg.Deliverer.Deliver(ctx, deliver.Job{Envelope: *j.env, Rcpts: j.rcpts, Message: m, Hops: hops})
	for _, r := range report.Results {
		if addr, err := netip.ParseAddrPort(r.Addr); err == nil && r.Code != 0 && !slices.Contains(report.Dead, addr) {
			q.sites.clear(addr)
		}
	}
	q.Counters.SitesRefused.Add(uint64(q.sites.mark(report.Dead, q.cfg.Now())))
	return report.Results, time.Time{}
}

func all(j job, r deliver.Result) []deliver.Result {
	out := make([]deliver.Result, len(j.rcpts))
	for k, i := range j.rcpts {
		r.Rcpt, r.Recipient = i, j.env.To[i]
		out[k] = r
	}
	return out
}

// unroutable makes a result of a routing error. What is not known to be
// permanent is temporary.
func unroutable(err error) deliver.Result {
	r := deliver.Result{Outcome: deliver.Deferred, Enhanced: "4.4.3", Reason: "route", Text: "the destination cannot be looked up"}
	var e *route.Error
	if errors.As(err, &e) {
		r.Enhanced, r.Reason, r.Text = e.Enhanced, e.Reason, e.Text
		if !e.Temporary {
			r.Outcome = deliver.Failed
		}
	}
	return r
}

// decide says what each result means for its recipient.
func (q *Queue) decide(j job, results []deliver.Result, until time.Time) []fate {
	now := q.cfg.Now()
	age := now.Sub(j.env.Received)
	before := statesOf(q.cfg.Spool, j.env)
	fates := make([]fate, 0, len(results))
	for _, r := range results {
		st := before[r.Rcpt]
		st.At, st.Code, st.Enhanced, st.Text, st.Host, st.TLS = now, r.Code, r.Enhanced, r.Text, r.Host, r.TLS
		f := fate{result: r}
		switch r.Outcome {
		case deliver.Delivered:
			st.Status, st.Next = spool.Delivered, time.Time{}
		case deliver.Failed:
			st.Status, st.Next = spool.Failed, time.Time{}
		default:
			if until.IsZero() {
				st.Tries++
			}
			st.Next, f.gaveUp = Schedule(st.Tries, age, q.cfg.MaxAge, now, q.cfg.Chance())
			if !until.IsZero() && !f.gaveUp {
				st.Next = until.Add(time.Duration(q.cfg.Chance() * float64(firstRest)))
			}
			if f.gaveUp {
				st.Status = spool.Failed
			}
		}
		f.state = st
		fates = append(fates, f)
	}
	return fates
}

func failures(fates []fate) []*fate {
	var out []*fate
	for i := range fates {
		if fates[i].state.Status == spool.Failed {
			out = append(out, &fates[i])
		}
	}
	return out
}

// bounce tells the sender of failures, durably, before they are written down.
func (q *Queue) bounce(j job, m *spool.Message, failed []*fate) error {
	env := j.env
	if env.From.IsZero() {
		// RFC 5321, Section 6.1: never a notification about a notification.
		q.Counters.DoubleBounces.Inc()
		q.cfg.Log.Warn("failure of a message without sender: nobody is told", "queue_id", env.ID, "reason", "double-bounce", "rcpts", len(failed))
		return nil
	}
	if env.NoBounce {
		q.keep(j, failed)
		return nil
	}
	header := m.Header()
	if env.RequireTLS {
		header = nil // RFC 8689, Section 5: the notice may not go over TLS all the way
	}
	report := q.report(env, header)
	for _, f := range failed {
		if env.NotifyOf(f.state.Rcpt).WantsFailure() {
			report.Recipients = append(report.Recipients, q.told(env, f))
		}
	}
	if len(report.Recipients) == 0 {
		return nil
	}
	// A stopping queue must not lose the one thing it owes.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.ctx), bounceTime)
	defer cancel()
	if err := q.cfg.Bounce(ctx, dsn.Build(report)); err != nil {
		return err
	}
	q.Counters.Bounced.Inc()
	q.cfg.Log.Info("sender told", "queue_id", env.ID, "from", env.From.String(), "rcpts", len(report.Recipients))
	return nil
}

func (q *Queue) report(env *envelope.Envelope, header []byte) dsn.Report {
	now := q.cfg.Now()
	return dsn.Report{
		ID:       fmt.Sprintf("%s.%x", env.ID, now.UnixMicro()),
		Hostname: q.cfg.Hostname,
		To:       env.From,
		EnvID:    env.EnvID,
		QueueID:  string(env.ID),
		Arrived:  env.Received,
		Now:      now,
		Header:   header,
		UTF8:     env.UTF8,
	}
}

// told is what a sender may know about a failure. The words and the name of a
// configured host are for our own users only: they tell of the inside.
func (q *Queue) told(env *envelope.Envelope, f *fate) dsn.Recipient {
	r := f.result
	out := dsn.Recipient{
		Final: r.Recipient, Original: env.ORcptOf(r.Rcpt), Action: dsn.Failed,
		Status: r.Enhanced, Code: r.Code, Text: r.Text, RemoteMTA: r.Host, LastTry: f.state.At,
	}
	if r.Code == 0 {
		out.RemoteMTA = "" // nobody said so
	}
	if r.Static && env.Origin != envelope.Submission {
		out.RemoteMTA, out.Text = "", "the message was not accepted"
	}
	if f.gaveUp {
		out.Note = "Delivery was tried for " + days(q.cfg.MaxAge) + " and has been given up."
		if r.Code == 0 {
			out.Status = "4.4.7" // RFC 3463, Section 3.5: delivery time expired
		}
	}
	return out
}

func days(d time.Duration) string {
	if n := int(d.Hours() / 24); n > 1 {
		return fmt.Sprintf("%d days", n)
	}
	return d.Round(time.Second).String()
}

// bounceFault keeps recipients open whose sender could not be told.
func (q *Queue) bounceFault(j job, failed []*fate, err error) {
	q.Counters.BounceFaults.Inc()
	q.cfg.Log.Error("sender not told of a failure, trying again", "queue_id", j.env.ID, "reason", "bounce", "err", err)
	for _, f := range failed {
		f.state.Status = spool.Waiting
		f.state.Next = q.cfg.Now().Add(bounceRetry)
	}
}

// tell writes one mail-log line a recipient and counts.
func (q *Queue) tell(j job, fates []fate) {
	for _, f := range fates {
		st, level := f.state, slog.LevelInfo
		attrs := []any{
			"queue_id", st.ID, "to", f.result.Recipient.String(), "reason", f.result.Reason, "code", st.Code,
			"enhanced", st.Enhanced, "reply", st.Text, "host", strings.TrimSpace(st.Host + " " + f.result.Addr), "tls", st.TLS, "tries", st.Tries,
		}
		word := "delivered"
		if f.kept {
			q.Counters.Failed.Inc()
			q.cfg.Log.Log(j.ctx, slog.LevelWarn, "failed", append(attrs, "held", true)...)
			continue
		}
		switch st.Status {
		case spool.Delivered:
			q.Counters.Delivered.Inc()
		case spool.Failed:
			word, level = "failed", slog.LevelWarn
			if f.gaveUp {
				attrs = append(attrs, "gave_up", true)
			}
			q.Counters.Failed.Inc()
		default:
			word = "deferred"
			attrs = append(attrs, "next", st.Next)
			q.Counters.Deferred.Inc()
		}
		q.cfg.Log.Log(j.ctx, level, word, attrs...)
	}
}
