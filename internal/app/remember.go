package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"postern/internal/atomicfile"
	"postern/internal/dns/serve"
)

// remembering carries what the name service remembers of updates from one process
// to the next. A file that is there was left by a process that ended well: it is
// taken away before anything is carried out, so that after a crash there is none.
type remembering struct {
	path  string
	serve *serve.Server
	log   *slog.Logger
}

// Start implements lifecycle.Part.
func (r *remembering) Start(context.Context) error {
	text, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		if err = errors.Join(os.Remove(r.path), atomicfile.SyncDir(filepath.Dir(r.path))); err == nil {
			err = r.serve.Recall(text)
		}
	}
	if err != nil { // then it is as after a crash
		r.log.Warn("what was remembered of updates is not taken", "file", r.path, "err", err)
	}
	return nil
}

// Stop implements lifecycle.Part. The name service has ended.
func (r *remembering) Stop(context.Context) error {
	text, err := r.serve.Remember()
	if err == nil {
		err = atomicfile.Write(r.path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("remember updates: %w", err)
	}
	return nil
}
