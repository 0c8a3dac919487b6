// Package selector keeps the DKIM keys: one selector per algorithm and domain,
// made when the domain is first served, stored under STATE/keys/dkim, and
// published as SELECTOR._domainkey.DOMAIN. A selector signs only once its
// record has been published, so no signature leaves that nobody could verify.
// Rotate replaces the keys of a domain: see turn.go.
//
// One goroutine, started by Start and ended by Stop, makes missing keys, tries
// again to publish what could not be, and does what Rotate asks for. Readers get
// an immutable list. Private keys leave here only as crypto.Signer.
package selector

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"postern/internal/lifecycle"
	"postern/internal/lookup"
	"postern/internal/mail/address"
	"postern/internal/mail/seal"
	"postern/internal/metrics"
)

// Publisher puts derived TXT records into our zones; dns/authority satisfies
// it. owner is the record's name with its final dot, key names the publisher.
type Publisher interface {
	Publish(ctx context.Context, owner, key string, txts []string) error
	// Withdraw takes back what was published; what is not there is no error.
	Withdraw(ctx context.Context, owner, key string) error
}

// The algorithms.
const (
	RSA2048 = "rsa2048"
	Ed25519 = "ed25519"
)

// Config says whose keys are kept and where.
type Config struct {
	Dir        string          // STATE/keys/dkim; made if absent, mode 0700
	Domains    []string        // that we sign for
	Algorithms []string        // RSA2048, Ed25519; empty: both
	Publisher  Publisher       // nil: nothing is published by us
	Resolver   lookup.Resolver // nil, or where to look for a record that somebody else publishes
	Retry      time.Duration   // between attempts to publish; 0: 1 minute
	FirstWait  time.Duration   // that Keys waits for a domain's first keys; 0: 10 s
	Now        func() time.Time
	Rand       io.Reader // nil: crypto/rand
	Log        *slog.Logger
}

// Counters are what a Ring counts.
type Counters struct {
	Created   metrics.Counter // keys made
	Published metrics.Counter // records published
	Refused   metrics.Counter // attempts to publish that failed
	Broken    metrics.Counter // key files that could not be used
	Switched  metrics.Counter // keys that began to sign in place of others
	Withdrawn metrics.Counter // keys taken back after that
}

// Status is one selector for an operator.
type Status struct {
	Domain    string
	Selector  string
	Algorithm string
	Created   time.Time
	Published bool
	Signs     bool      // it signs what leaves
	Began     time.Time // to sign; zero: not yet
	Next      time.Time // when it begins to sign, or is withdrawn; zero: neither is known
	Record    string    // the TXT record
	Problem   string    // why it is not published; "" if it is
}

// Owner is the name of the selector's record.
func (s Status) Owner() string { return s.Selector + "._domainkey." + s.Domain + "." }

// Ring holds the keys. It implements lifecycle.Part and is safe for concurrent
// use.
type Ring struct {
	Counters Counters

	cfg     Config
	workers lifecycle.Workers
	first   map[string]chan struct{} // by domain: closed after the first attempt to publish
	keys    atomic.Pointer[[]key]    // what is known; replaced, never changed
	busy    atomic.Bool              // a key is being made or published, which takes its time
	orders  chan order               // to rotate; one at a time
}

// New checks the configuration. It touches no file.
func New(cfg Config) (*Ring, error) {
	if cfg.Dir == "" {
		return nil, errors.New("dkim keys: no directory")
	}
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = []string{RSA2048, Ed25519}
	}
	for _, a := range cfg.Algorithms {
		if a != RSA2048 && a != Ed25519 {
			return nil, fmt.Errorf("dkim keys: unknown algorithm %q", a)
		}
	}
	r := &Ring{cfg: cfg.withDefaults(), first: make(map[string]chan struct{}), orders: make(chan order)}
	r.cfg.Domains = nil
	for _, d := range cfg.Domains {
		domain, err := address.ParseDomain(d)
		if err != nil || strings.HasPrefix(domain, "[") {
			return nil, fmt.Errorf("dkim keys: %q is not a domain", d)
		}
		if r.first[domain] == nil {
			r.first[domain] = make(chan struct{})
			r.cfg.Domains = append(r.cfg.Domains, domain)
		}
	}
	r.keys.Store(new([]key))
	return r, nil
}

