package relay

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"postern/internal/mail/address"
)

// matcher is a list of addresses and domains. Letter case does not count.
type matcher map[string]bool

func newMatcher(list []string) (matcher, error) {
	m := matcher{}
	for _, s := range list {
		if s == "<>" {
			m[""] = true
			continue
		}
		if domain, ok := strings.CutPrefix(s, "@"); ok {
			d, err := address.ParseDomain(domain)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", s, err)
			}
			m["@"+d] = true
			continue
		}
		a, err := address.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		m[strings.ToLower(a.String())] = true
	}
	return m, nil
}

func (m matcher) has(a address.Address) bool {
	if a.IsZero() {
		return m[""]
	}
	return m["@"+a.Domain] || m[strings.ToLower(a.String())]
}

// rate is a token bucket that holds an hour's worth.
type rate struct {
	perHour float64

	mu    sync.Mutex // guards what follows
	level float64
	at    time.Time
}

func newRate(perHour int, now time.Time) *rate {
	return &rate{perHour: float64(perHour), level: float64(perHour), at: now}
}

func (r *rate) take(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if past := now.Sub(r.at).Hours(); past > 0 {
		r.level = min(r.level+past*r.perHour, r.perHour)
		r.at = now
	}
	if r.level < 1 {
		return false
	}
	r.level--
	return true
}
