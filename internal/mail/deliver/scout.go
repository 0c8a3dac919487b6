package deliver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"postern/internal/lifecycle"
	"postern/internal/mail/route"
	"postern/internal/metrics"
)

// When configured hosts are asked what they can do, and how many at once.
const (
	scoutEvery = time.Hour
	scoutAgain = time.Minute // those that did not answer
	scoutCalls = 4
	scoutTime  = 30 * time.Second // for one host
)

// ScoutConfig is what a Scout works with.
type ScoutConfig struct {
	// Hops are the configured hosts, with addresses; whole is false where one could
	// not be found just now.
	Hops func(ctx context.Context) (hops []route.Hop, whole bool)
	// Call is a Client's, whose Announced remembers what is heard.
	Call func(ctx context.Context, hops []route.Hop) (*Call, error)
	Log  *slog.Logger // nil: nothing is logged
}

// ScoutCounters are what a Scout counts.
type ScoutCounters struct {
	Calls  metrics.Counter // hosts asked what they can do
	Faults metrics.Counter // that did not answer
}

// Scout asks configured hosts what they can do when Postern starts, when the
// configuration changes, and every hour: before there is mail for them, so that
// none is taken that they will refuse. It owns one goroutine, which waits for
// those that it starts.
type Scout struct {
	Counters ScoutCounters

	cfg     ScoutConfig
	jobs    lifecycle.Workers
	changed chan struct{}

	mu     sync.Mutex // guards what follows
	heard  map[string]time.Time
	silent map[string]bool // told of
}

// NewScout returns one that asks nobody until Start.
func NewScout(cfg ScoutConfig) (*Scout, error) {
	if cfg.Hops == nil || cfg.Call == nil {
		return nil, errors.New("deliver: a scout needs hosts, and a way to call them")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Scout{cfg: cfg, changed: make(chan struct{}, 1), heard: map[string]time.Time{}, silent: map[string]bool{}}, nil
}

// Start begins to ask; it does not wait for answers.
func (s *Scout) Start(context.Context) error {
	s.jobs.Go("scout", s.tend)
	return nil
}

// Stop ends what is being asked.
func (s *Scout) Stop(ctx context.Context) error { return s.jobs.Stop(ctx) }

// Look has all hosts asked again: they may be others, or have other TLS.
func (s *Scout) Look() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Scout) tend(ctx context.Context) {
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-due.C:
		case <-s.changed:
			s.mu.Lock()
			clear(s.heard)
			s.mu.Unlock()
		case <-ctx.Done():
			return
		}
		if s.round(ctx) {
			due.Reset(scoutEvery)
		} else {
			due.Reset(scoutAgain)
		}
	}
}

// round asks those that were not heard for an hour. It reports whether all have
// answered.
func (s *Scout) round(ctx context.Context) bool {
	hops, whole := s.cfg.Hops(ctx)
	now := time.Now()
	places := make(chan struct{}, scoutCalls)
	var asked sync.WaitGroup
	for _, h := range s.forget(hops) {
		s.mu.Lock()
		at, ok := s.heard[h.String()]
		s.mu.Unlock()
		if ok && now.Sub(at) < scoutEvery-scoutAgain {
			continue
		}
		places <- struct{}{}
		asked.Go(func() {
			s.ask(ctx, h)
			<-places
		})
	}
	asked.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return whole && len(s.silent) == 0
}

// forget drops what is known of hosts that are no longer configured, and returns
// each of the others once, up to what Announced can remember. Files are no hosts.
func (s *Scout) forget(hops []route.Hop) []route.Hop {
	var each []route.Hop
	now := map[string]bool{}
	for _, h := range hops {
		if name := h.String(); h.Protocol != route.Maildir && !now[name] && len(each) < maxAnnounced {
			now[name] = true
			each = append(each, h)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.heard {
		if !now[name] {
			delete(s.heard, name)
		}
	}
	for name := range s.silent {
		if !now[name] {
			delete(s.silent, name)
		}
	}
	return each
}

func (s *Scout) ask(ctx context.Context, h route.Hop) {
	short, cancel := context.WithTimeout(ctx, scoutTime)
	defer cancel()
	s.Counters.Calls.Inc()
	call, err := s.cfg.Call(short, []route.Hop{h})
	if err == nil {
		call.Close()
	}
	if ctx.Err() != nil {
		return
	}
	name := h.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.heard[name] = time.Now()
		delete(s.silent, name)
		return
	}
	s.Counters.Faults.Inc()
	if !s.silent[name] {
		s.cfg.Log.Info("next hop not heard: it is not known what it can do", "hop", name, "reason", "hop-unheard", "err", err)
	}
	s.silent[name] = true
}
