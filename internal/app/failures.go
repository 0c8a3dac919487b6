package app

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"postern/internal/manage"
)

// maxFailures is how many failures status shows.
const maxFailures = 20

// failures remembers the newest warnings and errors of the program log, for
// the status screen.
type failures struct {
	mu   sync.Mutex // guards last
	last []manage.Failure
}

func (f *failures) add(x manage.Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.last) == maxFailures {
		f.last = append(f.last[:0], f.last[1:]...)
	}
	f.last = append(f.last, x)
}

func (f *failures) list() []manage.Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]manage.Failure{}, f.last...)
}

// remember returns a handler that passes records on and keeps the bad ones.
func (f *failures) remember(next slog.Handler) slog.Handler {
	return &rememberer{Handler: next, keep: f}
}

type rememberer struct {
	slog.Handler
	keep *failures
	with string // attributes given by With, formatted
}

// Enabled keeps warnings coming even where the log itself is silent.
func (r *rememberer) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || r.Handler.Enabled(ctx, l)
}

func (r *rememberer) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Level >= slog.LevelWarn {
		var b strings.Builder
		b.WriteString(rec.Message)
		b.WriteString(r.with)
		rec.Attrs(func(a slog.Attr) bool { b.WriteString(format(a)); return true })
		r.keep.add(manage.Failure{At: rec.Time, Level: strings.ToLower(rec.Level.String()), Text: b.String()})
	}
	if !r.Handler.Enabled(ctx, rec.Level) {
		return nil
	}
	return r.Handler.Handle(ctx, rec)
}

func (r *rememberer) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := r.with
	for _, a := range attrs {
		with += format(a)
	}
	return &rememberer{Handler: r.Handler.WithAttrs(attrs), keep: r.keep, with: with}
}

func (r *rememberer) WithGroup(name string) slog.Handler {
	return &rememberer{Handler: r.Handler.WithGroup(name), keep: r.keep, with: r.with}
}

func format(a slog.Attr) string { return " " + a.Key + "=" + a.Value.String() }
