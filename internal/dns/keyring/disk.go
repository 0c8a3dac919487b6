package keyring

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postern/internal/atomicfile"
	"postern/internal/dns/name"
)

// load reads the directory and the keys in it.
func (r *Ring) load() (*holder, error) {
	if err := r.prepare(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	h := &holder{zones: make(map[name.Name][]entry), broken: make(map[name.Name]error)}
	for _, file := range entries {
		if atomicfile.Unfinished(file.Name()) {
			// What a crash left of a key that nobody has used: a private key,
			// or a part of one, that must not lie about.
			if err := os.Remove(filepath.Join(r.dir, file.Name())); err != nil {
				return nil, err
			}
			continue
		}
		if strings.HasPrefix(file.Name(), ".") || !strings.HasSuffix(file.Name(), extension) {
			continue
		}
		if err := r.take(h, file); err != nil {
			r.Counters.Broken.Inc()
		}
	}
	for _, keys := range h.zones {
		sortKeys(keys)
	}
	return h, nil
}

// prepare makes the directory, or sees that nobody else can get into it.
func (r *Ring) prepare() error {
	_, err := os.Stat(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(r.dir, 0o700); err != nil {
			return err
		}
		// A key in a directory that the next crash takes away is not durable.
		parent := filepath.Dir(r.dir)
		if err := errors.Join(atomicfile.SyncDir(parent), atomicfile.SyncDir(filepath.Dir(parent))); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	info, err := os.Stat(r.dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", r.dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s: %w (mode %04o; hint: chmod 700 %s)", r.dir, ErrReadable, info.Mode().Perm(), r.dir)
	}
	if err := checkOwner(info); err != nil {
		return fmt.Errorf("%s: %w", r.dir, err)
	}
	return nil
}

// take puts the key of a file into h, or the reason why it cannot be used.
func (r *Ring) take(h *holder, file fs.DirEntry) error {
	path := filepath.Join(r.dir, file.Name())
	e, err := readKey(path, file)
	if err == nil && e.File != file.Name() {
		err = fmt.Errorf("%w: the file of this key is named %s", ErrContent, e.File)
	}
	if err == nil {
		if _, taken := h.find(e.Zone, e.Tag); taken {
			err = ErrTag
		}
	}
	if err == nil {
		h.zones[e.Zone] = append(h.zones[e.Zone], e)
		return nil
	}
	err = fmt.Errorf("%s: %w", path, reason(err))
	zones := make([]name.Name, 0, 2)
	if zone, ok := zoneOf(file.Name()); ok {
		zones = append(zones, zone)
	}
	if e.Zone != "" && !slices.Contains(zones, e.Zone) {
		zones = append(zones, e.Zone)
	}
	for _, zone := range zones {
		h.broken[zone] = errors.Join(h.broken[zone], err)
	}
	if len(zones) == 0 {
		h.stray = errors.Join(h.stray, fmt.Errorf("%w (hint: move it elsewhere if it is none of Postern's)", err))
	}
	return err
}

// reason drops the path that the wrapping already names.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func readKey(path string, file fs.DirEntry) (entry, error) {
	if !file.Type().IsRegular() {
		return entry{}, errors.New("not a regular file")
	}
	text, err := readOwn(path)
	if err != nil {
		return entry{}, err
	}
	e, _, err := parse(text)
	return e, err
}

// readOwn reads a file that is ours alone.
func readOwn(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w (mode %04o; hint: chmod 600 it, and think of the key as known to others)", ErrReadable, info.Mode().Perm())
	}
	if err := checkOwner(info); err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%w: larger than 64 KiB", ErrContent)
	}
	return os.ReadFile(path)
}

func (r *Ring) path(e entry) string { return filepath.Join(r.dir, e.File) }

// save writes a new key. After an error there is no file of it.
func (r *Ring) save(e entry, private crypto.Signer) error {
	path := r.path(e)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s is there already", path), err)
	}
	pem, err := formatPrivate(private)
	if err != nil {
		return err
	}
	err = r.writer.Write(path, append(formatHead(e), pem.Reveal()...), 0o600)
	if err == nil {
		return nil
	}
	// It may be in place and only not known to last: nobody uses it, so nobody
	// shall find it after a restart.
	gone := os.Remove(path)
	switch {
	case gone == nil:
		return errors.Join(err, atomicfile.SyncDir(r.dir))
	case errors.Is(gone, fs.ErrNotExist):
		return err
	}
	h := *r.state.Load()
	h.broken = maps.Clone(h.broken)
	h.broken[e.Zone] = errors.Join(h.broken[e.Zone], fmt.Errorf("%s: written only in part, and not removed: %w", path, gone))
	r.state.Store(&h)
	return errors.Join(err, gone)
}

// rewrite replaces the head of a key's file; the private part stays as it is
// there.
func (r *Ring) rewrite(e entry) error {
	text, err := readOwn(r.path(e))
	if err != nil {
		return err
	}
	old, private, err := parse(text)
	if err != nil {
		return err
	}
	if old.Zone != e.Zone || !samePublic(old.key.DNSKEY, e.key.DNSKEY) {
		return fmt.Errorf("%w: the file holds another key than it did", ErrContent)
	}
	return r.writer.Write(r.path(e), append(formatHead(e), private.Reveal()...), 0o600)
}

// The steps of erase, for faults.
const stepErase atomicfile.Step = "remove"

// erase removes a key's file. One that is gone already is none to remove.
func (r *Ring) erase(e entry) error {
	if err := r.fault(stepErase); err != nil {
		return err
	}
	if err := os.Remove(r.path(e)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := r.fault(atomicfile.StepSyncDir); err != nil {
		return err
	}
	return atomicfile.SyncDir(r.dir)
}

func (r *Ring) fault(at atomicfile.Step) error {
	if r.writer.Fault == nil {
		return nil
	}
	return r.writer.Fault(at)
}
