package accept

import (
	"sync"
	"time"
)

// maxFailing bounds the domains that are remembered.
const maxFailing = 10_000

// gap is how long after a domain's last deferral its failing counts as over.
const gap = 24 * time.Hour

// span is when deferring a domain's mail began and when it last happened.
type span struct{ first, last time.Time }

// failing remembers which author domains' mail is being deferred because the
// DNS does not answer, so that it is not deferred for ever: a domain with a
// server that is broken for good would otherwise never get mail through.
type failing struct {
	mu    sync.Mutex // guards since
	since map[string]span
}

// lasted is how long the domain has been failing, 0 if it is not known to.
func (f *failing) lasted(domain string, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.since[domain]
	if !ok || now.Sub(s.last) > gap {
		return 0
	}
	return now.Sub(s.first)
}

// note remembers a deferral; false means that there was no room for it.
func (f *failing) note(domain string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.since[domain]
	if !ok || now.Sub(s.last) > gap {
		s.first = now
	}
	if !ok && len(f.since) >= maxFailing && !f.sweepLocked(now) {
		return false
	}
	s.last = now
	f.since[domain] = s
	return true
}

// sweepLocked drops what is over, and reports whether there is room now.
func (f *failing) sweepLocked(now time.Time) bool {
	for d, s := range f.since {
		if now.Sub(s.last) > gap {
			delete(f.since, d)
		}
	}
	return len(f.since) < maxFailing
}

func (f *failing) forget(domain string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.since, domain)
}
