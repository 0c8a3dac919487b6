package argon

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"slices"
	"sync"
	"time"

	"postern/internal/metrics"
)

// Config is what Children need. Zero values are the defaults named.
type Config struct {
	Command  []string      // program and arguments that come to Serve; required
	Log      *slog.Logger  // required
	Idle     time.Duration // a child without work ends after it; 1 min
	Patience time.Duration // a child that takes longer for a hash is killed; 30 s
	Again    time.Duration // a child is tried again so long after one failed; 1 min
}

// Counters are what Children count.
type Counters struct {
	Started metrics.Counter // children
	Made    metrics.Counter // hashes
	Failed  metrics.Counter // hashes a child did not make
}

// ErrNone says that there is no child to make the hash.
var ErrNone = errors.New("no process for hashes")

// Children make hashes, as many at once as are asked for: who asks bounds them.
type Children struct {
	Counters Counters

	c      Config
	mu     sync.Mutex
	idle   []*child
	ended  bool
	not    time.Time // no child before
	living sync.WaitGroup
	ctx    context.Context // of their lives
	kill   context.CancelFunc
}

// child is one process.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	asks *gob.Encoder
	keys *gob.Decoder
	rest *time.Timer
}

// New returns Children, of which there are none yet.
func New(c Config) *Children {
	for v, def := range map[*time.Duration]time.Duration{&c.Idle: time.Minute, &c.Patience: 30 * time.Second, &c.Again: time.Minute} {
		if *v == 0 {
			*v = def
		}
	}
	k := &Children{c: c}
	// Background: children live until Stop.
	k.ctx, k.kill = context.WithCancel(context.Background())
	return k
}

// Key has a child make the hash. After any error the caller makes it itself.
func (k *Children) Key(a Ask) ([]byte, error) {
	c, err := k.take()
	if err != nil {
		return nil, err
	}
	late := time.AfterFunc(k.c.Patience, func() { _ = c.cmd.Process.Kill() })
	key, err := c.ask(a)
	if !late.Stop() && err == nil {
		err = errors.New("it took too long")
	}
	if err != nil {
		k.failed(err)
		k.end(c)
		return nil, fmt.Errorf("hash in a process of its own: %w", err)
	}
	k.Counters.Made.Inc()
	k.giveBack(c)
	return key, nil
}

func (c *child) ask(a Ask) (key []byte, err error) {
	if err := c.asks.Encode(a); err != nil {
		return nil, err // wrapped by Key
	}
	if err := c.keys.Decode(&key); err != nil {
		return nil, err // wrapped by Key
	}
	if len(key) != int(a.Length) {
		return nil, fmt.Errorf("a key of %d octets, want %d", len(key), a.Length)
	}
	return key, nil
}

// take returns a child without work, or a new one.
func (k *Children) take() (*child, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended || time.Now().Before(k.not) {
		return nil, ErrNone
	}
	if n := len(k.idle); n > 0 {
		c := k.idle[n-1]
		k.idle = k.idle[:n-1]
		c.rest.Stop() // one that rings now does not find it
		return c, nil
	}
	c, err := k.launch()
	if err != nil {
		k.refused(err)
		return nil, err
	}
	k.Counters.Started.Inc()
	k.living.Add(1)
	return c, nil
}

func (k *Children) launch() (*child, error) {
	cmd := exec.CommandContext(k.ctx, k.c.Command[0], k.c.Command[1:]...)
	cmd.Args[0] = "postern" // in lists of processes, whatever the file
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("pipe to a process for hashes: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("pipe from a process for hashes: %w", err)
	}
	if err := start(cmd); err != nil {
		return nil, fmt.Errorf("start a process for hashes: %w", err)
	}
	return &child{cmd: cmd, in: in, asks: gob.NewEncoder(in), keys: gob.NewDecoder(out)}, nil
}

// giveBack keeps a child for the next hash, for a while.
func (k *Children) giveBack(c *child) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		go k.end(c)
		return
	}
	c.rest = time.AfterFunc(k.c.Idle, func() {
		if k.leave(c) {
			k.end(c)
		}
	})
	k.idle = append(k.idle, c)
}

// leave takes a child from those without work, if it is one of them.
func (k *Children) leave(c *child) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := slices.Index(k.idle, c)
	if at < 0 {
		return false
	}
	k.idle = slices.Delete(k.idle, at, at+1)
	return true
}

// end has a child end, and waits for that.
func (k *Children) end(c *child) {
	defer k.living.Done()
	_ = c.in.Close()
	late := time.AfterFunc(k.c.Patience, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	_ = c.cmd.Wait() // how it ended matters to nobody any more
}

// failed notes that a child did not make a hash.
func (k *Children) failed(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Counters.Failed.Inc()
	if !k.ended {
		k.refused(err)
	}
}

// refused has no child tried for a while. The caller holds the lock.
func (k *Children) refused(err error) {
	k.not = time.Now().Add(k.c.Again)
	k.c.Log.Warn("no process for password hashes: they are made beside the answers", "reason", "hash-process", "err", err,
		"hint", "the program file must stay where it is and may be executed; more processes must be allowed")
}

// Stop ends the children and waits for them, or for ctx. Hashes that are being
// made fail.
func (k *Children) Stop(ctx context.Context) error {
	k.mu.Lock()
	k.ended = true
	idle := k.idle
	k.idle = nil
	k.mu.Unlock()
	k.kill()
	for _, c := range idle {
		c.rest.Stop()
		go k.end(c)
	}
	gone := make(chan struct{})
	go func() {
		k.living.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("processes for hashes: %w", ctx.Err())
	}
}
