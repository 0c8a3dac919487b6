package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestReplyOfManyMessages: they come in order, whole, as long as messages get;
// what is asked meanwhile is answered meanwhile.
func TestReplyOfManyMessages(t *testing.T) {
	t.Parallel()
	kept := make(later, 2)
	_, plain := openTCP(t, func() Handler { return kept }, Limits{})
	_, addr, trust := openSecure(t, TLS, func() Handler { return kept }, Limits{})
	for name, conn := range map[string]net.Conn{"tcp": plain, "tls": dialTLS(t, addr, trust, "dot")} {
		_ = conn.SetDeadline(time.Now().Add(patience))
		send(t, conn, frame("transfer"))
		p := <-kept
		sent := make(chan error, 1)
		part := func(i int) string { return fmt.Sprint(i) + strings.Repeat("m", i*6000) }
		go func() {
			for i := range 10 {
				if err := p.Send(t.Context(), []byte(part(i))); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		for i := range 10 {
			if got := readFrame(t, conn); got != part(i) {
				t.Fatalf("%s: message %d has %d octets", name, i, len(got))
			}
			if i == 4 { // the transfer goes on, and this is answered
				send(t, conn, frame("q"))
				(<-kept).Reply(nil)
			}
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		p.Reply([]byte("end"))
		if got := readFrame(t, conn); got != "end" {
			t.Errorf("%s: %q", name, got)
		}
		if err := p.Send(t.Context(), nil); !errors.Is(err, ErrOneMessage) {
			t.Errorf("an empty message: %v", err)
		}
	}
}

// TestOneMessageOnly: where a reply is one message, a second has nowhere to go.
func TestOneMessageOnly(t *testing.T) {
	t.Parallel()
	kept := make(later, 1)
	_, addr := open(t, Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: UDP, Handler: func() Handler { return kept }}}})
	send(t, dial(t, "udp", addr), []byte("q"))
	p := <-kept
	if err := p.Send(t.Context(), []byte("m")); !errors.Is(err, ErrOneMessage) {
		t.Errorf("udp: %v", err)
	}
	p.Break()
	p.Reply([]byte("r")) // there was no connection to break
	answers := awaited(make(chan []byte, 1))
	q := answers.keep(&Request{})
	if err := q.Send(t.Context(), []byte("m")); !errors.Is(err, ErrOneMessage) {
		t.Errorf("https and quic: %v", err)
	}
}

// TestSlowReaderOfManyMessages is cut off when it has not taken one in time;
// the request's place is free again.
func TestSlowReaderOfManyMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := make(later, 1)
		conn, client := pipe(t, kept, Limits{Stream: 7 * time.Second})
		send(t, client, frame("transfer"))
		p := <-kept
		begin := time.Now()
		err := p.Send(t.Context(), []byte("m"))
		if took := time.Since(begin); err == nil || took != 7*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if conn.counters.TCPSlowClosed.Value() != 1 {
			t.Error("not counted")
		}
		if err := p.Send(t.Context(), []byte("m")); err == nil {
			t.Error("sent on a broken connection")
		}
		p.Reply(nil)
		closed(t, client)
	})
}

// TestEndOfContextBreaksTheReply: half of it is never taken for the whole.
func TestEndOfContextBreaksTheReply(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			kept := make(later, 1)
			_, client := pipe(t, kept, Limits{})
			send(t, client, frame("transfer"))
			p := <-kept
			ctx, cancel := context.WithCancel(t.Context())
			if before {
				cancel()
			} else {
				time.AfterFunc(time.Second, cancel)
			}
			if err := p.Send(ctx, []byte("m")); err == nil {
				t.Error("sent after all")
			}
			cancel()
			closed(t, client)
			p.Reply([]byte("nothing can follow"))
		})
	}
}

// TestBreak: nothing follows half of a reply.
func TestBreak(t *testing.T) {
	t.Parallel()
	kept := make(later, 1)
	_, conn := openTCP(t, func() Handler { return kept }, Limits{})
	send(t, conn, frame("transfer"))
	p := <-kept
	if err := p.Send(t.Context(), []byte("half")); err != nil || readFrame(t, conn) != "half" {
		t.Fatal(err)
	}
	p.Break()
	p.Reply([]byte("other"))
	closed(t, conn)
}

// TestStreamsDoNotHoldTheListenerUp: who stops does not wait for a client that
// reads nothing.
func TestStreamsDoNotHoldTheListenerUp(t *testing.T) {
	t.Parallel()
	kept := make(later, 1)
	s := NewSet(Config{Listen: []Spec{{Addr: local(t, "127.0.0.1"), Transport: TCP, Handler: func() Handler { return kept }}}})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, "tcp", s.Open()[0].Addr)
	send(t, conn, frame("transfer"))
	p := <-kept
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for p.Send(ctx, make([]byte, 65535)) == nil {
		}
		p.Reply(nil)
	}()
	cancel() // what owns the transfer ends it, then the listeners stop
	<-ended
	stop, done := context.WithTimeout(t.Context(), patience)
	defer done()
	if err := s.Stop(stop); err != nil {
		t.Error(err)
	}
}
