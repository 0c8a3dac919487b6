// Package serve is what happens to a query between the socket and the answer,
// as one straight line: opcode, signature, gate, view, then one of our zones, the
// resolver, or a refusal. The line is handler.Serve; what has to wait for the
// resolver leaves it for slow, which runs at most Config.MaxSlow goroutines.
//
// One address has two roles (VIEWS): a client of a view without recursion
// gets the same REFUSED for everything that is not ours, and no path leads
// from it to the cache or the resolver; in a view with recursion, a query
// without RD for a name of others is refused as well. Nothing said to a
// client carries an internal name but an answer of its own view.
//
// NOTIFY leaves the line for notify, and the Refresher of xfr, which takes it
// from primaries only. Transfers leave it too: transfer gives them to xfr, which bounds them,
// each in a goroutine of its own. They and the SOA that a secondary asks for are
// of the view that the peer's entry names.
//
// So do updates: update proves who signed one and that it comes once, and hands
// it to the owner of the zones, in a goroutine that waits for the outcome.
//
// It never opens a socket, never reads a file and never changes a zone itself.
// RFC 1034, Section 4.3; RFC 1996 (NOTIFY); RFC 2136 (UPDATE); RFC 6891
// (BADVERS); RFC 5001 (NSID); RFC 7314 (EXPIRE); RFC 7828
// (keepalive); RFC 7873 and 9018 (cookies); RFC 8467 (padding); RFC 8906 (odd
// queries); RFC 8914 (EDE); RFC 8945 (TSIG); RFC 9103 (transfers within TLS); RFC 9619.
package serve

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/gate"
	"postern/internal/dns/listen"
	"postern/internal/dns/resolver"
	"postern/internal/dns/tsig"
	"postern/internal/dns/view"
	"postern/internal/dns/wire"
	"postern/internal/dns/xfr"
	"postern/internal/lifecycle"
	"postern/internal/metrics"
)

// Recursor answers what our zones do not, in views with recursion.
type Recursor interface {
	Resolve(ctx context.Context, q resolver.Question) (*dns.Msg, error)
}

// Config is what a Server needs.
type Config struct {
	Table    func() *view.Table // what is served now; called for every query
	Resolver Recursor           // nil: no view recurses
	NSID     string             // told to those who ask (RFC 5001); empty: nothing is told
	MaxSlow  int                // questions with the resolver at one time; 0: 2000
	Timeout  time.Duration      // for the resolver's answer; 0: 10 s
	Log      *slog.Logger       // nil: silent

	// RRL is how many equal replies a second go to one prefix outside; 0: no
	// limit at all. RRLTotal is how many replies go there together; 0: no such
	// limit. Exempt prefixes are never limited. Limit changes all three.
	RRL      int
	RRLTotal int
	Exempt   []netip.Prefix
	// Cookies returns the secrets of DNS cookies; called for every query with
	// a cookie. It, or what it returns, may be nil: cookies are not answered.
	Cookies func(unix int64) *gate.Secrets
	// Keys returns the keys of signed requests; called for each of them. It, or
	// what it returns, may be nil: no key is known.
	Keys func() *tsig.Keys
	// Transfers gives zones to secondaries; nil: to nobody.
	Transfers *xfr.Out
	// Refresher hears NOTIFY; nil: no zone is fed by transfers.
	Refresher *xfr.Refresher
	// Updates carries out updates; nil: nobody may update anything. UpdateRate is
	// how many a second one key may send; 0: any number. LimitUpdates changes it.
	Updates    Updates
	UpdateRate int
	Idle       time.Duration    // of a TCP connection, told those who ask (RFC 7828): that of listen.Limits; 0: its default
	Now        func() time.Time // nil: time.Now
}

// Listener is what sets the queries of one listener apart.
type Listener struct {
	Views   []string       // the views served here; none: all
	Clients []netip.Prefix // who may ask at all; none: everybody
}

// Server answers queries. It is a lifecycle.Part: Stop ends its goroutines.
type Server struct {
	Counters Counters
	RRL      gate.RRL // its counters are for reading; Limit sets it

	config  Config
	alive   uint16        // Config.Idle in 100 ms
	born    time.Time     // the limiter's time counts from here
	slots   chan struct{} // one for each question with the resolver
	updates chan struct{} // one for each update that is under way
	replays replays
	rate    atomic.Int64 // of updates, of one key
	workers lifecycle.Workers
	queries sync.Pool                // *wire.Query, for slow answers
	quiet   atomic.Int64             // no refused signature is logged before, in Unix seconds
	wary    [xfr.Doubts]atomic.Int64 // no peer that is refused for that, likewise

	mu    sync.Mutex // guards views
	views map[string]*ViewCounters
}

