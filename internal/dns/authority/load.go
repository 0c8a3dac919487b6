package authority

import (
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
	text         *zonefile.Text // to read it again by
	records      []zonefile.Record
	problems     []zonefile.Problem
	includes     []string // relative to the directory
	sig          string   // of the file and its includes at the time of reading
	hash         string   // of their text
	unterminated bool     // the last line has no end: somebody may be writing still
}

var errNotRegular = errors.New("a directory, a pipe or a device, not a file")

// readZone reads and parses dir/file. The error is one of the file itself;
// what is wrong inside is in the problems. last is how it was read before, or
// nil: then an edit is read instead of the whole.
func readZone(dir, file string, origin name.Name, last *zonefile.Text) (loaded, error) {
	f, err := openZone(dir, file)
	if err != nil {
		return loaded{}, err
	}
	text, sig, err := readAll(f)
	if err != nil {
		return loaded{}, err
	}
	in := includer{dir: dir, sigs: []string{sig}, sum: sha256.New()}
	in.digest(text)
	defer in.close()
	l := loaded{unterminated: text != "" && text[len(text)-1] != '\n'}
	if last != nil {
		l.text, _ = last.Again(text)
	}
	if l.text == nil {
		l.text = zonefile.Read(text, filepath.Join(dir, file), origin, zonefile.Options{Include: in.include, MaxSize: maxZoneText})
	}
	l.records, l.problems = l.text.Records(), l.text.Problems()
	l.includes, l.sig = in.paths, strings.Join(in.sigs, " ")
	l.hash = hex.EncodeToString(in.sum.Sum(nil))
	return l, nil
}

func openZone(dir, file string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, plainError(err)
	}
	return f, nil
}

// readAll reads and closes f, and returns its signature from before reading.
func readAll(f *os.File) (text, sig string, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "", "", plainError(err)
	}
	if !info.Mode().IsRegular() {
		return "", "", errNotRegular
	}
	var b strings.Builder
	b.Grow(int(min(max(info.Size(), 0), maxZoneText)) + 1)
	if _, err = io.Copy(&b, io.LimitReader(f, maxZoneText+1)); err != nil {
		return "", "", plainError(err)
	}
	return b.String(), fileSignature(info), nil
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
func (in *includer) digest(text string) {
	var room [16 << 10]byte
	in.sum.Write(binary.BigEndian.AppendUint64(room[:0], uint64(len(text)))) // a hash never fails
	for len(text) > 0 {
		n := copy(room[:], text)
		in.sum.Write(room[:n])
		text = text[n:]
	}
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
		if _, there := os.Stat(filepath.Join(in.dir, rel)); there == nil && !errors.Is(err, fs.ErrPermission) {
			return nil, "", zonefile.ErrOutside // by a symbolic link
		}
		return nil, "", plainError(err)
	}
	text, sig, err := readAll(f)
	in.sigs = append(in.sigs, sig)
	in.digest(text)
	return []byte(text), filepath.Join(in.dir, rel), err
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
	return zonefile.Problem{File: path, Severity: zonefile.ERR, Code: reasonUnreadable, Message: fmt.Sprintf("cannot be read: %v", err), Hint: "it must be a file that Postern's own user may read"}
}

func blocks(problems []zonefile.Problem, strict bool) bool {
	for _, p := range problems {
		if p.Blocks() || strict && p.Severity == zonefile.ERR {
			return true
		}
	}
	return false
}
