package authority

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"postern/internal/dns/name"
	"postern/internal/dns/zonefile"
)

// maxZoneText bounds a zone's files together, in octets.
const maxZoneText = 256 << 20

// loaded is one zone file as it was read.
type loaded struct {
	records      []zonefile.Record
	problems     []zonefile.Problem
	includes     []string // relative to the directory
	sig          string   // of the file and its includes at the time of reading
	hash         string   // of their text
	unterminated bool     // the last line has no end: somebody may be writing still
}

var errNotRegular = errors.New("not a regular file")

// readZone reads and parses dir/file. The error is one of the file itself;
// what is wrong inside is in the problems.
func readZone(dir, file string, origin name.Name) (loaded, error) {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return loaded{}, plainError(err)
	}
	text, sig, err := readAll(f)
	if err != nil {
		return loaded{}, err
	}
	in := includer{dir: dir, sigs: []string{sig}, sum: sha256.New()}
	in.digest(text)
	defer in.close()
	l := loaded{unterminated: len(text) > 0 && text[len(text)-1] != '\n'}
	l.records, l.problems = zonefile.Parse(bytes.NewReader(text), filepath.Join(dir, file), origin,
		zonefile.Options{Include: in.include, MaxSize: maxZoneText})
	l.includes, l.sig = in.paths, strings.Join(in.sigs, " ")
	l.hash = hex.EncodeToString(in.sum.Sum(nil))
	return l, nil
}

// readAll reads and closes f, and returns its signature from before reading.
func readAll(f *os.File) (text []byte, sig string, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, "", plainError(err)
	}
	if !info.Mode().IsRegular() {
		return nil, "", errNotRegular
	}
	text, err = io.ReadAll(io.LimitReader(f, maxZoneText+1))
	if err != nil {
		return nil, "", plainError(err)
	}
	return text, fileSignature(info), nil
}

// plainError drops the path that the problem names already.
func plainError(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// includer fetches what $INCLUDE names, below the zone's directory only: an
// os.Root follows no symbolic link out of it.
type includer struct {
	dir   string
	root  *os.Root
	paths []string
	sigs  []string
	sum   hash.Hash
}

// digest takes one file's text into the hash.
func (in *includer) digest(text []byte) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(text)))
	in.sum.Write(size[:]) // a hash never fails
	in.sum.Write(text)
}

func (in *includer) include(path string) ([]byte, string, error) {
	rel := path
	if filepath.IsAbs(path) {
		var err error
		if rel, err = filepath.Rel(in.dir, path); err != nil {
			return nil, "", zonefile.ErrOutside
		}
	}
	if !filepath.IsLocal(rel) {
		return nil, "", zonefile.ErrOutside
	}
	if in.root == nil {
		root, err := os.OpenRoot(in.dir)
		if err != nil {
			return nil, "", plainError(err)
		}
		in.root = root
	}
	in.paths = append(in.paths, rel)
	f, err := in.root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		in.sigs = append(in.sigs, absent)
		return nil, "", plainError(err)
	}
	text, sig, err := readAll(f)
	in.sigs = append(in.sigs, sig)
	in.digest(text)
	return text, filepath.Join(in.dir, rel), err
}

func (in *includer) close() {
	if in.root != nil {
		_ = in.root.Close() // only ever read from
	}
}

// absent is the signature of a file that is not there.
const absent = "-"

// signature returns what identifies the present state of the files, or the
// error of the first.
func signature(dir, file string, includes []string) (string, error) {
	info, err := os.Stat(filepath.Join(dir, file))
	if err != nil {
		return absent, plainError(err)
	}
	if !info.Mode().IsRegular() {
		return absent, errNotRegular
	}
	sigs := []string{fileSignature(info)}
	for _, path := range includes {
		sig := absent
		if info, err := os.Stat(filepath.Join(dir, path)); err == nil {
			sig = fileSignature(info)
		}
		sigs = append(sigs, sig)
	}
	return strings.Join(sigs, " "), nil
}

func unreadable(path string, err error) zonefile.Problem {
	return zonefile.Problem{File: path, Severity: zonefile.ERR, Code: "file-unreadable", Message: fmt.Sprintf("cannot be read: %v", err)}
}

func blocks(problems []zonefile.Problem, strict bool) bool {
	for _, p := range problems {
		if p.Blocks() || strict && p.Severity == zonefile.ERR {
			return true
		}
	}
	return false
}
