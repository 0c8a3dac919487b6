// Package deliver makes one attempt to hand one message to the hosts of one
// destination, and says what became of each recipient.
//
// It speaks SMTP (RFC 5321) and LMTP (RFC 2033) as a client of its own, with
// STARTTLS (RFC 3207), SMTPS (RFC 8314), AUTH PLAIN over verified TLS (RFC
// 4954), PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8
// (RFC 6531) and DSN (RFC 3461), and it writes maildirs. Every wait has a
// deadline. What a server sends that nobody asked for ends the conversation:
// after a greeting or before a handshake, such bytes would be taken for replies
// to what comes next.
//
// It never decides when to try again, and never tells the sender anything; it
// opens sockets and starts no goroutine that outlives Deliver. All that stays
// after an attempt is, where there is a Pool, its conversation, for a moment.
package deliver

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/envelope"
	"postern/internal/mail/route"
)

// Bounds of one attempt.
const (
	maxAddrs    = 5   // addresses tried
	maxSessions = 2   // of them, servers that greeted us properly
	rcptChunk   = 100 // recipients in one transaction (RFC 5321, Section 4.5.3.1.8)
)

// Config is how to deliver.
type Config struct {
	Hostname string       // our name in EHLO
	Sources  []netip.Addr // own addresses to send from to the world; empty: the system's choice
	Timeouts Timeouts
	Now      func() time.Time // nil: time.Now
	Log      *slog.Logger     // nil: nothing is logged
	Pool     *Pool            // of conversations; nil: each ends with its attempt

	Announced *Announced // keeps what configured hosts announce; may be nil

	// Dial connects; nil: a net.Dialer. local may be the zero Addr.
	Dial func(ctx context.Context, network, addr string, local netip.Addr) (net.Conn, error)
}

// Timeouts bound each wait; zero fields get the defaults of RFC 5321, Section
// 4.5.3.2, where it has one.
type Timeouts struct {
	Connect   time.Duration // 30 s
	Greeting  time.Duration // 5 min
	Hello     time.Duration // 5 min
	TLS       time.Duration // 1 min
	Mail      time.Duration // 5 min
	Rcpt      time.Duration // 5 min
	DataStart time.Duration // 2 min
	DataBlock time.Duration // 3 min
	DataEnd   time.Duration // 10 min
	Quit      time.Duration // 5 s
}

func (t Timeouts) withDefaults() Timeouts {
	or := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	or(&t.Connect, 30*time.Second)
	or(&t.Greeting, 5*time.Minute)
	or(&t.Hello, 5*time.Minute)
	or(&t.TLS, time.Minute)
	or(&t.Mail, 5*time.Minute)
	or(&t.Rcpt, 5*time.Minute)
	or(&t.DataStart, 2*time.Minute)
	or(&t.DataBlock, 3*time.Minute)
	or(&t.DataEnd, 10*time.Minute)
	or(&t.Quit, 5*time.Second)
	return t
}

// Outcome is what became of a recipient. The zero value is none.
type Outcome uint8

// The outcomes.
const (
	None      Outcome = iota
	Delivered         // the next hop took responsibility
	Deferred          // another try may help
	Failed            // refused for good
)

// String returns the outcome in lower case.
func (o Outcome) String() string {
	return [...]string{"none", "delivered", "deferred", "failed"}[o&3]
}

// Result is the outcome for one recipient.
type Result struct {
	Rcpt      int // index into Envelope.To
	Recipient address.Address
	Outcome   Outcome
	Code      int    // of the reply; 0: there was none
	Enhanced  string // RFC 3463; of the reply, or ours
	Text      string // of the reply, or our words; one line, printable
	Reason    string // stable word, for log and metric
	Host      string // who gave the reply, as the route names it
	Addr      string // its address
	TLS       string // protocol version; "" without TLS
	Tells     bool   // the host tells the sender of success where that was asked for (RFC 3461)
	Static    bool   // the host came from the configuration: its name and words are not for outsiders
}

// Source is the message; *spool.Message is one.
type Source interface {
	Header() []byte      // without the empty line
	Open() io.ReadSeeker // all of it
	Size() int64         // of what Open reads
}

// Job is one attempt.
type Job struct {
	Envelope envelope.Envelope
	Rcpts    []int // indices into Envelope.To
	Message  Source
	Hops     []route.Hop // in the order to try them
}

// Report is the end of an attempt.
type Report struct {
	Results []Result         // one for each of Job.Rcpts, in their order
	Dead    []netip.AddrPort // addresses that did not answer as mail servers
}

// Client delivers. It is safe for concurrent use.
type Client struct{ cfg Config }

// New returns a client.
func New(cfg Config) *Client {
	cfg.Timeouts = cfg.Timeouts.withDefaults()
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = dial
	}
	return &Client{cfg}
}

// Deliver makes the attempt. It always reports on every recipient; when ctx
// ends, those still open are deferred.
func (c *Client) Deliver(ctx context.Context, j Job) Report {
	a := newAttempt(c, j)
	content, err := scan(j.Message.Open(), len(j.Message.Header()), j.Message.Size())
	if err != nil {
		a.troubleAll(contentTrouble(err))
		return a.report
	}
	a.content = content
	for _, hop := range j.Hops {
		if !a.hop(ctx, hop) {
			break
		}
	}
	a.giveUpTLS()
	return a.report
}

