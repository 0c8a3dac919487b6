package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/secret"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t *testing.T, cfg Config) *Keeper {
	t.Helper()
	cfg.Hostname, cfg.Log = "edge.example.net", quiet()
	k, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestClientThatTrustsTheAuthorityConnects(t *testing.T) {
	t.Parallel()
	k := open(t, Config{Dir: t.TempDir(), Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(k.AuthorityFile())
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatal("no authority file", err)
	}
	if got := k.Leaf().Subject.CommonName; got != "edge.example.net" {
		t.Errorf("the subject %q closes out GnuTLS's tools", got)
	}
	for _, name := range []string{"edge.example.net", "127.0.0.1"} {
		here, there := net.Pipe()
		go func() { _ = tls.Server(there, k.Server(tls.VersionTLS12, false)).Handshake() }()
		if err := tls.Client(here, &tls.Config{RootCAs: roots, ServerName: name}).Handshake(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCertificateIsKeptAcrossRestartsAndReplacedForAnotherName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := open(t, Config{Dir: dir}).Leaf()
	if again := open(t, Config{Dir: dir}).Leaf(); !bytes.Equal(first.Raw, again.Raw) {
		t.Error("a restart made a new certificate")
	}
	other := open(t, Config{Dir: dir, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}).Leaf()
	if other.VerifyHostname("192.0.2.1") != nil {
		t.Error("the certificate does not cover a newly wanted address")
	}
}

func TestLocalCertificateRenewsBeforeItsEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		k := open(t, Config{Dir: dir})
		first := k.Leaf()
		if err := k.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(leafLifetime - renewBefore + time.Hour) // virtual time
		synctest.Wait()
		if k.Leaf().NotAfter.Equal(first.NotAfter) || k.Counters.Renewed.Value() != 1 {
			t.Errorf("renewed %d times, until %v", k.Counters.Renewed.Value(), k.Leaf().NotAfter)
		}
		if err := k.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestKeysAreReadableByTheirOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, Config{Dir: dir})
	for _, name := range []string{authorityKey, leafKey} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestBadFilesAreRefusedAtOpenAndKeepTheOldOneLater(t *testing.T) {
	t.Parallel()
	made := t.TempDir()
	open(t, Config{Dir: made})
	cert, key := filepath.Join(made, leafCert), filepath.Join(made, leafKey)
	cfg := Config{CertFile: cert, KeyFile: key, Log: quiet()}

	late := cfg
	late.Now = func() time.Time { return time.Now().Add(leafLifetime + time.Hour) }
	if _, err := Open(late); err == nil {
		t.Error("an expired certificate was taken")
	}
	missing := cfg
	missing.CertFile = filepath.Join(made, "gone.pem")
	if _, err := Open(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}

	k, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); !errors.Is(err, secret.ErrReadable) {
		t.Errorf("a key that others can read: %v", err)
	}
	before := k.Leaf()
	if k.Renew(); k.Leaf() != before || k.Counters.Failed.Value() != 1 {
		t.Error("a failed renewal changed the certificate or was not counted")
	}
}
