//go:build !linux

package authority

import (
	"log/slog"
	"time"
)

// watch knows nothing: files are polled.
type watch struct {
	writings
	changed chan bool
}

func newWatch(*slog.Logger, func() time.Time, bool) *watch { return &watch{} }

func (w *watch) follow(map[string]bool) {}

func (w *watch) close() {}