// maxRcode bounds the counted rcodes; BADCOOKIE is the largest sent.
const maxRcode = wire.BadCookie

// Counters counts queries and replies.
type Counters struct {
	UDP             metrics.Counter // messages by UDP
	TCP             metrics.Counter // messages by TCP alone, not within TLS or HTTPS
	TLS             metrics.Counter // messages by TLS
	HTTPS           metrics.Counter // messages by HTTPS
	QUIC            metrics.Counter // messages by QUIC
	Rcodes          [maxRcode + 1]metrics.Counter
	Truncated       metrics.Counter // replies with TC
	CookieValid     metrics.Counter // queries with a cookie of ours
	CookieUnproven  metrics.Counter // queries with a client cookie alone, or a server cookie that is not ours or too old
	BadCookie       metrics.Counter // replies of BADCOOKIE: over the rate
	Dropped         metrics.Counter // no queries: too short, or responses
	Denied          metrics.Counter // from clients the listener does not admit; no reply
	Forged          metrics.Counter // from addresses of a view not served there; no reply
	TSIGGood        metrics.Counter // signed requests, proven
	TSIGBadKey      metrics.Counter // signed with a key that is not ours, or another algorithm than its own
	TSIGBadSig      metrics.Counter // signed with another secret, or changed on the way
	TSIGBadTime     metrics.Counter // signed at another time than ours
	TSIGBadTrunc    metrics.Counter // with a signature cut short
	UpdatesUnsigned metrics.Counter // updates without a signature, or where none are taken; REFUSED
	UpdatesReplayed metrics.Counter // updates that had come before, or are too old; not carried out
	UpdatesOverRate metrics.Counter // updates over the rate of their key; SERVFAIL
	UpdatesBusy     metrics.Counter // updates for which there was no room; SERVFAIL
	Slow            metrics.Counter // handed to the resolver
	Refused         metrics.Counter // not handed to it: MaxSlow was reached; SERVFAIL
	Oversize        metrics.Counter // answers too long even for TCP; SERVFAIL
	Panics          metrics.Counter // queries that brought a handler down; no reply
}

// by returns what counts the messages of a transport.
func (c *Counters) by(t listen.Transport) *metrics.Counter {
	switch t {
	case listen.UDP:
		return &c.UDP
	case listen.TCP:
		return &c.TCP
	case listen.TLS:
		return &c.TLS
	case listen.HTTPS:
		return &c.HTTPS
	}
	return &c.QUIC
}

// ViewCounters counts what one view's clients asked.
type ViewCounters struct {
	Queries   metrics.Counter
	Recursive metrics.Counter // those handed to the resolver
}

// New returns a server.
func New(c Config) *Server {
	c.MaxSlow = cmp.Or(c.MaxSlow, 2000)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Idle = cmp.Or(c.Idle, listen.DefaultIdle)
	s := &Server{config: c, slots: make(chan struct{}, c.MaxSlow), updates: make(chan struct{}, maxUpdates), views: map[string]*ViewCounters{}}
	s.alive, s.born = uint16(min(c.Idle/(100*time.Millisecond), 0xFFFF)), s.now()
	s.replays.since = s.born.Unix()
	s.LimitUpdates(c.UpdateRate)
	s.Limit(c.RRL, c.RRLTotal, c.Exempt)
	return s
}

// Limit changes how many equal replies a second go to one prefix, how many in
// all, and which prefixes are never limited.
func (s *Server) Limit(rate, total int, exempt []netip.Prefix) { s.RRL.Set(rate, total, exempt) }

// LimitUpdates changes how many updates a second one key may send; 0: any
// number.
func (s *Server) LimitUpdates(rate int) { s.rate.Store(int64(rate)) }

// Start does nothing; the listeners call the handlers.
func (s *Server) Start(context.Context) error { return nil }

// Stop ends the questions with the resolver; the listeners are stopped first.
func (s *Server) Stop(ctx context.Context) error { return s.workers.Stop(ctx) }

// Handler returns what makes the handlers of a listener: for listen.Spec.
func (s *Server) Handler(l Listener) func() listen.Handler {
	var acl *gate.ACL // nil: everybody
	if len(l.Clients) > 0 {
		acl = gate.NewACL(l.Clients)
	}
	return func() listen.Handler { return &handler{Server: s, listener: l, acl: acl} }
}

// View returns the counters of a view; the same ones for as long as the
// server lives, whatever becomes of the view.
func (s *Server) View(name string) *ViewCounters {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.views[name]
	if c == nil {
		c = new(ViewCounters)
		s.views[name] = c
	}
	return c
}
