package smtpd

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mail/smtpline"
)

// pipes is a listener of in-memory connections, whose deadlines follow the
// bubble's time.
type pipes struct {
	conns chan net.Conn
	errs  chan error
	ended chan struct{}
}

func newPipes() *pipes {
	return &pipes{make(chan net.Conn), make(chan error), make(chan struct{})}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case err := <-l.errs:
		return nil, err
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	select {
	case <-l.ended:
		return net.ErrClosed
	default:
		close(l.ended)
		return nil
	}
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// bubbled runs f with a server in virtual time. The bubble itself checks that
// no goroutine is left.
func bubbled(t *testing.T, d *desk, limits Limits, f func(t *testing.T, s *Server, dial func() *peer)) {
	t.Helper()
	bubbledWith(t, d, func(c *Config) { c.Limits = limits }, f)
}

func bubbledWith(t *testing.T, d *desk, edit func(*Config), f func(t *testing.T, s *Server, dial func() *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		s := started(t, d, func(c *Config) { edit(c); c.Listener = l })
		f(t, s, func() *peer {
			ours, theirs := net.Pipe()
			l.conns <- theirs
			t.Cleanup(func() { _ = ours.Close() })
			p := over(t, ours)
			if err := ours.SetDeadline(time.Now().Add(1000 * time.Hour)); err != nil {
				t.Fatal(err)
			}
			return p
		})
	})
}

func inData(p *peer) {
	p.t.Helper()
	p.want(220)
	p.send("EHLO client\r\n")
	p.want(250)
	p.send("MAIL FROM:<a@example.net>\r\n")
	p.want(250)
	p.send("RCPT TO:<b@example.test>\r\n")
	p.want(250)
	p.send("DATA\r\n")
	p.want(354)
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits Limits
		play   func(p *peer)
		code   int
		after  time.Duration
	}{
		"silent after the greeting": {Limits{Command: time.Minute}, func(p *peer) { p.want(220) }, 421, time.Minute},
		"half a command": {Limits{Command: time.Minute}, func(p *peer) {
			p.want(220)
			p.send("EHLO cli")
		}, 421, time.Minute},
		"a command in drips": {Limits{Command: time.Minute}, func(p *peer) {
			p.want(220)
			for range 59 {
				p.send("x")
				time.Sleep(time.Second)
			}
		}, 421, time.Minute},
		// emersion/go-smtp#196: the rest of the body must not become commands.
		"silent inside the message": {Limits{Data: time.Minute, DataGrace: time.Hour}, func(p *peer) {
			inData(p)
			p.send("Subject: x\r\n\r\nMAIL FROM:<evil@example.net>\r\n")
		}, 421, time.Minute},
		"a message in drips": {Limits{Data: time.Minute, DataGrace: 100 * time.Second, DataRate: 100}, func(p *peer) {
			inData(p)
			for range 99 {
				p.send("x")
				time.Sleep(time.Second)
			}
		}, 421, 100 * time.Second},
		"a session without end": {Limits{SessionTime: time.Hour}, func(p *peer) {
			p.want(220)
			for range 59 {
				p.send("NOOP\r\n")
				p.want(250)
				time.Sleep(time.Minute)
			}
		}, 421, time.Hour},
		"a session that ends inside the message": {Limits{SessionTime: time.Minute}, inData, 421, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &desk{}
			bubbled(t, d, c.limits, func(t *testing.T, s *Server, dial func() *peer) {
				p := dial()
				began := time.Now()
				c.play(p)
				p.want(c.code)
				p.wantClosed()
				if took := time.Since(began); took < c.after || took > c.after+time.Second {
					t.Errorf("after %v, want %v", took, c.after)
				}
				if s.Counters.TimedOut.Value() != 1 || s.Counters.Messages.Value() != 0 {
					t.Errorf("%d timed out, %d accepted", s.Counters.TimedOut.Value(), s.Counters.Messages.Value())
				}
			})
			if strings.Contains(d.log(), "evil") {
				t.Error("a line of the body ran as a command")
			}
		})
	}
}

