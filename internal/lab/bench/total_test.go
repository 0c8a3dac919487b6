package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "Booting\n", "it counted nothing"},
		{"panic", "total: loaded nsd 1s\nKernel panic\n", "it counted nothing"},
		{"error", "total: count nsd mixed 8 10\ntotal: error nsd: no answer\n", "nsd: no answer"},
		{"no number", "total: count nsd mixed 8 ten\n", "count"},
		{"cut off", "total: count nsd mixed 8\n", "count"},
		{"loop cut off", "total: count nsd mixed 8 10\ntotal: loop\n", "loop"},
		{"no loop", "total: count nsd mixed 8 10\n", "to its end"},
	} {
		_, _, err := listen(strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	said, last, err := listen(strings.NewReader("\x1bcBooting..total: loaded nsd 1s 9 MB\r\ntotal: count nsd mixed 8 10.5\r\ntotal: count nsd mixed 64 9\r\ntotal: loop 300000100\r\n[ 1.5] reboot: Power down\r\n"))
	if err != nil || len(said.counts) != 2 || said.loop != 300000100 || !strings.HasSuffix(last, "Power down") {
		t.Fatalf("%+v, %q, %v", said, last, err)
	}
	if n := said.of(key{"nsd", "mixed", 8}); n != 10.5 {
		t.Error(n)
	}
	if n := said.of(key{"nsd", "mixed", 1}); n != 0 {
		t.Error("what was not counted: ", n)
	}
}

func TestImage(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	m := &image{out: &out, have: map[string]bool{}}
	m.entry("/etc/group", fileMode, []byte("root\n"))
	m.entry("/etc/passwd", fileMode, []byte("four"))
	m.entry("etc/group", fileMode, []byte("again"))
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"etc 40755 \"\"", "etc/group 100755 \"root\\n\"", "etc/passwd 100755 \"four\"", "TRAILER!!! 0 \"\""}
	for i, got := range unpack(t, out.Bytes()) {
		if i >= len(want) || got != want[i] {
			t.Fatalf("member %d is %s, want %q", i, got, want)
		}
	}
	m.err = os.ErrClosed
	if m.entry("late", fileMode, nil); m.close() == nil {
		t.Error("an error was forgotten")
	}
}

// unpack reads an archive as cpio(5) says.
func unpack(t *testing.T, b []byte) (all []string) {
	t.Helper()
	for at := 0; at < len(b); {
		var mode, size, length int
		if n, err := fmt.Sscanf(string(b[at:at+110]), "070701%8X%8X", new(int), &mode); n != 2 {
			t.Fatal(err)
		}
		for offset, into := range map[int]*int{54: &size, 94: &length} {
			if _, err := fmt.Sscanf(string(b[at+offset:at+offset+8]), "%X", into); err != nil {
				t.Fatal(err)
			}
		}
		name := string(b[at+110 : at+110+length-1])
		at = (at + 110 + length + 3) &^ 3
		all = append(all, fmt.Sprintf("%s %o %q", name, mode, b[at:at+size]))
		at = (at + size + 3) &^ 3
	}
	return all
}

func TestLibraries(t *testing.T) {
	t.Parallel()
	if _, err := libraries("/dev/null"); err == nil {
		t.Error("nothing is no program")
	}
	all, err := libraries("/bin/sh")
	if err != nil {
		t.Skip("no shell that can be looked into: ", err)
	}
	for _, library := range all {
		if !filepath.IsAbs(library) {
			t.Error(library)
		}
		if _, err := os.Stat(library); err != nil {
			t.Error(err)
		}
	}
}

// TestCannotTotal: what is missing is said, and is no error.
func TestCannotTotal(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out bytes.Buffer
	b := &bench{out: &out}
	if err := b.total(); err != nil || !strings.Contains(out.String(), "not installed") {
		t.Errorf("%v: %s", err, out.String())
	}
	fake := filepath.Join(os.Getenv("PATH"), "qemu-system-x86_64")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if why := b.cannotTotal(); !strings.Contains(why, "-kernel") {
		t.Error(why)
	}
	b.kernel = filepath.Join(t.TempDir(), "vmlinuz")
	if why := b.cannotTotal(); !strings.Contains(why, b.kernel) {
		t.Error(why)
	}
}
