package app

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"postern/config"
	"postern/internal/atomicfile"
	"postern/internal/mail/address"
	"postern/internal/mail/dsn"
	"postern/internal/mail/srs"
)

// senders rewrites the senders of what the inner server forwards. Its secrets lie
// in a file, one a line, newest first, each with the time that it was made.
type senders struct {
	path   string
	domain string
	now    func() time.Time

	mu      sync.Mutex // guards what follows
	secrets []srsSecret
	ready   *srs.Rewriter // of those; nil: not read yet
}

type srsSecret struct {
	made  time.Time
	value []byte
}

// A new secret is made each month; an old one is good while an address of it is.
const (
	srsRenew = 30 * 24 * time.Hour
	srsKeep  = srsRenew + (srs.Days+1)*24*time.Hour
)

// sendersOf is nil where nothing was ever rewritten and nothing shall be.
func (a *App) sendersOf(cfg *config.Checked) *senders {
	if len(cfg.Mail.Domains) == 0 {
		return nil
	}
	s := &senders{path: a.state.path("keys", "srs"), domain: cfg.Mail.Domains[0], now: a.now}
	for _, r := range cfg.Mail.Relays {
		if r.ForeignFrom == "srs" {
			return s
		}
	}
	if _, err := os.Stat(s.path); err != nil {
		return nil
	}
	return s // bounces of what went out before find back
}

// rewriter is the one of today.
func (s *senders) rewriter() (*srs.Rewriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready == nil {
		if err := s.readLocked(); err != nil {
			return nil, err
		}
	}
	now := s.now()
	if s.ready != nil && len(s.secrets) > 0 && now.Sub(s.secrets[0].made) < srsRenew {
		return s.ready, nil
	}
	fresh := srsSecret{now, make([]byte, 32)}
	if _, err := rand.Read(fresh.value); err != nil {
		return nil, err
	}
	next := []srsSecret{fresh}
	for _, old := range s.secrets {
		if now.Sub(old.made) < srsKeep {
			next = append(next, old)
		}
	}
	if err := s.writeLocked(next); err != nil {
		return nil, err
	}
	return s.takeLocked(next)
}

func (s *senders) takeLocked(all []srsSecret) (*srs.Rewriter, error) {
	values := make([][]byte, 0, len(all))
	for _, one := range all {
		values = append(values, one.value)
	}
	r, err := srs.New(s.domain, values)
	if err == nil {
		s.secrets, s.ready = all, r
	}
	return r, err
}

func (s *senders) readLocked() error {
	text, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("secrets of rewritten senders: %w", err)
	}
	var all []srsSecret
	for line := range strings.Lines(string(text)) {
		when, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		made, err1 := strconv.ParseInt(when, 10, 64)
		secret, err2 := base64.StdEncoding.DecodeString(value)
		if err := errors.Join(err1, err2); err != nil || len(secret) < 16 {
			return fmt.Errorf("secrets of rewritten senders: %s is damaged (hint: move it away; bounces of what was forwarded will not find back)", s.path)
		}
		all = append(all, srsSecret{time.Unix(made, 0), secret})
	}
	if len(all) == 0 {
		return nil
	}
	_, err = s.takeLocked(all)
	return err
}

func (s *senders) writeLocked(all []srsSecret) error {
	var b strings.Builder
	for _, one := range all {
		fmt.Fprintf(&b, "%d %s\n", one.made.Unix(), base64.StdEncoding.EncodeToString(one.value))
	}
	if err := atomicfile.Write(s.path, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("secrets of rewritten senders: %w", err)
	}
	return nil
}

// forward makes a sender ours.
func (s *senders) forward(from address.Address) (address.Address, error) {
	r, err := s.rewriter()
	if err != nil {
		return address.Address{}, err
	}
	return r.Forward(from, s.now())
}

// back finds whom a rewritten sender stands for.
func (s *senders) back(to address.Address) (address.Address, bool, error) {
	r, err := s.rewriter()
	if err != nil {
		return address.Address{}, srs.Formed(to) && strings.EqualFold(to.Domain, s.domain), err
	}
	if !r.Is(to) {
		return address.Address{}, false, nil
	}
	back, err := r.Back(to, s.now())
	return back, true, err
}

// bounce sends a notification of our own, to whom a rewritten sender stands for
// where it is one.
func (a *App) bounce(ctx context.Context, m dsn.Message) error {
	world := a.mail.Load()
	if world.senders != nil {
		if back, ours, err := world.senders.back(m.To); ours && err == nil {
			m.To = back
		}
	}
	return world.acceptor.Bounce(ctx, m)
}
