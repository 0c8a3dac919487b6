package doq

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// errFull refuses a connection over a bound.
var errFull = errors.New("too many connections")

// connection takes the streams of one connection until it ends, asks nothing
// for long, or the server stops.
func (s *Server) connection(c *quic.Conn) {
	client, local := addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
	var streams sync.WaitGroup
	var flying, answered atomic.Int64
	for {
		st, err := s.accept(c)
		if errors.Is(err, context.DeadlineExceeded) && s.ctx.Err() == nil && flying.Load()+answered.Swap(0) > 0 {
			continue
		}
		if err != nil {
			break
		}
		flying.Add(1)
		streams.Go(func() {
			// The credit goes back when the work is done, not when the client
			// has lost interest.
			defer st.ReleaseStreamCredit()
			s.stream(c, st, client, local)
			answered.Add(1)
			flying.Add(-1)
		})
	}
	streams.Wait()
	// Closing overtakes what was written last. The client had time to take it
	// unless we are stopping.
	if s.ctx.Err() != nil {
		t := time.NewTimer(linger)
		defer t.Stop()
		select {
		case <-c.Context().Done():
		case <-t.C:
		}
	}
	_ = c.CloseWithError(noError, "")
}

// accept waits for the next stream. QUIC's own idle time-out is no bound: a
// client can keep a connection alive that asks nothing.
func (s *Server) accept(c *quic.Conn) (*quic.Stream, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.config.Idle)
	defer cancel()
	return c.AcceptStream(ctx) // only that there is an error counts
}

// stream reads one query and answers it.
func (s *Server) stream(c *quic.Conn, st *quic.Stream, client, local netip.AddrPort) {
	_ = st.SetReadDeadline(time.Now().Add(s.config.Idle))
	// Half a query is not waited for when the server stops.
	stop := context.AfterFunc(s.ctx, func() { _ = st.SetReadDeadline(time.Now()) })
	defer stop()
	frame, err := io.ReadAll(io.LimitReader(st, maxFrame+1))
	if err != nil {
		// Cancelled, too slow, or the connection is gone: this stream only.
		st.CancelRead(requestCancelled)
		st.CancelWrite(requestCancelled)
		return
	}
	msg, ok := unframe(frame)
	if !ok {
		s.config.Refused.Inc()
		_ = c.CloseWithError(protocolError, "")
		return
	}
	s.config.Messages.Inc()
	reply := s.config.Answer(msg, client, local)
	if len(reply) == 0 || len(reply) > 0xFFFF {
		st.CancelWrite(internalError)
		return
	}
	_ = st.SetWriteDeadline(time.Now().Add(s.config.Write))
	out := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(reply)), uint16(len(reply)))
	if _, err := st.Write(append(out, reply...)); err != nil {
		st.CancelWrite(unspecifiedError)
		return
	}
	_ = st.Close() // sends what ends the reply; the connection's errors come elsewhere
}

// unframe returns the one message of a whole stream. RFC 9250, Section 4.3.3:
// a message cut short, a second one, an ID, or the keepalive of TCP are errors
// of the connection.
func unframe(frame []byte) ([]byte, bool) {
	if len(frame) < 4 || len(frame) != 2+int(binary.BigEndian.Uint16(frame)) {
		return nil, false
	}
	msg := frame[2:]
	if binary.BigEndian.Uint16(msg) != 0 { // RFC 9250, Section 4.2.1
		return nil, false
	}
	return msg, !keepalive(msg)
}
