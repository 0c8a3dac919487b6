package accept

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/lookup"
	"postern/internal/lookup/lookuptest"
	"postern/internal/mail/address"
	"postern/internal/mail/dkim"
	"postern/internal/mail/envelope"
	"postern/internal/mail/inspect"
	"postern/internal/mail/message"
	"postern/internal/mail/seal"
	"postern/internal/mail/smtpline"
	"postern/internal/mail/spool"
	"postern/internal/mail/verdict"
)

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// queue remembers what it was given; holding it can be told not to try.
type queue struct {
	mu    sync.Mutex // guards added and held
	added []envelope.ID
	held  []envelope.ID
}

func (q *queue) Add(id envelope.ID, _ envelope.Envelope) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.added = append(q.added, id)
}

func (q *queue) AddHeld(id envelope.ID, _ envelope.Envelope) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = append(q.held, id)
}

// ring is keys by domain.
type ring map[string][]seal.Key

func (r ring) Keys(_ context.Context, domain string) []seal.Key { return r[domain] }

// world is one edge with a real spool and a small Internet.
type world struct {
	t     *testing.T
	dns   lookuptest.Map
	clock time.Time
	spool *spool.Spool
	queue *queue
	door  *Acceptor
	look  *inspect.Inspector
}

func newWorld(t *testing.T, dns lookuptest.Map, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, dns: dns, clock: noon, queue: &queue{}}
	s, err := spool.Open(spool.Config{Dir: t.TempDir(), MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	w.spool = s
	cfg := Config{Spool: s, Queue: w.queue, Hostname: "edge.example.net", Domains: []string{"city.example"}, Now: func() time.Time { return w.clock }}
	if change != nil {
		change(&cfg)
	}
	if w.door, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	w.look = inspect.New(inspect.Config{Resolver: resolver{w}, Rules: inspect.Rules{Checks: verdict.Checks{SPF: true, DKIM: true, DMARC: true}}})
	t.Cleanup(func() {
		if err := w.look.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return w
}

// resolver asks the world's map, which a test may exchange.
type resolver struct{ w *world }

func (r resolver) Query(ctx context.Context, name string, t lookup.Type) (lookup.Answer, error) {
	return r.w.dns.Query(ctx, name, t)
}

func key(t *testing.T, domain, selector string) (seal.Key, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	txt, err := seal.Record(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return seal.Key{Domain: domain, Selector: selector, Signer: private}, txt
}

func addr(t *testing.T, s string) address.Address {
	t.Helper()
	if s == "" {
		return address.Address{}
	}
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) draft(msg string) *spool.Draft {
	w.t.Helper()
	d, err := w.spool.Create()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(d, msg); err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) envelope(origin envelope.Origin, from string, to ...string) envelope.Envelope {
	env := envelope.Envelope{From: addr(w.t, from), Received: noon, Client: netip.MustParseAddr("192.0.2.1"), Helo: "mail.example.org", Origin: origin, TLS: true}
	for _, rcpt := range to {
		env.To = append(env.To, addr(w.t, rcpt))
	}
	return env
}

// arrive sends a message to port 25.
func (w *world) arrive(from, msg string) *smtpline.Reply {
	w.t.Helper()
	p := w.look.Begin(netip.MustParseAddr("192.0.2.1"))
	defer p.Close()
	v := w.door.Arrive(p, nil)
	v.Hello("mail.example.org")
	v.Mail(addr(w.t, from))
	return v.Inbound(w.t.Context(), w.draft(msg), w.envelope(envelope.MX, from, "b@city.example"))
}

// stored returns the only message in the spool.
func (w *world) stored() (envelope.Envelope, *message.Header, string) {
	w.t.Helper()
	ids, err := w.spool.IDs()
	if err != nil || len(ids) != 1 {
		w.t.Fatalf("spool holds %v, %v; want one message", ids, err)
	}
	m, err := w.spool.Load(ids[0])
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	whole, err := io.ReadAll(m.Open())
	if err != nil {
		w.t.Fatal(err)
	}
	h, err := message.Parse(m.Header())
	if err != nil {
		w.t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(whole), "\r\n\r\n")
	return m.Envelope(), h, body
}

// nothing makes sure that no message was kept.
func (w *world) nothing() {
	w.t.Helper()
	if ids, err := w.spool.IDs(); err != nil || len(ids) > 0 || len(w.queue.added) > 0 {
		w.t.Errorf("spool holds %v, queue %v, %v; want nothing", ids, w.queue.added, err)
	}
}

// value is a field's value with its white space evened out.
func value(h *message.Header, name string) string {
	f, _ := h.First(name)
	return strings.Join(strings.Fields(f.Value()), " ")
}

// verified verifies a stored message's signatures.
func verified(t *testing.T, dns lookuptest.Map, h *message.Header, body string) []dkim.Signature {
	t.Helper()
	r, err := dkim.Verify(t.Context(), dns, time.Now(), h.Bytes(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r.Signatures
}

// unix makes a message of lines.
func unix(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n" }
