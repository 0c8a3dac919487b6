package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// image is the first file system of a kernel: a cpio archive of the form
// "newc", which the kernel unpacks into memory.
type image struct {
	out  io.Writer
	have map[string]bool
	err  error // the first
}

const (
	fileMode = 0o100755
	dirMode  = 0o040755
)

// entry writes one member, and the directories it lies in.
func (m *image) entry(name string, mode int, content []byte) {
	name = strings.TrimPrefix(filepath.Clean(name), "/")
	if m.have[name] || m.err != nil || name == "" || name == "." {
		return
	}
	if dir := filepath.Dir(name); dir != "." {
		m.entry(dir, dirMode, nil)
	}
	m.have[name] = true
	m.write(name, mode, content)
}

func (m *image) write(name string, mode int, content []byte) {
	if m.err != nil {
		return
	}
	// Thirteen numbers: inode, mode, owner, group, links, time, size, device
	// twice two, length of the name, sum.
	var b bytes.Buffer
	fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		len(m.have), mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	pad := func() { b.Write(make([]byte, -b.Len()&3)) }
	pad()
	b.Write(content)
	pad()
	_, m.err = m.out.Write(b.Bytes())
}

// close writes the end.
func (m *image) close() error {
	m.write("TRAILER!!!", 0, nil)
	return m.err
}

// program adds a program under a name, and the libraries it needs where they
// lie here.
func (m *image) program(name, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	m.entry(name, fileMode, text)
	needed, err := libraries(path)
	if err != nil {
		return err
	}
	for _, library := range needed {
		text, err := os.ReadFile(library)
		if err != nil {
			return err
		}
		m.entry(library, fileMode, text)
	}
	return m.err
}

// libraries asks the loader what a program needs: paths, one in each line.
func libraries(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	needed, err := f.ImportedLibraries()
	if err = errors.Join(err, f.Close()); err != nil || len(needed) == 0 {
		return nil, err
	}
	said, err := exec.Command("ldd", path).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", path, err)
	}
	var all []string
	for line := range strings.Lines(string(said)) {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "/") {
				all = append(all, word)
			}
		}
	}
	return all, nil
}
