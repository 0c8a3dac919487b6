package keyring

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

func noon() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func parsed(t *testing.T, text string) name.Name {
	t.Helper()
	n, err := name.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func opened(t *testing.T, dir string) *Ring {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func made(t *testing.T, r *Ring, zone name.Name, role Role, alg uint8) dnssec.Key {
	t.Helper()
	k, err := r.Generate(zone, role, alg, noon())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// keysOf are the usable keys, as text.
func keysOf(t *testing.T, r *Ring, zone name.Name) string {
	t.Helper()
	keys, err := r.Of(zone)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, k := range keys {
		lines = append(lines, k.DNSKEY.String())
	}
	return strings.Join(lines, "\n")
}

// files are the names in a directory, hidden ones too.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func put(t *testing.T, dir, file, text string) string {
	t.Helper()
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func golden(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tool runs another's program, and skips the test where it is not installed.
func tool(t *testing.T, dir string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", args[0])
		}
		t.Skipf("%s is not installed", args[0])
	}
	cmd := exec.CommandContext(t.Context(), path, args[1:]...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return string(out)
}

func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