// attempt is the state of one Deliver.
type attempt struct {
	client   *Client
	job      Job
	content  content
	open     []int // positions in report.Results still to be delivered
	addrs    int   // tried so far
	sessions int
	report   Report
}

func newAttempt(c *Client, j Job) *attempt {
	a := &attempt{client: c, job: j}
	for i, rcpt := range j.Rcpts {
		a.open = append(a.open, i)
		a.report.Results = append(a.report.Results, Result{
			Rcpt: rcpt, Recipient: j.Envelope.To[rcpt], Outcome: Deferred,
			Enhanced: "4.4.1", Reason: "no-host", Text: "no host could be tried",
		})
	}
	return a
}

// hop tries one host at all its addresses. It reports whether another host
// should be tried.
func (a *attempt) hop(ctx context.Context, hop route.Hop) bool {
	if hop.Protocol == route.Maildir {
		a.maildir(hop)
		return len(a.open) > 0
	}
	if hop.Path != "" {
		return a.server(ctx, peer{hop: hop, network: "unix", addr: hop.Path})
	}
	for _, addr := range hop.Addrs {
		if !a.server(ctx, peer{hop: hop, network: "tcp", addr: addr.String(), ip: addr}) {
			return false
		}
	}
	return true
}

// peer is one address of one hop.
type peer struct {
	hop           route.Hop
	network, addr string
	ip            netip.AddrPort // zero for a unix socket
}

// server tries one address. It reports whether another should be tried.
func (a *attempt) server(ctx context.Context, p peer) bool {
	if a.addrs++; a.addrs > maxAddrs {
		return false
	}
	s, t := a.client.session(ctx, p)
	if t == nil {
		a.sessions++
		again := false
		if again, t = a.converse(s); again && ctx.Err() == nil {
			a.client.cfg.Pool.Counters.Stale.Inc()
			if s, t = a.client.connect(ctx, p, p.hop.TLS.Mode != route.Required); t == nil {
				_, t = a.converse(s)
			}
		}
	}
	if t != nil {
		return a.siteTrouble(ctx, p, t)
	}
	return len(a.open) > 0 && a.sessions < maxSessions
}

// session returns a conversation that is ready for a message: one that waits,
// or a new one.
func (c *Client) session(ctx context.Context, p peer) (*session, *trouble) {
	local, err := c.source(p)
	if err == nil {
		if s := c.cfg.Pool.take(ctx, p, local); s != nil {
			c.cfg.Pool.Counters.Reused.Inc()
			return s, nil
		}
	}
	return c.connect(ctx, p, p.hop.TLS.Mode != route.Required)
}

// converse sends the message to the open recipients, and leaves the
// conversation to the next message, or ends it. A conversation in which there
// was trouble carries no other; stale says that a new one may do for this.
func (a *attempt) converse(s *session) (stale bool, t *trouble) {
	s.uses++
	for chunk := range slices.Chunk(slices.Clone(a.open), rcptChunk) {
		if t := a.transaction(s, chunk); t != nil {
			stale = s.stale(t)
			s.quit()
			s.close()
			return stale, t
		}
		if len(a.open) == 0 { // the sender was refused
			break
		}
	}
	if !a.client.cfg.Pool.keep(s) {
		s.quit()
		s.close()
	}
	return false, nil
}

// siteTrouble notes what is wrong with a server for all open recipients. It
// reports whether another should be tried.
func (a *attempt) siteTrouble(ctx context.Context, p peer, t *trouble) bool {
	if t.dead && p.ip.IsValid() {
		a.report.Dead = append(a.report.Dead, p.ip)
	}
	if ctx.Err() != nil {
		t = &trouble{enhanced: "4.3.2", reason: "stopped", text: "the attempt was cut short", stop: true}
	}
	for _, i := range a.open {
		a.note(i, p, "", t)
	}
	if t.stop {
		a.open = nil
	}
	return len(a.open) > 0 && a.sessions < maxSessions
}

// troubleAll ends all open recipients without a host.
func (a *attempt) troubleAll(t *trouble) {
	for _, i := range a.open {
		a.note(i, peer{}, "", t)
	}
	a.open = nil
}

// note writes down the result of one recipient.
func (a *attempt) note(i int, p peer, version string, t *trouble) {
	r := &a.report.Results[i]
	r.Outcome = Deferred
	if t.permanent {
		r.Outcome = Failed
	}
	r.Code, r.Enhanced, r.Text, r.Reason = t.code, t.enhanced, t.text, t.reason
	r.Host, r.Addr, r.TLS, r.Static = p.hop.Host, p.addr, version, p.hop.Static
}

// settle takes a recipient off the open ones.
func (a *attempt) settle(i int) {
	a.open = slices.DeleteFunc(a.open, func(o int) bool { return o == i })
}

// tlsConfig is what the hop demands. Nothing is verified for opportunistic TLS,
// which protects against listening alone (RFC 7435, Section 3).
func tlsConfig(hop route.Hop) *tls.Config {
	name := hop.TLS.Name
	if name == "" {
		name = hop.Host
	}
	return &tls.Config{
		ServerName:         name,
		RootCAs:            hop.TLS.Roots,
		MinVersion:         tls.VersionTLS12, // RFC 8996
		InsecureSkipVerify: hop.TLS.Mode != route.Required,
	}
}

func (p peer) String() string {
	if p.hop.Host == "" || p.hop.Host == p.ip.Addr().String() {
		return p.addr
	}
	return fmt.Sprintf("%s[%s]", p.hop.Host, p.addr)
}
