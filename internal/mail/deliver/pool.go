package deliver

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"net/netip"
	"sync"
	"time"

	"postern/internal/lifecycle"
	"postern/internal/mail/route"
	"postern/internal/metrics"
)

// Bounds of a conversation that carries several messages.
const (
	// DefaultIdle is how long one waits for the next message: shorter than any
	// server's patience, so that it is we who end it.
	DefaultIdle = 2 * time.Second
	// DefaultMaxIdle is how many wait at once, of all servers together.
	DefaultMaxIdle = 100
	// maxUses and maxAge bound one conversation: a name that leads elsewhere by
	// now, or a server that wants to be left by its old clients, is not held on to.
	maxUses = 100
	maxAge  = 5 * time.Minute
)

// Pool keeps conversations that came to a good end for the next message to the
// same server, as RFC 5321, Section 4.1.1.3 lets several follow each other: a
// queue of many messages to one next hop then costs one connection, not one a
// message. It is a lifecycle.Part, and safe for concurrent use.
type Pool struct {
	Counters PoolCounters

	idle     time.Duration
	most     int
	goodbyes lifecycle.Workers

	mu     sync.Mutex
	rows   map[poolKey][]*session // that wait, the latest last
	count  int
	closed bool
}

// PoolCounters are what a pool counts.
type PoolCounters struct {
	Reused metrics.Counter // messages that went in a conversation that was there
	Stale  metrics.Counter // conversations that the server had ended meanwhile
	Full   metrics.Counter // conversations ended because as many wait as may
}

// poolKey is all that makes one conversation as good as another.
type poolKey struct {
	network, addr, host string
	local               netip.Addr
	protocol            route.Protocol
	tls                 route.TLSMode
	name                string
	roots               *x509.CertPool
	user                string
	secret              [sha256.Size]byte
}

// NewPool returns a pool. Zero means the default.
func NewPool(idle time.Duration, most int) *Pool {
	if idle <= 0 {
		idle = DefaultIdle
	}
	if most <= 0 {
		most = DefaultMaxIdle
	}
	return &Pool{idle: idle, most: most, rows: map[poolKey][]*session{}}
}

func keyOf(p peer, local netip.Addr) poolKey {
	h := p.hop
	return poolKey{
		network: p.network, addr: p.addr, host: h.Host, local: local, protocol: h.Protocol,
		tls: h.TLS.Mode, name: h.TLS.Name, roots: h.TLS.Roots, user: h.User, secret: sha256.Sum256(h.Secret.Reveal()),
	}
}

// take returns a conversation that waits, bound to ctx, or nil.
func (o *Pool) take(ctx context.Context, p peer, local netip.Addr) *session {
	if o == nil {
		return nil
	}
	s := o.pop(keyOf(p, local))
	if s == nil {
		return nil
	}
	s.peer, s.replies, s.reused = p, 0, true
	conn := s.conn
	s.release = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return s
}

func (o *Pool) pop(k poolKey) *session {
	o.mu.Lock()
	defer o.mu.Unlock()
	row := o.rows[k]
	if len(row) == 0 {
		return nil
	}
	s := row[len(row)-1]
	row[len(row)-1] = nil
	o.put(k, row[:len(row)-1])
	s.timer.Stop() // where it runs already, it finds the session gone from its row
	return s
}

// put replaces a row. The caller holds mu.
func (o *Pool) put(k poolKey, row []*session) {
	o.count += len(row) - len(o.rows[k])
	if len(row) == 0 {
		delete(o.rows, k)
		return
	}
	o.rows[k] = row
}

// keep takes a conversation that is ready for the next message. It reports
// false where it cannot wait: the caller then ends it.
func (o *Pool) keep(s *session) bool {
	if o == nil || s.lost || s.uses >= maxUses || time.Since(s.begun) > maxAge || s.br.Buffered() > 0 {
		return false
	}
	// Were it over, the connection would be closed by now, or soon.
	if !s.release() {
		return false
	}
	s.release = nil
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	if o.count >= o.most {
		o.Counters.Full.Inc()
		return false
	}
	k := keyOf(s.peer, s.local)
	o.put(k, append(o.rows[k], s))
	s.timer = time.AfterFunc(o.idle, func() { o.expire(k, s) })
	return true
}

// expire ends a conversation that waited long enough, unless somebody took it.
func (o *Pool) expire(k poolKey, s *session) {
	if !o.drop(k, s) {
		return
	}
	polite := o.goodbyes.Go("goodbye", func(ctx context.Context) {
		defer context.AfterFunc(ctx, func() { _ = s.conn.Close() })()
		s.quit()
		s.close()
	})
	if !polite {
		s.close()
	}
}

func (o *Pool) drop(k poolKey, s *session) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, other := range o.rows[k] {
		if other == s {
			row := append([]*session{}, o.rows[k][:i]...)
			o.put(k, append(row, o.rows[k][i+1:]...))
			return true
		}
	}
	return false
}

// Waiting is how many conversations wait.
func (o *Pool) Waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count
}

// Start does nothing: a pool has only what attempts bring it.
func (o *Pool) Start(context.Context) error { return nil }

// Stop ends all that wait, without a word: nobody is owed one. What is under
// way ends with its attempt.
func (o *Pool) Stop(ctx context.Context) error {
	o.endAll()
	return o.goodbyes.Stop(ctx)
}

func (o *Pool) endAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for k, row := range o.rows {
		for _, s := range row {
			s.timer.Stop()
			s.close()
		}
		o.put(k, nil)
	}
}
