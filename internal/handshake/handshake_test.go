package handshake

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// config returns a server's configuration with the hooks, after which before is
// called.
func config(t *testing.T, before func(h *tls.ClientHelloInfo)) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) { return nil, Take(h) },
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if err := Take(h); err != nil {
				return nil, err
			}
			if before != nil {
				before(h)
			}
			return cert, nil
		},
	}
}

// shake is one handshake of a client with the server; ours is the server's error.
func shake(t *testing.T, turns *Turns, server, client *tls.Config) (ours, theirs error) {
	t.Helper()
	a, b := pair(t)
	defer a.Close()
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client.InsecureSkipVerify = true
	done := make(chan error, 1)
	go func() {
		err := tls.Client(b, client).HandshakeContext(ctx)
		if err != nil {
			b.Close()
		}
		done <- err
	}()
	raw := turns.Wrap(a)
	ours = tls.Server(raw, server).HandshakeContext(ctx)
	raw.Done()
	if ours != nil {
		a.Close()
	}
	return ours, <-done
}

// pair is one connection, from both ends: not net.Pipe, where two that write at the
// same time, as after a second hello, wait for each other.
func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b, err = net.Dial("tcp", ln.Addr().String())
	if err == nil {
		a, err = ln.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// TestOneAtATime: no more reckon at once than there are turns, whatever the
// version, and also after a second hello.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	for _, many := range []int{1, 2} {
		turns := NewTurns(many)
		var mu sync.Mutex
		now, most := 0, 0
		server := config(t, func(h *tls.ClientHelloInfo) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			if !h.Conn.(*Conn).held.Load() {
				t.Error("reckons without a turn")
			}
			for range 100 {
				runtime.Gosched() // others come, if they may
			}
			mu.Lock()
			now--
			mu.Unlock()
		})
		server.CurvePreferences = []tls.CurveID{tls.CurveP256}
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				client := &tls.Config{MaxVersion: []uint16{tls.VersionTLS12, tls.VersionTLS13}[i%2]}
				if i%3 == 0 { // its first share is of a curve that the server does not take
					client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
				}
				if ours, theirs := shake(t, turns, server, client); ours != nil || theirs != nil {
					t.Error(ours, theirs)
				}
			})
		}
		all.Wait()
		if most < 1 || most > many || len(turns.taken) != 0 {
			t.Errorf("%d at once, want at most %d; %d turns not given back", most, many, len(turns.taken))
		}
	}
}

// TestSlowHoldsNoTurn: neither who says nothing nor who does not go on keeps others
// from theirs.
func TestSlowHoldsNoTurn(t *testing.T) {
	t.Parallel()
	turns, server := NewTurns(1), config(t, nil)
	silent, _ := net.Pipe()
	halting, other := net.Pipe()
	defer silent.Close()
	defer halting.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for _, raw := range []net.Conn{silent, halting} {
		all.Go(func() {
			c := turns.Wrap(raw)
			if err := tls.Server(c, server).HandshakeContext(ctx); err == nil {
				t.Error("a handshake with nobody")
			}
			c.Done()
		})
	}
	// A hello, and then nothing: the server writes, and nobody reads.
	hello := make(chan struct{})
	all.Go(func() {
		_ = tls.Client(onlyWrites{other, hello}, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
	})
	<-hello
	if ours, theirs := shake(t, turns, server, &tls.Config{}); ours != nil || theirs != nil {
		t.Error(ours, theirs)
	}
	cancel()
	silent.Close()
	halting.Close()
	all.Wait()
	if len(turns.taken) != 0 {
		t.Error("a turn is not given back")
	}
}

// onlyWrites is a connection that tells of its first write, and never reads.
type onlyWrites struct {
	net.Conn
	wrote chan struct{}
}

func (o onlyWrites) Write(b []byte) (int, error) {
	n, err := o.Conn.Write(b)
	close(o.wrote)
	return n, err
}

func (o onlyWrites) Read([]byte) (int, error) { return 0, errors.New("it does not go on") }

// TestWaitsNoLonger: who waits in vain is told so.
func TestWaitsNoLonger(t *testing.T) {
	t.Parallel()
	turns := NewTurns(1)
	turns.taken <- struct{}{}
	a, b := net.Pipe()
	defer b.Close()
	c := turns.Wrap(a)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.take(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	c.Done()
	if w, g := turns.Counters.Waited.Value(), turns.Counters.Given.Value(); w != 1 || g != 1 || len(turns.taken) != 1 {
		t.Errorf("%d waited, %d gave up, %d taken", w, g, len(turns.taken))
	}
}

// TestFailedGivesBack: a handshake that fails in its turn.
func TestFailedGivesBack(t *testing.T) {
	t.Parallel()
	turns, server := NewTurns(1), config(t, nil)
	server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none") }
	if ours, theirs := shake(t, turns, server, &tls.Config{}); ours == nil || theirs == nil {
		t.Error("a handshake without a certificate")
	}
	if len(turns.taken) != 0 {
		t.Error("the turn is not given back")
	}
}

// TestWithoutTurns: everybody goes at once.
func TestWithoutTurns(t *testing.T) {
	t.Parallel()
	if ours, theirs := shake(t, nil, config(t, func(*tls.ClientHelloInfo) {}), &tls.Config{}); ours != nil || theirs != nil {
		t.Error(ours, theirs)
	}
}