func (c Config) withDefaults() Config {
	if c.Retry <= 0 {
		c.Retry = time.Minute
	}
	if c.FirstWait <= 0 {
		c.FirstWait = 10 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Start loads the keys, publishes them, and begins to make those that are
// missing. A key that cannot be used, or a record that cannot be published,
// is logged and no error: mail must flow.
func (r *Ring) Start(ctx context.Context) error {
	keys, err := r.load()
	if err != nil {
		return fmt.Errorf("dkim keys: %w", err)
	}
	r.keys.Store(&keys)
	r.publish(ctx)
	r.turn(ctx)
	for _, d := range r.cfg.Domains {
		if len(r.missing(d)) == 0 {
			close(r.first[d])
			delete(r.first, d)
		}
	}
	// From here on the goroutine alone closes, and nobody writes the map.
	pending := make(map[string]chan struct{}, len(r.first))
	for d, c := range r.first {
		pending[d] = c
	}
	r.workers.Go("dkim keys", func(ctx context.Context) { r.run(ctx, pending) })
	return nil
}

// Stop ends the goroutine. A key in the making cannot be interrupted, nor the
// zone's owner while it writes the record down; what outlasts ctx is given up:
// the process may end, and the next start does it again.
func (r *Ring) Stop(ctx context.Context) error {
	err := r.workers.Stop(ctx)
	if err != nil && r.busy.Load() {
		r.cfg.Log.Info("a DKIM key that is being made or published was given up")
		return nil
	}
	return err
}

func (r *Ring) run(ctx context.Context, pending map[string]chan struct{}) {
	for _, d := range r.cfg.Domains {
		if c := pending[d]; c != nil {
			r.create(ctx, d)
			r.publish(ctx)
			r.turn(ctx)
			close(c)
		}
	}
	ticker := time.NewTicker(r.cfg.Retry)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, d := range r.cfg.Domains {
				r.create(ctx, d) // what a full disk prevented before
			}
			r.publish(ctx)
			r.turn(ctx)
		case o := <-r.orders:
			o.done <- r.rotate(ctx, o.domain)
		}
	}
}

// Keys returns the keys that sign for a domain; none if the domain is not ours
// or nothing is published. Only while a domain's first keys are being made does
// it wait.
func (r *Ring) Keys(ctx context.Context, domain string) []seal.Key {
	if c := r.first[domain]; c != nil {
		ctx, cancel := context.WithTimeout(ctx, r.cfg.FirstWait)
		defer cancel()
		select {
		case <-c:
		case <-ctx.Done():
		}
	}
	var out []seal.Key
	for _, algorithm := range r.cfg.Algorithms {
		if k, ok := signing(*r.keys.Load(), domain, algorithm); ok {
			out = append(out, seal.Key{Domain: k.Domain, Selector: k.Selector, Signer: k.signer})
		}
	}
	return out
}

// signing is the key of a kind that signs: of those that are published the one
// that began last.
func signing(keys []key, domain, algorithm string) (key, bool) {
	var best key
	for _, k := range keys {
		if k.Published && k.Domain == domain && k.Algorithm == algorithm && k.Began.After(best.Began) {
			best = k
		}
	}
	return best, best.signer != nil
}

// List shows all selectors, by domain.
func (r *Ring) List() []Status {
	var out []Status
	keys := *r.keys.Load()
	for _, k := range keys {
		best, _ := signing(keys, k.Domain, k.Algorithm)
		k.Signs = best.Selector == k.Selector && r.wants(k.Status)
		k.Next = next(keys, k)
		out = append(out, k.Status)
	}
	slices.SortStableFunc(out, func(a, b Status) int {
		return cmp.Or(strings.Compare(a.Domain, b.Domain), strings.Compare(a.Selector, b.Selector))
	})
	return out
}

// wants reports whether keys of this kind are to sign.
func (r *Ring) wants(s Status) bool {
	return slices.Contains(r.cfg.Domains, s.Domain) && slices.Contains(r.cfg.Algorithms, s.Algorithm)
}

// missing are the algorithms a domain has no key of.
func (r *Ring) missing(domain string) []string {
	var out []string
	for _, a := range r.cfg.Algorithms {
		has := slices.ContainsFunc(*r.keys.Load(), func(k key) bool { return k.Domain == domain && k.Algorithm == a })
		if !has {
			out = append(out, a)
		}
	}
	return out
}
