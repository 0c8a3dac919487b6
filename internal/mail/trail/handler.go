package trail

import (
	"context"
	"errors"
	"log/slog"
)

// about are the attributes that make a line one about mail: of a message, or of a
// command that was refused.
var about = map[string]bool{"queue_id": true, "message_id": true, "command": true}

// Handler passes all records on and copies those about mail.
func (t *Trail) Handler(next slog.Handler) slog.Handler {
	return &tee{next: next, copy: slog.NewJSONHandler(t, nil)}
}

type tee struct {
	next slog.Handler
	copy slog.Handler
	mail bool // an attribute given by With makes all of it about mail
}

// Enabled keeps lines coming for the trail even where the log is silent.
func (h *tee) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || h.next.Enabled(ctx, l)
}

func (h *tee) Handle(ctx context.Context, rec slog.Record) error {
	mail := h.mail
	rec.Attrs(func(a slog.Attr) bool {
		mail = mail || about[a.Key]
		return !mail
	})
	var errs []error
	if mail && rec.Level >= slog.LevelInfo {
		errs = append(errs, h.copy.Handle(ctx, rec.Clone()))
	}
	if h.next.Enabled(ctx, rec.Level) {
		errs = append(errs, h.next.Handle(ctx, rec))
	}
	return errors.Join(errs...)
}

func (h *tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	mail := h.mail
	for _, a := range attrs {
		mail = mail || about[a.Key]
	}
	return &tee{h.next.WithAttrs(attrs), h.copy.WithAttrs(attrs), mail}
}

func (h *tee) WithGroup(name string) slog.Handler {
	return &tee{h.next.WithGroup(name), h.copy.WithGroup(name), h.mail}
}
