package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
)

// Options is what the file cannot say.
type Options struct {
	TestKnobs bool         // take [resolver.test], and port 0 in listeners
	OwnAddrs  []netip.Addr // of this machine; they belong to the network "self"
}

// Load reads a file with no Options.
func Load(path string) (*Checked, []Problem) { return Options{}.Load(path) }

// Parse checks the text of a file with no Options.
func Parse(data []byte, file, dir string) (*Checked, []Problem) {
	return Options{}.Parse(data, file, dir)
}

// Load reads and checks a file. Relative paths in it are relative to its
// directory. Checked is nil if a problem is an Error.
func (o Options) Load(path string) (*Checked, []Problem) {
	data, err := readFile(path)
	if err != nil {
		return nil, []Problem{{File: path, Line: 1, Col: 1, Message: "cannot read it: " + err.Error(), Hint: "--config names the file"}}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, []Problem{{File: path, Line: 1, Col: 1, Message: "cannot find it: " + err.Error()}}
	}
	c, problems := o.Parse(data, path, filepath.Dir(abs))
	if c != nil {
		c.Path = abs
	}
	return c, problems
}

// Parse checks the text of a file, which problems name as file; relative paths
// in it are relative to dir. Checked is nil if a problem is an Error.
func (o Options) Parse(data []byte, file, dir string) (*Checked, []Problem) {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // some editors put a mark in front of UTF-8
	f := readTree(data, file, dir)
	syntax := Failed(f.problems)
	root := levels()
	strict{file: f, root: root, opts: o}.table(f.root, root, nil)
	b := &builder{
		file: f, opts: o, checked: &Checked{file: f}, root: section0(f, root),
		lists: map[string][]listing{}, used: map[string]bool{}, primary: map[string]bool{}, secondary: map[string]bool{}, signing: map[string]bool{}, dirs: map[string][]os.DirEntry{},
	}
	if !syntax {
		b.build()
	}
	problems := arrange(f.problems, file)
	if Failed(problems) {
		return nil, problems
	}
	return b.checked, problems
}

// ControlPath says where the server of that file has its control socket, even
// if the file has problems by now: the running server has its own, sound copy.
func ControlPath(path string) (string, error) {
	data, err := readFile(path)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	f, root := readTree(data, path, filepath.Dir(path)), levels()
	strict{file: f, root: root, opts: Options{TestKnobs: true}}.table(f.root, root, nil)
	return section0(f, root).sub("server").path("control", f.Dir), nil
}

// readFile reads at most a little more than maxFile, so that a wrong path (a
// device, a mail spool) does no harm.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, reason(err)
	}
	if info.IsDir() {
		return nil, errors.New("is a directory")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read: %w", reason(err))
	}
	return data, nil
}

// reason drops the path that the problem names already.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
