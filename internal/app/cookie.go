package app

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"postern/config"
	"postern/internal/atomicfile"
	"postern/internal/dns/gate"
)

// cookieJar returns what DNS cookies are made with: a key in the state, made
// where there is none yet; nil where cookies are off. Servers of one address
// are given the same file.
func (a *App) cookieJar(cfg *config.Checked) (*gate.Jar, error) {
	if !cfg.DNS.Cookies {
		return nil, nil
	}
	path := a.state.path("keys", "cookie")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newCookieKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("key of DNS cookies: %w", err)
	}
	var key [32]byte
	if raw, err := hex.DecodeString(strings.TrimSpace(string(text))); err != nil || copy(key[:], raw) != len(key) || len(raw) != len(key) {
		return nil, fmt.Errorf("key of DNS cookies: %s does not hold 64 hexadecimal digits (hint: remove it, and a new one is made)", path)
	}
	return gate.NewJar(key), nil
}

func newCookieKey(path string) (*gate.Jar, error) {
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, fmt.Errorf("key of DNS cookies: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("key of DNS cookies: %w", err)
	}
	if err := atomicfile.Write(path, []byte(hex.EncodeToString(key[:])+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("key of DNS cookies: %w", err)
	}
	return gate.NewJar(key), nil
}

// cookies is what the name service asks for every query with a cookie.
func (a *App) cookies(now int64) *gate.Secrets {
	if jar := a.jar.Load(); jar != nil {
		return jar.At(now)
	}
	return nil
}
