package deliver

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// What a delivery that was killed leaves in a maildir's tmp is removed by a later
// one, as is the custom among those who write there: after 36 hours.
const (
	leftoverAge = 36 * time.Hour // far more than an attempt lasts
	leftovers   = 100            // entries looked at in one delivery
)

// ourName is what maildirName writes, less the host.
var ourName = regexp.MustCompile(`^[0-9]+\.M[0-9]{6}R[0-9a-f]{16}\.`)

// sweep removes our own leftovers. That it fails is no reason not to deliver.
func (a *attempt) sweep(dir string) {
	removed, err := a.removeLeftovers(filepath.Join(dir, "tmp"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.client.cfg.Log.Warn("maildir not cleaned", "reason", "maildir", "path", dir, "err", err)
	}
	if removed > 0 {
		a.client.cfg.Log.Info("unfinished deliveries removed", "reason", "maildir", "path", dir, "files", removed)
	}
}

func (a *attempt) removeLeftovers(tmp string) (removed int, err error) {
	d, err := os.Open(tmp)
	if err != nil {
		return 0, err
	}
	entries, err := d.ReadDir(leftovers)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	err = errors.Join(err, d.Close())
	before := a.client.cfg.Now().Add(-leftoverAge)
	for _, e := range entries {
		prefix := ourName.FindString(e.Name())
		if prefix == "" || e.Name() != prefix+a.client.cfg.Hostname || !e.Type().IsRegular() {
			continue
		}
		info, statErr := e.Info()
		if statErr != nil || info.ModTime().After(before) {
			continue // it has been moved to new meanwhile, or is under way
		}
		if rmErr := os.Remove(filepath.Join(tmp, e.Name())); rmErr != nil {
			err = errors.Join(err, rmErr)
			continue
		}
		removed++
	}
	return removed, err
}
