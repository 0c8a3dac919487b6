package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"postern/internal/atomicfile"
	"postern/internal/lifecycle"
	"postern/internal/mail/submission"
)

// dayCounts carries what accounts have sent today from one process to the next:
// it is written down every minute in which it has changed, and at the end.
type dayCounts struct {
	path    string
	door    func() *submission.Door
	now     func() time.Time
	log     *slog.Logger
	workers lifecycle.Workers
	saved   uint64 // changes, when it was written last
}

const (
	daysEvery = time.Minute
	daysMost  = 32 << 20 // of the file
)

// Start implements lifecycle.Part. What was whole when it was written is not for
// much longer: it is written anew before anybody sends, for a crash to find.
func (d *dayCounts) Start(context.Context) error {
	text, err := readSome(d.path, daysMost)
	if err == nil {
		err = errors.Join(d.door().Recall(text, d.now()), d.save(false, true))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("what accounts have sent today is not known: they have their day's worth anew", "reason", "day-counts", "file", d.path, "err", err)
	}
	d.workers.Go("day counts", func(ctx context.Context) {
		again := time.NewTicker(daysEvery)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-again.C:
				if err := d.save(false, false); err != nil {
					d.log.Error("what accounts have sent today is not written down", "reason", "day-counts", "err", err)
				}
			}
		}
	})
	return nil
}

// Stop implements lifecycle.Part. The mail doors have ended.
func (d *dayCounts) Stop(ctx context.Context) error {
	return errors.Join(d.workers.Stop(ctx), d.save(true, true))
}

func (d *dayCounts) save(whole, anyway bool) error {
	text, changes, err := d.door().Remember(whole, d.now())
	if err == nil && (anyway || changes != d.saved) {
		err = atomicfile.Write(d.path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("day counts: %w", err)
	}
	d.saved = changes
	return nil
}

// readSome reads a file that is not larger than most.
func readSome(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("larger than %d MiB", most>>20)
	}
	return text, err
}
