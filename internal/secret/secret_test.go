package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, mode os.FileMode, size int) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(strings.Repeat("s", size)), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("world", 0o604, 3)
	write("group", 0o640, 3)
	write("huge", 0o600, 1<<16+1)
	for ref, want := range map[string]string{
		"hunter2":             "want file:PATH",
		"file:":               "want file:PATH",
		"vault:x":             "want file:PATH",
		"file:missing":        "no such file",
		"file:world":          "chmod 600",
		"file:group":          "chmod 600",
		"file:huge":           "larger than",
		"file:.":              "is a directory",
		"cred:../x":           "no such systemd credential",
		"env:POSTERN_NOT_SET": "not set",
	} {
		if v, err := Read(ref, dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v; want an error with %q", ref, v, err, want)
		}
	}
	for _, written := range []string{"hunter2", "hunter2:x", "x:hunter2", ":hunter2", "hunter2:"} {
		if _, err := Read(written, dir); strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret written in place of a reference was printed: %v", err)
		}
	}
}

func TestReadTakesOneLineEnd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("value \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := Read("file:"+path, "/elsewhere")
	if err != nil || string(v.Reveal()) != "value " {
		t.Errorf("got %q, %v", v.Reveal(), err)
	}
}

func TestValueNeverPrints(t *testing.T) {
	t.Parallel()
	v := New([]byte("hunter2"))
	encoded, err := json.Marshal(struct{ V Value }{v})
	if err != nil {
		t.Fatal(err)
	}
	type wrap struct{ inner Value }
	all := fmt.Sprintf("%v %s %q %x %d %+v %#v %v %s", v, v, v, v, v, v, v, wrap{v}, encoded)
	if strings.Contains(all, "hunter2") || strings.Contains(all, fmt.Sprintf("%x", "hunter2")) || strings.Contains(all, "104") {
		t.Errorf("printed: %s", all)
	}
}