// A message that keeps up the rate may take long.
func TestSlowButSteadyMessage(t *testing.T) {
	t.Parallel()
	bubbled(t, &desk{}, Limits{Data: time.Minute, DataGrace: 10 * time.Second, DataRate: 1}, func(_ *testing.T, _ *Server, dial func() *peer) {
		p := dial()
		inData(p)
		for range 100 {
			p.send("xxxx\r\n")
			time.Sleep(5 * time.Second)
		}
		p.send(".\r\n")
		p.want(250)
	})
}

func TestEarlyTalker(t *testing.T) {
	t.Parallel()
	bubbled(t, &desk{}, Limits{GreetWait: 100 * time.Millisecond}, func(t *testing.T, s *Server, dial func() *peer) {
		p := dial()
		go p.send("EHLO spammer\r\n")
		p.want(554)
		p.wantClosed()
		p = dial()
		began := time.Now()
		p.want(220)
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("greeted after %v", took)
		}
		if s.Counters.EarlyTalkers.Value() != 1 {
			t.Errorf("%d early talkers", s.Counters.EarlyTalkers.Value())
		}
	})
}

func TestStopTellsIdleClients(t *testing.T) {
	t.Parallel()
	bubbled(t, &desk{}, Limits{}, func(t *testing.T, s *Server, dial func() *peer) {
		p := dial()
		p.want(220)
		stopped := make(chan error)
		go func() { stopped <- s.Stop(t.Context()) }()
		p.want(421)
		p.wantClosed()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestStopLetsARunningMessageEnd(t *testing.T) {
	t.Parallel()
	bubbled(t, &desk{}, Limits{}, func(t *testing.T, s *Server, dial func() *peer) {
		p := dial()
		inData(p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stopped := make(chan error)
		go func() { stopped <- s.Stop(ctx) }()
		synctest.Wait()
		p.send("text\r\n")
		time.Sleep(30 * time.Second)
		p.send(".\r\n")
		p.want(250, 421)
		p.wantClosed()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestStopCutsAtTheDeadline(t *testing.T) {
	t.Parallel()
	d := &desk{}
	bubbled(t, d, Limits{}, func(t *testing.T, s *Server, dial func() *peer) {
		p := dial()
		inData(p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("all goroutines ended, yet: %v", err)
		}
		p.wantClosed()
	})
	if !strings.Contains(d.log(), "lost "+ErrTruncated.Error()) {
		t.Errorf("the session was told:\n%s", d.log())
	}
}

// Out of descriptors: no spinning, and it goes on when there are some again.
func TestAcceptBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		s := started(t, &desk{}, func(c *Config) { c.Listener = l })
		began := time.Now()
		for range 20 {
			l.errs <- syscall.EMFILE
		}
		ours, theirs := net.Pipe()
		l.conns <- theirs
		over(t, ours).want(220)
		if took := time.Since(began); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("20 errors took %v", took)
		}
		if s.Counters.AcceptErrors.Value() != 20 {
			t.Errorf("%d errors counted", s.Counters.AcceptErrors.Value())
		}
		_ = ours.Close()
	})
}

// A client that never reads our replies does not hold the connection for ever.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	bubbled(t, &desk{}, Limits{Write: time.Minute}, func(t *testing.T, _ *Server, dial func() *peer) {
		p := dial()
		p.want(220)
		began := time.Now()
		for time.Since(began) < time.Hour {
			if _, err := io.WriteString(p.conn, strings.Repeat("NOOP\r\n", 100)); err != nil {
				break
			}
		}
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("held for %v", took)
		}
	})
}

// The session's context lasts as long as the connection and no longer.
func TestContextEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	d := &desk{}
	s := started(t, d, func(c *Config) {
		c.NewSession = func(ctx context.Context, conn *Conn) (Session, *smtpline.Reply) {
			context.AfterFunc(ctx, func() { ended <- ctx.Err() })
			return sitting{d, conn}, nil
		}
	})
	p := dial(t, s)
	p.want(220)
	p.send("QUIT\r\n")
	p.want(221)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
