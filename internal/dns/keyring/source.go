package keyring

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postern/internal/secret"
)

// Source is a file to import from: its name for messages, and what it holds.
type Source struct {
	Name string
	Text secret.Value
}

// maxSources bounds the files of one import: four for each key.
const maxSources = 4 * maxKeys

// ReadSources reads files of keys. Of BIND's, which come as two or three with
// one name, any one brings the others that are there. Who may read the files
// is the business of the server they belong to.
func ReadSources(paths ...string) ([]Source, error) {
	var all []string
	for _, path := range paths {
		for _, p := range siblings(path) {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	if len(all) > maxSources {
		return nil, fmt.Errorf("%d files of keys: at most %d", len(all), maxSources)
	}
	var sources []Source
	for _, path := range all {
		text, err := readForeign(path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, reason(err))
		}
		sources = append(sources, Source{path, secret.New(text)})
	}
	return sources, nil
}

// siblings are the files that belong to one of BIND's.
func siblings(path string) []string {
	base := filepath.Base(path)
	ext := filepath.Ext(base)
	if !strings.HasPrefix(base, "K") || ext != ".key" && ext != ".private" && ext != ".state" {
		return []string{path}
	}
	found := []string{path}
	for _, other := range []string{".key", ".private", ".state"} {
		p := strings.TrimSuffix(path, ext) + other
		if _, err := os.Stat(p); err == nil && p != path {
			found = append(found, p)
		}
	}
	return found
}

func readForeign(path string) ([]byte, error) {
	// A pipe would be waited for, a device never ends.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errors.New("larger than 64 KiB")
	}
	return text, err
}
