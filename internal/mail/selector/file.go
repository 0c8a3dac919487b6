package selector

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"postern/internal/atomicfile"
	"postern/internal/mail/address"
	"postern/internal/mail/seal"
)

// A key file, format 1: a first line, lines "name: value", of which the last, when
// it began to sign, may be missing, and the private key as PKCS #8 in PEM, so that other tools can read it too.
const (
	magic     = "POSTERN-DKIM-KEY 1"
	extension = ".key"
	maxFile   = 64 << 10
)

// key is a selector with its private key.
type key struct {
	Status
	signer crypto.Signer
	known  time.Time // since when it is known to be published; not in the file
}

func (r *Ring) path(s Status) string {
	return filepath.Join(r.cfg.Dir, strings.TrimSuffix(s.Owner(), ".")+extension)
}

// load makes the directory and reads the keys in it. Files that cannot be used
// are left where they are.
func (r *Ring) load() ([]key, error) {
	if err := os.MkdirAll(r.cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var keys []key
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !strings.HasSuffix(e.Name(), extension) {
			continue
		}
		path := filepath.Join(r.cfg.Dir, e.Name())
		k, err := readKey(path)
		if err == nil && r.path(k.Status) != path {
			err = errors.New("the name of the file is not that of the key in it")
		}
		if err != nil {
			r.Counters.Broken.Inc()
			r.cfg.Log.Error("dkim key not used", "reason", "dkim-key-broken", "file", path, "err", err)
			continue
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func readKey(path string) (key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return key{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return key{}, fmt.Errorf("others can read it: mode %04o (chmod 600 it, or remove it to have a new key made)", info.Mode().Perm())
	}
	if info.Size() > maxFile {
		return key{}, errors.New("too large for a key")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return key{}, err
	}
	return parseKey(text)
}

func parseKey(text []byte) (key, error) {
	head, _, _ := bytes.Cut(text, []byte("-----BEGIN"))
	lines := strings.Split(strings.TrimSpace(string(head)), "\n")
	if lines[0] != magic {
		return key{}, errors.New("not a key file of format 1")
	}
	var k key
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "domain":
			k.Domain = value
		case "selector":
			k.Selector = value
		case "algorithm":
			k.Algorithm = value
		case "created":
			at, err := time.Parse(time.RFC3339, value)
			if err != nil {
				return key{}, fmt.Errorf("created: %w", err)
			}
			k.Created = at
		case "began":
			at, err := time.Parse(time.RFC3339, value)
			if err != nil {
				return key{}, fmt.Errorf("began: %w", err)
			}
			k.Began = at
		}
	}
	if d, err := address.ParseDomain(k.Domain); err != nil || d != k.Domain || k.Selector == "" || strings.ContainsAny(k.Selector, "./") {
		return key{}, errors.New("domain or selector is malformed")
	}
	if err := k.readSigner(text); err != nil {
		return key{}, err
	}
	var err error
	k.Record, err = seal.Record(k.signer.Public())
	return k, err
}

func (k *key) readSigner(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("no private key in it")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	switch p := private.(type) {
	case *rsa.PrivateKey:
		// RFC 8301, Section 3.2.
		if k.Algorithm != RSA2048 || p.N.BitLen() < 2048 {
			return errors.New("private key is not of its algorithm")
		}
		k.signer = p
	case ed25519.PrivateKey:
		if k.Algorithm != Ed25519 {
			return errors.New("private key is not of its algorithm")
		}
		k.signer = p
	default:
		return seal.ErrKind
	}
	return nil
}

// create makes the keys that a domain lacks, each durable before it is used,
// until ctx ends.
func (r *Ring) create(ctx context.Context, domain string) {
	for _, algorithm := range r.missing(domain) {
		if ctx.Err() != nil {
			return
		}
		if err := r.make(domain, algorithm); err != nil {
			r.cfg.Log.Error("dkim key not made: mail goes out without its signature", "reason", "dkim-key-write",
				"domain", domain, "algorithm", algorithm, "err", err)
		}
	}
}

// make makes a key and takes it in.
func (r *Ring) make(domain, algorithm string) error {
	k, err := r.createOne(domain, algorithm)
	if err != nil {
		return fmt.Errorf("make a key of %s: %w", algorithm, err)
	}
	r.Counters.Created.Inc()
	keys := append([]key{k}, *r.keys.Load()...)
	r.keys.Store(&keys)
	return nil
}

func (r *Ring) createOne(domain, algorithm string) (key, error) {
	r.busy.Store(true)
	defer r.busy.Store(false)
	k := key{Status: Status{Domain: domain, Algorithm: algorithm, Created: r.cfg.Now().UTC().Truncate(time.Second)}}
	var err error
	if algorithm == RSA2048 {
		k.signer, err = rsa.GenerateKey(r.cfg.Rand, 2048)
	} else {
		_, k.signer, err = ed25519.GenerateKey(r.cfg.Rand)
	}
	if err != nil {
		return key{}, err
	}
	if k.Record, err = seal.Record(k.signer.Public()); err != nil {
		return key{}, err
	}
	if k.Selector, err = r.freeName(k.Status); err != nil {
		return key{}, err
	}
	return k, r.save(k)
}

// save writes the file of a key.
func (r *Ring) save(k key) error {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return err
	}
	began := ""
	if !k.Began.IsZero() {
		began = "began: " + k.Began.Format(time.RFC3339) + "\n"
	}
	text := fmt.Sprintf("%s\ndomain: %s\nselector: %s\nalgorithm: %s\ncreated: %s\n%s%s", magic, k.Domain, k.Selector, k.Algorithm,
		k.Created.Format(time.RFC3339), began, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return atomicfile.Write(r.path(k.Status), []byte(text), 0o600)
}

// freeName is "p", the year, a letter and the kind: p2026a-rsa. A file that is
// there already, usable or not, keeps its name: a selector never gets a second
// key, since verifiers may have cached the first.
func (r *Ring) freeName(s Status) (string, error) {
	kind := map[string]string{RSA2048: "rsa", Ed25519: "ed"}[s.Algorithm]
	free := ""
	for letter := 'z'; letter >= 'a'; letter-- { // those before the last may have been withdrawn a moment ago
		s.Selector = fmt.Sprintf("p%d%c-%s", s.Created.Year(), letter, kind)
		if _, err := os.Lstat(r.path(s)); !errors.Is(err, os.ErrNotExist) {
			break
		}
		free = s.Selector
	}
	if free == "" {
		return "", errors.New("every selector name of the year is taken")
	}
	return free, nil
}
