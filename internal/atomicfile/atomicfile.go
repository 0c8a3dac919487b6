// Package atomicfile replaces a file so that a crash at any moment leaves the
// old content or the new, never a mixture: write a temporary file, fsync it,
// rename it over the old one, fsync the directory.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Step names a point at which Write can be made to fail in a test.
type Step string

// The steps of Write, in their order.
const (
	StepCreate  Step = "create"
	StepWrite   Step = "write"
	StepSync    Step = "sync"
	StepRename  Step = "rename"
	StepSyncDir Step = "sync directory"
)

// Writer writes files. Fault, if set, is asked before each step and may return
// an error in its place; it exists for tests.
type Writer struct {
	Fault func(Step) error
}

// Write replaces path with data. The file gets mode perm; the directory must
// exist.
func Write(path string, data []byte, perm os.FileMode) error {
	return Writer{}.Write(path, data, perm)
}

// Write is like the package's Write, with w's faults.
func (w Writer) Write(path string, data []byte, perm os.FileMode) error {
	return w.Stream(path, perm, func(f io.Writer) error { _, err := f.Write(data); return err })
}

// Stream replaces path with what fill writes, which need not be in memory as a
// whole. Where fill returns an error, path stays as it is.
func (w Writer) Stream(path string, perm os.FileMode, fill func(io.Writer) error) (err error) {
	if err := w.fault(StepCreate); err != nil {
		return w.wrap(path, StepCreate, err)
	}
	dir := filepath.Dir(path)
	// The leading dot keeps a half-written file out of directory scans.
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+unfinished+"*")
	if err != nil {
		return w.wrap(path, StepCreate, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreGone(os.Remove(f.Name())))
		}
	}()
	if err := w.fill(f, fill, perm); err != nil {
		_ = f.Close() // the first error is the one to report
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return w.wrap(path, StepSync, err)
	}
	if err := w.step(StepRename, func() error { return os.Rename(f.Name(), path) }); err != nil {
		return w.wrap(path, StepRename, err)
	}
	if err := w.step(StepSyncDir, func() error { return SyncDir(dir) }); err != nil {
		return w.wrap(path, StepSyncDir, err)
	}
	return nil
}

const unfinished = ".tmp-"

// Unfinished reports whether a file of that name is what a crash left of a
// write. While nobody writes into its directory it may be removed.
func Unfinished(file string) bool {
	return strings.HasPrefix(file, ".") && strings.Contains(file, unfinished)
}

func (w Writer) fill(f *os.File, fill func(io.Writer) error, perm os.FileMode) error {
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := w.step(StepWrite, func() error { return fill(f) }); err != nil {
		return err
	}
	return w.step(StepSync, f.Sync)
}

func (w Writer) step(s Step, do func() error) error {
	if err := w.fault(s); err != nil {
		return err
	}
	return do()
}

func (w Writer) fault(s Step) error {
	if w.Fault == nil {
		return nil
	}
	return w.Fault(s)
}

func (w Writer) wrap(path string, s Step, err error) error {
	return fmt.Errorf("write %s: %s: %w", path, s, err)
}

func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// SyncDir makes renames, creations and removals in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
