// Package secret holds values that cannot print, and reads them by reference.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Value is a secret. Every way of printing it gives a placeholder; Reveal is
// the one way to its bytes. They hide behind a function, since package fmt
// prints the unexported fields of a struct without asking their methods.
type Value struct{ reveal func() []byte }

// New wraps b, which the caller gives up.
func New(b []byte) Value { return Value{func() []byte { return b }} }

// Reveal returns the secret itself. The caller must not log or change it.
func (v Value) Reveal() []byte {
	if v.reveal == nil {
		return nil
	}
	return v.reveal()
}

// IsZero reports whether there is no secret.
func (v Value) IsZero() bool { return len(v.Reveal()) == 0 }

const placeholder = "[secret]"

// String returns a placeholder.
func (v Value) String() string { return placeholder }

// GoString returns a placeholder.
func (v Value) GoString() string { return placeholder }

// Format writes a placeholder for every verb.
func (v Value) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(placeholder)) }

// MarshalText returns a placeholder, so that JSON and TOML cannot leak it.
func (v Value) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// ErrReadable is a secret file that others than its owner can read.
var ErrReadable = errors.New("others can read it")

// Read follows a reference: "file:PATH" (relative to dir; refused when group
// or others have any right to it), "cred:NAME" (a systemd credential) or
// "env:NAME". One final line end is cut off. Errors name the reference, never
// the value.
func Read(ref, dir string) (Value, error) {
	kind, rest, ok := strings.Cut(ref, ":")
	if !ok || rest == "" {
		return Value{}, fmt.Errorf("secret %q: want file:PATH, cred:NAME or env:NAME", redact(ref))
	}
	switch kind {
	case "file":
		if !filepath.IsAbs(rest) {
			rest = filepath.Join(dir, rest)
		}
		return readFile(rest)
	case "cred":
		base := os.Getenv("CREDENTIALS_DIRECTORY")
		if base == "" || rest != filepath.Base(rest) {
			return Value{}, fmt.Errorf("secret %s: no such systemd credential (hint: LoadCredential=%s:PATH in the unit)", ref, rest)
		}
		b, err := os.ReadFile(filepath.Join(base, rest))
		return New(trim(b)), wrap(ref, err)
	case "env":
		s, set := os.LookupEnv(rest)
		if !set {
			return Value{}, fmt.Errorf("secret %s: the variable is not set", ref)
		}
		return New([]byte(s)), nil
	}
	return Value{}, fmt.Errorf("secret %q: want file:PATH, cred:NAME or env:NAME", redact(ref))
}

// redact keeps a secret that was written in place of a reference out of the
// error text.
func redact(ref string) string {
	switch kind, _, ok := strings.Cut(ref, ":"); {
	case ok && (kind == "file" || kind == "cred" || kind == "env"):
		return kind + ":…"
	}
	return "…"
}

func wrap(ref string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("secret %s: %w", ref, err)
}

func readFile(path string) (Value, error) {
	f, err := os.Open(path)
	if err != nil {
		return Value{}, fmt.Errorf("%w (hint: it must exist, mode 0600, and belong to the user that runs Postern)", wrap("file:"+path, reason(err)))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Value{}, wrap("file:"+path, reason(err))
	}
	if info.IsDir() {
		return Value{}, wrap("file:"+path, errors.New("is a directory"))
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Value{}, fmt.Errorf("secret file:%s: %w (mode %04o; hint: chmod 600 %s)", path, ErrReadable, info.Mode().Perm(), path)
	}
	if info.Size() > 1<<16 {
		return Value{}, wrap("file:"+path, errors.New("larger than 64 KiB"))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return Value{}, wrap("file:"+path, reason(err))
	}
	return New(trim(b)), nil
}

// reason drops the path that the wrapping already names.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func trim(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte("\n"))
	return bytes.TrimSuffix(b, []byte("\r"))
}
