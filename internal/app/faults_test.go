package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/internal/mail/accept"
	"postern/internal/mail/envelope"
	"postern/internal/mail/inspect"
	"postern/internal/mail/mx"
	"postern/internal/mail/smtpd"
	"postern/internal/mail/spool"
)

// counted is a queue that only counts.
type counted struct{ atomic.Int32 }

func (c *counted) Add(envelope.ID, envelope.Envelope) { c.Int32.Add(1) }

// ailing is port 25 over a disk that fails at one step while told to.
type ailing struct {
	addr  string
	spool *spool.Spool
	queue counted
	fails atomic.Bool
}

func newAiling(t *testing.T, at spool.Step, with error) *ailing {
	t.Helper()
	a := &ailing{}
	var err error
	a.spool, err = spool.Open(spool.Config{Dir: t.TempDir(), MinFree: -1, Fault: func(step spool.Step) error {
		if a.fails.Load() && step == at {
			return with
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	addr, stop := openMX(t, a.spool, &a.queue)
	t.Cleanup(func() {
		stop()
		if err := a.spool.Close(); err != nil {
			t.Error(err)
		}
	})
	a.addr = addr
	return a
}

// openMX is port 25 between a spool and a queue.
func openMX(t *testing.T, sp *spool.Spool, queue accept.Queue) (addr string, stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	door, err := accept.New(accept.Config{Spool: sp, Queue: queue, Hostname: "edge.city.example", Domains: []string{"city.example"}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	inspector := inspect.New(inspect.Config{Log: log})
	d, err := mx.New(mx.Config{
		Domains: []string{"city.example"}, Spool: sp, Log: log,
		Begin: func(_ context.Context, c *smtpd.Conn) mx.Inspection {
			return door.Arrive(inspector.Begin(c.Remote.Addr()), c.Protocol)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := smtpd.New(smtpd.Config{
		Name: "mx", Hostname: "edge.city.example", Addr: netip.MustParseAddrPort("127.0.0.1:0"), Mode: smtpd.Plain,
		Chunking: true, Limits: mx.Limits(), Log: log, NewSession: d.Session,
	})
	if err == nil {
		err = s.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the test's own context has ended
		defer cancel()
		if err := errors.Join(s.Stop(ctx), inspector.Stop(ctx)); err != nil {
			t.Error(err)
		}
	}
}

// TestDiskThatFails: whatever step of taking a message fails, and by whatever
// error, the client is told to come again, once and clearly; nothing is kept and
// nothing queued; the conversation goes on. When the disk is well again so is
// the door, but after a failed sync, which only a restart can trust again.
func TestDiskThatFails(t *testing.T) {
	t.Parallel()
	for _, at := range []spool.Step{spool.StepCreate, spool.StepWrite, spool.StepSync, spool.StepRename, spool.StepSyncDir} {
		for _, with := range []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EMFILE, syscall.EDQUOT, syscall.EROFS} {
			for _, chunks := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s chunks %v", at, with, chunks), func(t *testing.T) {
					t.Parallel()
					a := newAiling(t, at, with)
					a.fails.Store(true)
					conn, err := net.Dial("tcp", a.addr)
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					v := &visitor{t, "the disk fails", conn, bufio.NewReader(conn)}
					v.want("220")
					v.ask("EHLO client.example", "250")
					want := "451"
					if with == syscall.ENOSPC || with == syscall.EDQUOT {
						want = "452"
					}
					for range 2 {
						if got := v.bring(chunks); got != want && at != spool.StepSync && at != spool.StepSyncDir || got[0] != '4' {
							t.Errorf("%s, want %s", got, want)
						}
					}
					a.holds(t, 0)
					a.fails.Store(false)
					got := v.bring(chunks)
					if lost := at == spool.StepSync || at == spool.StepSyncDir; lost == (got == "250") {
						t.Errorf("%s when the disk is well again", got)
					} else if !lost {
						a.holds(t, 1)
					}
					v.ask("QUIT", "221")
				})
			}
		}
	}
}

// bring brings a message that is larger than what is gathered before a write,
// and returns the code of what came of it.
func (v *visitor) bring(chunks bool) string {
	v.t.Helper()
	v.ask("MAIL FROM:<a@client.example>", "250")
	v.ask("RCPT TO:<b@city.example>", "250")
	text := "From: a@client.example\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 3000)
	if chunks {
		half := len(text) / 2
		v.say(fmt.Sprintf("BDAT %d", half))
		v.raw(text[:half])
		if got := v.reply(); got != "250" {
			return got
		}
		v.say(fmt.Sprintf("BDAT %d LAST", len(text)-half))
		v.raw(text[half:])
		return v.reply()
	}
	v.say("DATA")
	if got := v.reply(); got != "354" {
		v.ask("RSET", "250")
		return got
	}
	v.raw(text + ".\r\n")
	return v.reply()
}

func (v *visitor) raw(s string) {
	v.t.Helper()
	if _, err := v.conn.Write([]byte(s)); err != nil {
		v.t.Fatal(err)
	}
}

func (a *ailing) holds(t *testing.T, n int) {
	t.Helper()
	ids, err := a.spool.IDs()
	if err != nil || len(ids) != n || int(a.queue.Load()) != n {
		t.Errorf("%d messages kept, %d queued, want %d; %v", len(ids), a.queue.Load(), n, err)
	}
}
