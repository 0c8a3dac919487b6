package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"postern/internal/atomicfile"
	"postern/internal/lifecycle"
	"postern/internal/metrics"
	"postern/internal/secret"
)

// Config says which certificate to show.
type Config struct {
	Dir      string           // where the local authority lives (STATE/certs)
	Hostname string           // the first name of the certificate
	Addrs    []netip.Addr     // addresses it also vouches for (the demo's loopback)
	CertFile string           // with KeyFile: the admin's own chain, PEM; empty: the local authority
	KeyFile  string           // PEM; must be readable by its owner alone
	Now      func() time.Time // nil: time.Now
	Log      *slog.Logger
}

// Counters is what a Keeper counts.
type Counters struct {
	Renewed metrics.Counter // certificates issued, or read again from changed files
	Failed  metrics.Counter // renewals that went wrong; the old certificate stays
}

// Keeper holds the certificate shown. It is safe for concurrent use.
type Keeper struct {
	Counters Counters

	cfg     Config
	current atomic.Pointer[tls.Certificate]
	workers lifecycle.Workers
}

// How often a renewal is considered, and how soon changed files are seen.
const (
	checkLocalEvery = time.Hour
	checkFilesEvery = time.Minute
)

// renewBefore is how much life is left when the local authority renews.
const renewBefore = leafLifetime / 3

// Open reads or makes the certificate. It fails if the files cannot be used;
// there is no door without a certificate.
func Open(cfg Config) (*Keeper, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	k := &Keeper{cfg: cfg}
	if err := k.refresh(); err != nil {
		return nil, err
	}
	return k, nil
}

// Start begins to watch for renewal.
func (k *Keeper) Start(context.Context) error {
	every := checkLocalEvery
	if k.cfg.CertFile != "" {
		every = checkFilesEvery
	}
	k.workers.Go("certs", func(ctx context.Context) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				k.Renew()
			}
		}
	})
	return nil
}

// Stop ends the watch.
func (k *Keeper) Stop(ctx context.Context) error { return k.workers.Stop(ctx) }

// Renew renews if it is time. A failure is logged and counted, and the
// certificate shown stays.
func (k *Keeper) Renew() {
	if err := k.refresh(); err != nil {
		k.Counters.Failed.Inc()
		k.cfg.Log.Error("certificate not renewed; the old one stays", "reason", "cert-renewal", "err", err)
	}
}

// Server returns the settings of a TLS door. Without tickets, Microsoft's
// senders can deliver to a Go server (golang/go#70232).
func (k *Keeper) Server(minVersion uint16, tickets bool) *tls.Config {
	return &tls.Config{
		MinVersion:             minVersion,
		SessionTicketsDisabled: !tickets,
		// Whatever name a client asks for, it gets the one certificate:
		// senders rarely check it, and some break without any.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.current.Load(), nil },
	}
}

// Shown returns the certificate shown now, with its key: for doors where we are
// the client and are asked who we are.
func (k *Keeper) Shown() *tls.Certificate { return k.current.Load() }

// Leaf returns the certificate shown now.
func (k *Keeper) Leaf() *x509.Certificate { return k.current.Load().Leaf }

// AuthorityFile is where the local authority's certificate lies, for clients
// to trust; empty with the admin's own files.
func (k *Keeper) AuthorityFile() string {
	if k.cfg.CertFile != "" {
		return ""
	}
	return filepath.Join(k.cfg.Dir, authorityCert)
}

func (k *Keeper) refresh() error {
	if k.cfg.CertFile != "" {
		return k.readFiles()
	}
	return k.issue()
}

// readFiles takes the admin's chain. Files that did not change cost a read a
// minute and nothing else.
func (k *Keeper) readFiles() error {
	chain, err := os.ReadFile(k.cfg.CertFile)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	key, err := secret.Read("file:"+k.cfg.KeyFile, "")
	if err != nil {
		return fmt.Errorf("read certificate key: %w", err)
	}
	cert, err := tls.X509KeyPair(chain, append(slices.Clone(key.Reveal()), '\n'))
	if err != nil {
		return fmt.Errorf("use %s with %s: %w (hint: a chain in PEM, and the key of its first certificate)", k.cfg.CertFile, k.cfg.KeyFile, err)
	}
	if now := k.cfg.Now(); now.After(cert.Leaf.NotAfter) {
		return fmt.Errorf("certificate %s: expired on %s (hint: renew it)", k.cfg.CertFile, cert.Leaf.NotAfter.Format(time.DateOnly))
	}
	k.show(&cert)
	return nil
}

// The files of the local authority, all in Config.Dir.
const (
	authorityCert = "local-ca.pem"
	authorityKey  = "local-ca.key"
	leafCert      = "local.pem"
	leafKey       = "local.key"
)

func (k *Keeper) issue() error {
	now := k.cfg.Now()
	if err := os.MkdirAll(k.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make the certificate directory: %w", err)
	}
	wanted := names{hosts: []string{k.cfg.Hostname}, addrs: k.cfg.Addrs}
	authority, err := k.load(authorityCert, authorityKey)
	if err == nil && now.Add(leafLifetime).After(authority.cert.NotAfter) {
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		if authority, err = newAuthority(k.cfg.Hostname, now); err == nil {
			err = k.save(authority, authorityCert, authorityKey)
		}
	}
	if err != nil {
		return fmt.Errorf("local certificate authority: %w (hint: put a copy back, or move %s away and a new one is made)", err, k.cfg.Dir)
	}
	leaf, err := k.load(leafCert, leafKey)
	signed := err == nil && leaf.cert.CheckSignatureFrom(authority.cert) == nil
	if !signed || !leaf.covers(wanted, now.Add(renewBefore)) {
		if leaf, err = newLeaf(authority, wanted, now); err != nil {
			return err
		}
		if err := k.save(leaf, leafCert, leafKey); err != nil {
			return err
		}
	}
	k.show(&tls.Certificate{Certificate: [][]byte{leaf.cert.Raw, authority.cert.Raw}, PrivateKey: leaf.key, Leaf: leaf.cert})
	return nil
}

func (k *Keeper) show(cert *tls.Certificate) {
	old := k.current.Load()
	if old != nil && slices.EqualFunc(old.Certificate, cert.Certificate, slices.Equal) {
		return
	}
	k.current.Store(cert)
	if old == nil {
		return
	}
	k.Counters.Renewed.Inc()
	k.cfg.Log.Info("certificate renewed", "until", cert.Leaf.NotAfter)
}

func (k *Keeper) load(certName, keyName string) (pair, error) {
	certPEM, err := os.ReadFile(filepath.Join(k.cfg.Dir, certName))
	if err != nil {
		return pair{}, err
	}
	key, err := secret.Read("file:"+filepath.Join(k.cfg.Dir, keyName), "")
	if err != nil {
		return pair{}, err
	}
	p, err := decode(certPEM, key.Reveal())
	if err != nil {
		return pair{}, fmt.Errorf("read %s: %w", filepath.Join(k.cfg.Dir, certName), err)
	}
	return p, nil
}

func (k *Keeper) save(p pair, certName, keyName string) error {
	certPEM, keyPEM, err := p.encode()
	if err != nil {
		return err
	}
	// The key first: a certificate without its key would be an error at start.
	if err := atomicfile.Write(filepath.Join(k.cfg.Dir, keyName), keyPEM, 0o600); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(k.cfg.Dir, certName), certPEM, 0o644)
}
